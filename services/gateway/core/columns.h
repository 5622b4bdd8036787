// Long arrays of numbers as JSON text, straight into the body: a day of one device has 17,280 of
// them per column. Pure.
#pragma once

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace gema::gateway {

class NumberArray {
 public:
  explicit NumberArray(std::string& out) : out_(out) { buffer_[at_++] = '['; }
  NumberArray(const NumberArray&) = delete;
  NumberArray& operator=(const NumberArray&) = delete;

  void number(int64_t value) {
    make_room();
    if (value >= 0 && value < 10) {
      buffer_[at_++] = static_cast<char>('0' + value);
      buffer_[at_++] = ',';
      return;
    }
    if (value >= kTail) {
      large(value);
    } else {
      at_ = static_cast<size_t>(std::to_chars(buffer_ + at_, buffer_ + kSize, value).ptr - buffer_);
    }
    buffer_[at_++] = ',';
  }
  void null() {
    make_room();
    for (const char c : {'n', 'u', 'l', 'l', ','}) buffer_[at_++] = c;
  }
  // [value,...]. Requires: some values.
  void array(std::initializer_list<int64_t> values) {
    make_room();
    buffer_[at_++] = '[';
    for (const int64_t value : values) number(value);
    buffer_[at_ - 1] = ']';
    buffer_[at_++] = ',';
  }
  // value with `decimals` digits after the point, trailing zeros left out. Requires: finite, its
  // magnitude below 2^53 / 10^decimals; decimals <= 6.
  void fixed(double value, int decimals);
  void end();

 private:
  static constexpr size_t kSize = 4096;
  static constexpr size_t kLongest = 32;  // of one value with its comma

  static constexpr int64_t kTail = 100'000'000;  // a large number's last digits

  // Instants: their first digits are those of the number before.
  void large(int64_t value) {
    const int64_t head = value / kTail;
    if (head != head_) {
      head_ = head;
      head_length_ = static_cast<size_t>(
          std::to_chars(head_text_, head_text_ + sizeof head_text_, head).ptr - head_text_);
    }
    for (size_t i = 0; i < head_length_; ++i) buffer_[at_++] = head_text_[i];
    auto tail = static_cast<uint32_t>(value % kTail);
    for (int i = 7; i >= 0; --i, tail /= 10) {
      buffer_[at_ + static_cast<size_t>(i)] = static_cast<char>('0' + tail % 10);
    }
    at_ += 8;
  }

  void make_room() {
    if (at_ + kLongest > kSize) flush();
  }
  void flush() {
    out_.append(buffer_, at_);
    at_ = 0;
  }

  std::string& out_;
  size_t at_ = 0;
  int64_t head_ = 0;
  size_t head_length_ = 0;
  char head_text_[24];
  char buffer_[kSize];
};

}  // namespace gema::gateway
