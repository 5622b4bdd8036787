// Little-endian integers in byte strings: the one way in which the spool and stored positions
// write numbers.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace gema::stream {

static_assert(std::endian::native == std::endian::little);

template <class T>
void put(std::string& out, T value) {
  static_assert(std::is_integral_v<T>);
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// Requires: offset + sizeof(T) <= in.size().
template <class T>
T get(std::string_view in, size_t offset) {
  static_assert(std::is_integral_v<T>);
  T value;
  std::memcpy(&value, in.data() + offset, sizeof(T));
  return value;
}

// Reads on and on; after the first read beyond the end `ok` is false and everything reads as 0.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  T take() {
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      rest_ = {};
      return T{};
    }
    T value = get<T>(rest_, 0);
    rest_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view take_bytes(uint64_t n) {
    if (rest_.size() < n) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    std::string_view bytes = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return bytes;
  }
  bool ok() const { return ok_; }
  size_t left() const { return rest_.size(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace gema::stream
