// Long arrays of numbers as JSON text, straight into the body: a day of one device has 17,280 of
// them per column. Pure.
#pragma once

#include <charconv>
#include <cstdint>
#include <string>

namespace gema::gateway {

class NumberArray {
 public:
  explicit NumberArray(std::string& out) : out_(out) { buffer_[at_++] = '['; }
  NumberArray(const NumberArray&) = delete;
  NumberArray& operator=(const NumberArray&) = delete;

  void number(int64_t value) {
    make_room();
    at_ = static_cast<size_t>(std::to_chars(buffer_ + at_, buffer_ + kSize, value).ptr - buffer_);
    buffer_[at_++] = ',';
  }
  void null() {
    make_room();
    for (const char c : {'n', 'u', 'l', 'l', ','}) buffer_[at_++] = c;
  }
  // value with `decimals` digits after the point, trailing zeros left out. Requires: finite, its
  // magnitude below 2^53 / 10^decimals; decimals <= 6.
  void fixed(double value, int decimals);
  void end();

 private:
  static constexpr size_t kSize = 4096;
  static constexpr size_t kLongest = 32;  // of one value with its comma

  void make_room() {
    if (at_ + kLongest > kSize) flush();
  }
  void flush() {
    out_.append(buffer_, at_);
    at_ = 0;
  }

  std::string& out_;
  size_t at_ = 0;
  char buffer_[kSize];
};

}  // namespace gema::gateway
