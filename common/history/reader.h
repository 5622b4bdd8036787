// Reads recorded history back: every result of a device in a window, in slot order, one per slot
// and location, merged from chunks and hot rows as one snapshot sees them. What the gateway serves
// and what tests check with.
//
// Where two results exist for one slot and location, the rule of docs/ARCHITECTURE.md decides
// (measured beats not measured, answered beats failed, then the lower producer id; within one
// producer a later clock-step epoch comes first); the loser is not returned.
//
// A row that does not decode (flipped bits, cut short, a version from the future) is left out, and
// broken() names it.
//
// Thread rule: one thread at a time, the connection's. Calls block.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/domain/ping.h"
#include "common/domain/slot.h"
#include "common/postgres/connection.h"

namespace gema::history {

struct Echo {
  EchoOutcome outcome = EchoOutcome::kNotSent;
  uint32_t rtt_us = 0;  // 0 unless kReply

  friend bool operator==(const Echo&, const Echo&) = default;
};

// What is known of a result beyond its echoes. Few have any.
struct Details {
  std::vector<EchoNote> notes;      // by rising echo; burst echoes after those of the train
  std::vector<ProofResult> proofs;  // in the order they were tried
  std::vector<Stray> strays;        // answers that came after the result had left
  std::string text;                 // who paused

  friend bool operator==(const Details&, const Details&) = default;
};

// One result. Names and echoes are in the Results it came with.
struct Row {
  int64_t due_ms = 0;  // the slot, Unix ms
  uint32_t interval_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint16_t location = 0;          // index into Results::names
  uint16_t producer = 0;          // index into Results::names
  uint32_t echo_begin = 0;        // into Results::echoes; the check's own echoes come first,
  uint16_t echo_count = 0;        // this many
  uint16_t burst_sent = 0;        // burst echoes asked because the check failed
  uint16_t burst_answered = 0;    // their answers stand after the own echoes in Results::echoes
  uint32_t rtt_us = 0;            // mean of everything answered (bursts included); 0 = nothing was
  uint32_t details = kNoDetails;  // index into Results::details

  static constexpr uint32_t kNoDetails = ~uint32_t{0};
};

struct Results {
  std::vector<Row> rows;  // by rising due_ms, then location name
  std::vector<Echo> echoes;
  std::vector<std::string> names;
  std::vector<Details> details;
  bool truncated = false;  // more existed than `limit`; the newest were kept

  const std::string& location(const Row& row) const { return names[row.location]; }
  const std::string& producer(const Row& row) const { return names[row.producer]; }
  std::span<const Echo> echoes_of(const Row& row) const {
    return {echoes.data() + row.echo_begin, row.echo_count};
  }
  std::span<const Echo> burst_answers_of(const Row& row) const {
    return {echoes.data() + row.echo_begin + row.echo_count, row.burst_answered};
  }
  // Null: there are none.
  const Details* details_of(const Row& row) const {
    return row.details == Row::kNoDetails ? nullptr : &details[row.details];
  }
};

struct Statistics {
  uint64_t answered = 0;
  uint64_t failed = 0;
  uint64_t not_measured = 0;
  uint64_t echoes_answered = 0;  // bursts included
  uint32_t rtt_min_us = 0;       // of answered echoes; 0 = none
  uint32_t rtt_max_us = 0;
  double rtt_mean_us = 0;

  friend bool operator==(const Statistics&, const Statistics&) = default;
};

// Records that were lost on the way and announced as such (docs/ARCHITECTURE.md, "Streams").
struct Gap {
  std::string producer;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  std::optional<int64_t> from_ms;  // slots that may be concerned lie in [from_ms, to_ms];
  std::optional<int64_t> to_ms;    // nullopt = unknown
  std::string reason;
};

// A row that does not decode.
struct BrokenRow {
  std::string table;
  DeviceId device = 0;  // 0 in ping_hot, whose rows have a number only
  int64_t start_ms = 0;
  int64_t part = 0;

  friend bool operator==(const BrokenRow&, const BrokenRow&) = default;
};

// A device that is given by name got another address.
struct AddressChangeRow {
  int64_t at_ms = 0;
  std::string location;
  std::string prober;
  std::string was;      // "": the first one
  std::string becomes;  // "": the name resolved no more
};

Statistics statistics_of(const Results& results);

// True when a lost record may have held the device's slot at `due_ms`: the slot is then not
// measured because of a stream gap, never a failure.
bool explained_by(const std::vector<Gap>& gaps, DeviceId device, int64_t due_ms);

// The slots that a device checked each `interval_ms` has in [from_ms, to_ms), against those found.
struct SlotAudit {
  uint64_t expected = 0;
  uint64_t found = 0;                  // expected ones with a result of that interval
  std::vector<int64_t> missing;        // expected ones without, rising
  uint64_t unexpected = 0;             // results in the window that no expected slot explains
  uint64_t not_measured = 0;           // found, but not measured
  std::map<Reason, uint64_t> reasons;  // of those
};
SlotAudit audit_slots(const Results& results, DeviceId device, uint32_t interval_ms,
                      int64_t from_ms, int64_t to_ms, const std::string& location = "default");

class Reader {
 public:
  explicit Reader(postgres::Connection& connection) : connection_(connection) {}

  // Every result of `device` with from_ms <= due_ms < to_ms; at most `limit` of them, the newest.
  Result<Results> results(DeviceId device, int64_t from_ms, int64_t to_ms,
                          size_t limit = 1'000'000);

  // Counts and round trip times per device over a window, all devices that have any result in it.
  Result<std::map<DeviceId, Statistics>> statistics(int64_t from_ms, int64_t to_ms);

  // The newest result of each device not older than `since_ms`, over all locations.
  struct Latest {
    std::map<DeviceId, Row> rows;
    Results names_and_echoes;  // its rows are empty; names, echoes, details of the rows above
  };
  Result<Latest> latest(int64_t since_ms);

  // Calls `each` once for every device that has results with from_ms <= due_ms < to_ms, in no
  // stated order: its rows by rising due_ms, then location; indices into other columns mean
  // nothing. `each` must leave the connection alone.
  Result<void> each_device(int64_t from_ms, int64_t to_ms,
                           const std::function<void(DeviceId, const std::vector<Row>&)>& each);

  // The newest `limit` address changes of a device, newest first.
  Result<std::vector<AddressChangeRow>> address_changes(DeviceId device, size_t limit = 100);

  // Announced losses whose span touches the window or is unknown, newest first, at most `limit`.
  Result<std::vector<Gap>> gaps(int64_t from_ms, int64_t to_ms, size_t limit = 1000);

  // Rows that the last call of results(), statistics() or latest() left out.
  const std::vector<BrokenRow>& broken() const { return broken_; }

 private:
  postgres::Connection& connection_;
  std::vector<BrokenRow> broken_;
};

}  // namespace gema::history
