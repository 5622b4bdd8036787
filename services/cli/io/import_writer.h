// What an import puts into history, and what it takes out, gathered and written some thousand rows
// at a time: packed rows and rollups as the compactor writes them. Thread rule: the connection's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/domain/hour_merger.h"
#include "common/domain/slot.h"
#include "common/postgres/connection.h"

namespace gema::cli {

// '{1,2,3}', and how many.
class ArrayText {
 public:
  void add(int64_t value) {
    text_ += count_++ == 0 ? "{" : ",";
    text_ += std::to_string(value);
  }
  std::string text() const { return count_ == 0 ? "{}" : text_ + "}"; }
  size_t count() const { return count_; }

 private:
  std::string text_;
  size_t count_ = 0;
};

// Rows of a table keyed by device, time and something else, to be deleted.
class Gone {
 public:
  void add(DeviceId device, int64_t time, int64_t other);
  void remove(postgres::Transaction& tx, const char* table, const char* time,
              const char* other) const;

 private:
  ArrayText devices_, times_, others_;
  int64_t least_ = INT64_MAX;
  int64_t most_ = INT64_MIN;
};

struct PackedOut {
  DeviceId device;
  int32_t part;
  PackedRow row;
};
struct RollupOut {
  DeviceId device;
  int64_t time_ms;
  int32_t location;
  std::string bytes;
};

class ImportWriter {
 public:
  explicit ImportWriter(postgres::Transaction& tx) : tx_(tx) {}

  // Deletes what is gone, then writes the others, and forgets them.
  void flush();
  // The same where there is much.
  void flush_much();

  std::vector<PackedOut> packed;
  std::vector<RollupOut> minutes, recent, hours;
  Gone packed_gone, minutes_gone, recent_gone, hours_gone;

 private:
  postgres::Transaction& tx_;
};

}  // namespace gema::cli
