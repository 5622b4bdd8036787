// Where a command writes: stdout, or a file that appears whole or not at all. And what it says of
// long work on stderr meanwhile.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"

namespace gema::cli {

// The signal that asked to break off (SIGINT, SIGTERM, SIGHUP); 0: none did.
int broken_off();
// From here on these signals set broken_off() in place of ending the process.
void watch_for_breaks();

class Output {
 public:
  // "" = stdout. The file is not there, or stays as it was, until finish(). What is there and is no
  // file (a pipe, a device, /dev/stdout) is written to as it goes: it cannot be replaced.
  static Result<Output> open(const std::string& file);
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();

  Result<void> write(std::string_view bytes);
  Result<void> finish();

 private:
  Output() = default;
  Error failed(const char* what) const;

  std::filesystem::path file_;  // "" = stdout
  std::filesystem::path temp_;  // "" = nameless so far
  bool straight_ = false;       // into what is there
  int fd_ = 1;
};

bool stderr_is_terminal();
bool stdout_is_terminal();
size_t terminal_width();  // of stdout; 0 = none

// "123,456 rows  12% ..." on one line that is written over and over; lines where stderr is no
// terminal. Silent unless wanted.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted);
  ~ProgressLine();
  // `share` 0..1; `text` says what was done so far. Prints now and then.
  void show(const std::string& text, double share);
  void clear();

 private:
  const bool wanted_;
  const bool terminal_;
  const MonoTime begun_;
  MonoTime shown_{};
  bool any_ = false;
};

std::string grouped(uint64_t number);  // "1,234,567"

}  // namespace gema::cli
