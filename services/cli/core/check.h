// One check of an old system, or one result of an export, on its way into history. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/chunk.h"
#include "common/domain/ping.h"

namespace gema::cli {

struct Check {
  int64_t at_ms = 0;
  uint32_t interval_ms = 0;  // 0 = the source does not say
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  std::vector<EchoOutcome> outcomes;
  std::vector<uint32_t> rtt_us;  // one for each outcome, 0 unless kReply
  uint32_t burst_sent = 0;
  std::vector<uint32_t> burst_rtt_us;
  std::vector<EchoNote> notes;
  std::vector<ProofResult> proofs;
  std::vector<Stray> strays;  // device and due_ms count for nothing
  std::string text;

  ResultView view() const;
  friend bool operator==(const Check&, const Check&) = default;
};

// A check as bytes, for a while: all but at_ms and interval_ms. Requires: outcomes and bursts
// within their bounds.
void pack_check(const Check& check, std::string& out);
// Appends it to `out` as a result of `device` due at `due_ms`. Returns: false when the bytes are
// not pack_check's.
bool append_packed(std::string_view bytes, DeviceId device, int64_t due_ms, uint32_t interval_ms,
                   PingResults& out, std::vector<ResultText>& texts);

// What ace-connection-logger keeps of a check.
struct TrainNumbers {
  int64_t answered = 0;
  int64_t failed = 0;
  // Milliseconds; none where it has none.
  std::optional<double> min_ms;
  std::optional<double> max_ms;
  std::optional<double> mean_ms;
};
// An echo train with exactly these numbers: `answered` replies, the first `min`, the last `max`,
// the others as equal as whole microseconds allow, so that the mean is right within half a
// microsecond (where least and greatest allow it); then `failed` timeouts. Replies whose times are
// not known are left out, and the check is answered all the same. Fails with kBadInput, naming
// value and rule.
Result<void> make_train(const TrainNumbers& numbers, Check& check);

// Milliseconds as microseconds. Fails with kBadInput on what is no time: negative, no number, above
// half an hour.
Result<uint32_t> rtt_from_ms(double ms);

// The text that to_string() gives; nullopt: none.
std::optional<Verdict> verdict_of(std::string_view text);
std::optional<Reason> reason_of(std::string_view text);
std::optional<EchoOutcome> outcome_of(std::string_view text);
std::optional<NoteKind> note_kind_of(std::string_view text);
std::optional<ProofKind> proof_kind_of(std::string_view text);
std::optional<ProofOutcome> proof_outcome_of(std::string_view text);

}  // namespace gema::cli
