// The outages of a device's imported past, told anew for the span that an import touches. What is
// told is what history then holds, whatever came with which import and from where: so a part of a
// file after the whole changes nothing, and two halves give what the whole gives.
//
// Within a span, outages are told from the results in history; of days past raw retention, whose
// results are not kept, from what is imported. Before it, what was told and the last results there
// say how it begins; after it, results are read until the device answers: from there on all that
// was told stays right. They stop where the timeout-tracker's own transitions begin.
//
// Requires of the caller: the compactor's lock. Thread rule: the connection's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/history/results.h"
#include "common/postgres/connection.h"
#include "services/cli/core/outage_maker.h"

namespace gema::cli {

class ImportedOutages {
 public:
  // `raw_from_ms`: single results are kept from there on.
  ImportedOutages(postgres::Transaction& tx, uint32_t down_after, int64_t raw_from_ms)
      : tx_(tx), down_after_(down_after), raw_from_ms_(raw_from_ms) {}

  // Of `device` something in [from_ms, to_ms] is imported.
  void begin(DeviceId device, int64_t from_ms, int64_t to_ms);
  // A day before raw_from_ms whose checks were taken. By rising days.
  void take_old_day(int64_t day_ms, std::vector<OutageCheck> checks);
  // A day of which nothing was taken: what is told of it stays.
  void refuse_day(int64_t day_ms) { refused_.push_back(day_ms); }
  // Requires: all results are in history. Returns: how many outages begin in the span.
  uint64_t finish();

 private:
  void open(int64_t from_ms);
  void read_before(int64_t from_ms, int64_t not_before_ms);
  bool read_after(int64_t from_ms, int64_t until_ms);
  template <class Each>
  void read(int64_t from_ms, int64_t to_ms, Each&& each);
  std::optional<int64_t> next_stored(int64_t from_ms, int64_t to_ms);
  std::optional<int64_t> last_stored(int64_t from_ms, int64_t to_ms);
  void tell_raw(int64_t from_ms, int64_t to_ms, int64_t not_before_ms, int64_t until_ms);
  void take(const OutageCheck& check);
  void end_open();
  void end_before_unknown(int64_t at_ms);
  void write(int64_t to_ms);

  postgres::Transaction& tx_;
  const uint32_t down_after_;
  const int64_t raw_from_ms_;

  // Of the current device.
  DeviceId device_ = 0;
  int64_t from_ms_ = 0;
  int64_t to_ms_ = 0;
  int64_t live_from_ms_ = 0;      // the tracker's own begin
  std::vector<int64_t> refused_;  // days, rising
  uint64_t begun_ = 0;

  // Of what is being told.
  std::optional<OutageMaker> maker_;
  int64_t told_from_ms_ = 0;  // what was told from here on is told anew
  int64_t old_end_ms_ = 0;    // of the last old day
  std::vector<Transition> transitions_;
};

}  // namespace gema::cli
