#include "common/observability/health.h"

#include "common/observability/log.h"

namespace gema::obs {

void Health::set_waiting(const std::string& what, const std::string& why) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    std::string& entry = waiting_[what];
    changed = entry != why;
    entry = why;
  }
  if (changed) log_warn("waiting", {{"for", what}, {"why", why}});
}

void Health::clear_waiting(const std::string& what) {
  bool changed = false;
  {
    const std::lock_guard lock(mutex_);
    changed = waiting_.erase(what) > 0;
  }
  if (changed) log_info("no longer waiting", {{"for", what}});
}

bool Health::ready() const {
  const std::lock_guard lock(mutex_);
  return waiting_.empty();
}

std::vector<std::string> Health::waiting_for() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> list;
  for (const auto& [what, why] : waiting_) list.push_back(what + ": " + why);
  return list;
}

}  // namespace gema::obs
