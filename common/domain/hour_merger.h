// Merges everything that is known of one device in one hour (short chunks, packed rows, what came
// late) into packed rows, one per source, step and phase, or several where that would be a large
// one, and rolls up the results that count.
//
// In: chunks in any order, each as often as one likes. Out: rows and rollups that do not depend on
// that order, so that merging again what was merged changes nothing. Of two results of one source
// for one slot the better one stays (common/domain/chunk.h); between sources both stay, and the
// rollups take the one that counts.
//
// Pure; keeps what was added until take().
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/chunk_details.h"
#include "common/domain/ping.h"
#include "common/domain/rollup.h"

namespace gema {

struct HourSource {
  int32_t location = 0;  // ids of their names
  int32_t producer = 0;
  int16_t clock_steps = 0;

  friend auto operator<=>(const HourSource&, const HourSource&) = default;
};

struct PackedRow {
  HourSource source;
  int64_t start_ms = 0;
  uint32_t step_ms = 0;
  uint32_t results = 0;
  std::string packed;
  std::string details;  // "" = none
};

// A packed hour larger than this becomes several rows, of 1 to 2 KB: PostgreSQL keeps them in the
// table's own pages and fills these better than with pieces of 2 KB out of line (ADR 0040).
inline constexpr size_t kRowBytesMax = 1'400;

struct MinuteRollups {
  int32_t location = 0;
  std::string rollups;  // 60 of a minute each; fewer, longer ones when checks are rarer than 2 s
  std::string hour;     // one: all of them merged
};

struct CompactedHour {
  std::vector<PackedRow> rows;
  std::vector<MinuteRollups> minutes;
  uint64_t results = 0;
  uint64_t doubled = 0;  // dropped: the same source had a better one, or the same, for the slot
};

class HourMerger {
 public:
  // `names`: of producers, by id; conflicts are decided by them. Must outlive this.
  explicit HourMerger(const std::map<int32_t, std::string>& names) : names_(names) {}

  void begin(DeviceId device, int64_t hour_ms);
  // Requires: the chunk is the device's, and begins within the hour. Returns: false when it is
  // broken; nothing of it is then taken.
  bool add(const HourSource& source, const ChunkView& chunk);
  CompactedHour take();

 private:
  struct Key {
    HourSource source;
    uint32_t step_ms = 0;
    uint32_t phase_ms = 0;  // slots of one row are whole steps apart; imported runs begin anywhere
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  // A chunk of one echo a check and without details, which need not be taken apart: most are such.
  struct Piece {
    int64_t start_ms;
    size_t samples_begin;  // in the group's samples and extra, up to those of the next one
    size_t samples_end;
    size_t extra_begin;
    size_t extra_end;
  };
  struct Group {
    std::vector<Piece>
        pieces;  // as they came; taken apart into `results` where they do not line up
    std::vector<int32_t> samples;
    std::vector<int32_t> extra;
    PingResults results;
    std::vector<ResultText> texts;  // by rising index
    std::vector<uint32_t> order;    // indices of the results that stay, by rising due_ms
  };

  static bool add_piece(const ChunkView& chunk, int64_t end_ms, Group& group);
  // True when every group is of pieces alone that follow each other, and has its location to
  // itself.
  bool line_up();
  void take_apart();
  // Rows and rollups of a group of pieces. Requires: line_up().
  void emit_line(const Key& key, const Group& group, CompactedHour& out);
  void emit_line_row(const Key& key, size_t begin, size_t end, uint32_t results,
                     CompactedHour& out);
  void roll_up_line(const Key& key, CompactedHour& out);
  void add_rollups(int32_t location, RollupBuilder& builder, CompactedHour& out);
  static ResultView view(const Group& group, size_t i);
  void sort(Group& group, CompactedHour& out);
  void emit(const Key& key, const Group& group, std::vector<Stray>& strays, CompactedHour& out);
  void emit_row(const Key& key, const Group& group, size_t begin, size_t end, uint32_t echoes,
                std::vector<Stray>& strays, CompactedHour& out);
  void emit_rows(const Key& key, const Group& group, size_t begin, size_t end, uint32_t echoes,
                 std::vector<Stray>& strays, CompactedHour& out);
  void emit_strays(const HourSource& source, const std::vector<Stray>& strays, CompactedHour& out);
  void roll_up(int32_t location, CompactedHour& out);

  const std::map<int32_t, std::string>& names_;
  DeviceId device_ = 0;
  int64_t hour_ms_ = 0;
  std::map<Key, Group> groups_;
  DetailsWriter details_;
  std::vector<int32_t> samples_;
  std::vector<int32_t> extra_;
  // The hour of a group of pieces in one line: samples and extra from line_start_ms_ on.
  int64_t line_start_ms_ = 0;
  std::vector<int32_t> line_;
  std::vector<int32_t> line_extra_;
};

// The rollups of a day's hours. Requires: hour < 24 in each, at most one for each hour.
struct HourOfDay {
  size_t hour = 0;
  std::string_view minutes;  // as packed
};
// Returns: 24 of an hour each, packed; `broken` gets the indices of those that did not decode and
// were left out.
std::string roll_up_day(const std::vector<HourOfDay>& hours, std::vector<size_t>& broken);

}  // namespace gema
