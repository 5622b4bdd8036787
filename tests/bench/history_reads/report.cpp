#include "tests/bench/history_reads/report.h"

#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>

namespace gema::bench {
namespace {

using Clock = std::chrono::steady_clock;

std::mutex mutex;

}  // namespace

void note(const std::string& text) {
  const std::lock_guard lock(mutex);
  std::fprintf(stderr, "%s\n", text.c_str());
}

void fail(const std::string& why) {
  note("history_reads: " + why);
  std::_Exit(1);
}

void progress(const std::string& what, int64_t done, int64_t of) {
  static std::map<std::string, std::pair<Clock::time_point, Clock::time_point>> begun;
  const auto now = Clock::now();
  std::string text;
  {
    const std::lock_guard lock(mutex);
    auto [at, first] = begun.try_emplace(what, now, now);
    if (!first && done < of && now - at->second.second < std::chrono::seconds(5)) return;
    at->second.second = now;
    if (first && done < of) return;
    text = fmt::format("  {}: {} % after {:.0f} s", what, of > 0 ? done * 100 / of : 100,
                       std::chrono::duration<double>(now - at->second.first).count());
  }
  note(text);
}

void say(const std::string& metric, double value, std::optional<double> reference) {
  const std::string more = reference ? fmt::format(R"("reference":{:.4g},"ratio":{:.4g})",
                                                   *reference, value / *reference)
                                     : R"("reference":null,"ratio":null)";
  std::printf("%s\n", fmt::format(R"({{"bench":"history","metric":"{}","value":{:.4g},{}}})",
                                  metric, value, more)
                          .c_str());
  std::fflush(stdout);
}

}  // namespace gema::bench
