// Where import gathers what it read before any of it goes into history: sorted by device and time,
// on disk, so that memory stays small whatever the size of the files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/slot.h"
#include "services/cli/core/check.h"
#include "services/cli/io/sqlite.h"

namespace gema::cli {

// Who measured, and where.
struct StageSource {
  std::string location;
  std::string producer;
  // Checks that drift (another system's): put on slots by runs, and what an earlier import of the
  // same producer brought for the span is replaced. Else slots are as given.
  bool drifts = true;

  friend auto operator<=>(const StageSource&, const StageSource&) = default;
};

struct StagedCheck {
  uint32_t source = 0;
  int64_t at_ms = 0;
  uint32_t interval_ms = 0;
  std::string data;  // pack_check
};

// Of one device and source.
struct StageSpan {
  DeviceId device = 0;
  uint32_t source = 0;
  uint64_t checks = 0;
  int64_t first_ms = 0;
  int64_t last_ms = 0;
};

class Stage {
 public:
  Stage();

  uint32_t source(const StageSource& source);
  const StageSource& source(uint32_t i) const { return sources_[i]; }

  void add(DeviceId device, uint32_t source, const Check& check);
  // No more is added. Requires: called once, before what follows.
  void close();

  const std::vector<StageSpan>& spans() const { return spans_; }  // by device, source
  uint64_t checks() const { return count_; }
  // Median spacing; 0 = says nothing.
  uint32_t spacing(const StageSpan& span);
  // Checks of a device by rising time.
  void each(DeviceId device, const std::function<void(const StagedCheck&)>& each);
  // Days (UTC) that have any, rising.
  std::vector<int64_t> days();

 private:
  Sqlite db_;
  Statement insert_;
  std::vector<StageSource> sources_;
  std::map<StageSource, uint32_t> places_;
  std::vector<StageSpan> spans_;
  uint64_t count_ = 0;
  std::string bytes_;
};

}  // namespace gema::cli
