// What a process waits for, and what it does without. Ready = waits for nothing. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace gema::obs {

class Health {
 public:
  // From now on the process waits for `what` ("postgres"), because of `why` (one sentence).
  void set_waiting(const std::string& what, const std::string& why);
  void clear_waiting(const std::string& what);
  // The process does its work, but not this part of it ("csv"), because of `why`. Ready all the
  // same.
  void set_impaired(const std::string& what, const std::string& why);
  void clear_impaired(const std::string& what);
  bool ready() const;
  // "postgres: connection refused", one per thing, by name.
  std::vector<std::string> waiting_for() const;
  std::vector<std::string> impaired() const;  // the same of set_impaired

 private:
  using Reasons = std::map<std::string, std::string>;

  void set(Reasons& reasons, const char* word, const std::string& what, const std::string& why);
  void clear(Reasons& reasons, const char* word, const std::string& what);
  std::vector<std::string> lines_of(const Reasons& reasons) const;

  mutable std::mutex mutex_;
  Reasons waiting_;
  Reasons impaired_;
};

}  // namespace gema::obs
