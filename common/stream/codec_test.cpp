#include "common/stream/codec.h"

#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/stream/core/limits.h"
#include "gema/v1/stream.pb.h"

namespace gema::stream {
namespace {

constexpr StreamName kName{"ping", "prober-1"};

RecordMessage record() {
  RecordMessage r;
  r.epoch = 77;
  r.partition = 3;
  r.seq = 12;
  r.base_seq = 5;
  r.produced_at = wall_from_us(1'700'000'000'123'456);
  r.part = PartInfo{1, 2, 3, 4};
  r.payload = std::string("bytes\0and more", 14);
  return r;
}

TipMessage tip() {
  TipMessage t;
  t.at = wall_from_us(99);
  EpochTip& e = t.epochs.emplace_back();
  e.epoch = 5;
  e.predecessor = 4;
  e.reason = EpochReason::kSpoolDamaged;
  e.last_seq.assign(kPartitions, 9);
  e.base_seq.assign(kPartitions, 10);
  e.dropped_through.assign(kPartitions, 3);
  e.starts.push_back({"alerter", std::vector<uint64_t>(kPartitions, 2)});
  return t;
}

template <class T>
bool is(const Decoded<T>& decoded, Refused refused) {
  const Refused* r = std::get_if<Refused>(&decoded);
  return r != nullptr && *r == refused;
}

void expect_same(const RecordMessage& a, const RecordMessage& b) {
  EXPECT_EQ(a.epoch, b.epoch);
  EXPECT_EQ(a.partition, b.partition);
  EXPECT_EQ(a.seq, b.seq);
  EXPECT_EQ(a.base_seq, b.base_seq);
  EXPECT_EQ(a.produced_at, b.produced_at);
  EXPECT_EQ(a.part, b.part);
  EXPECT_EQ(a.payload, b.payload);
}

TEST(StreamCodec, CarriesEveryMessageThereAndBack) {
  expect_same(std::get<RecordMessage>(decode_record_message(kName, encode_record(kName, record()))),
              record());
  auto replay = decode_replay(kName, encode_replay(kName, record()));
  expect_same(std::get<RecordMessage>(std::get<0>(replay)), record());

  LostMessage lost{7, 2, {{1, 4}, {9, 9}}};
  auto answer = decode_replay(kName, encode_replay(kName, lost));
  EXPECT_EQ(std::get<LostMessage>(std::get<0>(answer)).ranges, lost.ranges);

  TipMessage t = std::get<TipMessage>(decode_tip(kName, encode_tip(kName, tip())));
  ASSERT_EQ(t.epochs.size(), 1U);
  EXPECT_EQ(t.epochs[0].last_seq, tip().epochs[0].last_seq);
  EXPECT_EQ(t.epochs[0].base_seq, tip().epochs[0].base_seq);
  EXPECT_EQ(t.epochs[0].dropped_through, tip().epochs[0].dropped_through);
  EXPECT_EQ(t.epochs[0].starts, tip().epochs[0].starts);
  EXPECT_EQ(t.epochs[0].reason, EpochReason::kSpoolDamaged);

  AckMessage ack{"recorder", {{5, 1, 10, 20, {{12, 13}}}}};
  AckMessage a = std::get<AckMessage>(decode_ack(kName, "recorder", encode_ack(kName, ack)));
  EXPECT_EQ(a.partitions.at(0).missing, ack.partitions[0].missing);
  EXPECT_EQ(a.partitions.at(0).highest, 20U);

  WantMessage want{"recorder", {{5, 1, {{12, 13}}}}};
  WantMessage w = std::get<WantMessage>(decode_want(kName, "recorder", encode_want(kName, want)));
  EXPECT_EQ(w.partitions.at(0).ranges, want.partitions[0].ranges);
}

TEST(StreamCodec, RefusesWhatIsOfAnotherStreamProducerOrGroup) {
  StreamName other{"ping", "prober-2"};
  StreamName stream{"transitions", "prober-1"};
  EXPECT_TRUE(is(decode_record_message(other, encode_record(kName, record())), Refused::kForeign));
  EXPECT_TRUE(is(decode_record_message(stream, encode_record(kName, record())), Refused::kForeign));
  EXPECT_TRUE(is(decode_replay(other, encode_replay(kName, record())), Refused::kForeign));
  EXPECT_TRUE(is(decode_replay(other, encode_replay(kName, LostMessage{7, 2, {{1, 4}}})),
                 Refused::kForeign));
  EXPECT_TRUE(is(decode_tip(other, encode_tip(kName, tip())), Refused::kForeign));
  AckMessage ack{"recorder", {}};
  EXPECT_TRUE(is(decode_ack(other, "recorder", encode_ack(kName, ack)), Refused::kForeign));
  EXPECT_TRUE(is(decode_ack(kName, "tracker", encode_ack(kName, ack)), Refused::kForeign));
  WantMessage want{"recorder", {}};
  EXPECT_TRUE(is(decode_want(kName, "tracker", encode_want(kName, want)), Refused::kForeign));
}

TEST(StreamCodec, RefusesFieldsOutOfRange) {
  auto bad_record = [](auto change) {
    RecordMessage r = record();
    change(r);
    return is(decode_record_message(kName, encode_record(kName, r)), Refused::kMalformed);
  };
  EXPECT_TRUE(bad_record([](RecordMessage& r) { r.partition = kPartitions; }));
  EXPECT_TRUE(bad_record([](RecordMessage& r) { r.seq = 0; }));
  EXPECT_TRUE(bad_record([](RecordMessage& r) { r.epoch = 0; }));
  EXPECT_TRUE(bad_record([](RecordMessage& r) { r.payload.assign(kRecordBytesMax + 1, 'x'); }));

  auto bad_tip = [](auto change) {
    TipMessage t = tip();
    change(t.epochs[0]);
    return is(decode_tip(kName, encode_tip(kName, t)), Refused::kMalformed);
  };
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.last_seq.pop_back(); }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.base_seq[2] = 11; }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.base_seq[2] = 0; }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.last_seq[0] = UINT64_MAX; }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.epoch = 0; }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.reason = static_cast<EpochReason>(99); }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.dropped_through.pop_back(); }));
  EXPECT_TRUE(bad_tip([](EpochTip& e) { e.starts[0].first.pop_back(); }));
  EXPECT_FALSE(bad_tip([](EpochTip& e) { e.dropped_through.clear(); }));

  auto bad_want = [](std::vector<SeqRange> ranges) {
    return is(decode_want(kName, "g", encode_want(kName, {"g", {{1, 0, std::move(ranges)}}})),
              Refused::kMalformed);
  };
  EXPECT_TRUE(bad_want({{0, 5}}));
  EXPECT_TRUE(bad_want({{6, 5}}));
  EXPECT_TRUE(bad_want({{1, UINT64_MAX}}));
  EXPECT_TRUE(bad_want(std::vector<SeqRange>(kWantRangesPerMessage + 1, SeqRange{1, 1})));
  EXPECT_TRUE(is(decode_ack(kName, "g", encode_ack(kName, {"g", {{1, 0, 9, 8, {}}}})),
                 Refused::kMalformed));
  EXPECT_TRUE(is(decode_replay(kName, ""), Refused::kMalformed));  // neither record nor lost
}

