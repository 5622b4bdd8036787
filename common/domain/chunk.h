// A chunk: consecutive results of one device as two arrays of integers, the form in which history
// keeps them (about 4 bytes a sample). The recorder makes chunks (services/recorder/core), the
// reader and the SQL function ping_chunk_results() read them. All three follow this page.
//
// `samples` holds `echoes` numbers per slot, slots one step apart:
//   >= 0   a reply, its round trip time in us
//   -1..-5, -7..-10 no reply: timeout, unreachable, time exceeded, ... (-EchoOutcome)
//   -6     this check had fewer echoes (also the filler behind -100 and -200)
//   -100   no result for this slot (first number of the slot)
//   <= -200  not measured, no echoes: -200 - Reason (first number of the slot)
// From the numbers alone: answered if anything replied (reason none if all did, else lossy), else
// failed for the reason of the first echo. Every result that says otherwise, or had a burst, has an
// entry in `extra`, in slot order:
//   index of the slot, verdict << 8 | reason, burst echoes sent, answered, round trip times...
// `details` holds what is known beyond that: common/domain/chunk_details.h. Chunks from before it
// was there have none.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/ping.h"

namespace gema {

inline constexpr int32_t kNoEcho = -6;
inline constexpr int32_t kNoResult = -100;
inline constexpr int32_t kNotMeasuredBase = -200;

// Chunks never cross this boundary of Unix time, so a reader knows how far back to look.
inline constexpr int64_t kChunkSpanMs = 3'600'000;

struct ChunkView {
  DeviceId device = 0;
  int64_t start_ms = 0;
  uint32_t step_ms = 0;
  uint32_t echoes = 1;
  std::span<const int32_t> samples;
  std::span<const int32_t> extra;
  std::string_view details;
};

// What a batch's note says of one of its results: who paused.
struct ResultText {
  uint32_t index = 0;
  std::string text;

  friend bool operator==(const ResultText&, const ResultText&) = default;
};
// More of a note is not kept.
inline constexpr size_t kTextBytesMax = 255;

// One result in place: what conflicts are decided by.
struct ResultView {
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  std::span<const EchoOutcome> outcomes;
  std::span<const uint32_t> rtt_us;
  uint32_t burst_sent = 0;
  std::span<const uint32_t> burst_rtt_us;
  std::span<const EchoNote> notes;      // their index counts for nothing
  std::span<const ProofResult> proofs;  // ditto
  std::string_view text;                // who paused
};

// Result `i` of `results`. Requires: bursts, notes and proofs by rising index (see sort_bursts; the
// codec takes only batches whose notes and proofs are).
ResultView view_of(const PingResults& results, size_t i);

// The same, with its text beside it. Requires: `texts` by rising index.
ResultView view_of(const PingResults& results, const std::vector<ResultText>& texts, size_t i);

// Appends result `i` of `from` to `to`, and its text, if it has one, to `texts`; location, health
// and note of `to` stay. Requires: as view_of.
void append_result(const PingResults& from, size_t i, PingResults& to,
                   std::vector<ResultText>& texts);

// By rising index, as view_of needs them; senders usually sent them so.
void sort_bursts(PingResults& results);

// True when `a` is kept where one producer and clock gave both for one slot: measured before not
// measured, answered before failed, then by content, so that any order of arrival gives the same.
bool beats(const ResultView& a, const ResultView& b);

// One of several results for the same slot and location.
struct Claim {
  std::string_view producer;
  uint32_t clock_steps = 0;  // of its epoch: how often this producer's clock stepped before
  ResultView result;
};

// Which claim history shows. Of each producer only its highest clock_steps counts; among these
// measured beats not measured, answered beats failed, then the lower producer id, then content.
// Requires: claims not empty. Independent of their order.
size_t choose(std::span<const Claim> claims);

// Appends one slot to `samples` and, where needed, `extra`; its details are DetailsWriter's.
// Requires: outcomes.size() <= echoes.
void append_sample(const ResultView& result, uint32_t index, uint32_t echoes,
                   std::vector<int32_t>& samples, std::vector<int32_t>& extra);

// Appends the chunk's results to `out`, location, health and note untouched, and texts of results,
// if wanted, to `texts`. Returns: false when the arrays or bytes break the rules above (a corrupt
// row); `out` then holds what came before the break.
bool append_chunk(const ChunkView& chunk, PingResults& out,
                  std::vector<ResultText>* texts = nullptr);

// How far append_chunk had filled its columns, so that nothing stays of a chunk that broke.
struct ChunkMark {
  size_t results = 0;
  size_t outcomes = 0;
  size_t bursts = 0;
  size_t notes = 0;
  size_t proofs = 0;
  size_t strays = 0;
  size_t texts = 0;
};
ChunkMark mark_of(const PingResults& results, const std::vector<ResultText>& texts);
void cut_back(const ChunkMark& mark, PingResults& results, std::vector<ResultText>& texts);

}  // namespace gema
