#include <gtest/gtest.h>

#include "common/http/message.h"
#include "common/http/router.h"
#include "common/http/target.h"

namespace gema::http {
namespace {

using Strings = std::vector<std::string>;
using Pairs = std::vector<std::pair<std::string, std::string>>;
using Kind = Router::Match::Kind;

TEST(Target, SplitsBeforeItDecodes) {
  auto target = parse_target("/api//x%2Fy/%C3%A9/?limit=5&name=a+b%26c&flag&=v#part");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->segments, (Strings{"api", "x/y", "\xC3\xA9"}));
  EXPECT_EQ(target->query, (Pairs{{"limit", "5"}, {"name", "a b&c"}, {"flag", ""}, {"", "v"}}));
}

TEST(Target, TheRootHasNoSegments) {
  auto target = parse_target("/");
  ASSERT_TRUE(target);
  EXPECT_TRUE(target->segments.empty());
}

TEST(Target, RefusesWhatIsNoPlainPath) {
  for (const char* bad :
       {"", "api", "*", "http://x/", "/a%", "/a%4", "/a%zz", "/a%00b", "/a%0d%0ab", "/a/../b",
        "/a/%2e%2e/b", "/./a", "/a?x=%0a", "/a?%=1", "/a\x7f"}) {
    EXPECT_FALSE(parse_target(bad)) << bad;
  }
}

TEST(Target, HoldsItsBoundsExactly) {
  std::string segments;
  for (size_t i = 0; i < kSegmentsMax; ++i) {
    segments += "/a";
  }
  EXPECT_TRUE(parse_target(segments));
  EXPECT_FALSE(parse_target(segments + "/a"));
  std::string query = "/?";
  for (size_t i = 0; i < kQueryPairsMax; ++i) {
    query += "a=1&";
  }
  EXPECT_TRUE(parse_target(query));
  EXPECT_FALSE(parse_target(query + "a=1"));
  EXPECT_TRUE(parse_target("/" + std::string(kTargetBytesMax - 1, 'a')));
  EXPECT_FALSE(parse_target("/" + std::string(kTargetBytesMax, 'a')));
}

struct RouterTest : testing::Test {
  RouterTest() {
    router.add("GET", "/", 0);
    router.add("GET", "/devices", 1);
    router.add("POST", "/devices", 2);
    router.add("GET", "/devices/{id}", 3);
    router.add("DELETE", "/devices/{id}", 4);
    router.add("GET", "/devices/count", 5);
    router.add("GET", "/devices/{id}/results/{slot}", 6);
  }
  Router router;
};

TEST_F(RouterTest, FindsPathsAndTheirVariables) {
  auto match = router.match("GET", {"devices", "7", "results", "x/y"});
  EXPECT_EQ(match.kind, Kind::kFound);
  EXPECT_EQ(match.route, 6);
  EXPECT_EQ(match.params, (Pairs{{"id", "7"}, {"slot", "x/y"}}));
  EXPECT_EQ(router.match("GET", {}).route, 0);
  EXPECT_EQ(router.match("POST", {"devices"}).route, 2);
}

TEST_F(RouterTest, ALiteralSegmentWinsOverAVariable) {
  EXPECT_EQ(router.match("GET", {"devices", "count"}).route, 5);
  auto match = router.match("DELETE", {"devices", "count"});
  EXPECT_EQ(match.kind, Kind::kNoSuchMethod);
}

TEST_F(RouterTest, NamesTheMethodsOfAKnownPath) {
  auto match = router.match("PUT", {"devices"});
  EXPECT_EQ(match.kind, Kind::kNoSuchMethod);
  EXPECT_EQ(match.allow, "GET, POST");
}

TEST_F(RouterTest, KnowsNoOtherPath) {
  EXPECT_EQ(router.match("GET", {"devices", "7", "x"}).kind, Kind::kNoSuchPath);
  EXPECT_EQ(router.match("GET", {"Devices"}).kind, Kind::kNoSuchPath);
}

TEST(Message, TheFirstValueOfANameCounts) {
  Request request;
  request.query = {{"a", "1"}, {"a", "2"}};
  ASSERT_NE(request.query_value("a"), nullptr);
  EXPECT_EQ(*request.query_value("a"), "1");
  EXPECT_EQ(request.query_value("b"), nullptr);
}

}  // namespace
}  // namespace gema::http
