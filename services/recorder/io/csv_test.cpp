// The CSV files against a real directory and a real PostgreSQL.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <sstream>
#include <thread>

#include "common/runtime/file_replacement.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/io/csv_writer.h"
#include "services/recorder/io/store_fixture_for_test.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::recorder {
namespace {

namespace fs = std::filesystem;
using gema::testing::wait_until;

const UtcOffset kJakarta = [](int64_t) { return 7 * 3'600; };

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::istringstream text(text_of(path));
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    EXPECT_EQ(line.back(), '\r') << line;
    line.pop_back();
    lines.push_back(line);
  }
  return lines;
}

// --- the directory -----------------------------------------------------------------------------

void replace(const fs::path& dir, const std::string& name, const std::string& text) {
  auto file = runtime::FileReplacement::begin(dir, name);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(file->write(text));
  ASSERT_TRUE(file->commit());
}

TEST(CsvFiles, TheListHasTheNewestDayFirstAndCountsRows) {
  const gema::testing::TempDir dir;
  CsvFiles files(dir.path());
  EXPECT_TRUE(files.list()->empty());
  replace(dir.path(), "ping_results_20261119.csv", "h\r\n1\r\n\"2\r\n\"\r\n");
  replace(dir.path(), "ping_results_20261120.csv", "h\r\n");
  replace(dir.path(), "ping_results_backup.csv", "");
  replace(dir.path(), "timeout_tracking.csv", "h\r\n");
  ASSERT_EQ(::mkfifo((dir / "ping_results_20261118.csv").c_str(), 0600), 0);
  auto list = files.list();
  ASSERT_TRUE(list);
  ASSERT_EQ(list->size(), 3U);
  EXPECT_EQ((*list)[0].name, "ping_results_20261120.csv");
  EXPECT_EQ((*list)[0].rows, 0U);
  EXPECT_EQ((*list)[1].date, "2026-11-19");
  EXPECT_EQ((*list)[1].rows, 2U);
  EXPECT_EQ((*list)[1].size_bytes, 13U);
  EXPECT_GT(unix_ms((*list)[1].modified_at), 1'700'000'000'000);
  EXPECT_EQ((*list)[2].date, "");
  // Counted once, and again only when it changed.
  replace(dir.path(), "ping_results_20261119.csv", "h\r\n1\r\n");
  EXPECT_EQ((*files.list())[1].rows, 1U);
  EXPECT_TRUE(CsvFiles(dir / "nowhere").list()->empty());
}

TEST(CsvFiles, OldOnesAreRemovedAndNothingElse) {
  const gema::testing::TempDir dir;
  for (const char* name : {"ping_results_20261020.csv", "ping_results_20261021.csv",
                           "ping_results_20261120.csv", "ping_results_20201020.csv.gz",
                           "report_20201020.csv", ".ping_results_20261120.csv.77.new"}) {
    std::ofstream(dir / name) << "x";
  }
  CsvFiles files(dir.path());
  auto swept = files.sweep(*parse_day("2026-11-20"), 30);
  ASSERT_TRUE(swept);
  EXPECT_EQ(*swept, 2U);
  EXPECT_FALSE(fs::exists(dir / "ping_results_20261020.csv"));
  EXPECT_FALSE(fs::exists(dir / ".ping_results_20261120.csv.77.new"));
  EXPECT_TRUE(fs::exists(dir / "ping_results_20261021.csv"));
  EXPECT_TRUE(fs::exists(dir / "ping_results_20201020.csv.gz"));
  EXPECT_TRUE(fs::exists(dir / "report_20201020.csv"));
}

// --- with history ------------------------------------------------------------------------------

