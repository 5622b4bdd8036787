#include "common/domain/chunk.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "common/base/assert.h"
#include "common/domain/chunk_details.h"

namespace gema {
namespace {

int32_t code_of(EchoOutcome outcome, uint32_t rtt_us) {
  if (outcome != EchoOutcome::kReply) return -static_cast<int32_t>(outcome);
  constexpr uint32_t kMax =
      std::numeric_limits<int32_t>::max();  // 36 minutes: no echo lives so long
  return static_cast<int32_t>(std::min(rtt_us, kMax));
}

struct Derived {
  Verdict verdict = Verdict::kFailed;
  Reason reason = Reason::kNone;
};

// The verdict that the echoes alone tell. Requires: at least one echo.
Derived derive(std::span<const EchoOutcome> outcomes) {
  bool replied = false;
  EchoOutcome first_loss = EchoOutcome::kReply;
  for (const EchoOutcome outcome : outcomes) {
    if (outcome == EchoOutcome::kReply) {
      replied = true;
    } else if (first_loss == EchoOutcome::kReply) {
      first_loss = outcome;
    }
  }
  if (first_loss == EchoOutcome::kReply) return {Verdict::kAnswered, Reason::kNone};
  if (replied) return {Verdict::kAnswered, Reason::kLossy};
  if (is_unreachable(first_loss)) return {Verdict::kFailed, Reason::kUnreachable};
  return {Verdict::kFailed, static_cast<Reason>(1 + static_cast<int>(first_loss))};
}

int rank(Verdict verdict) {
  return static_cast<int>(verdict);
}  // answered, failed, not measured

template <class T>
int compare(std::span<const T> a, std::span<const T> b) {
  if (std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end())) return -1;
  return std::lexicographical_compare(b.begin(), b.end(), a.begin(), a.end()) ? 1 : 0;
}

// What SQL users see of a result (the columns of ping_checks).
struct Totals {
  uint64_t rtt_sum_us = 0;
  uint64_t sent = 0;
  uint64_t answered = 0;
  uint32_t rtt_min_us = 0;
  uint32_t rtt_max_us = 0;

  friend auto operator<=>(const Totals&, const Totals&) = default;
};

Totals totals_of(const ResultView& r) {
  Totals t{.sent = r.outcomes.size() + r.burst_sent};
  auto add = [&](uint32_t rtt_us) {
    t.rtt_sum_us += rtt_us;
    t.rtt_min_us = t.answered == 0 ? rtt_us : std::min(t.rtt_min_us, rtt_us);
    t.rtt_max_us = std::max(t.rtt_max_us, rtt_us);
    ++t.answered;
  };
  for (size_t e = 0; e < r.outcomes.size(); ++e) {
    if (r.outcomes[e] == EchoOutcome::kReply) add(r.rtt_us[e]);
  }
  for (const uint32_t rtt_us : r.burst_rtt_us) add(rtt_us);
  return t;
}

auto key_of(const EchoNote& n) {
  return std::tuple(n.echo, n.kind, n.icmp_type, n.icmp_code, n.error, n.rtt_us, n.count,
                    n.from.family, n.from.bytes);
}

auto key_of(const ProofResult& p) {
  return std::tuple(p.kind, p.outcome, p.port, p.status, p.elapsed_us);
}

// Which result they belong to counts for nothing.
template <class T>
int compare_sparse(std::span<const T> a, std::span<const T> b) {
  auto less = [](const T& x, const T& y) { return key_of(x) < key_of(y); };
  if (std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), less)) return -1;
  return std::lexicographical_compare(b.begin(), b.end(), a.begin(), a.end(), less) ? 1 : 0;
}

// Those of `all` that belong to result `i`. Requires: by rising index.
template <class T>
std::span<const T> of_result(const std::vector<T>& all, size_t i) {
  if (all.empty()) return {};
  const auto begin = std::lower_bound(all.begin(), all.end(), i,
                                      [](const T& x, size_t index) { return x.index < index; });
  auto end = begin;
  while (end != all.end() && end->index == i) ++end;
  return {begin, end};
}

// Any total order will do, as long as everyone uses the same: first by what the view ping_checks
// shows, in the order of its ORDER BY, so that it agrees with us; then by the rest.
int compare_content(const ResultView& a, const ResultView& b) {
  if (a.reason != b.reason) return a.reason < b.reason ? -1 : 1;
  const Totals ta = totals_of(a);
  const Totals tb = totals_of(b);
  if (ta != tb) return ta < tb ? -1 : 1;
  if (const int c = compare(a.outcomes, b.outcomes); c != 0) return c;
  if (const int c = compare(a.rtt_us, b.rtt_us); c != 0) return c;
  if (a.burst_sent != b.burst_sent) return a.burst_sent < b.burst_sent ? -1 : 1;
  if (const int c = compare(a.burst_rtt_us, b.burst_rtt_us); c != 0) return c;
  if (const int c = a.text.compare(b.text); c != 0) return c;
  if (const int c = compare_sparse(a.notes, b.notes); c != 0) return c;
  return compare_sparse(a.proofs, b.proofs);
}

