// What history's readers give back: results row by row, and rows that they could not read.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/domain/ping.h"
#include "common/domain/slot.h"

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

}  // namespace gema::history