class CsvHistoryTest : public StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    for (DeviceId id = 1; id <= 3; ++id) {
      Device device{.id = id, .address = "192.0.2." + std::to_string(id)};
      device.interval_ms = 5'000;
      catalogue_.devices.push_back(device);
    }
  }

  // One result of each device, recorded.
  void record(int64_t due_ms, const std::vector<DeviceId>& devices, Verdict verdict,
              uint32_t rtt_us = 1'000) {
    Batch b = empty_batch();
    for (const DeviceId device : devices) {
      gema::testing::OneEcho check{.device = device,
                                   .interval_ms = 5'000,
                                   .due_ms = due_ms,
                                   .verdict = verdict,
                                   .rtt_us = rtt_us};
      if (verdict == Verdict::kNotMeasured) check.reason = Reason::kPaused;
      PingResults r;
      r.location = "default";
      gema::testing::append(r, check);
      add(b, "prober-1", r);
    }
    commit(b);
  }

  CsvDeskOptions desk_options(CsvPolicy policy = {}) {
    return {.dir = dir_ / "csv", .postgres = database(), .policy = policy, .local_offset = [] {
              return kJakarta;
            }};
  }
  CsvJob job(int64_t day_of_ms, bool from_history = true) {
    return {.kind = CsvJob::Kind::kWrite,
            .day = local_day(day_of_ms, kJakarta),
            .from_history = from_history,
            .catalogue = std::make_shared<const Catalogue>(catalogue_)};
  }
  fs::path file(int64_t day_of_ms) {
    return dir_ / "csv" / csv_file_name(local_day(day_of_ms, kJakarta));
  }
  // Noon in Jakarta of a day that lies wholly in the past.
  static constexpr int64_t kNoonMs = 1'763'614'800'000;  // 2025-11-20T05:00:00Z

  gema::testing::TempDir dir_;
  Catalogue catalogue_;
};