TEST(StreamCodec, MutilatedBytesAreRefusedOrDecodeToSomethingInRange) {
  std::vector<std::string> good{encode_record(kName, record()),
                                encode_replay(kName, record()),
                                encode_replay(kName, LostMessage{7, 2, {{1, 4}}}),
                                encode_tip(kName, tip()),
                                encode_ack(kName, {"g", {{5, 1, 10, 20, {{12, 13}}}}}),
                                encode_want(kName, {"g", {{5, 1, {{12, 13}}}}})};
  for (uint64_t seed = 1; seed <= 20'000; ++seed) {
    Random random(seed * 101);
    std::string bytes = good[random.below(good.size())];
    for (uint64_t n = 1 + random.below(4); n > 0 && !bytes.empty(); --n) {
      size_t at = random.below(bytes.size());
      if (random.chance(700)) {
        bytes[at] = static_cast<char>(random.below(256));
      } else {
        bytes.resize(at);
      }
    }
    auto r = decode_record_message(kName, bytes);
    if (auto* m = std::get_if<RecordMessage>(&r)) {
      EXPECT_LT(m->partition, kPartitions);
    }
    auto t = decode_tip(kName, bytes);
    if (auto* m = std::get_if<TipMessage>(&t)) {
      for (const EpochTip& e : m->epochs) EXPECT_EQ(e.last_seq.size(), kPartitions);
    }
    auto p = decode_replay(kName, bytes);
    if (auto* m = std::get_if<0>(&p)) {
      if (auto* lost = std::get_if<LostMessage>(m)) {
        EXPECT_LT(lost->partition, kPartitions);
      }
    }
    decode_ack(kName, "g", bytes);
    decode_want(kName, "g", bytes);
  }
}

TEST(StreamCodec, TheReasonsAreThoseOfTheWire) {
  EXPECT_EQ(static_cast<int>(EpochReason::kNewSpool), v1::EPOCH_REASON_NEW_SPOOL);
  EXPECT_EQ(static_cast<int>(EpochReason::kUncleanBoot), v1::EPOCH_REASON_UNCLEAN_BOOT);
  EXPECT_EQ(static_cast<int>(EpochReason::kSyncFailed), v1::EPOCH_REASON_SYNC_FAILED);
  EXPECT_EQ(static_cast<int>(EpochReason::kAckBeyondLast), v1::EPOCH_REASON_ACK_BEYOND_LAST);
  EXPECT_EQ(static_cast<int>(EpochReason::kClockStep), v1::EPOCH_REASON_CLOCK_STEP);
  EXPECT_EQ(static_cast<int>(EpochReason::kSpoolDamaged), v1::EPOCH_REASON_SPOOL_DAMAGED);
}

}  // namespace
}  // namespace gema::stream