// Negative when `a` comes first.
int order(const Claim& a, const Claim& b) {
  if (a.result.verdict != b.result.verdict) {
    return rank(a.result.verdict) - rank(b.result.verdict);
  }
  if (const int c = a.producer.compare(b.producer); c != 0) return c;
  return compare_content(a.result, b.result);
}

bool superseded(const Claim& claim, std::span<const Claim> claims) {
  return std::any_of(claims.begin(), claims.end(), [&](const Claim& other) {
    return other.producer == claim.producer && other.clock_steps > claim.clock_steps;
  });
}

// Appends the echoes of one slot. Returns: false on a code that no rule explains.
bool append_slot(std::span<const int32_t> codes, PingResults& out, Verdict& verdict,
                 Reason& reason) {
  const size_t begin = out.echo_outcome.size();
  if (codes[0] <= kNotMeasuredBase) {
    const int number = kNotMeasuredBase - codes[0];
    if (number > kReasonMax) return false;
    verdict = Verdict::kNotMeasured;
    reason = static_cast<Reason>(number);
    return true;
  }
  for (const int32_t code : codes) {
    if (code == kNoEcho) break;
    if (code < 0 && (code < -kEchoOutcomeMax || !is_echo_outcome(static_cast<uint32_t>(-code)))) {
      return false;
    }
    out.echo_outcome.push_back(code >= 0 ? EchoOutcome::kReply : static_cast<EchoOutcome>(-code));
    out.echo_rtt_us.push_back(code >= 0 ? static_cast<uint32_t>(code) : 0);
  }
  const std::span outcomes = std::span<const EchoOutcome>(out.echo_outcome).subspan(begin);
  const Derived derived = outcomes.empty() ? Derived{} : derive(outcomes);
  verdict = derived.verdict;
  reason = derived.reason;
  return true;
}

// One echo a check, nothing beyond the samples: nearly all chunks. The caller has checked its
// spans. Returns: false when some code needs more thought; nothing is then appended.
bool append_plain(const ChunkView& chunk, PingResults& out) {
  const bool plain = std::all_of(chunk.samples.begin(), chunk.samples.end(), [](int32_t code) {
    return code >= 0 || code == kNoResult ||
           (code <= kNotMeasuredBase && kNotMeasuredBase - code <= kReasonMax) ||
           (code >= -kEchoOutcomeMax && code != kNoEcho &&
            is_echo_outcome(static_cast<uint32_t>(-code)));
  });
  if (!plain) return false;
  const size_t before = out.size();
  const size_t most = before + chunk.samples.size();
  const size_t echoes_before = out.echo_outcome.size();
  out.device.resize(most, chunk.device);
  out.interval_ms.resize(most, chunk.step_ms);
  out.due_ms.resize(most);
  out.verdict.resize(most);
  out.reason.resize(most);
  out.echo_begin.resize(most + 1);
  out.echo_outcome.resize(echoes_before + chunk.samples.size());
  out.echo_rtt_us.resize(echoes_before + chunk.samples.size());
  size_t at = before;
  size_t echo = echoes_before;
  int64_t due_ms = chunk.start_ms - chunk.step_ms;
  for (const int32_t code : chunk.samples) {
    due_ms += chunk.step_ms;
    if (code == kNoResult) continue;
    out.due_ms[at] = due_ms;
    if (code >= 0) {
      out.verdict[at] = Verdict::kAnswered;
      out.reason[at] = Reason::kNone;
      out.echo_outcome[echo] = EchoOutcome::kReply;
      out.echo_rtt_us[echo++] = static_cast<uint32_t>(code);
    } else if (code <= kNotMeasuredBase) {
      out.verdict[at] = Verdict::kNotMeasured;
      out.reason[at] = static_cast<Reason>(kNotMeasuredBase - code);
    } else {
      out.echo_outcome[echo] = static_cast<EchoOutcome>(-code);
      const Derived derived = derive({&out.echo_outcome[echo], 1});
      out.verdict[at] = derived.verdict;
      out.reason[at] = derived.reason;
      out.echo_rtt_us[echo++] = 0;
    }
    out.echo_begin[++at] = static_cast<uint32_t>(echo);
  }
  out.device.resize(at);
  out.interval_ms.resize(at);
  out.due_ms.resize(at);
  out.verdict.resize(at);
  out.reason.resize(at);
  out.echo_begin.resize(at + 1);
  out.echo_outcome.resize(echo);
  out.echo_rtt_us.resize(echo);
  return true;
}