TEST_F(CsvHistoryTest, ADaysFileHasTheLastMeasuredResultOfEachDeviceOfThatDay) {
  const int64_t midnight = kNoonMs + 12 * 3'600'000;
  record(kNoonMs - 11 * 3'600'000, {3}, Verdict::kFailed);  // long before the others
  record(midnight - 10'000, {1, 2}, Verdict::kAnswered, 12'500);
  record(midnight - 5'000, {1}, Verdict::kFailed);
  record(midnight - 1'000, {2}, Verdict::kNotMeasured);
  record(midnight + 5'000, {1, 2, 3}, Verdict::kAnswered);
  CsvDesk desk(desk_options());
  const CsvDone done = desk.run(job(kNoonMs));
  ASSERT_FALSE(done.error) << done.error->message;
  EXPECT_EQ(done.rows, 3U);
  EXPECT_EQ(lines_of(file(kNoonMs)),
            (std::vector<std::string>{
                "timestamp,device_id,ip_address,hostname,ping_success,response_time_ms,"
                "error_message,merk,os,kondisi,id_lokasi",
                "2025-11-20T23:59:55,1,192.0.2.1,192.0.2.1,False,,No response (timeout),,,,",
                "2025-11-20T23:59:50,2,192.0.2.2,192.0.2.2,True,12.5,,,,,",
                "2025-11-20T01:00:00,3,192.0.2.3,192.0.2.3,False,,No response (timeout),,,,"}));
  struct stat about {};
  ASSERT_EQ(::stat(file(kNoonMs).c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0644U);
}

TEST_F(CsvHistoryTest, WhatMemoryHasIsInTheFileWhereItIsNewer) {
  record(kNoonMs, {1, 2}, Verdict::kFailed);
  CsvDesk desk(desk_options());
  CsvJob both = job(kNoonMs);
  both.rows = {{1, {kNoonMs - 5'000, Verdict::kAnswered, Reason::kNone, 1'000}},
               {2, {kNoonMs + 5'000, Verdict::kAnswered, Reason::kNone, 2'000}}};
  const CsvDone done = desk.run(both);
  ASSERT_FALSE(done.error) << done.error->message;
  EXPECT_EQ(done.loaded.size(), 2U) << "for memory: what history had";
  const auto lines = lines_of(file(kNoonMs));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_NE(lines[1].find("T12:00:00,1,192.0.2.1,192.0.2.1,False"), std::string::npos);
  EXPECT_NE(lines[2].find("T12:00:05,2,192.0.2.2,192.0.2.2,True,2.0"), std::string::npos);
}

TEST_F(CsvHistoryTest, WithARowPerResultTheNewestOrAllAreThereInTheOrderOfTime) {
  for (int i = 0; i < 20; ++i) {
    record(kNoonMs + i * 1'800'000, {1, 2},
           i % 2 == 0 ? Verdict::kAnswered : Verdict::kNotMeasured);
  }
  {
    CsvDesk desk(
        desk_options({.rows = CsvRows::kResults, .columns = CsvColumns::kShort, .max_records = 3}));
    ASSERT_EQ(desk.run(job(kNoonMs)).rows, 3U);
    const auto lines = lines_of(file(kNoonMs));
    ASSERT_EQ(lines.size(), 4U);
    EXPECT_EQ(lines[1], "2025-11-20T21:00:00,1,192.0.2.1,192.0.2.1,True,1.0,");
    EXPECT_EQ(lines[2], "2025-11-20T21:30:00,1,192.0.2.1,192.0.2.1,,,Not measured: paused");
    EXPECT_EQ(lines[3], "2025-11-20T21:30:00,2,192.0.2.2,192.0.2.2,,,Not measured: paused");
  }
  CsvDesk desk(desk_options({.rows = CsvRows::kResults, .max_records = 0}));
  ASSERT_EQ(desk.run(job(kNoonMs)).rows, 40U);
  const auto lines = lines_of(file(kNoonMs));
  ASSERT_EQ(lines.size(), 41U);
  EXPECT_EQ(lines[1].substr(0, 21), "2025-11-20T12:00:00,1");
  EXPECT_EQ(lines[40].substr(0, 21), "2025-11-20T21:30:00,2");
}

TEST_F(CsvHistoryTest, AFileOfAPastDayIsNeverReplacedByNothing) {
  replace(dir_.path(), "x", "");
  ASSERT_TRUE(fs::create_directory(dir_ / "csv"));
  for (const CsvPolicy policy : {CsvPolicy{}, CsvPolicy{.rows = CsvRows::kResults}}) {
    std::ofstream(file(kNoonMs)) << "old";
    CsvDesk desk(desk_options(policy));
    CsvJob empty = job(kNoonMs);
    ASSERT_FALSE(desk.run(empty).error);
    EXPECT_EQ(text_of(file(kNoonMs)), "old");
    fs::remove(file(kNoonMs));
    empty.even_if_empty = false;
    ASSERT_FALSE(desk.run(empty).error);
    EXPECT_FALSE(fs::exists(file(kNoonMs)));
    empty.even_if_empty = true;
    ASSERT_FALSE(desk.run(empty).error);
    EXPECT_EQ(lines_of(file(kNoonMs)).size(), 1U);
  }
}

TEST_F(CsvHistoryTest, WithoutPostgresTheFileStaysAndHistorysErrorIsTold) {
  record(kNoonMs, {1}, Verdict::kAnswered);
  CsvDesk desk(desk_options());
  ASSERT_FALSE(desk.run(job(kNoonMs)).error);
  server().kill9();
  CsvDone done = desk.run(job(kNoonMs));
  ASSERT_TRUE(done.error);
  EXPECT_NE(done.error->code, Errc::kPermanent);
  EXPECT_EQ(lines_of(file(kNoonMs)).size(), 2U);
  restart_server();
  done = desk.run(job(kNoonMs));
  EXPECT_FALSE(done.error) << done.error->message;
}

// --- the writer --------------------------------------------------------------------------------

class CsvWriterTest : public CsvHistoryTest {
 protected:
  void start(CsvPolicy policy = {}) {
    CsvWriterOptions o{.desk = desk_options(policy)};
    o.run = run_;
    writer_ = std::make_unique<CsvWriter>(std::move(o), now_);
  }
  void turn() {
    now_.mono += 100ms;
    now_.wall += 100ms;
    writer_->turn(now_);
  }
  bool until(const std::function<bool()>& condition) {
    return wait_until(
        [&] {
          turn();
          return condition();
        },
        std::chrono::seconds(20));
  }
  void know_devices() { writer_->on_catalogue(std::make_shared<const Catalogue>(catalogue_)); }
  CsvRebuilt rebuild(const std::string& day = "") {
    std::optional<CsvRebuilt> answer;
    writer_->rebuild(
        day, [&](CsvRebuilt rebuilt) { answer = std::move(rebuilt); }, now_);
    EXPECT_TRUE(until([&] { return answer.has_value(); }));
    return answer.value_or(CsvRebuilt{});
  }

  Now now_{MonoTime{} + 1'000s, wall_from_ms(kNoonMs)};
  std::function<CsvDone(CsvJob)> run_;
  std::unique_ptr<CsvWriter> writer_;
};

TEST_F(CsvWriterTest, AfterARestartTheFileIsRightAgainWhateverItWas) {
  record(kNoonMs - 60'000, {1, 2}, Verdict::kAnswered);
  ASSERT_TRUE(fs::create_directory(dir_ / "csv"));
  std::ofstream(file(kNoonMs)) << "spoiled by hand";
  start();
  know_devices();
  EXPECT_TRUE(until([&] { return text_of(file(kNoonMs)).size() > 100; }));
  EXPECT_EQ(lines_of(file(kNoonMs)).size(), 3U);
  EXPECT_EQ(writer_->problem(now_), "");
}

TEST_F(CsvWriterTest, ARebuildAnswersWhatBecameOfIt) {
  start();
  EXPECT_EQ(rebuild().outcome, CsvRebuildOutcome::kNotReady) << "no catalogue";
  const Catalogue devices = std::exchange(catalogue_, {});
  know_devices();
  EXPECT_EQ(rebuild().outcome, CsvRebuildOutcome::kNoDevices);
  catalogue_ = devices;
  know_devices();
  record(kNoonMs - 60'000, {1, 2}, Verdict::kAnswered);
  EXPECT_EQ(rebuild(), (CsvRebuilt{CsvRebuildOutcome::kDone, 3, ""}));
  EXPECT_EQ(lines_of(file(kNoonMs)).size(), 3U);
  fs::remove(file(kNoonMs));
  EXPECT_EQ(rebuild("2025-11-20").outcome, CsvRebuildOutcome::kDone);
  EXPECT_TRUE(fs::exists(file(kNoonMs)));
  for (const char* day : {"2025-11-21", "2025-10-20", "today"}) {
    EXPECT_EQ(rebuild(day).outcome, CsvRebuildOutcome::kBadDay) << day;
  }
  fs::remove_all(dir_ / "csv");
  std::ofstream(dir_ / "csv") << "in the way";
  const CsvRebuilt failed = rebuild();
  EXPECT_EQ(failed.outcome, CsvRebuildOutcome::kFailed);
  EXPECT_NE(failed.error.find("Not a directory"), std::string::npos);
  EXPECT_EQ(writer_->problem(now_), failed.error);
  fs::remove(dir_ / "csv");
  EXPECT_EQ(rebuild().outcome, CsvRebuildOutcome::kDone);
  EXPECT_EQ(writer_->problem(now_), "");
  server().kill9();
  EXPECT_EQ(rebuild().outcome, CsvRebuildOutcome::kNotReady);
  restart_server();
}

TEST_F(CsvWriterTest, OneThatSwitchedTheFilesOffGetsNone) {
  start({.rows = CsvRows::kOff});
  know_devices();
  EXPECT_EQ(rebuild().outcome, CsvRebuildOutcome::kNotReady);
  EXPECT_FALSE(fs::exists(dir_ / "csv"));
}

TEST_F(CsvWriterTest, ADirectoryThatNeverAnswersHoldsNothingUpAndIsSaid) {
  struct Gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
    std::atomic<int> waiting = 0;
  };
  const auto gate = std::make_shared<Gate>();
  run_ = [gate](const CsvJob&) {
    std::unique_lock lock(gate->mutex);
    ++gate->waiting;
    gate->changed.wait(lock, [&] { return gate->open; });
    return CsvDone{};
  };
  start();
  know_devices();
  ASSERT_TRUE(until([&] { return gate->waiting == 1; }));
  EXPECT_EQ(writer_->problem(now_), "");
  now_.mono += 200s;
  EXPECT_NE(writer_->problem(now_), "");
  int listed = 0;
  for (size_t i = 0; i < kCsvCallsMax; ++i) writer_->list([&](const auto&) { ++listed; });
  std::optional<Errc> refused;
  writer_->list([&](const auto& files) { refused = files.error().code; });
  EXPECT_EQ(refused, Errc::kUnavailable);
  EXPECT_EQ(listed, 0);
  std::optional<CsvRebuilt> first;
  writer_->rebuild(
      "", [&](CsvRebuilt rebuilt) { first = std::move(rebuilt); }, now_);
  std::optional<CsvRebuilt> second;
  writer_->rebuild(
      "", [&](CsvRebuilt rebuilt) { second = std::move(rebuilt); }, now_);
  EXPECT_EQ(second->outcome, CsvRebuildOutcome::kBusy);
  EXPECT_TRUE(until([&] { return first.has_value(); }));
  EXPECT_EQ(first->outcome, CsvRebuildOutcome::kStarted);
  writer_.reset();  // returns, although the directory still has not answered
  EXPECT_EQ(gate->waiting, 1);
  const std::lock_guard lock(gate->mutex);
  gate->open = true;
  gate->changed.notify_all();
}

}  // namespace
}  // namespace gema::recorder
