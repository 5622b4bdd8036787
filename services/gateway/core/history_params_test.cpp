// What the parameters of the history routes mean, where local days and hours begin, and columns of
// numbers.
#include "services/gateway/core/history_params.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "common/base/rfc3339.h"
#include "common/base/time.h"
#include "services/gateway/core/columns.h"
#include "services/gateway/core/limits.h"
#include "services/gateway/core/periods.h"

namespace gema::gateway {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kNow = 1'795'000'000'000;  // 2026-11-18T08:26:40Z

int64_t ms(const char* text) {
  return unix_ms(*parse_rfc3339(text));
}

std::string message(const auto& result) {
  return result ? "accepted" : result.error().message;
}

// --- windows ----------------------------------------------------------------------------------

Result<Window> window(const char* from, const char* to, const char* hours) {
  std::string texts[3];
  WindowTexts w;
  if (from != nullptr) w.from = &(texts[0] = from);
  if (to != nullptr) w.to = &(texts[1] = to);
  if (hours != nullptr) w.hours = &(texts[2] = hours);
  return window_params(w, {.to_absent_ms = kNow, .hours_absent = 24, .hours_max = 100});
}

TEST(Window, IsTheLastDayUnlessSomethingIsNamed) {
  EXPECT_EQ(*window(nullptr, nullptr, nullptr), (Window{kNow - 24 * kHourMs, kNow}));
  EXPECT_EQ(*window(nullptr, nullptr, "2"), (Window{kNow - 2 * kHourMs, kNow}));
  EXPECT_EQ(*window("1794000000000", nullptr, nullptr), (Window{1'794'000'000'000, kNow}));
  EXPECT_EQ(*window(nullptr, "1794000000000", "1"),
            (Window{1'794'000'000'000 - kHourMs, 1'794'000'000'000}));
}

TEST(Window, TakesRfc3339AndUnixMilliseconds) {
  EXPECT_EQ(window("2026-11-17T00:00:00Z", "1795000000000", nullptr)->from_ms,
            ms("2026-11-17T00:00:00Z"));
  EXPECT_EQ(window("2026-11-17T00:00:00.0019Z", nullptr, nullptr)->from_ms % 1000, 1);
  // A "+" that was not escaped arrives as a blank.
  EXPECT_EQ(window("2026-11-17T07:00:00 07:00", nullptr, nullptr)->from_ms,
            ms("2026-11-17T00:00:00Z"));
  EXPECT_EQ(window("2026-11-17T07:00:00+07:00", nullptr, nullptr)->from_ms,
            ms("2026-11-17T00:00:00Z"));
}

TEST(Window, EachRefusalNamesParameterValueAndRule) {
  const std::string time =
      "must be an RFC 3339 time (2026-11-20T09:00:00Z) or Unix milliseconds, of the years 2000 to "
      "2099";
  const std::string years = "must lie in the years 2000 to 2099 (Unix milliseconds)";
  EXPECT_EQ(message(window("yesterday", nullptr, nullptr)), "from = \"yesterday\": " + time);
  EXPECT_EQ(message(window("", nullptr, nullptr)), "from = \"\": " + time);
  EXPECT_EQ(message(window("2026-02-30T00:00:00Z", nullptr, nullptr)),
            "from = \"2026-02-30T00:00:00Z\": " + time);
  EXPECT_EQ(message(window("0001-01-01T00:00:00Z", nullptr, nullptr)),
            "from = \"0001-01-01T00:00:00Z\": " + time);
  EXPECT_EQ(message(window(nullptr, "1e12", nullptr)), "to = \"1e12\": " + time);
  EXPECT_EQ(message(window(nullptr, "99999999999999999999", nullptr)),
            "to = \"99999999999999999999\": " + time);
  // Seconds for milliseconds.
  EXPECT_EQ(message(window("1794000000", nullptr, nullptr)), "from = \"1794000000\": " + years);
  EXPECT_EQ(message(window(nullptr, "2100-01-01T00:00:00Z", nullptr)),
            "to = \"2100-01-01T00:00:00Z\": " + years);
  EXPECT_EQ(message(window("-1", nullptr, nullptr)), "from = \"-1\": " + years);
  EXPECT_EQ(message(window(nullptr, nullptr, "101")),
            "hours = \"101\": must be an integer from 1 to 100");
  EXPECT_EQ(message(window("1794000000000", nullptr, "1")),
            "hours = \"1\": give hours or from, not both");
}

TEST(Window, ThatEndsBeforeItBeginsIsRefused) {
  EXPECT_EQ(message(window("1795000000001", nullptr, nullptr)),
            "from = \"1795000000001\": must be before now");
  EXPECT_EQ(message(window("1794000000000", "1794000000000", nullptr)),
            "from = \"1794000000000\": must be before to = \"1794000000000\"");
  EXPECT_TRUE(window("1793999999999", "1794000000000", nullptr));
}

TEST(Percentiles, AreAListOrSmoke) {
  const auto take = [](const char* text) {
    const std::string value = text == nullptr ? "" : text;
    return percentiles_param("quantiles", text == nullptr ? nullptr : &value, "50,95",
                             {0.025, 0.5, 0.975});
  };
  using List = std::vector<Percentile>;
  EXPECT_EQ(*take(nullptr), (List{{"50", 0.5}, {"95", 0.95}}));
  EXPECT_EQ(*take("0,100"), (List{{"0", 0}, {"100", 1}}));
  EXPECT_EQ(take("99.9")->at(0).label, "99.9");
  EXPECT_EQ(*take("smoke"), (List{{"2.5", 0.025}, {"50", 0.5}, {"97.5", 0.975}}));
  EXPECT_TRUE(take("")->empty());
  for (const char* bad : {"101", "-1", "x", "50,", ",50", "95,50", "50,50", "50;95", "1e2", "100.1",
                          "nan", " 50", "50.", ".5", "smoke,50"}) {
    EXPECT_NE(message(take(bad)).find("must be \"smoke\" or at most 20 rising percentages"),
              std::string::npos)
        << bad;
  }
  std::string many = "0";
  for (size_t i = 1; i <= kPercentilesMax; ++i) many += "," + std::to_string(i);
  EXPECT_FALSE(take(many.c_str()));
}

TEST(Devices, AreIdsInOrderEachOnce) {
  const auto take = [](const std::string& text) { return devices_param("device", &text, 3); };
  EXPECT_EQ(*take("3,1,3"), (std::vector<DeviceId>{1, 3}));
  EXPECT_TRUE(devices_param("device", nullptr, 3)->empty());
  for (const char* bad : {"", "0", "1,", "1,x", "1 2", "-1", "1,2,3,4", "99999999999999999999"}) {
    EXPECT_NE(message(take(bad)).find("must be at most 3 device ids"), std::string::npos) << bad;
  }
}

TEST(Flags, AndChoicesAreRefusedByName) {
  const std::string yes = "yes";
  EXPECT_EQ(message(flag_param("active", &yes, false)),
            "active = \"yes\": must be 1, true, 0 or false");
  EXPECT_EQ(message(choice_param("period", &yes, 0, {"all", "day"})),
            "period = \"yes\": must be one of all, day");
  const std::string day = "day";
  EXPECT_EQ(*choice_param("period", &day, 0, {"all", "day"}), 1u);
}

// --- periods ----------------------------------------------------------------------------------

// Berlin in 2026: +1 h, +2 h from 29 March 01:00 UTC to 25 October 01:00 UTC.
UtcOffset berlin() {
  return [](int64_t unix_s) -> int64_t {
    return unix_s >= 1'774'746'000 && unix_s < 1'792'890'000 ? 7200 : 3600;
  };
}
UtcOffset east(int64_t seconds) {
  return [seconds](int64_t) { return seconds; };
}

std::vector<std::string> labels(const std::vector<int64_t>& bounds, Period period,
                                const UtcOffset& offset) {
  std::vector<std::string> out;
  for (const int64_t at : bounds) out.push_back(period_label(at, period, offset));
  return out;
}

TEST(Periods, DaysBeginAtLocalMidnightAlsoWhenClocksChange) {
  const Window w{ms("2026-03-28T00:00:00Z"), ms("2026-03-31T00:00:00Z")};
  const auto bounds = period_bounds(w, Period::kDay, berlin(), 100);
  EXPECT_EQ(bounds,
            (std::vector<int64_t>{w.from_ms, ms("2026-03-28T23:00:00Z"), ms("2026-03-29T22:00:00Z"),
                                  ms("2026-03-30T22:00:00Z"), w.to_ms}));
  EXPECT_EQ(labels(bounds, Period::kDay, berlin()),
            (std::vector<std::string>{"2026-03-28T01:00:00", "2026-03-29", "2026-03-30",
                                      "2026-03-31", "2026-03-31T02:00:00"}));
}

TEST(Periods, AnHourThatComesTwiceIsTwoHours) {
  const Window w{ms("2026-10-24T23:30:00Z"), ms("2026-10-25T02:30:00Z")};
  const auto bounds = period_bounds(w, Period::kHour, berlin(), 100);
  EXPECT_EQ(bounds,
            (std::vector<int64_t>{w.from_ms, ms("2026-10-25T00:00:00Z"), ms("2026-10-25T01:00:00Z"),
                                  ms("2026-10-25T02:00:00Z"), w.to_ms}));
  EXPECT_EQ(labels(bounds, Period::kHour, berlin()),
            (std::vector<std::string>{"2026-10-25T01:30:00", "2026-10-25T02:00", "2026-10-25T02:00",
                                      "2026-10-25T03:00", "2026-10-25T03:30:00"}));
}

TEST(Periods, ADayWhoseMidnightIsMissingBeginsAfterTheHole) {
  // Clocks go from 00:00 to 01:00 at 2026-06-10T00:00 local (UTC+0 before).
  const int64_t change_s = 1'781'049'600;
  const UtcOffset offset = [=](int64_t s) -> int64_t { return s >= change_s ? 3600 : 0; };
  const Window w{change_s * 1000 - 5 * kHourMs, change_s * 1000 + 30 * kHourMs};
  EXPECT_EQ(
      period_bounds(w, Period::kDay, offset, 100),
      (std::vector<int64_t>{w.from_ms, change_s * 1000, change_s * 1000 + 23 * kHourMs, w.to_ms}));
}

TEST(Periods, AMidnightThatComesTwiceBeginsTheDayTheFirstTime) {
  // From 01:00 back to 00:00 (UTC+1 before, UTC+0 after).
  const int64_t change_s = 1'781'049'600;
  const UtcOffset offset = [=](int64_t s) -> int64_t { return s >= change_s ? 0 : 3600; };
  const Window w{change_s * 1000 - 5 * kHourMs, change_s * 1000 + 5 * kHourMs};
  EXPECT_EQ(period_bounds(w, Period::kDay, offset, 100),
            (std::vector<int64_t>{w.from_ms, change_s * 1000 - kHourMs, w.to_ms}));
}

TEST(Periods, WeeksBeginOnMondaysAndMonthsOnTheFirst) {
  const Window w{ms("2026-10-20T00:00:00Z"), ms("2026-12-02T00:00:00Z")};
  EXPECT_EQ(labels(period_bounds(w, Period::kWeek, east(0), 100), Period::kWeek, east(0)),
            (std::vector<std::string>{"2026-10-20", "2026-10-26", "2026-11-02", "2026-11-09",
                                      "2026-11-16", "2026-11-23", "2026-11-30", "2026-12-02"}));
  EXPECT_EQ(
      labels(period_bounds(w, Period::kMonth, east(-36000), 100), Period::kMonth, east(-36000)),
      (std::vector<std::string>{"2026-10-19T14:00:00", "2026-11", "2026-12",
                                "2026-12-01T14:00:00"}));
}

TEST(Periods, StopWhenThereAreTooMany) {
  const Window w{ms("2026-01-01T00:00:00Z"), ms("2026-12-31T00:00:00Z")};
  EXPECT_EQ(period_bounds(w, Period::kAll, berlin(), 10).size(), 2u);
  EXPECT_EQ(period_bounds(w, Period::kHour, berlin(), 10).size(), 12u);
  EXPECT_EQ(
      period_bounds({w.from_ms, w.from_ms + 10 * kHourMs}, Period::kHour, berlin(), 10).size(),
      11u);
}

// --- columns ----------------------------------------------------------------------------------

std::string written(const auto& write) {
  std::string out;
  NumberArray array(out);
  write(array);
  array.end();
  return out;
}

TEST(Columns, AreJsonArrays) {
  EXPECT_EQ(written([](NumberArray&) {}), "[]");
  EXPECT_EQ(written([](NumberArray& a) {
              a.number(0);
              a.null();
              a.number(std::numeric_limits<int64_t>::min());
              a.number(std::numeric_limits<int64_t>::max());
            }),
            "[0,null,-9223372036854775808,9223372036854775807]");
}

TEST(Columns, LargeNumbersKeepTheirZerosWhateverCameBefore) {
  EXPECT_EQ(written([](NumberArray& a) {
              for (const int64_t v : {9L, 10L, 99'999'999L, 100'000'000L, 100'000'001L, 99'999'999L,
                                      1'795'191'730'000L, 1'795'191'735'000L, 1'795'200'000'000L,
                                      1'795'199'999'999L, -100'000'000L, -1'795'191'730'000L}) {
                a.number(v);
              }
            }),
            "[9,10,99999999,100000000,100000001,99999999,1795191730000,1795191735000,"
            "1795200000000,1795199999999,-100000000,-1795191730000]");
}

TEST(Columns, FixedNumbersLeaveTrailingZerosOut) {
  EXPECT_EQ(written([](NumberArray& a) {
              for (const double v : {0.0, 1.0, 1.5, -0.25, 99.995, 0.005, 100.0, 12.3456, 0.014}) {
                a.fixed(v, 2);
              }
              a.fixed(0.000'5, 4);
              a.fixed(99.9999, 4);
            }),
            "[0,1,1.5,-0.25,100,0.01,100,12.35,0.01,0.0005,99.9999]");
}

TEST(Columns, ComeOutWholeWhereverTheBufferEnds) {
  for (size_t count = 1; count < 1500; ++count) {
    const std::string text = written([&](NumberArray& a) {
      for (size_t i = 0; i < count; ++i) a.number(1'000'000);
    });
    ASSERT_EQ(text.size(), count * 8 + 1) << count;
    ASSERT_EQ(text.front(), '[');
    ASSERT_EQ(text.substr(text.size() - 9), (count == 1 ? "[" : ",") + std::string("1000000]"));
  }
}

}  // namespace
}  // namespace gema::gateway
