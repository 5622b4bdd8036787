// timeout_tracking.csv in a real directory.
#include "services/timeout-tracker/io/timeouts_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <mutex>
#include <sstream>

#include "common/runtime/clock.h"
#include "services/timeout-tracker/core/results_for_test.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::timeout_tracker {
namespace {

namespace fs = std::filesystem;

const UtcOffset kJakarta = [](int64_t) { return 7 * 3'600; };
constexpr const char* kHeader =
    "ip_address,hostname,device_id,merk,os,kondisi,consecutive_timeouts,first_timeout,"
    "last_timeout,last_updated\r\n";

class TimeoutsWriterTest : public ::testing::Test {
 protected:
  TimeoutsWriterTest() {
    Catalogue devices;
    for (DeviceId id = 1; id <= 3; ++id) {
      devices.devices.push_back({.id = id, .address = "10.0.0." + std::to_string(id)});
    }
    catalogue = std::make_shared<const Catalogue>(std::move(devices));
    tracker.set_catalogue(std::vector<DeviceId>{1, 2, 3});
    make();
  }

  void make() {
    writer = std::make_unique<TimeoutsWriter>(
        TimeoutsWriterOptions{.dir = dir.path() / "ping_results",
                              .write_every = 1s,
                              .local_offset = [] { return kJakarta; }},
        metrics, now);
    writer->set_catalogue(catalogue);
  }

  void result(DeviceId device, char letter) {
    PingResults results;
    test::add(results, device, test::slot_of(device, ++k), test::verdict_of(letter));
    tracker.on_record(
        {.producer = "prober-1", .epoch = 1, .partition = partition_of(device), .seq = ++seq},
        results, {.mono = now.mono, .wall = wall_from_ms(test::kStartMs) + 24h}, transitions);
  }

  // Time passes until the condition holds; the file is written meanwhile.
  [[nodiscard]] bool turn_until(const std::function<bool()>& condition) {
    return ::gema::testing::wait_until([&] {
      now.mono += 500ms;
      writer->turn(&tracker, now);
      return condition();
    });
  }
  std::string text() const {
    std::ifstream in(file, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  // Device ids and counts, in order.
  std::string told() const {
    std::istringstream in(text());
    std::string out;
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      std::istringstream cells(line);
      std::vector<std::string> row;
      for (std::string cell; std::getline(cells, cell, ',');) row.push_back(cell);
      if (row.size() != 10) return "a row of " + std::to_string(row.size()) + " cells";
      out += row[2] + ":" + row[6] + " ";
    }
    return out;
  }
  std::string metric(const std::string& name) const {
    const std::string all = metrics.serialise();
    const size_t begin = all.find("\ngema_timeout_tracker_" + name + " ") + 1;
    return all.substr(begin, all.find('\n', begin) - begin).substr(22 + name.size());
  }

  const ::gema::testing::TempDir dir;
  const fs::path file = dir.path() / "ping_results" / kTimeoutFile;
  obs::Metrics metrics{"timeout-tracker"};
  Tracker tracker{Policy{}};
  std::shared_ptr<const Catalogue> catalogue;
  std::vector<Transition> transitions;
  Now now = runtime::read_clock();
  int64_t k = 0;
  uint64_t seq = 0;
  std::unique_ptr<TimeoutsWriter> writer;
};

TEST_F(TimeoutsWriterTest, TheFileFollowsDevicesAsTheyFailAndRecover) {
  ASSERT_TRUE(turn_until([&] { return text() == kHeader; }));
  struct stat about {};
  ASSERT_EQ(::stat(file.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0644U);
  for (const char letter : std::string("ff")) result(3, letter);
  result(1, 'f');
  result(2, 'a');
  ASSERT_TRUE(turn_until([&] { return told() == "3:2 1:1 "; })) << text();
  result(3, 'a');
  result(1, 'f');
  ASSERT_TRUE(turn_until([&] { return told() == "1:2 "; })) << text();
  result(1, 'a');
  ASSERT_TRUE(turn_until([&] { return text() == kHeader; })) << text();
  EXPECT_TRUE(turn_until([&] { return metric("csv_rows") == "0"; }));
  EXPECT_EQ(metric("csv_failures_total"), "0");
}

TEST_F(TimeoutsWriterTest, TheFileOfARunBeforeStaysUntilTheCountsAreKnownAgain) {
  result(1, 'f');
  ASSERT_TRUE(turn_until([&] { return told() == "1:1 "; }));
  writer.reset();
  std::ofstream(file.parent_path() / ".timeout_tracking.csv.77.new") << "left by a crash";
  make();
  const std::string writes = metric("csv_writes_total");
  for (int i = 0; i < 50; ++i) {
    now.mono += 1s;
    writer->turn(nullptr, now);
  }
  EXPECT_EQ(metric("csv_writes_total"), writes);
  EXPECT_EQ(told(), "1:1 ");
  result(1, 'f');
  ASSERT_TRUE(turn_until([&] { return told() == "1:2 "; }));
  EXPECT_TRUE(turn_until([&] {
    return std::distance(fs::directory_iterator(file.parent_path()), fs::directory_iterator()) == 1;
  }));
}

TEST_F(TimeoutsWriterTest, AFileThatSomebodyTookAwayIsThereAgainAMinuteLater) {
  ASSERT_TRUE(turn_until([&] { return text() == kHeader; }));
  fs::remove_all(file.parent_path());
  EXPECT_TRUE(turn_until([&] { return text() == kHeader; }));
}

TEST_F(TimeoutsWriterTest, ADirectoryThatFailsIsSaidCountedAndTriedAgain) {
  std::ofstream(file.parent_path()) << "in the way";
  result(1, 'f');
  ASSERT_TRUE(turn_until([&] { return !writer->problem(now).empty(); }));
  EXPECT_NE(writer->problem(now).find("Not a directory"), std::string::npos)
      << writer->problem(now);
  EXPECT_EQ(metric("csv_failing"), "1");
  EXPECT_EQ(metric("csv_failures_total"), "1");
  fs::remove(file.parent_path());
  ASSERT_TRUE(turn_until([&] { return told() == "1:1 "; }));
  ASSERT_TRUE(turn_until([&] { return writer->problem(now).empty(); }));
  EXPECT_EQ(metric("csv_failing"), "0");
}

TEST_F(TimeoutsWriterTest, ADirectoryThatNeverAnswersHoldsNothingUpAndIsSaid) {
  writer.reset();
  ASSERT_TRUE(fs::create_directory(file.parent_path()));
  // Asked for the zone, the worker waits for good, as a directory of a server that is gone makes
  // it.
  auto hang = std::make_shared<std::mutex>();
  hang->lock();
  writer = std::make_unique<TimeoutsWriter>(TimeoutsWriterOptions{.dir = file.parent_path(),
                                                                  .write_every = 1s,
                                                                  .local_offset =
                                                                      [hang] {
                                                                        hang->lock();
                                                                        hang->unlock();
                                                                        return kJakarta;
                                                                      },
                                                                  .slow_after = 60s},
                                            metrics, now);
  writer->set_catalogue(catalogue);
  for (int i = 0; i < 50; ++i) {
    now.mono += 1s;
    writer->turn(&tracker, now);
  }
  EXPECT_EQ(writer->problem(now), "");
  for (int i = 0; i < 50; ++i) {
    now.mono += 1s;
    writer->turn(&tracker, now);
  }
  EXPECT_NE(writer->problem(now).find("takes very long"), std::string::npos);
  EXPECT_EQ(metric("csv_failing"), "1");
  writer.reset();  // does not wait for ever
}

}  // namespace
}  // namespace gema::timeout_tracker