// Reads the entry of `extra` at `at`. Returns: the next entry's place, 0 when it is none.
size_t read_extra(std::span<const int32_t> extra, size_t at, uint32_t result_index,
                  PingResults& out, Verdict& verdict, Reason& reason) {
  if (extra.size() - at < 4) return 0;
  const int32_t verdict_number = extra[at + 1] >> 8;
  const int32_t reason_number = extra[at + 1] & 255;
  const int32_t sent = extra[at + 2];
  const int32_t answered = extra[at + 3];
  if (verdict_number < 0 || verdict_number > rank(Verdict::kNotMeasured) ||
      reason_number > kReasonMax || sent < 0 || answered < 0 ||
      extra.size() - at - 4 < static_cast<size_t>(answered)) {
    return 0;
  }
  const auto rtts = extra.subspan(at + 4, static_cast<size_t>(answered));
  if (std::any_of(rtts.begin(), rtts.end(), [](int32_t rtt) { return rtt < 0; })) return 0;
  verdict = static_cast<Verdict>(verdict_number);
  reason = static_cast<Reason>(reason_number);
  if (sent > 0) {
    out.burst.push_back({result_index, static_cast<uint32_t>(sent), {rtts.begin(), rtts.end()}});
  }
  return at + 4 + static_cast<size_t>(answered);
}

}  // namespace

ResultView view_of(const PingResults& results, size_t i) {
  const size_t begin = results.echo_begin[i];
  const size_t count = results.echo_begin[i + 1] - begin;
  ResultView view{.verdict = results.verdict[i],
                  .reason = results.reason[i],
                  .outcomes = {results.echo_outcome.data() + begin, count},
                  .rtt_us = {results.echo_rtt_us.data() + begin, count},
                  .notes = of_result(results.notes, i),
                  .proofs = of_result(results.proofs, i)};
  if (const auto burst = of_result(results.burst, i); !burst.empty()) {
    view.burst_sent = burst.front().sent;
    view.burst_rtt_us = burst.front().rtt_us;
  }
  if (view.reason == Reason::kPaused) {
    view.text = std::string_view(results.note).substr(0, kTextBytesMax);
  }
  return view;
}

ResultView view_of(const PingResults& results, const std::vector<ResultText>& texts, size_t i) {
  ResultView view = view_of(results, i);
  if (texts.empty()) return view;
  const auto text =
      std::lower_bound(texts.begin(), texts.end(), i,
                       [](const ResultText& t, size_t index) { return t.index < index; });
  if (text != texts.end() && text->index == i) view.text = text->text;
  return view;
}

void append_result(const PingResults& from, size_t i, PingResults& to,
                   std::vector<ResultText>& texts) {
  const ResultView v = view_of(from, i);
  const auto index = static_cast<uint32_t>(to.size());
  to.device.push_back(from.device[i]);
  to.interval_ms.push_back(from.interval_ms[i]);
  to.due_ms.push_back(from.due_ms[i]);
  to.verdict.push_back(v.verdict);
  to.reason.push_back(v.reason);
  to.echo_outcome.insert(to.echo_outcome.end(), v.outcomes.begin(), v.outcomes.end());
  to.echo_rtt_us.insert(to.echo_rtt_us.end(), v.rtt_us.begin(), v.rtt_us.end());
  to.echo_begin.push_back(static_cast<uint32_t>(to.echo_outcome.size()));
  if (const auto burst = of_result(from.burst, i); !burst.empty()) {
    to.burst.push_back({index, burst.front().sent, burst.front().rtt_us});
  }
  for (EchoNote note : v.notes) {
    note.index = index;
    to.notes.push_back(note);
  }
  for (ProofResult proof : v.proofs) {
    proof.index = index;
    to.proofs.push_back(proof);
  }
  if (!v.text.empty()) texts.push_back({index, std::string(v.text)});
}

void sort_bursts(PingResults& results) {
  auto by_index = [](const BurstResult& a, const BurstResult& b) { return a.index < b.index; };
  if (!std::is_sorted(results.burst.begin(), results.burst.end(), by_index)) {
    std::stable_sort(results.burst.begin(), results.burst.end(), by_index);
  }
}

bool beats(const ResultView& a, const ResultView& b) {
  if (a.verdict != b.verdict) return rank(a.verdict) < rank(b.verdict);
  return compare_content(a, b) < 0;
}

size_t choose(std::span<const Claim> claims) {
  GEMA_ASSERT(!claims.empty());
  size_t best = claims.size();
  for (size_t i = 0; i < claims.size(); ++i) {
    if (superseded(claims[i], claims)) continue;
    if (best == claims.size() || order(claims[i], claims[best]) < 0) best = i;
  }
  return best;
}

