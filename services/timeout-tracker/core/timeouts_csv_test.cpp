#include "services/timeout-tracker/core/timeouts_csv.h"

#include <gtest/gtest.h>

#include "services/timeout-tracker/core/limits.h"
#include "services/timeout-tracker/core/results_for_test.h"
#include "services/timeout-tracker/core/tracker.h"

namespace gema::timeout_tracker {
namespace {

const UtcOffset kJakarta = [](int64_t) { return 7 * 3'600; };
constexpr int64_t kAtMs = 1'758'246'347'075;  // 2025-09-19T01:45:47.075Z

std::string line(const Device& device, const TimeoutSample& sample) {
  std::string out;
  append_timeout_row(out, device, sample, kJakarta);
  return out;
}

std::shared_ptr<const Catalogue> catalogue(std::vector<DeviceId> ids) {
  Catalogue out;
  for (const DeviceId id : ids) out.devices.push_back({.id = id});
  return std::make_shared<const Catalogue>(std::move(out));
}

TimeoutRows rows(std::vector<std::pair<DeviceId, uint32_t>> counts) {
  TimeoutRows out;
  for (const auto& [device, count] : counts) out.push_back({device, {count, kAtMs, kAtMs}});
  return out;
}

std::vector<DeviceId> ids(const TimeoutRows& of) {
  std::vector<DeviceId> out;
  for (const TimeoutRow& row : of) out.push_back(row.device);
  return out;
}

// --- text
// -----------------------------------------------------------------------------------------

TEST(TimeoutsCsv, AlineSaysWhatTheSourceSystemsDoes) {
  std::string header;
  append_timeout_header(header);
  EXPECT_EQ(header,
            "ip_address,hostname,device_id,merk,os,kondisi,consecutive_timeouts,first_timeout,"
            "last_timeout,last_updated\r\n");
  Device device{.id = 1, .address = "10.2.30.184", .hostname = "POCC"};
  device.merk = "Vivotek FD8377-HV";
  device.kondisi = "baik";
  EXPECT_EQ(line(device, {25, kAtMs, kAtMs + 60'925}),
            "10.2.30.184,POCC,1,Vivotek FD8377-HV,,baik,25,2025-09-19T08:45:47.075000,"
            "2025-09-19T08:46:48,2025-09-19T08:46:48\r\n");
}

TEST(TimeoutsCsv, ADeviceWithoutANameIsCalledByItsAddress) {
  EXPECT_EQ(line({.id = 9, .address = "2001:db8::7"}, {1, 0, 0}),
            "2001:db8::7,2001:db8::7,9,,,,1,1970-01-01T07:00:00,1970-01-01T07:00:00,"
            "1970-01-01T07:00:00\r\n");
}

TEST(TimeoutsCsv, HostileCellsAreTextAndStayOneCell) {
  Device device{.id = 3, .address = "10.0.0.3", .hostname = "=HYPERLINK(\"http://x\",\"y\")"};
  device.merk = "+1\r\n10.0.0.4,fake";
  device.os = "@x";
  device.kondisi = "-1";
  EXPECT_EQ(line(device, {1, 0, 0}),
            "10.0.0.3,\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",3,\"'+1\r\n10.0.0.4,fake\",'@x,"
            "'-1,1,1970-01-01T07:00:00,1970-01-01T07:00:00,1970-01-01T07:00:00\r\n");
}

// --- which rows
// -----------------------------------------------------------------------------------

TEST(TimeoutsCsv, TheHighestCountStandsFirstThenTheLowestId) {
  EXPECT_EQ(ids(choose_rows(rows({{1, 2}, {2, 9}, {3, 2}, {4, 30}}), *catalogue({1, 2, 3, 4}))),
            (std::vector<DeviceId>{4, 2, 1, 3}));
}

TEST(TimeoutsCsv, DevicesThatAreGoneOrLostOrAnswerAreNotInIt) {
  Catalogue devices = *catalogue({1, 2, 4});
  devices.devices[1].kondisi = "hilang";
  EXPECT_EQ(ids(choose_rows(rows({{1, 2}, {2, 9}, {3, 2}, {4, 0}}), devices)),
            (std::vector<DeviceId>{1}));
}

TEST(TimeoutsCsv, OnlyAnAnswerOrAPersonTakesADeviceOut) {
  Tracker tracker{Policy{}};
  tracker.set_catalogue(std::vector<DeviceId>{7});
  const Now now{.mono = MonoTime(1h), .wall = wall_from_ms(test::kStartMs) + 24h};
  std::vector<Transition> transitions;
  int64_t k = 0;
  const auto after = [&](char letter) {
    PingResults results;
    test::add(results, 7, test::slot_of(7, ++k), test::verdict_of(letter));
    tracker.on_record({.producer = "prober-1",
                       .epoch = 1,
                       .partition = partition_of(7),
                       .seq = static_cast<uint64_t>(k)},
                      results, now, transitions);
    return tracker.timeouts();
  };
  const auto slot = [](int64_t which) { return test::slot_of(7, which); };
  EXPECT_EQ(after('a'), TimeoutRows{});
  EXPECT_EQ(after('f'), (TimeoutRows{{7, {1, slot(2), slot(2)}}}));
  EXPECT_EQ(after('f'), (TimeoutRows{{7, {2, slot(2), slot(3)}}}));
  EXPECT_EQ(after('-'), (TimeoutRows{{7, {2, slot(2), slot(3)}}}));
  EXPECT_EQ(after('f'), (TimeoutRows{{7, {3, slot(2), slot(5)}}}));
  EXPECT_EQ(after('a'), TimeoutRows{});
  EXPECT_EQ(after('f'), (TimeoutRows{{7, {1, slot(7), slot(7)}}}));
  tracker.reset_timeouts({}, now, transitions);
  EXPECT_EQ(tracker.timeouts(), TimeoutRows{});
  EXPECT_EQ(after('f'), (TimeoutRows{{7, {1, slot(8), slot(8)}}}));
  tracker.set_catalogue({});
  EXPECT_EQ(tracker.timeouts(), TimeoutRows{});
}

// --- when
// -----------------------------------------------------------------------------------------

class TimeoutsBookTest : public ::testing::Test {
 protected:
  static Now at(Duration time) { return {MonoTime(1h + time), WallTime{} + time}; }
  static Now later(MonoTime time) { return {time, WallTime{}}; }
  // True when a job came and was done.
  bool write(const TimeoutRows& what, Now now, const TimeoutsDone& done = {}) {
    if (!book.due(now)) return false;
    auto job = book.next(what, known, now);
    if (!job) return false;
    EXPECT_EQ(*job->rows, what);
    EXPECT_FALSE(book.due(now)) << "one job at a time";
    TimeoutsDone told = done;
    told.rows = what.size();
    book.on_done(told, now);
    return true;
  }

  TimeoutsBook book{5s, at(0s)};
  std::shared_ptr<const Catalogue> known = catalogue({1, 2});
};

TEST_F(TimeoutsBookTest, WaitsUntilTheCountsAreKnownAndForWhatCameMeanwhile) {
  EXPECT_FALSE(book.due(at(5s - 1ns)));
  book.wait_for_counts(at(20s));
  EXPECT_FALSE(book.due(at(25s - 1ns)));
  EXPECT_TRUE(book.due(at(25s)));
  EXPECT_EQ(book.next_look(), at(25s).mono);
}

TEST_F(TimeoutsBookTest, AFileOfNobodyIsWrittenToo) {
  EXPECT_TRUE(write({}, at(5s)));
  EXPECT_EQ(book.counts().writes, 1U);
  EXPECT_EQ(book.counts().rows, 0U);
}

TEST_F(TimeoutsBookTest, IsWrittenAgainWhenItWouldSaySomethingElseAndAtLeastEachMinute) {
  EXPECT_TRUE(write(rows({{1, 1}}), at(5s)));
  EXPECT_FALSE(write(rows({{1, 2}}), at(10s - 1ns))) << "at most every five seconds";
  EXPECT_FALSE(write(rows({{1, 1}}), at(10s))) << "it says just that";
  EXPECT_FALSE(book.due(at(15s - 1ns)));
  EXPECT_TRUE(write(rows({{1, 2}}), at(15s)));
  known = catalogue({1, 2});  // somebody was renamed
  EXPECT_TRUE(write(rows({{1, 2}}), at(20s)));
  EXPECT_FALSE(write(rows({{1, 2}}), at(80s - 1ns)));
  EXPECT_TRUE(write(rows({{1, 2}}), at(85s)));
}

TEST_F(TimeoutsBookTest, AFileThatTakesLongIsMadeMoreRarely) {
  EXPECT_TRUE(write(rows({{1, 1}}), at(5s), {.took = 1s}));
  EXPECT_EQ(book.next_look(), at(5s).mono + 1s * kCsvIdleShare);
}

TEST_F(TimeoutsBookTest, AFailureIsSaidAndTriedAgainAlthoughNothingChanged) {
  EXPECT_TRUE(write(rows({{1, 1}, {2, 1}}), at(5s)));
  EXPECT_TRUE(write(rows({{1, 2}, {2, 1}}), at(10s), {.problem = "disk full"}));
  EXPECT_EQ(book.failing(), "disk full");
  EXPECT_EQ(book.counts().failures, 1U);
  EXPECT_EQ(book.counts().rows, 2U);
  EXPECT_FALSE(book.due(at(20s - 1ns)));
  EXPECT_TRUE(write(rows({{1, 2}, {2, 1}}), at(20s))) << "what the file says is not known";
  EXPECT_EQ(book.failing(), "");
  EXPECT_EQ(book.counts().writes, 2U);
}

}  // namespace
}  // namespace gema::timeout_tracker
