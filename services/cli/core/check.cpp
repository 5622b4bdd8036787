#include "services/cli/core/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/domain/chunk_details.h"
#include "services/cli/core/limits.h"

namespace gema::cli {
namespace {

void put_number(std::string& out, int32_t value) {
  char bytes[4];
  std::memcpy(bytes, &value, 4);
  out.append(bytes, 4);
}

int32_t number_at(std::string_view bytes, size_t i) {
  int32_t value = 0;
  std::memcpy(&value, bytes.data() + 4 * i, 4);
  return value;
}

template <class Enum>
std::optional<Enum> of_text(std::string_view text, int max) {
  for (int i = 0; i <= max; ++i) {
    const auto value = static_cast<Enum>(i);
    if (text == to_string(value) && text != "?") return value;
  }
  return std::nullopt;
}

}  // namespace

ResultView Check::view() const {
  return {.verdict = verdict,
          .reason = reason,
          .outcomes = outcomes,
          .rtt_us = rtt_us,
          .burst_sent = burst_sent,
          .burst_rtt_us = burst_rtt_us,
          .notes = notes,
          .proofs = proofs,
          .text = text};
}

// Numbers: how many samples, how many of extra, then these; then the details.
void pack_check(const Check& check, std::string& out) {
  std::vector<int32_t> samples;
  std::vector<int32_t> extra;
  const auto echoes = static_cast<uint32_t>(std::max<size_t>(check.outcomes.size(), 1));
  append_sample(check.view(), 0, echoes, samples, extra);
  out.clear();
  put_number(out, static_cast<int32_t>(samples.size()));
  put_number(out, static_cast<int32_t>(extra.size()));
  for (const int32_t v : samples) put_number(out, v);
  for (const int32_t v : extra) put_number(out, v);
  if (check.notes.empty() && check.proofs.empty() && check.strays.empty() && check.text.empty()) {
    return;
  }
  DetailsWriter details;
  details.add(check.view(), 0);
  // Slots of strays are told from the chunk's start: 0, and added again when they are read.
  for (Stray stray : check.strays) {
    stray.due_ms = 0;
    details.add_stray(stray, 0);
  }
  details.take(out);
}

bool append_packed(std::string_view bytes, DeviceId device, int64_t due_ms, uint32_t interval_ms,
                   PingResults& out, std::vector<ResultText>& texts) {
  if (bytes.size() < 8) return false;
  const auto samples_count = static_cast<uint32_t>(number_at(bytes, 0));
  const auto extra_count = static_cast<uint32_t>(number_at(bytes, 1));
  const uint64_t numbers = uint64_t{samples_count} + extra_count;
  if (samples_count == 0 || bytes.size() < 8 + 4 * numbers) return false;
  std::vector<int32_t> values(numbers);
  std::memcpy(values.data(), bytes.data() + 8, 4 * numbers);
  const std::span<const int32_t> all(values);
  return append_chunk({.device = device,
                       .start_ms = due_ms,
                       .step_ms = interval_ms,
                       .echoes = samples_count,
                       .samples = all.first(samples_count),
                       .extra = all.subspan(samples_count),
                       .details = bytes.substr(8 + 4 * numbers)},
                      out, &texts);
}

Result<uint32_t> rtt_from_ms(double ms) {
  const double us = ms * 1'000;
  if (!(us >= 0) || us > static_cast<double>(kRttUsMax)) {
    return Error{Errc::kBadInput, fmt::format("{} ms: a round trip takes 0 to 1800000 ms", ms)};
  }
  return static_cast<uint32_t>(std::lround(us));
}

Result<void> make_train(const TrainNumbers& n, Check& check) {
  // Each by itself first: files hold numbers whose sum overflows.
  if (n.answered < 0 || n.failed < 0 || n.answered > int64_t{kEchoesMax} ||
      n.failed > int64_t{kEchoesMax} || n.answered + n.failed < 1 ||
      n.answered + n.failed > int64_t{kEchoesMax}) {
    return Error{Errc::kBadInput,
                 fmt::format("{} answered and {} failed: a check has 1 to {} echoes", n.answered,
                             n.failed, kEchoesMax)};
  }
  check.outcomes.clear();
  check.rtt_us.clear();
  check.verdict = n.answered > 0 ? Verdict::kAnswered : Verdict::kFailed;
  check.reason = n.answered == 0 ? Reason::kTimeout : n.failed > 0 ? Reason::kLossy : Reason::kNone;
  const auto answered = static_cast<size_t>(n.answered);
  const auto any = n.mean_ms ? n.mean_ms : n.min_ms ? n.min_ms : n.max_ms;
  if (answered > 0 && any) {
    const auto least = rtt_from_ms(n.min_ms.value_or(*any));
    const auto most = rtt_from_ms(n.max_ms.value_or(*any));
    const auto mean = rtt_from_ms(*any);
    for (const auto* rtt : {&least, &most, &mean}) {
      if (!*rtt) return rtt->error();
    }
    // What is off by more than rounding to a tenth of a millisecond is no mean of these.
    if (*least > *most || *mean + 100 < *least || *mean > *most + 100) {
      return Error{Errc::kBadInput,
                   fmt::format("latencies {} / {} / {} us (least, mean, greatest): must rise",
                               *least, *mean, *most)};
    }
    check.rtt_us.assign(answered, *least);
    check.rtt_us.back() = answered == 1 ? *mean : *most;
    if (answered > 2) {
      const auto rest = static_cast<int64_t>(answered) - 2;
      const int64_t sum = std::clamp(int64_t{*mean} * n.answered - *least - *most,
                                     int64_t{*least} * rest, int64_t{*most} * rest);
      for (int64_t i = 0; i < rest; ++i) {
        check.rtt_us[static_cast<size_t>(i + 1)] =
            static_cast<uint32_t>(sum / rest + (i < sum % rest ? 1 : 0));
      }
    }
    check.outcomes.assign(answered, EchoOutcome::kReply);
  }
  check.outcomes.insert(check.outcomes.end(), static_cast<size_t>(n.failed), EchoOutcome::kTimeout);
  check.rtt_us.resize(check.outcomes.size(), 0);
  return {};
}

std::optional<Verdict> verdict_of(std::string_view text) {
  return of_text<Verdict>(text, 2);
}

std::optional<Reason> reason_of(std::string_view text) {
  return of_text<Reason>(text, kReasonMax);
}

std::optional<EchoOutcome> outcome_of(std::string_view text) {
  const auto outcome = of_text<EchoOutcome>(text, kEchoOutcomeMax);
  return outcome && is_echo_outcome(static_cast<uint32_t>(*outcome)) ? outcome : std::nullopt;
}

std::optional<NoteKind> note_kind_of(std::string_view text) {
  return of_text<NoteKind>(text, kNoteKindMax);
}

std::optional<ProofKind> proof_kind_of(std::string_view text) {
  return of_text<ProofKind>(text, kProofKindMax);
}

std::optional<ProofOutcome> proof_outcome_of(std::string_view text) {
  return of_text<ProofOutcome>(text, kProofOutcomeMax);
}

}  // namespace gema::cli