void append_sample(const ResultView& r, uint32_t index, uint32_t echoes,
                   std::vector<int32_t>& samples, std::vector<int32_t>& extra) {
  GEMA_ASSERT(r.outcomes.size() <= echoes);
  const size_t end = samples.size() + echoes;
  bool plain = r.burst_sent == 0;
  if (r.outcomes.empty() && r.verdict == Verdict::kNotMeasured) {
    samples.push_back(kNotMeasuredBase - static_cast<int32_t>(r.reason));
  } else {
    for (size_t e = 0; e < r.outcomes.size(); ++e) {
      samples.push_back(code_of(r.outcomes[e], r.rtt_us[e]));
    }
    const Derived derived = r.outcomes.empty() ? Derived{} : derive(r.outcomes);
    plain = plain && derived.verdict == r.verdict && derived.reason == r.reason;
  }
  samples.resize(end, kNoEcho);
  if (plain) return;
  extra.push_back(static_cast<int32_t>(index));
  extra.push_back(rank(r.verdict) << 8 | static_cast<int32_t>(r.reason));
  extra.push_back(static_cast<int32_t>(r.burst_sent));
  extra.push_back(static_cast<int32_t>(r.burst_rtt_us.size()));
  for (const uint32_t rtt : r.burst_rtt_us) extra.push_back(code_of(EchoOutcome::kReply, rtt));
}

bool append_chunk(const ChunkView& chunk, PingResults& out, std::vector<ResultText>* texts) {
  if (chunk.echoes == 0 || chunk.step_ms == 0 || chunk.samples.size() % chunk.echoes != 0) {
    return false;
  }
  const size_t slots = chunk.samples.size() / chunk.echoes;
  // It ends within its span, and its step is a number that a row can hold.
  const int64_t into = (chunk.start_ms % kChunkSpanMs + kChunkSpanMs) % kChunkSpanMs;
  if (chunk.step_ms > static_cast<uint32_t>(INT32_MAX) ||
      (slots > 0 && static_cast<int64_t>(slots - 1) > (kChunkSpanMs - 1 - into) / chunk.step_ms)) {
    return false;
  }
  if (chunk.echoes == 1 && chunk.extra.empty() && chunk.details.empty() &&
      append_plain(chunk, out)) {
    return true;
  }
  size_t next_extra = 0;
  DetailsReader details(chunk.details);
  for (size_t i = 0; i < slots; ++i) {
    const auto codes = chunk.samples.subspan(i * chunk.echoes, chunk.echoes);
    if (codes[0] == kNoResult) continue;
    Verdict verdict{};
    Reason reason{};
    const auto index = static_cast<uint32_t>(out.device.size());
    const size_t bursts = out.burst.size();
    bool right = append_slot(codes, out, verdict, reason);
    if (right && next_extra < chunk.extra.size() &&
        chunk.extra[next_extra] == static_cast<int32_t>(i)) {
      next_extra = read_extra(chunk.extra, next_extra, index, out, verdict, reason);
      right = next_extra != 0;
    }
    if (!right || !details.read(static_cast<uint32_t>(i), index, out, texts)) {
      out.echo_outcome.resize(out.echo_begin.back());
      out.echo_rtt_us.resize(out.echo_begin.back());
      out.burst.resize(bursts);
      return false;
    }
    out.device.push_back(chunk.device);
    out.interval_ms.push_back(chunk.step_ms);
    out.due_ms.push_back(chunk.start_ms + static_cast<int64_t>(i) * chunk.step_ms);
    out.verdict.push_back(verdict);
    out.reason.push_back(reason);
    out.echo_begin.push_back(static_cast<uint32_t>(out.echo_outcome.size()));
  }
  return next_extra == chunk.extra.size() && details.finish(chunk.device, chunk.start_ms, out);
}

ChunkMark mark_of(const PingResults& results, const std::vector<ResultText>& texts) {
  return {.results = results.size(),
          .outcomes = results.echo_outcome.size(),
          .bursts = results.burst.size(),
          .notes = results.notes.size(),
          .proofs = results.proofs.size(),
          .strays = results.strays.size(),
          .texts = texts.size()};
}

void cut_back(const ChunkMark& mark, PingResults& results, std::vector<ResultText>& texts) {
  results.device.resize(mark.results);
  results.interval_ms.resize(mark.results);
  results.due_ms.resize(mark.results);
  results.verdict.resize(mark.results);
  results.reason.resize(mark.results);
  results.echo_begin.resize(mark.results + 1);
  results.echo_outcome.resize(mark.outcomes);
  results.echo_rtt_us.resize(mark.outcomes);
  results.burst.resize(mark.bursts);
  results.notes.resize(mark.notes);
  results.proofs.resize(mark.proofs);
  results.strays.resize(mark.strays);
  texts.resize(mark.texts);
}

}  // namespace gema
