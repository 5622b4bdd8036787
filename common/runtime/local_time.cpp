#include "common/runtime/local_time.h"

#include <cstdlib>
#include <ctime>
#include <filesystem>

namespace gema::runtime {

Result<void> use_timezone(const std::string& zone) {
  if (!zone.empty()) {
    // glibc takes any unknown name for UTC without a word.
    const bool plain = zone.find("..") == std::string::npos && zone.front() != '/';
    std::error_code ignored;
    if (!plain || !std::filesystem::is_regular_file("/usr/share/zoneinfo/" + zone, ignored)) {
      return Error{Errc::kBadInput, "timezone = " + zone + ": no such time zone on this machine"};
    }
    ::setenv("TZ", zone.c_str(), 1);
  }
  ::tzset();
  return {};
}

UtcOffset local_offset() {
  // Offsets change at quarters of an hour only.
  constexpr int64_t kQuarter = 900;
  return [quarter = int64_t{-1}, east = int64_t{0}](int64_t unix_s) mutable {
    if (unix_s / kQuarter != quarter) {
      quarter = unix_s / kQuarter;
      const std::time_t instant = unix_s;
      std::tm parts{};
      ::localtime_r(&instant, &parts);
      east = parts.tm_gmtoff;
    }
    return east;
  };
}

}  // namespace gema::runtime
