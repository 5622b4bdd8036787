#include "common/observability/health.h"

#include "common/observability/log.h"

namespace gema::obs {

void Health::set_waiting(const std::string& what, const std::string& why) {
  set(waiting_, "waiting", what, why);
}

void Health::clear_waiting(const std::string& what) {
  clear(waiting_, "no longer waiting", what);
}

void Health::set_impaired(const std::string& what, const std::string& why) {
  set(impaired_, "impaired", what, why);
}

void Health::clear_impaired(const std::string& what) {
  clear(impaired_, "no longer impaired", what);
}

void Health::set(Reasons& reasons, const char* word, const std::string& what,
                 const std::string& why) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    std::string& entry = reasons[what];
    changed = entry != why;
    entry = why;
  }
  if (changed) log_warn(word, {{"for", what}, {"why", why}});
}

void Health::clear(Reasons& reasons, const char* word, const std::string& what) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    changed = reasons.erase(what) > 0;
  }
  if (changed) log_info(word, {{"for", what}});
}

bool Health::ready() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty();
}

std::vector<std::string> Health::waiting_for() const {
  return lines_of(waiting_);
}

std::vector<std::string> Health::impaired() const {
  return lines_of(impaired_);
}

std::vector<std::string> Health::lines_of(const Reasons& reasons) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> list;
  for (const auto& [what, why] : reasons) list.push_back(what + ": " + why);
  return list;
}

}  // namespace gema::obs
