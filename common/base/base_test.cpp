#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "common/base/random.h"
#include "common/base/result.h"
#include "common/base/rfc3339.h"
#include "common/base/time.h"
#include "common/base/utf8.h"

namespace gema {
namespace {

template <class A, class B>
concept Subtractable = requires(A a, B b) {
  a - b;
};

static_assert(Subtractable<MonoTime, MonoTime>);
static_assert(!Subtractable<MonoTime, WallTime>, "the two clocks must not mix");

TEST(Crc32c, MatchesThePublishedVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);              // the usual check value
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);    // RFC 3720 B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);  // RFC 3720 B.4
  EXPECT_EQ(crc32c(""), 0U);
}

TEST(Crc32c, ContinuesWhereItStopped) {
  const std::string text = "The quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    EXPECT_EQ(crc32c(text.substr(cut), crc32c(text.substr(0, cut))), crc32c(text)) << cut;
  }
}

TEST(Random, IsTheSameOnEveryMachine) {
  Random random(1234567);
  EXPECT_EQ(random.next(), 6457827717110365317ULL);  // reference vector of SplitMix64
  EXPECT_EQ(random.next(), 3203168211198807973ULL);
}

TEST(Rfc3339, PrintsMicrosecondsInUtc) {
  EXPECT_EQ(format_rfc3339(WallTime{}), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(format_rfc3339(wall_from_us(1'763'632'561'250'001)), "2025-11-20T09:56:01.250001Z");
  EXPECT_EQ(format_rfc3339(wall_from_us(-1)), "1969-12-31T23:59:59.999999Z");
}

TEST(Rfc3339, ReadsWhatItPrintsAndOffsets) {
  const WallTime t = wall_from_us(1'763'632'561'250'001);
  EXPECT_EQ(parse_rfc3339(format_rfc3339(t)).value(), t);
  EXPECT_EQ(parse_rfc3339("2025-11-20T16:56:01.250001+07:00").value(), t);
  EXPECT_EQ(parse_rfc3339("2024-02-29T00:00:00Z").value(), wall_from_ms(1'709'164'800'000));
}

TEST(Rfc3339, RefusesWhatIsNoTime) {
  for (const char* bad :
       {"", "2026", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.1234567890Z",
        "2026-01-01T00:00:00Zx", "9999-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00"}) {
    auto result = parse_rfc3339(bad);
    ASSERT_FALSE(result.has_value()) << bad;
    EXPECT_EQ(result.error().code, Errc::kBadInput);
    EXPECT_NE(result.error().message.find(bad), std::string::npos);
  }
}

TEST(Utf8, TellsCharactersFromOtherBytes) {
  const std::pair<const char*, size_t> cases[] = {{"a", 1},
                                                  {"\x7f", 1},
                                                  {"\u00e9", 2},
                                                  {"\u4e2d", 3},
                                                  {"\U0001f514", 4},
                                                  {"\xf4\x8f\xbf\xbf", 4},
                                                  {"", 0},
                                                  {"\x80", 0},
                                                  {"\xc3", 0},
                                                  {"\xc3(", 0},
                                                  {"\xe4\xb8", 0},
                                                  {"\xf0\x9f\x94", 0},
                                                  {"\xc0\xaf", 0},
                                                  {"\xc1\x81", 0},
                                                  {"\xe0\x9f\xbf", 0},
                                                  {"\xed\xa0\x80", 0},
                                                  {"\xf0\x8f\xbf\xbf", 0},
                                                  {"\xf4\x90\x80\x80", 0},
                                                  {"\xf5\x80\x80\x80", 0},
                                                  {"\xff", 0}};
  for (const auto& [text, length] : cases) {
    EXPECT_EQ(utf8_length(text), length) << text;
    EXPECT_EQ(utf8_length(std::string(text) + "tail"), text[0] == '\0' ? 1 : length) << text;
  }
}

TEST(Utf8, CleanTextHasNoControlCharacters) {
  for (const char* text : {"", "a b", "d\u00e9j\u00e0 \u4e2d", "\u00a0"}) {
    EXPECT_TRUE(is_clean_text(text)) << text;
  }
  for (const std::string& text :
       {std::string("a\nb"), std::string("\t"), std::string("a\0b", 3), std::string("\x7f"),
        std::string("a\xc2\x85"), std::string("a\xc2"), std::string("\xff")}) {
    EXPECT_FALSE(is_clean_text(text)) << text;
  }
}

TEST(Result, HoldsAValueOrAnError) {
  Result<int> good = 7;
  Result<int> bad = Error{Errc::kTimeout, "no answer"};
  EXPECT_TRUE(good);
  EXPECT_EQ(*good, 7);
  EXPECT_FALSE(bad);
  EXPECT_EQ(bad.error().code, Errc::kTimeout);
  EXPECT_DEATH(static_cast<void>(bad.value()), "assertion failed");
}

}  // namespace
}  // namespace gema
