// Results on their way: as a batch, in a hot row, in a chunk.
#include <algorithm>
#include <string>
#include <vector>

#include "common/codec/hot_codec.h"
#include "common/codec/ping_codec.h"
#include "common/domain/chunk.h"
#include "common/domain/chunk_details.h"
#include "common/domain/packed_chunk.h"
#include "tests/fuzz/targets.h"

namespace gema::fuzz {
namespace {

void check_columns(const PingResults& r) {
  const size_t n = r.size();
  FUZZ_CHECK(r.interval_ms.size() == n && r.due_ms.size() == n && r.verdict.size() == n &&
             r.reason.size() == n && r.echo_begin.size() == n + 1);
  FUZZ_CHECK(r.echo_begin.back() == r.echo_outcome.size() &&
             r.echo_outcome.size() == r.echo_rtt_us.size());
  FUZZ_CHECK(std::is_sorted(r.echo_begin.begin(), r.echo_begin.end()));
  auto within = [n](const auto& all) {
    return std::all_of(all.begin(), all.end(), [n](const auto& x) { return x.index < n; });
  };
  FUZZ_CHECK(within(r.burst) && within(r.notes) && within(r.proofs));
  for (size_t i = 0; i < n; ++i) {
    view_of(r, i);
    FUZZ_CHECK(!beats(view_of(r, i), view_of(r, i)));
  }
}

// Little-endian numbers from the front of some bytes; 0 where they end.
class Numbers {
 public:
  explicit Numbers(Bytes bytes) : rest_(bytes) {}
  uint32_t take(size_t width) {
    uint32_t value = 0;
    for (size_t i = 0; i < width; ++i) value |= uint32_t{take_byte(rest_)} << (8 * i);
    return value;
  }
  std::vector<int32_t> array(size_t count) {
    std::vector<int32_t> out(std::min(count, rest_.size() / 4));
    for (int32_t& number : out) number = static_cast<int32_t>(take(4));
    return out;
  }
  Bytes rest() const { return rest_; }

 private:
  Bytes rest_;
};

constexpr uint32_t kStepMs = 1000;

// The same results as arrays again. Requires: they came from one chunk that began at 0.
void pack(const PingResults& r, const std::vector<ResultText>& texts, uint32_t echoes,
          std::vector<int32_t>& samples, std::vector<int32_t>& extra, std::string& details) {
  DetailsWriter writer;
  size_t text = 0;
  uint32_t slot = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    for (; slot < r.due_ms[i] / kStepMs; ++slot) {
      samples.push_back(kNoResult);
      samples.resize(samples.size() + echoes - 1, kNoEcho);
    }
    ResultView view = view_of(r, i);
    if (text < texts.size() && texts[text].index == i) view.text = texts[text++].text;
    writer.add(view, slot);
    append_sample(view, slot++, echoes, samples, extra);
  }
  for (const Stray& stray : r.strays) writer.add_stray(stray, 0);
  writer.take(details);
}

}  // namespace

void ping_batch(Bytes bytes) {
  PingResults results;
  if (!decode_ping(text_of(bytes), results)) {
    FUZZ_CHECK(results.empty());
    return;
  }
  FUZZ_CHECK(!results.empty());
  check_columns(results);
  std::string again;
  encode_ping(results, again);
  PingResults same;
  FUZZ_CHECK(decode_ping(again, same).has_value());
  FUZZ_CHECK(same == results);
}

void hot_row(Bytes bytes) {
  std::string again;
  const auto done =
      read_hot(text_of(bytes), [&](const HotRecord& record) { append_hot(record, again); });
  // A row of no records is its first byte only, and writing none writes nothing.
  if (done) FUZZ_CHECK(again == text_of(bytes) || bytes.size() == 1);
}

void chunk(Bytes bytes) {
  Numbers in(bytes);
  const uint32_t echoes = in.take(1);
  const uint32_t samples_count = in.take(2);
  const uint32_t extra_count = in.take(2);
  const std::vector<int32_t> samples = in.array(samples_count);
  const std::vector<int32_t> extra = in.array(extra_count);
  const ChunkView given{.device = 7,
                        .start_ms = 0,
                        .step_ms = kStepMs,
                        .echoes = echoes,
                        .samples = samples,
                        .extra = extra,
                        .details = text_of(in.rest())};
  PingResults results;
  std::vector<ResultText> texts;
  const bool whole = append_chunk(given, results, &texts);
  check_columns(results);
  if (!whole) return;
  std::vector<int32_t> samples_again, extra_again;
  std::string details_again;
  pack(results, texts, echoes, samples_again, extra_again, details_again);
  PingResults same;
  std::vector<ResultText> same_texts;
  FUZZ_CHECK(append_chunk({.device = 7,
                           .start_ms = 0,
                           .step_ms = kStepMs,
                           .echoes = echoes,
                           .samples = samples_again,
                           .extra = extra_again,
                           .details = details_again},
                          same, &same_texts));
  FUZZ_CHECK(same == results && same_texts == texts);
}

void packed_chunk(Bytes bytes) {
  ChunkArrays arrays;
  if (!unpack_chunk(text_of(bytes), arrays)) return;
  ChunkArrays same;
  FUZZ_CHECK(
      unpack_chunk(pack_chunk(arrays.echoes, arrays.samples, arrays.extra), same).has_value());
  FUZZ_CHECK(same == arrays);
}

}  // namespace gema::fuzz
