#include "common/config/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/config/common.h"

namespace gema::config {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct Example {
  std::chrono::milliseconds flush{200};
  uint16_t count = 4;
  std::string location = "default";
  std::string token;
  std::string mode = "fast";
  bool enabled = true;
  std::vector<std::string> names;

  std::vector<Spec> specs() {
    Spec spec("my-prober");
    spec.duration_ms("flush_ms", flush, 10ms, 1000ms, "How long results wait.");
    spec.integer("count", count, 1, 100, "How many.");
    spec.text("location", location, "Where.");
    spec.secret("token", token, "Secret.");
    spec.choice("mode", mode, {"fast", "slow"}, "How.");
    spec.flag("enabled", enabled, "Whether.");
    spec.list("names", names, "Which.");
    spec.alias("PING_COUNT", "count");
    return {spec};
  }

  std::vector<std::string> load_texts(const Inputs& inputs) {
    std::vector<std::string> texts;
    for (const Problem& p : load(specs(), {"recorder"}, inputs)) texts.push_back(p.text());
    return texts;
  }
};

Inputs file(std::string text) {
  return {.file_name = "gema.yaml", .file_text = std::move(text)};
}

TEST(Config, TakesEveryKindOfValueFromTheFile) {
  Example e;
  EXPECT_THAT(e.load_texts(file("my-prober:\n  flush_ms: 50\n  count: 7\n  location: fra\n"
                                "  token: abc\n  mode: SLOW\n  enabled: No\n  names: [a, b]\n"
                                "recorder:\n  anything: 1\n")),
              IsEmpty());
  EXPECT_EQ(e.flush, 50ms);
  EXPECT_EQ(e.count, 7);
  EXPECT_EQ(e.location, "fra");
  EXPECT_EQ(e.mode, "slow");
  EXPECT_FALSE(e.enabled);
  EXPECT_THAT(e.names, ElementsAre("a", "b"));
}

TEST(Config, LaterSourcesWin) {
  Example e;
  Inputs inputs = file("my-prober: {count: 1}");
  EXPECT_THAT(e.load_texts(inputs), IsEmpty());
  EXPECT_EQ(e.count, 1);
  inputs.dotenv["PING_COUNT"] = "2";
  EXPECT_THAT(e.load_texts(inputs), IsEmpty());
  EXPECT_EQ(e.count, 2);
  inputs.env["PING_COUNT"] = "3";
  EXPECT_THAT(e.load_texts(inputs), IsEmpty());
  EXPECT_EQ(e.count, 3);
  inputs.env["GEMA_MY_PROBER__COUNT"] = "4";
  EXPECT_THAT(e.load_texts(inputs), IsEmpty());
  EXPECT_EQ(e.count, 4);
}

TEST(Config, NamesEveryProblemAtOnceWithLineValueAndRule) {
  Example e;
  Inputs inputs = file(
      "my-prober:\n  flush_ms: 0\n  count: many\n  colour: red\n  mode: medium\n  enabled: maybe\n"
      "nonsense:\n  a: 1\n");
  inputs.env["GEMA_MY_PROBER__NONE"] = "1";
  inputs.env["GEMA_NOWHERE__KEY"] = "1";
  inputs.env["GEMA_RECORDER__KEY"] = "1";
  inputs.env["PING_COUNT"] = "101";
  EXPECT_THAT(e.load_texts(inputs),
              ElementsAre("gema.yaml line 2: my-prober.flush_ms = 0: must be from 10 to 1000 ms",
                          "gema.yaml line 3: my-prober.count = many: must be a whole number from 1 "
                          "to 100",
                          "gema.yaml line 4: my-prober.colour: is no key that Gema knows",
                          "gema.yaml line 5: my-prober.mode = medium: must be one of fast, slow",
                          "gema.yaml line 6: my-prober.enabled = maybe: must be true or false",
                          "gema.yaml line 7: nonsense: is no section that Gema knows",
                          "environment: PING_COUNT = 101: must be from 1 to 100",
                          "environment: GEMA_MY_PROBER__NONE: names no key of section my-prober",
                          "environment: GEMA_NOWHERE__KEY: names no section that Gema knows"));
  EXPECT_EQ(e.flush, 200ms) << "a refused value leaves the default";
}

TEST(Config, SaysWhereBrokenYamlBreaks) {
  Example e;
  EXPECT_THAT(e.load_texts(file("my-prober:\n  a: [1\nb: }")),
              ElementsAre(HasSubstr("is no valid YAML")));
  EXPECT_THAT(e.load_texts(file("- 1\n")), ElementsAre(HasSubstr("must be a map of sections")));
  EXPECT_THAT(e.load_texts(file("my-prober: 5\n")), ElementsAre(HasSubstr("must be a map")));
  EXPECT_THAT(e.load_texts(file("my-prober: {count: [1]}\n")),
              ElementsAre(HasSubstr("must be a single value")));
  EXPECT_THAT(e.load_texts(file("")), IsEmpty());
}

TEST(Config, PrintsWhatIsInForceAndMasksSecrets) {
  Example e;
  e.token = "geheim";
  const std::string text = print(e.specs());
  EXPECT_THAT(text, HasSubstr("  flush_ms: 200\n"));
  EXPECT_THAT(text, HasSubstr("# How many. Also PING_COUNT."));
  EXPECT_THAT(text, HasSubstr("  token: \"***\"\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("geheim")));
  Example again;
  EXPECT_THAT(again.load_texts(file(text)), IsEmpty()) << "what is printed can be read";
}

TEST(Dotenv, ReadsTheUsualForms) {
  const auto values = parse_dotenv(
      "# comment\nA=1\n export B = two words # note\nC=\"x # y\"\nD='z'\nbroken\nE=\n");
  EXPECT_EQ(values.at("A"), "1");
  EXPECT_EQ(values.at("B"), "two words");
  EXPECT_EQ(values.at("C"), "x # y");
  EXPECT_EQ(values.at("D"), "z");
  EXPECT_EQ(values.at("E"), "");
  EXPECT_EQ(values.size(), 5U);
}

TEST(Common, DefaultsLeadToUnixSocketsBelowTheDataDirectory) {
  Common common;
  common.data_dir = "/d";
  EXPECT_EQ(common.ingress_endpoint(), "ipc:///d/run/bus-ingress.sock");
  EXPECT_EQ(common.postgres_host_or_socket(), "/d/run");
  EXPECT_EQ(common.keys_dir(), "/d/keys");
}

}  // namespace
}  // namespace gema::config
