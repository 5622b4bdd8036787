#include "common/stream/core/segment.h"

#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/stream/core/limits.h"
#include "common/stream/core/parts.h"
#include "common/stream/core/spool_meta.h"

namespace gema::stream {
namespace {

std::string hex(std::string_view bytes) {
  static const char* digits = "0123456789abcdef";
  std::string out;
  for (char c : bytes) {
    auto b = static_cast<unsigned char>(c);
    out += digits[b >> 4];
    out += digits[b & 15];
  }
  return out;
}

SegmentHeader header() {
  SegmentHeader h;
  h.number = 2;
  h.epoch = 0x1122334455667788;
  h.predecessor = 0x99;
  h.reason = EpochReason::kUncleanBoot;
  h.created_at = wall_from_us(1'700'000'000'000'000);
  h.next_seq.fill(1);
  h.next_seq[3] = 41;
  return h;
}

struct Built {
  std::string bytes;
  uint32_t crc = 0;
  std::vector<size_t> ends;  // of the header, then of each record
};

Built build(int records, uint32_t size_of_each = 20) {
  EncodedHeader encoded = encode_header(header());
  Built built{encoded.bytes, encoded.crc, {encoded.bytes.size()}};
  for (int i = 0; i < records; ++i) {
    encode_record({3, 41 + static_cast<uint64_t>(i), wall_from_us(1'700'000'000'000'000 + i), {}},
                  std::string(size_of_each, static_cast<char>('a' + i % 26)), built.crc,
                  built.bytes);
    built.ends.push_back(built.bytes.size());
  }
  return built;
}

TEST(Segment, HasExactlyTheBytesOfTheReadme) {
  EncodedHeader encoded = encode_header(header());
  EXPECT_EQ(hex(encoded.bytes),
            "47454d4153454731"  // GEMASEG1
            "8877665544332211"  // epoch
            "9900000000000000"  // predecessor
            "00401e18240a0600"  // created
            "02000000"          // reason: unclean boot
            "08000000"          // partitions
            "0100000000000000010000000000000001000000000000002900000000000000"
            "0100000000000000010000000000000001000000000000000100000000000000"
            "0200000000000000"  // segment number
            "00000000"
            "9dd912b5");  // crc32c
  std::string record;
  encode_record({3, 41, wall_from_us(1'700'000'000'000'000), {}}, "hello", encoded.crc, record);
  EXPECT_EQ(hex(record),
            "474d5231"  // GMR1
            "2ab84180"  // crc32c
            "05000000"  // payload length
            "03000000"  // partition 3, flags 0
            "2900000000000000"
            "00401e18240a0600"
            "68656c6c6f");
}

TEST(Segment, ReadsBackWhatWasWritten) {
  Built built = build(10);
  Result<SegmentScan> scan = scan_segment(built.bytes);
  ASSERT_TRUE(scan.has_value());
  EXPECT_EQ(scan->header, header());
  ASSERT_EQ(scan->records.size(), 10U);
  EXPECT_EQ(scan->tail, Tail::kClean);
  EXPECT_EQ(scan->damaged_bytes, 0U);
  EXPECT_EQ(scan->valid_end, built.bytes.size());
  EXPECT_EQ(unix_us(scan->newest), 1'700'000'000'000'009);
  for (size_t i = 0; i < 10; ++i) {
    const ScannedRecord& r = scan->records[i];
    EXPECT_EQ(r.seq, 41 + i);
    EXPECT_EQ(r.partition, 3U);
    std::optional<RecordView> view =
        decode_record(std::string_view(built.bytes).substr(r.offset, r.bytes), built.crc);
    ASSERT_TRUE(view.has_value());
    EXPECT_EQ(view->payload, std::string(20, static_cast<char>('a' + i)));
    EXPECT_EQ(view->fields.seq, r.seq);
  }
}

TEST(Segment, KeepsThePartOfARecord) {
  Built built = build(0);
  PartInfo part{7, 1, 3, 0xabcdef};
  encode_record({0, 1, {}, part}, "middle", built.crc, built.bytes);
  std::optional<RecordView> view =
      decode_record(std::string_view(built.bytes).substr(kSegmentHeaderBytes), built.crc);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->fields.part, part);
  EXPECT_EQ(view->payload, "middle");
  EXPECT_EQ(view->bytes, encoded_record_bytes(6, true));
}

TEST(Segment, CutAnywhereKeepsTheWholeRecordsAndSaysItWasCutShort) {
  Built built = build(5);
  for (size_t n = kSegmentHeaderBytes; n < built.bytes.size(); ++n) {
    Result<SegmentScan> scan = scan_segment(std::string_view(built.bytes).substr(0, n));
    ASSERT_TRUE(scan.has_value());
    size_t whole = 0;
    while (whole + 1 < built.ends.size() && built.ends[whole + 1] <= n) ++whole;
    EXPECT_EQ(scan->records.size(), whole) << n;
    EXPECT_EQ(scan->valid_end, built.ends[whole]) << n;
    EXPECT_EQ(scan->tail, n == built.ends[whole] ? Tail::kClean : Tail::kShort) << n;
  }
  for (size_t n = 0; n < kSegmentHeaderBytes; ++n) {
    EXPECT_FALSE(scan_segment(std::string_view(built.bytes).substr(0, n)).has_value()) << n;
  }
}

TEST(Segment, AnyFlippedBitLosesOnlyTheRecordItIsIn) {
  Built built = build(6);
  for (size_t bit = 0; bit < built.bytes.size() * 8; ++bit) {
    std::string bad = built.bytes;
    size_t at = bit / 8;
    bad[at] = static_cast<char>(static_cast<unsigned char>(bad[at]) ^ (1U << (bit % 8)));
    Result<SegmentScan> scan = scan_segment(bad);
    if (at < kSegmentHeaderBytes) {
      EXPECT_FALSE(scan.has_value()) << "bit " << bit;
      continue;
    }
    ASSERT_TRUE(scan.has_value());
    size_t hit = 0;
    while (built.ends[hit + 1] <= at) ++hit;
    EXPECT_EQ(scan->records.size(), 5U) << "bit " << bit;
    for (const ScannedRecord& r : scan->records) EXPECT_NE(r.seq, 41 + hit) << "bit " << bit;
    if (hit < 5) {
      EXPECT_EQ(scan->tail, Tail::kClean);
      EXPECT_EQ(scan->damaged_bytes, built.ends[hit + 1] - built.ends[hit]);
    } else {
      EXPECT_NE(scan->tail, Tail::kClean);
    }
  }
}

TEST(Segment, RandomMutilationNeverInventsARecord) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Random random(seed * 31);
    Built built = build(12, 30);
    std::string bad = built.bytes;
    for (uint64_t n = 1 + random.below(6); n > 0; --n) {
      size_t at = kSegmentHeaderBytes + random.below(bad.size() - kSegmentHeaderBytes);
      switch (random.below(4)) {
        case 0:
          bad[at] = static_cast<char>(random.below(256));
          break;
        case 1:
          bad.resize(at);
          break;
        case 2:
          bad.insert(at, std::string(random.below(50), 'x'));
          break;
        default:
          bad.erase(at, random.below(40));
          break;
      }
      if (bad.size() <= kSegmentHeaderBytes) break;
    }
    Result<SegmentScan> scan = scan_segment(bad);
    ASSERT_TRUE(scan.has_value());
    uint64_t previous = 0;
    for (const ScannedRecord& r : scan->records) {
      ASSERT_LE(uint64_t{r.offset} + r.bytes, bad.size()) << "seed " << seed;
      EXPECT_GT(r.seq, previous) << "seed " << seed;
      previous = r.seq;
      std::optional<RecordView> view =
          decode_record(std::string_view(bad).substr(r.offset, r.bytes), built.crc);
      ASSERT_TRUE(view.has_value());
      EXPECT_EQ(view->payload, std::string(30, static_cast<char>('a' + (r.seq - 41) % 26)))
          << "seed " << seed;
    }
  }
}

TEST(Segment, ABlockOfAnotherSegmentIsNoRecordOfThisOne) {
  SegmentHeader other = header();
  other.number = 3;
  EncodedHeader encoded = encode_header(other);
  std::string bytes = encoded.bytes + build(3).bytes.substr(kSegmentHeaderBytes);
  Result<SegmentScan> scan = scan_segment(bytes);
  ASSERT_TRUE(scan.has_value());
  EXPECT_TRUE(scan->records.empty());
  EXPECT_EQ(scan->tail, Tail::kDamaged);
}

TEST(Segment, ASegmentOfMarkersIsRefusedInReasonableTime) {
  std::string bytes = encode_header(header()).bytes;
  std::string marker = std::string("GMR1") + std::string(4, '\0') + std::string("\0\0\4\0", 4);
  marker.resize(32, '\0');
  while (bytes.size() < 4U << 20) bytes += marker;
  Result<SegmentScan> scan = scan_segment(bytes);  // quadratic, this would take minutes
  ASSERT_TRUE(scan.has_value());
  EXPECT_TRUE(scan->records.empty());
}

TEST(SpoolMeta, SurvivesTheTripAndRefusesMutilation) {
  SpoolMeta meta;
  meta.clean = true;
  meta.boot_id = "b";
  meta.groups = {"recorder", "timeout-tracker"};
  EpochMeta epoch{5, 4, EpochReason::kClockStep, {}, {}, {}};
  epoch.last[2] = 9;
  epoch.dropped_through[2] = 3;
  epoch.starts.push_back({"alerter", std::vector<uint64_t>(kPartitions, 6)});
  meta.epochs = {epoch, epoch};
  std::string bytes = encode_meta(meta);
  ASSERT_TRUE(decode_meta(bytes).has_value());
  EXPECT_EQ(*decode_meta(bytes), meta);
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string bad = bytes;
    bad[bit / 8] = static_cast<char>(static_cast<unsigned char>(bad[bit / 8]) ^ (1U << (bit % 8)));
    EXPECT_FALSE(decode_meta(bad).has_value()) << "bit " << bit;
  }
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(decode_meta(std::string_view(bytes).substr(0, n)).has_value());
  }
}

TEST(Parts, CoverTheWholeInOrder) {
  std::string whole(3 * kPartBytes + 1, 'q');
  std::vector<PartView> parts = split(whole, 9);
  ASSERT_EQ(parts.size(), 4U);
  std::string joined;
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(parts[i].info, (PartInfo{9, i, 4, digest_of(whole)}));
    EXPECT_TRUE(is_possible(parts[i].info));
    EXPECT_LE(parts[i].bytes.size(), kPartBytes);
    joined += parts[i].bytes;
  }
  EXPECT_EQ(joined, whole);
  EXPECT_FALSE(is_possible({1, 3, 3, 0}));
  EXPECT_FALSE(is_possible({1, 0, 0, 0}));
  EXPECT_FALSE(is_possible({1, 0, kPartsMax + 1, 0}));
}

}  // namespace
}  // namespace gema::stream
