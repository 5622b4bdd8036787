#include "common/codec/device_codec.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/random.h"
#include "gema/v1/inventory.pb.h"

namespace gema {
namespace {

Device full_device(DeviceId id) {
  return {.id = id,
          .address = "192.0.2.7",
          .hostname = "gudang-7",
          .merk = "Mikrotik",
          .os = "RouterOS",
          .kondisi = "baik",
          .supplier = "PT Satu",
          .type = "router",
          .post_code = "10110",
          .web_url = "http://192.0.2.7/",
          .id_lokasi = "12",
          .probe_from = {"jakarta", "surabaya"},
          .parent = 3,
          .interval_ms = 1000,
          .timeout_ms = 900,
          .echo_count = 4,
          .min_replies = 2,
          .tags = {{"rak", "B2"}, {"lantai", "3"}},
          .source = "file",
          .source_id = "77"};
}

TEST(DeviceCodec, GivesBackEveryFieldOfADevice) {
  auto decoded = decode_device(encode_device(full_device(7)));
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(*decoded, full_device(7));
}

TEST(DeviceCodec, GivesBackCataloguesAssignmentsAndChanges) {
  const Catalogue catalogue{
      .version = {4, 9}, .devices = {full_device(1), full_device(9)}, .next_device_id = 12};
  auto c = decode_catalogue(encode_catalogue(catalogue));
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(*c, catalogue);

  const Assignment assignment{
      .version = {4, 2},
      .prober = "prober-1",
      .location = "jakarta",
      .down_after = 5,
      .devices = {{.id = 3, .address = "2001:db8::1"}, {.id = 4, .address = "host.example"}}};
  auto a = decode_assignment(encode_assignment(assignment));
  ASSERT_TRUE(a) << a.error().message;
  EXPECT_EQ(*a, assignment);

  auto change = decode_device_change(
      encode_device_change({.device = full_device(5), .fields = {"merk"}, .actor = "Siti"}));
  ASSERT_TRUE(change) << change.error().message;
  EXPECT_EQ(change->device, full_device(5));
  EXPECT_EQ(change->fields, std::vector<std::string>{"merk"});
  EXPECT_EQ(change->actor, "Siti");
}

TEST(DeviceCodec, GivesEqualDevicesEqualBytesHoweverManyTags) {
  Device device;
  for (int i = 0; i < 50; ++i) device.tags["tag " + std::to_string(i)] = "x";
  const std::string bytes = encode_device(device);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(encode_device(device), bytes);
}

TEST(DeviceCodec, RefusesListsThatBreakTheirRules) {
  Catalogue twice{.version = {1, 1}, .devices = {full_device(2), full_device(2)}};
  EXPECT_FALSE(decode_catalogue(encode_catalogue(twice)));
  Catalogue nameless{.version = {1, 1}, .devices = {full_device(2)}};
  nameless.devices[0].address.clear();
  EXPECT_FALSE(decode_catalogue(encode_catalogue(nameless)));
  Assignment never{.version = {1, 1}, .devices = {{.id = 1, .address = "::1", .interval_ms = 0}}};
  EXPECT_FALSE(decode_assignment(encode_assignment(never)));
  EXPECT_FALSE(decode_catalogue("\xff\xff\xff"));
}

std::string random_bytes(Random& random, size_t n) {
  std::string bytes(n, 0);
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

TEST(Snapshot, TakesEffectOnlyWhenWholeInAnyOrderAndWithRepetitions) {
  const uint64_t seed = 11;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  for (const size_t size : {size_t{0}, size_t{5}, kSnapshotPartBytes, kSnapshotPartBytes * 3 + 1}) {
    const std::string whole = random_bytes(random, size);
    std::vector<std::string> parts = split_snapshot(whole, {1, 7});
    for (size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[random.below(i)]);
    SnapshotAssembler assembler({1, 6});
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      for (int twice = 0; twice < 2; ++twice) {
        auto got = assembler.add(parts[i]);
        ASSERT_TRUE(got);
        EXPECT_FALSE(got->has_value());
      }
    }
    auto got = assembler.add(parts.back());
    ASSERT_TRUE(got);
    ASSERT_TRUE(got->has_value());
    EXPECT_EQ((*got)->bytes, whole);
    EXPECT_EQ((*got)->version, (Version{1, 7}));
    EXPECT_EQ(assembler.held(), (Version{1, 7}));
    auto again = assembler.add(parts.back());
    ASSERT_TRUE(again);
    EXPECT_FALSE(again->has_value()) << "what is held is not taken twice";
  }
}

TEST(Snapshot, NewerPartsReplaceOlderOnesAndOlderOnesAreDropped) {
  const std::string old_whole(kSnapshotPartBytes * 2, 'o');
  const std::string new_whole(kSnapshotPartBytes * 2, 'n');
  const auto old_parts = split_snapshot(old_whole, {1, 9});
  const auto new_parts = split_snapshot(new_whole, {2, 1});
  SnapshotAssembler assembler;
  ASSERT_TRUE(assembler.add(old_parts[0]));
  ASSERT_TRUE(assembler.add(new_parts[0]));
  auto late = assembler.add(old_parts[1]);
  ASSERT_TRUE(late);
  EXPECT_FALSE(late->has_value());
  auto got = assembler.add(new_parts[1]);
  ASSERT_TRUE(got && got->has_value());
  EXPECT_EQ((*got)->bytes, new_whole);
  for (const std::string& part : old_parts) {
    auto lower = assembler.add(part);
    ASSERT_TRUE(lower);
    EXPECT_FALSE(lower->has_value());
  }
}

TEST(Snapshot, AChangedByteIsNoticedByTheDigest) {
  auto parts = split_snapshot(std::string(1000, 'x'), {1, 1});
  v1::SnapshotPart part;
  ASSERT_TRUE(part.ParseFromString(parts[0]));
  (*part.mutable_bytes())[500] = 'y';
  SnapshotAssembler assembler;
  auto got = assembler.add(part.SerializeAsString());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Errc::kBadInput);
  EXPECT_EQ(assembler.held(), Version{});
  auto right = assembler.add(parts[0]);
  EXPECT_TRUE(right && right->has_value()) << "the right one is still taken afterwards";
}

TEST(Snapshot, RefusesImpossiblePartsAndMutilatedBytesWithoutCrashing) {
  v1::SnapshotPart part;
  part.mutable_version()->set_generation(1);
  SnapshotAssembler assembler;
  EXPECT_FALSE(assembler.add(part.SerializeAsString())) << "count 0";
  part.set_count(2'000'000);
  EXPECT_FALSE(assembler.add(part.SerializeAsString())) << "too many parts";
  part.set_count(2);
  part.set_index(2);
  EXPECT_FALSE(assembler.add(part.SerializeAsString())) << "index beyond count";

  const uint64_t seed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const std::string catalogue =
      encode_catalogue({.version = {1, 1}, .devices = {full_device(1), full_device(2)}});
  int refused = 0;
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = split_snapshot(catalogue, {1, 1})[0];
    bytes[random.below(bytes.size())] = static_cast<char>(random.next());
    SnapshotAssembler fresh;
    auto got = fresh.add(bytes);
    if (!got) ++refused;
    std::string broken = catalogue;
    broken[random.below(broken.size())] = static_cast<char>(random.next());
    (void)decode_catalogue(broken);
    (void)decode_assignment(broken);
    (void)decode_device_change(broken);
  }
  EXPECT_GT(refused, 0);
}

}  // namespace
}  // namespace gema
