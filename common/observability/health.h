// What a process waits for. Ready = waits for nothing. Thread-safe.
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
  bool ready() const;
  // "postgres: connection refused", one per thing, by name.
  std::vector<std::string> waiting_for() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> waiting_;
};

}  // namespace gema::obs
