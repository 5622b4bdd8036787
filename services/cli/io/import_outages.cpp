#include "services/cli/io/import_outages.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/codec/transition_codec.h"
#include "common/history/scan.h"
#include "common/postgres/binary.h"

namespace gema::cli {
namespace {

using postgres::BinaryResult;
using postgres::CopyIn;
using postgres::Params;

constexpr int64_t kHourMs = kChunkSpanMs;
constexpr int64_t kDayMs = 24 * kHourMs;

int64_t hour_of(int64_t ms) {
  return ms - ((ms % kHourMs) + kHourMs) % kHourMs;
}

// Of the device's imported transitions.
constexpr const char* kImported = "device_id = $1 AND counter < 0";

}  // namespace

void ImportedOutages::begin(DeviceId device, int64_t from_ms, int64_t to_ms) {
  device_ = device;
  from_ms_ = from_ms;
  to_ms_ = to_ms;
  refused_.clear();
  begun_ = 0;
  maker_.reset();
  transitions_.clear();
  const auto live = tx_.exec(
      "SELECT floor(extract(epoch FROM min(slot_at)) * 1000)::bigint FROM transitions"
      " WHERE device_id = $1 AND counter >= 0",
      static_cast<int64_t>(device))[0];
  live_from_ms_ = live[0].is_null() ? INT64_MAX : live[0].as<int64_t>();
}

// Begins to tell anew: as what was told of the time before ended.
void ImportedOutages::open(int64_t from_ms) {
  maker_.emplace(device_, down_after_);
  transitions_.clear();
  told_from_ms_ = from_ms;
  Params params;
  params.int64(static_cast<int64_t>(device_)).int64(imported_counter(from_ms));
  const BinaryResult last(tx_,
                          fmt::format("SELECT counter, to_status, state FROM transitions WHERE {}"
                                      " AND counter < $2 ORDER BY counter DESC LIMIT 2",
                                      kImported),
                          params);
  int row = 0;
  // That an outage ended where the file did, not known how, holds only until more is known.
  if (last.rows() > 0 && last.int16(0, 1) == static_cast<int16_t>(DeviceStatus::kNew)) {
    told_from_ms_ = last.int64(0, 0) - imported_counter(0);
    row = 1;
  }
  if (last.rows() <= row) return;
  if (auto state = decode_state(last.bytes(row, 2))) maker_->resume(*std::move(state));
}

// --- results ---------------------------------------------------------------------------------

// Calls each(checks) for the measured checks of [from_ms, to_ms), one of each slot, day by day.
template <class Each>
void ImportedOutages::read(int64_t from_ms, int64_t to_ms, Each&& each) {
  std::vector<history::BrokenRow> broken;  // the import says of its own
  const history::Devices one({device_});
  const history::Devices none(std::vector<DeviceId>{});  // hot rows are not the past
  history::Scan scan(tx_, broken, none, from_ms, to_ms);
  std::vector<OutageCheck> checks;
  while (from_ms < to_ms) {
    const int64_t end_ms = std::min(to_ms, hour_of(from_ms) + kDayMs);
    checks.clear();
    scan.results(one, {from_ms, end_ms}, [&](DeviceId, const history::Merged& merged) {
      for (const history::Merged::Entry& entry : merged.entries()) {
        const PingResults& r = entry.source->results;
        if (r.verdict[entry.index] == Verdict::kNotMeasured) continue;
        checks.push_back({.due_ms = entry.due_ms,
                          .interval_ms = r.interval_ms[entry.index],
                          .verdict = r.verdict[entry.index],
                          .reason = r.reason[entry.index],
                          .rtt_us = mean_rtt_us(r, entry.index, nullptr),
                          .location = scan.names()[entry.source->location],
                          .prober = scan.names()[entry.source->producer]});
      }
    });
    keep_one_of_each_slot(checks);
    if (!each(checks)) return;
    from_ms = end_ms;
  }
}

// When the first row that begins within [from_ms, to_ms) begins.
std::optional<int64_t> ImportedOutages::next_stored(int64_t from_ms, int64_t to_ms) {
  const auto row = tx_.exec(
      "SELECT least((SELECT min(start_ms) FROM ping_packed WHERE device_id = $1 AND start_ms >="
      " $2::bigint AND start_ms < $3::bigint), (SELECT min(start_ms) FROM ping_chunks WHERE"
      " device_id = $1 AND start_ms >= $2::bigint AND start_ms < $3::bigint))",
      static_cast<int64_t>(device_), from_ms, to_ms)[0];
  return row[0].is_null() ? std::nullopt : std::optional(row[0].as<int64_t>());
}

std::optional<int64_t> ImportedOutages::last_stored(int64_t from_ms, int64_t to_ms) {
  const auto row = tx_.exec(
      "SELECT greatest((SELECT max(start_ms) FROM ping_packed WHERE device_id = $1 AND start_ms >="
      " $2::bigint AND start_ms < $3::bigint), (SELECT max(start_ms) FROM ping_chunks WHERE"
      " device_id = $1 AND start_ms >= $2::bigint AND start_ms < $3::bigint))",
      static_cast<int64_t>(device_), from_ms, to_ms)[0];
  return row[0].is_null() ? std::nullopt : std::optional(row[0].as<int64_t>());
}

// Counts the failures that lead up to `from_ms`: back to the last answer.
void ImportedOutages::read_before(int64_t from_ms, int64_t not_before_ms) {
  if (maker_->state().status == DeviceStatus::kDown) return;
  std::vector<OutageCheck> all;
  int64_t begin_ms = from_ms;
  for (bool answered = false; !answered;) {
    const auto stored = last_stored(hour_of(not_before_ms), begin_ms);
    if (!stored) break;
    const int64_t end_ms = begin_ms;
    begin_ms = std::max(hour_of(*stored), not_before_ms);
    std::vector<OutageCheck> before;
    read(begin_ms, end_ms, [&](const std::vector<OutageCheck>& checks) {
      before.insert(before.end(), checks.begin(), checks.end());
      return true;
    });
    answered = std::any_of(before.begin(), before.end(),
                           [](const OutageCheck& c) { return c.verdict == Verdict::kAnswered; });
    all.insert(all.begin(), before.begin(), before.end());
    if (begin_ms <= not_before_ms) break;
  }
  for (const OutageCheck& check : all) maker_->prime(check);
}

// Takes checks of [from_ms, until_ms) up to the first answer, with it. Returns: false when there is
// none.
bool ImportedOutages::read_after(int64_t from_ms, int64_t until_ms) {
  bool answered = false;
  while (!answered) {
    const auto stored = next_stored(hour_of(from_ms), until_ms);
    if (!stored) return false;
    // A row may begin before `from_ms` and reach beyond it.
    from_ms = std::max(from_ms, *stored);
    const int64_t end_ms = std::min(until_ms, hour_of(from_ms) + kHourMs);
    read(from_ms, end_ms, [&](const std::vector<OutageCheck>& checks) {
      for (const OutageCheck& check : checks) {
        take(check);
        answered = check.verdict == Verdict::kAnswered;
        if (answered) return false;
      }
      return true;
    });
    from_ms = end_ms;
    if (from_ms >= until_ms) break;
  }
  return answered;
}

// --- telling ---------------------------------------------------------------------------------

void ImportedOutages::take(const OutageCheck& check) {
  if (check.due_ms >= live_from_ms_) return;
  if (auto transition = maker_->take(check)) transitions_.push_back(*std::move(transition));
}

// Nothing is known of the time behind.
void ImportedOutages::end_open() {
  if (auto end = maker_->finish(std::min(maker_->end_ms(), live_from_ms_))) {
    transitions_.push_back(*std::move(end));
  }
  write(INT64_MAX);
}

// From `at_ms` on it is known what was told, not what it was told from.
void ImportedOutages::end_before_unknown(int64_t at_ms) {
  if (maker_->state().status == DeviceStatus::kDown) {
    Params params;
    params.int64(static_cast<int64_t>(device_)).int64(imported_counter(at_ms));
    const BinaryResult next(tx_,
                            fmt::format("SELECT from_status FROM transitions WHERE {} AND counter"
                                        " >= $2 ORDER BY counter LIMIT 1",
                                        kImported),
                            params);
    const bool goes_on =
        next.rows() > 0 && next.int16(0, 0) == static_cast<int16_t>(DeviceStatus::kDown);
    if (!goes_on) {
      auto end = maker_->finish(std::min({maker_->end_ms(), at_ms - 1, live_from_ms_}));
      transitions_.push_back(*std::move(end));
    }
  }
  write(at_ms - 1);
}

void ImportedOutages::take_old_day(int64_t day_ms, std::vector<OutageCheck> checks) {
  keep_one_of_each_slot(checks);
  if (maker_ && old_end_ms_ != day_ms) end_before_unknown(old_end_ms_);
  if (!maker_) open(std::max(day_ms, from_ms_));
  for (const OutageCheck& check : checks) take(check);
  old_end_ms_ = day_ms + kDayMs;
}

// Results are known in [not_before_ms, until_ms), and in [from_ms, to_ms] perhaps others than
// before.
void ImportedOutages::tell_raw(int64_t from_ms, int64_t to_ms, int64_t not_before_ms,
                               int64_t until_ms) {
  if (maker_ && old_end_ms_ != from_ms) end_before_unknown(old_end_ms_);
  if (!maker_) {
    open(from_ms);
    read_before(from_ms, not_before_ms);
  }
  const int64_t end_ms = std::min(to_ms + 1, until_ms);
  read(from_ms, end_ms, [&](const std::vector<OutageCheck>& checks) {
    for (const OutageCheck& check : checks) take(check);
    return true;
  });
  // Behind the first answer both the old and the new say that it is up, with nothing counted.
  if (end_ms < until_ms && read_after(end_ms, until_ms)) {
    write(maker_->state().last_success_ms);
  } else if (until_ms == live_from_ms_) {
    end_open();
  } else {
    end_before_unknown(until_ms);
  }
}

uint64_t ImportedOutages::finish() {
  int64_t known_ms = raw_from_ms_;  // results are kept from here on
  for (size_t i = 0; i <= refused_.size(); ++i) {
    const bool last = i == refused_.size();
    const int64_t until_ms = last ? live_from_ms_ : std::min(refused_[i], live_from_ms_);
    const int64_t from_ms = std::max(known_ms, from_ms_);
    const int64_t to_ms = std::min(to_ms_, last ? INT64_MAX : refused_[i] - 1);
    if (from_ms <= to_ms && from_ms < until_ms) tell_raw(from_ms, to_ms, known_ms, until_ms);
    if (!last) known_ms = std::max(known_ms, refused_[i] + kDayMs);
  }
  if (maker_) end_before_unknown(old_end_ms_);
  return begun_;
}

// In place of what was told from told_from_ms_ to `to_ms`.
void ImportedOutages::write(int64_t to_ms) {
  const auto id = static_cast<int64_t>(device_);
  const int64_t last_ms = std::min(to_ms, live_from_ms_);
  tx_.exec(fmt::format("DELETE FROM transitions WHERE {} AND counter >= $2::bigint AND counter <="
                       " $3::bigint",
                       kImported),
           id, imported_counter(told_from_ms_),
           last_ms == INT64_MAX ? int64_t{-1} : imported_counter(last_ms));
  maker_.reset();
  if (transitions_.empty()) return;
  CopyIn copy(tx_,
              "COPY transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
              " decided_at, state) FROM STDIN (FORMAT binary)");
  std::string state;
  for (const Transition& t : transitions_) {
    copy.row(9);
    copy.bytes({reinterpret_cast<const char*>(t.id.data()), t.id.size()});
    copy.int64(id);
    copy.int64(imported_counter(t.slot_ms));
    copy.int16(static_cast<int16_t>(t.from));
    copy.int16(static_cast<int16_t>(t.to));
    copy.int16(static_cast<int16_t>(t.reason));
    copy.timestamptz_us(t.slot_ms * 1'000);
    copy.timestamptz_us(t.slot_ms * 1'000);
    encode_state(t.state, state);
    copy.bytes(state);
    if (t.to == DeviceStatus::kDown) ++begun_;
  }
  copy.finish();
  transitions_.clear();
}

}  // namespace gema::cli
