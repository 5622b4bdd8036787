#include "common/codec/csv_codec.h"

#include <gtest/gtest.h>

namespace gema {
namespace {

TEST(CsvCodec, WhatIsEncodedComesBack) {
  EXPECT_EQ(*decode_csv_rebuild(encode_csv_rebuild("2026-11-20")), "2026-11-20");
  for (int outcome = 0; outcome <= kCsvRebuildOutcomeMax; ++outcome) {
    const CsvRebuilt rebuilt{static_cast<CsvRebuildOutcome>(outcome), 7, "why"};
    EXPECT_EQ(*decode_csv_rebuilt(encode_csv_rebuilt(rebuilt)), rebuilt);
  }
  const std::vector<CsvFile> files = {
      {"ping_results_20261120.csv", "2026-11-20", 12, 3, wall_from_ms(1'800'000'000'000)}, {}};
  EXPECT_EQ(decode_csv_files(encode_csv_files(files))->size(), 2U);
  EXPECT_EQ(decode_csv_files(encode_csv_files(files))->front(), files.front());
  EXPECT_TRUE(decode_csv_files("")->empty());
}

TEST(CsvCodec, RefusesWhatIsNoSuchMessage) {
  EXPECT_FALSE(decode_csv_rebuild("\xff\xff\xff"));
  EXPECT_FALSE(decode_csv_rebuilt("\xff\xff\xff"));
  EXPECT_FALSE(decode_csv_files("\xff\xff\xff"));
  EXPECT_FALSE(decode_csv_rebuilt(encode_csv_rebuilt({static_cast<CsvRebuildOutcome>(99), 0, ""})));
}

}  // namespace
}  // namespace gema
