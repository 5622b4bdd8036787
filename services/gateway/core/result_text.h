// What is known of one result, in words for people and as JSON: who said unreachable, what came
// late or twice, what a web page or a port said when the echoes failed.
//
// In: values. Out: texts. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/domain/ping.h"
#include "services/gateway/core/json.h"

namespace gema::gateway {

struct EchoFate {
  EchoOutcome outcome = EchoOutcome::kNotSent;
  uint32_t rtt_us = 0;  // of a reply

  friend bool operator==(const EchoFate&, const EchoFate&) = default;
};

struct ResultDetails {
  std::vector<EchoFate> echoes;  // of the train
  uint32_t burst_sent = 0;
  std::vector<uint32_t> burst_rtt_us;  // one per answered burst echo
  std::vector<EchoNote> notes;         // burst echoes are numbered after those of the train
  std::vector<ProofResult> proofs;
  std::vector<Stray> strays;
  std::string text;  // who paused

  friend bool operator==(const ResultDetails&, const ResultDetails&) = default;
};

struct DetailedResult {
  int64_t due_ms = 0;
  uint32_t interval_ms = 0;
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;  // mean of everything answered; 0 = nothing was
  std::string location;
  std::string prober;
  ResultDetails details;
};

// "host unreachable, said by 192.0.2.2", "answered late, after 3100 ms", "send error: no route"
std::string note_text(const EchoNote& note);
std::string late_text(const Stray& stray);
// "web: status 503 instead of 200", "tcp 22: connection reset, no proof". `web_status`: what the
// device expects.
std::string proof_text(const ProofResult& proof, uint32_t web_status = 200);

// One line that says why the result is what it is; "" for one with nothing to say. Each thing once,
// however many echoes it befell.
std::string why_text(Verdict verdict, Reason reason, const ResultDetails* details,
                     uint32_t web_status = 200);

// The result as an object of /api/v1.
void write_result(Json& json, const DetailedResult& result, uint32_t web_status = 200);

}  // namespace gema::gateway
