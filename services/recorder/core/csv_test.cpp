// What stands in the CSV files and when which is written, as values. Files and history: io/.
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/domain/csv_text.h"
#include "services/recorder/core/csv_book.h"
#include "services/recorder/core/csv_file.h"
#include "services/recorder/core/limits.h"
#include "tests/support/ping_results.h"

namespace gema::recorder {
namespace {

constexpr int64_t kHour = 3'600;
constexpr int64_t kDayMs = 86'400'000;

// A zone that is `before` hours east until `change` (Unix seconds) and `after` hours from then on.
UtcOffset zone(int64_t before, int64_t change = 0, int64_t after = 0) {
  return [=](int64_t unix_s) { return (change != 0 && unix_s >= change ? after : before) * kHour; };
}
const UtcOffset kUtc = zone(0);
const UtcOffset kJakarta = zone(7);

int64_t utc_ms(const char* day, int64_t hour, int64_t minute = 0) {
  return *parse_day(day) * kDayMs + hour * 3'600'000 + minute * 60'000;
}

std::string cell(std::string_view text) {
  std::string out;
  append_csv_cell(out, text);
  return out;
}

TEST(CsvCell, IsQuotedAsRfc4180Says) {
  EXPECT_EQ(cell(""), "");
  EXPECT_EQ(cell("Vivotek FD8377-HV"), "Vivotek FD8377-HV");
  EXPECT_EQ(cell("a,b"), "\"a,b\"");
  EXPECT_EQ(cell("a\"b"), "\"a\"\"b\"");
  EXPECT_EQ(cell("a\r\nb"), "\"a\r\nb\"");
}

TEST(CsvCell, IsNoFormulaToASpreadsheet) {
  EXPECT_EQ(cell("=1+1"), "'=1+1");
  EXPECT_EQ(cell("+1"), "'+1");
  EXPECT_EQ(cell("-1"), "'-1");
  EXPECT_EQ(cell("@SUM(A1)"), "'@SUM(A1)");
  EXPECT_EQ(cell("\t=1"), "'\t=1");
  EXPECT_EQ(cell("\r=1"), "\"'\r=1\"");
  EXPECT_EQ(cell("=HYPERLINK(\"http://x\",\"y\")"), "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"");
  EXPECT_EQ(cell("a=1"), "a=1");
}

TEST(CsvRow, HasElevenColumnsOrTheSevenOfTheReadme) {
  Device device{.id = 7, .address = "10.0.0.7", .hostname = "POCC, north"};
  device.merk = "=cmd()";
  device.kondisi = "baik";
  const PingSample sample{1'758'246'347'075, Verdict::kAnswered, Reason::kNone, 12'500};
  std::string all;
  append_header(all, CsvColumns::kAll);
  append_row(all, device, sample, kJakarta, CsvColumns::kAll);
  EXPECT_EQ(all,
            "timestamp,device_id,ip_address,hostname,ping_success,response_time_ms,error_message,"
            "merk,os,kondisi,id_lokasi\r\n"
            "2025-09-19T08:45:47.075000,7,10.0.0.7,\"POCC, north\",True,12.5,,'=cmd(),,baik,\r\n");
  std::string seven;
  append_header(seven, CsvColumns::kShort);
  append_row(seven, device, sample, kJakarta, CsvColumns::kShort);
  EXPECT_EQ(seven,
            "timestamp,device_id,ip_address,hostname,ping_success,response_time_ms,error_message"
            "\r\n2025-09-19T08:45:47.075000,7,10.0.0.7,\"POCC, north\",True,12.5,\r\n");
}

TEST(CsvDay, BeginsAtLocalMidnight) {
  const LocalDay day = *parse_day("2026-11-20");
  EXPECT_EQ(local_day(utc_ms("2026-11-20", 16, 59), kJakarta), day);
  EXPECT_EQ(local_day(utc_ms("2026-11-20", 17), kJakarta), day + 1);
  const DaySpan span = span_of(day, kJakarta);
  EXPECT_EQ(span.from_ms, utc_ms("2026-11-19", 17));
  EXPECT_EQ(span.to_ms, utc_ms("2026-11-20", 17));
  EXPECT_TRUE(span.whole);
  EXPECT_EQ(local_day(-1, kUtc), -1);
}

TEST(CsvDay, IsLongerOrShorterWhenTheClockIsChanged) {
  // Berlin 2026: 29 March and 25 October, at 01:00 UTC.
  const int64_t spring = utc_ms("2026-03-29", 1) / 1'000;
  const DaySpan shorter = span_of(*parse_day("2026-03-29"), zone(1, spring, 2));
  EXPECT_EQ(shorter.to_ms - shorter.from_ms, 23 * 3'600'000);
  const int64_t autumn = utc_ms("2026-10-25", 1) / 1'000;
  const DaySpan longer = span_of(*parse_day("2026-10-25"), zone(2, autumn, 1));
  EXPECT_EQ(longer.to_ms - longer.from_ms, 25 * 3'600'000);
  EXPECT_TRUE(longer.whole);
}

TEST(CsvDay, MayBeginLateOrHaveAHoleWhereTheChangeIsAtMidnight) {
  // Beirut: from 00:00 to 01:00 on 29 March; the day begins at 01:00 local.
  const int64_t spring = utc_ms("2026-03-28", 22) / 1'000;
  const DaySpan late = span_of(*parse_day("2026-03-29"), zone(2, spring, 3));
  EXPECT_EQ(late.from_ms, utc_ms("2026-03-28", 22));
  EXPECT_EQ(late.to_ms - late.from_ms, 23 * 3'600'000);
  // Set back by an hour a quarter after midnight: the 25th begins, is the 24th again, begins again.
  const int64_t autumn = utc_ms("2026-10-24", 21, 15) / 1'000;
  const UtcOffset back = zone(3, autumn, 2);
  const DaySpan torn = span_of(*parse_day("2026-10-25"), back);
  EXPECT_FALSE(torn.whole);
  EXPECT_EQ(local_day(utc_ms("2026-10-24", 21, 10), back), *parse_day("2026-10-25"));
  EXPECT_EQ(local_day(utc_ms("2026-10-24", 21, 20), back), *parse_day("2026-10-24"));
  EXPECT_EQ(local_day(utc_ms("2026-10-24", 22), back), *parse_day("2026-10-25"));
}

TEST(CsvDay, EveryInstantLiesInTheSpanOfItsDay) {
  const int64_t change = utc_ms("2026-03-29", 1) / 1'000;
  const UtcOffset berlin = zone(1, change, 2);
  Random random(7);
  for (int i = 0; i < 2'000; ++i) {
    const auto at = utc_ms("2026-03-27", 0) + static_cast<int64_t>(random.below(4 * kDayMs));
    EXPECT_TRUE(span_of(local_day(at, berlin), berlin).holds(at)) << at;
  }
}

TEST(CsvDay, NamesItsFileAndIsReadBackFromIt) {
  const LocalDay day = *parse_day("2026-02-28");
  EXPECT_EQ(csv_file_name(day), "ping_results_20260228.csv");
  EXPECT_EQ(csv_file_name(day + 1), "ping_results_20260301.csv");
  EXPECT_EQ(day_of_file_name("ping_results_20260228.csv"), day);
  EXPECT_EQ(format_day(day), "2026-02-28");
  for (const char* name : {"ping_results_20260229.csv", "ping_results_2026022.csv", "ping_results_",
                           "ping_results_2026-2-8.csv", "ping_results_20260228.csv.gz",
                           "Ping_results_20260228.csv", ""}) {
    EXPECT_EQ(day_of_file_name(name), std::nullopt) << name;
  }
  for (const char* text : {"", "2026-02-29", "2026-2-28", "20260228", "2026-13-01", "x026-02-28"}) {
    EXPECT_EQ(parse_day(text), std::nullopt) << text;
  }
}

TEST(CsvDay, IsKeptThirtyDaysAndNotOneMore) {
  EXPECT_FALSE(past_keeping(100, 130, 30));
  EXPECT_TRUE(past_keeping(99, 130, 30));
  EXPECT_FALSE(past_keeping(131, 130, 30)) << "a clock that went back deletes nothing";
}

Catalogue catalogue(std::vector<DeviceId> ids) {
  Catalogue out;
  for (const DeviceId id : ids) {
    out.devices.push_back({.id = id, .address = "10.0.0." + std::to_string(id)});
  }
  return out;
}

CsvResult row(DeviceId device, int64_t due_ms) {
  return {device, {due_ms, Verdict::kAnswered, Reason::kNone, 1'000}};
}

TEST(CsvRows, AreThoseOfCheckedDevicesNewestFirstChosenThenInOrder) {
  Catalogue devices = catalogue({1, 2, 3, 4});
  devices.devices[3].kondisi = "hilang";
  const std::vector<CsvResult> rows = {row(3, 30), row(4, 90), row(1, 20), row(9, 99), row(2, 40)};
  EXPECT_EQ(choose_rows(rows, devices, 0, CsvRows::kDevices),
            (std::vector{row(1, 20), row(2, 40), row(3, 30)}));
  EXPECT_EQ(choose_rows(rows, devices, 2, CsvRows::kDevices),
            (std::vector{row(2, 40), row(3, 30)}));
  EXPECT_EQ(choose_rows(rows, devices, 2, CsvRows::kResults),
            (std::vector{row(3, 30), row(2, 40)}));
  EXPECT_EQ(choose_rows({row(1, 20), row(1, 10), row(2, 20)}, devices, 0, CsvRows::kResults),
            (std::vector{row(1, 10), row(1, 20), row(2, 20)}));
}

TEST(CsvLines, AreCountedInPiecesAndNotWithinQuotes) {
  const std::string text = "h\r\n\"a\r\n\"\"b\",1\r\nc\r\nlast without an end";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    CsvLineCounter counter;
    counter.take(text.substr(0, cut));
    counter.take(text.substr(cut));
    EXPECT_EQ(counter.rows(), 3U) << cut;
  }
  EXPECT_EQ(CsvLineCounter().rows(), 0U);
}

// --- when --------------------------------------------------------------------------------------

struct CsvBookTest : ::testing::Test {
  CsvBook book(CsvPolicy policy = {}, const UtcOffset& offset = kUtc) {
    return CsvBook(policy, offset, now);
  }
  // A book whose housekeeping and looks at history are done.
  CsvBook settled(CsvPolicy policy = {}) {
    CsvBook out = book(policy);
    out.on_catalogue(devices);
    for (int jobs = 0; jobs < 3; pass(policy.write_every)) {  // sweep, today, yesterday
      if (auto job = out.next(now)) {
        finish(out, *job);
        ++jobs;
      }
    }
    return out;
  }
  void finish(CsvBook& which, const CsvJob& job, Duration took = 0s) {
    which.on_done(job, {.rows = 0, .took = took}, now);
  }
  void pass(Duration time) {
    now.mono += time;
    now.wall += time;
  }
  PingResults results(const std::vector<CsvResult>& rows) {
    PingResults out;
    for (const CsvResult& r : rows) {
      testing::append(out, {.device = r.device,
                            .due_ms = r.sample.due_ms,
                            .verdict = r.sample.verdict,
                            .rtt_us = r.sample.rtt_us,
                            .reason = r.sample.reason});
    }
    return out;
  }

  using Kind = CsvJob::Kind;
  const LocalDay today = *parse_day("2026-11-20");
  const int64_t noon = utc_ms("2026-11-20", 12);
  Now now{MonoTime{} + 1'000s, wall_from_ms(noon)};
  std::shared_ptr<const Catalogue> devices =
      std::make_shared<const Catalogue>(catalogue({1, 2, 3}));
};

TEST_F(CsvBookTest, SweepsAtOnceAndWritesOnlyWithACatalogueTheFirstTimeFromHistory) {
  CsvBook b = book();
  auto sweep = b.next(now);
  ASSERT_TRUE(sweep);
  EXPECT_EQ(sweep->kind, Kind::kSweep);
  EXPECT_EQ(b.next(now), std::nullopt) << "one at a time";
  finish(b, *sweep);
  b.on_results(results({row(1, noon)}), now);
  EXPECT_FALSE(b.next(now));
  b.on_catalogue(devices);
  auto first = b.next(now);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->day, today);
  EXPECT_TRUE(first->from_history);
  EXPECT_EQ(first->rows, std::vector{row(1, noon)});
  finish(b, *first);
  pass(5s);
  auto yesterday = b.next(now);
  ASSERT_TRUE(yesterday) << "it may not have been finished when we stopped";
  EXPECT_EQ(yesterday->day, today - 1);
  EXPECT_FALSE(yesterday->even_if_empty);
}

TEST_F(CsvBookTest, KeepsTheNewestMeasuredResultOfEachDevice) {
  CsvBook b = settled();
  CsvResult failed = row(2, noon + 1'000);
  failed.sample = {noon + 1'000, Verdict::kFailed, Reason::kTimeout, 0};
  CsvResult unmeasured = row(1, noon + 2'000);
  unmeasured.sample.verdict = Verdict::kNotMeasured;
  b.on_results(results({row(1, noon), row(1, noon - 1'000), row(2, noon), failed, unmeasured}),
               now);
  const auto job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_FALSE(job->from_history);
  EXPECT_EQ(job->rows, (std::vector{row(1, noon), failed}));
}

TEST_F(CsvBookTest, WritesWhenSomethingChangedAndNotMoreThanAFiftiethOfTheTime) {
  CsvBook b = settled();
  EXPECT_FALSE(b.next(now)) << "nothing changed";
  b.on_results(results({row(1, noon)}), now);
  auto job = b.next(now);
  ASSERT_TRUE(job);
  finish(b, *job, 1s);
  b.on_results(results({row(1, noon + 1'000)}), now);
  pass(49s);
  EXPECT_FALSE(b.next(now));
  EXPECT_EQ(b.next_wakeup(now), now.mono + 1s);
  pass(1s);
  EXPECT_TRUE(b.next(now));
}

TEST_F(CsvBookTest, AtMidnightTheNewDayBeginsEmptyAndTheOldOneIsFinishedFromHistory) {
  now.wall = wall_from_ms(utc_ms("2026-11-20", 23, 59));
  CsvBook b = settled();
  b.on_results(results({row(1, utc_ms("2026-11-20", 23, 59))}), now);
  pass(60s);
  const int64_t midnight = utc_ms("2026-11-21", 0);
  auto job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->kind, Kind::kSweep);
  finish(b, *job);
  b.on_results(results({row(2, midnight)}), now);
  job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->day, today + 1);
  EXPECT_EQ(job->rows, std::vector{row(2, midnight)}) << "device 1 is not in the new day's file";
  EXPECT_TRUE(job->from_history);
  finish(b, *job);
  pass(kCsvSettle);
  job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->day, today);
  EXPECT_TRUE(job->from_history);
}

TEST_F(CsvBookTest, ResultsThatComeLateMakeTheirDaysFileAnewOnceAndOnlyIfItIsKept) {
  CsvBook b = settled();
  b.on_results(
      results({row(1, noon - 3 * kDayMs), row(2, noon - 3 * kDayMs), row(1, noon - 31 * kDayMs)}),
      now);
  EXPECT_EQ(b.counts().late, 3U);
  EXPECT_FALSE(b.next(now)) << "others may follow";
  pass(kCsvSettle);
  const auto job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->day, today - 3);
  finish(b, *job);
  pass(kCsvSettle);
  EXPECT_FALSE(b.next(now));
}

TEST_F(CsvBookTest, AFailureIsToldAndTriedAgainAndWhatCameMeanwhileIsInTheNextTry) {
  CsvBook b = settled();
  b.on_results(results({row(1, noon)}), now);
  auto job = b.next(now);
  ASSERT_TRUE(job);
  b.on_results(results({row(2, noon)}), now);
  b.on_done(*job, {.error = Error{Errc::kPermanent, "No space left on device"}}, now);
  EXPECT_EQ(b.failing(), "No space left on device");
  EXPECT_FALSE(b.next(now));
  pass(kCsvRetryAfter);
  job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->rows, (std::vector{row(1, noon), row(2, noon)}));
  finish(b, *job);
  EXPECT_EQ(b.failing(), "");
  EXPECT_EQ(b.counts().failures, 1U);
}

TEST_F(CsvBookTest, WhatHistoryHadIsKeptAndDoesNotReplaceWhatIsNewer) {
  CsvBook b = book();
  b.on_catalogue(devices);
  finish(b, *b.next(now));  // the sweep
  b.on_results(results({row(1, noon)}), now);
  auto job = b.next(now);
  ASSERT_TRUE(job);
  b.on_done(*job, {.rows = 2, .loaded = {row(1, noon - 5'000), row(3, noon - 9'000)}}, now);
  pass(5s);
  finish(b, *b.next(now));  // yesterday
  pass(5s);
  b.on_results(results({row(2, noon)}), now);
  job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->rows, (std::vector{row(1, noon), row(3, noon - 9'000), row(2, noon)}));
}

TEST_F(CsvBookTest, ARebuildComesBeforeAnythingElseAndOnlyOneAtATime) {
  CsvBook b = settled();
  b.on_results(results({row(1, noon)}), now);
  EXPECT_TRUE(b.may_rebuild(today - 30));
  EXPECT_FALSE(b.may_rebuild(today - 31));
  EXPECT_FALSE(b.may_rebuild(today + 1));
  EXPECT_TRUE(b.request_rebuild(today - 2));
  EXPECT_FALSE(b.request_rebuild(today));
  const auto job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->kind, Kind::kRebuild);
  EXPECT_EQ(job->day, today - 2);
  EXPECT_TRUE(job->even_if_empty);
  EXPECT_FALSE(b.request_rebuild(today)) << "it runs";
  finish(b, *job);
  EXPECT_TRUE(b.request_rebuild(today));
}

TEST_F(CsvBookTest, WithARowPerResultAlwaysReadsHistoryAndKeepsNothing) {
  CsvBook b = settled({.rows = CsvRows::kResults, .max_records = 1'000});
  EXPECT_FALSE(b.next(now));
  b.on_results(results({row(1, noon)}), now);
  const auto job = b.next(now);
  ASSERT_TRUE(job);
  EXPECT_TRUE(job->from_history);
  EXPECT_EQ(b.devices(), 0U);
}

TEST_F(CsvBookTest, SwitchedOffItDoesNothing) {
  CsvBook b = book({.rows = CsvRows::kOff});
  b.on_catalogue(devices);
  b.on_results(results({row(1, noon)}), now);
  EXPECT_FALSE(b.next(now));
  EXPECT_EQ(b.devices(), 0U);
}

TEST_F(CsvBookTest, DevicesThatAreGoneAreForgottenWhenThereAreMany) {
  CsvBook b = settled();
  std::vector<CsvResult> many;
  for (DeviceId id = 1; id <= 2'000; ++id) many.push_back(row(id, noon));
  b.on_results(results(many), now);
  EXPECT_EQ(b.devices(), 2'000U);
  b.on_catalogue(devices);
  EXPECT_EQ(b.devices(), 3U);
  b.on_results(results({row(3, noon + 1)}), now);
  EXPECT_EQ(b.next(now)->rows[2], row(3, noon + 1));
}

}  // namespace
}  // namespace gema::recorder
