#include "common/codec/hot_codec.h"

#include <algorithm>

#include "common/base/assert.h"

namespace gema {
namespace {

constexpr char kFormat = 1;

template <class T>
void put(T value, std::string& out) {
  for (size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
  }
}

class Cursor {
 public:
  explicit Cursor(std::string_view rest) : rest_(rest) {}

  template <class T>
  T take() {
    const std::string_view bytes = take_bytes(sizeof(T));
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    }
    return static_cast<T>(value);
  }
  std::string_view take_bytes(size_t n) {
    if (n > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view bytes = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return bytes;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

// What may be a producer's: printable, without spaces.
bool is_name(std::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

}  // namespace

void append_hot(const HotRecord& record, std::string& row) {
  GEMA_ASSERT(record.producer.size() <= 255);
  if (row.empty()) row.push_back(kFormat);
  put(static_cast<uint8_t>(record.producer.size()), row);
  row += record.producer;
  put(record.epoch, row);
  put(record.seq, row);
  put(record.produced_at_us, row);
  put(static_cast<uint32_t>(record.payload.size()), row);
  row += record.payload;
}

Result<void> read_hot(std::string_view row, const std::function<void(const HotRecord&)>& each) {
  if (row.empty() || row[0] != kFormat) return Error{Errc::kBadInput, "hot row: unknown format"};
  Cursor in(row.substr(1));
  while (!in.at_end()) {
    HotRecord record;
    record.producer = in.take_bytes(in.take<uint8_t>());
    record.epoch = in.take<uint64_t>();
    record.seq = in.take<uint64_t>();
    record.produced_at_us = in.take<int64_t>();
    record.payload = in.take_bytes(in.take<uint32_t>());
    if (!in.ok()) return Error{Errc::kBadInput, "hot row: a record is cut short"};
    if (!is_name(record.producer)) return Error{Errc::kBadInput, "hot row: no producer's name"};
    each(record);
  }
  return {};
}

}  // namespace gema
