// History as it is stored for good, behind its checksum, and the calls about it.
#include <string>
#include <vector>

#include "common/codec/cleanup_codec.h"
#include "common/codec/csv_codec.h"
#include "common/domain/chunk.h"
#include "common/domain/packed_chunk.h"
#include "common/domain/packing.h"
#include "common/domain/rollup.h"
#include "tests/fuzz/targets.h"

namespace gema::fuzz {
namespace {

std::string sealed(Bytes bytes) {
  std::string out(text_of(bytes));
  packing::put_checksum(out);
  return out;
}

}  // namespace

void sealed_chunk(Bytes bytes) {
  ChunkArrays arrays;
  if (!unpack_chunk(sealed(bytes), arrays)) {
    FUZZ_CHECK(arrays.samples.empty() && arrays.extra.empty());
    return;
  }
  FUZZ_CHECK(arrays.echoes > 0 && arrays.samples.size() % arrays.echoes == 0);
  FUZZ_CHECK(arrays.samples.size() <= kPackedNumbersMax);
  ChunkArrays same;
  FUZZ_CHECK(
      unpack_chunk(pack_chunk(arrays.echoes, arrays.samples, arrays.extra), same).has_value());
  FUZZ_CHECK(same == arrays);
  // As a reader goes on.
  PingResults results;
  const bool right = append_chunk({.device = 7,
                                   .start_ms = 0,
                                   .step_ms = 1000,
                                   .echoes = arrays.echoes,
                                   .samples = arrays.samples,
                                   .extra = arrays.extra,
                                   .details = {}},
                                  results, nullptr);
  if (right) FUZZ_CHECK(results.size() <= arrays.samples.size() / arrays.echoes);
}

void rollup_row(Bytes bytes) {
  const auto rollups = unpack_rollups(sealed(bytes));
  if (!rollups) return;
  FUZZ_CHECK(rollups->size() <= kRollupsMax);
  const auto same = unpack_rollups(pack_rollups(*rollups));
  FUZZ_CHECK(same.has_value());
  FUZZ_CHECK(*same == *rollups);
  // As a reader goes on.
  Rollup sum;
  for (const Rollup& rollup : *rollups) sum.merge(rollup);
  sum.mean_us();
  sum.deviation_us();
  sum.jitter_us();
  uint32_t last = 0;
  for (const double q : {0.0, 0.5, 0.95, 0.999, 1.0}) {
    if (sum.sketch.empty()) break;
    const uint32_t at = sum.sketch.quantile_us(q);
    FUZZ_CHECK(at >= last);
    last = at;
  }
}

void history_call(Bytes bytes) {
  const uint8_t choice = take_byte(bytes);
  const std::string_view text = text_of(bytes);
  switch (choice % 5) {
    case 0:
      return round_trip(text, decode_cleanup_order, encode_cleanup_order);
    case 1:
      return round_trip(text, decode_cleanup_report, encode_cleanup_report);
    case 2:
      return round_trip(text, decode_csv_rebuild, encode_csv_rebuild);
    case 3:
      return round_trip(text, decode_csv_rebuilt, encode_csv_rebuilt);
    default:
      return round_trip(text, decode_csv_files, encode_csv_files);
  }
}

}  // namespace gema::fuzz
