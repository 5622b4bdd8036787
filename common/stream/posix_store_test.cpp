// The spool as real files: locks, refusals, torn and damaged files, a disk that is full.
#include "common/stream/posix_store.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <thread>

#include "common/stream/core/segment.h"
#include "common/stream/producer.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait_until.h"

namespace gema::stream {
namespace {

namespace fs = std::filesystem;
using ::gema::testing::TempDir;

Now at(Duration since) {
  return Now{MonoTime{} + 100s + since, WallTime{} + 1'700'000'000s + since};
}

std::string slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void spill(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class PosixSpool : public ::testing::Test {
 protected:
  ProducerOptions options() {
    ProducerOptions o;
    o.dir = spool;
    o.stream = "ping";
    o.name = "prober-1";
    o.groups = {"recorder"};
    o.bytes_max = 1U << 20;
    o.segment_bytes = 16U << 10;
    return o;
  }
  Result<std::unique_ptr<Producer>> open() { return Producer::open(options(), at(0s)); }
  static uint64_t count(Producer& producer) {
    uint64_t n = 0;
    Result<void> done = producer.read_after({}, [&](const Spooled&) {
      ++n;
      return true;
    });
    EXPECT_TRUE(done.has_value());
    return n;
  }
  std::vector<fs::path> segments() {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(spool)) {
      if (entry.path().extension() == ".seg") found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  TempDir dir;
  fs::path spool = dir / "spool";
};

TEST_F(PosixSpool, KeepsWhatWasAppendedOverARestart) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE((*producer)->append(static_cast<uint32_t>(i % 8), std::string(100, 'x'), at(0s)));
  }
  producer->reset();  // as kill -9: nothing is closed
  producer = open();
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ(count(**producer), 1000U);
  EXPECT_EQ((*producer)->stats().epochs_begun, 0U);
  EXPECT_EQ(*(*producer)->append(0, "next", at(0s)), 126U);
  EXPECT_GT(segments().size(), 5U);
}

TEST_F(PosixSpool, IsHeldByOneProcess) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  auto second = open();
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Errc::kUnavailable);
  EXPECT_EQ(second.error().message,
            "spool " + spool.string() + ": in use by another process (its LOCK is held)");
  producer->reset();
  EXPECT_TRUE(open().has_value());
}

TEST_F(PosixSpool, SaysWhyADirectoryCannotBeUsed) {
  spill(dir / "file", "x");
  spool = dir / "file";
  auto opened = open();
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, Errc::kPermanent);
  EXPECT_EQ(opened.error().message.find("spool " + spool.string() + ": "), 0U);
  EXPECT_EQ(opened.error().message.find('\n'), std::string::npos);
}

TEST_F(PosixSpool, SaysWhenItMayNotReadTheDirectory) {
  fs::create_directory(spool);
  fs::permissions(spool, fs::perms::none);
  // Root may read everything; somebody else must try.
  std::optional<uid_t> uid = ::gema::testing::unprivileged_uid();
  fs::permissions(dir.path(), fs::perms::all);
  pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (uid && (setresgid(*uid, *uid, *uid) != 0 || setresuid(*uid, *uid, *uid) != 0)) _exit(3);
    auto opened = open();
    bool right = !opened && opened.error().code == Errc::kPermanent &&
                 opened.error().message.find("Permission denied") != std::string::npos;
    _exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  fs::permissions(spool, fs::perms::owner_all);
}

TEST_F(PosixSpool, RefusesOptionsThatMakeNoSense) {
  auto refused = [&](auto change) {
    ProducerOptions o = options();
    change(o);
    auto opened = Producer::open(o, at(0s));
    return !opened && opened.error().code == Errc::kBadInput;
  };
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.name = "Not/a name"; }));
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.stream = ""; }));
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.groups = {"a", "a"}; }));
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.groups = {""}; }));
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.bytes_max = 100; }));
  EXPECT_TRUE(refused([](ProducerOptions& o) { o.replay_records_per_second = 0; }));
}

TEST_F(PosixSpool, CutsOffATornTail) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE((*producer)->append(0, "record", at(0s)));
  producer->reset();
  fs::path last = segments().back();
  std::string bytes = slurp(last);
  spill(last, bytes + "GMR1 and then the power went");
  producer = open();
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ(count(**producer), 10U);
  EXPECT_EQ(slurp(last), bytes);
}

TEST_F(PosixSpool, AFlippedBitInTheMiddleIsAnsweredAsLostCountedAndNoCrash) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE((*producer)->append(0, std::string(100, 'x'), at(0s)));
  }
  uint64_t epoch = (*producer)->stats().epoch;
  producer->reset();
  std::vector<fs::path> all = segments();
  std::string bytes = slurp(all[2]);
  bytes[bytes.size() / 2] ^= 16;
  spill(all[2], bytes);
  producer = open();
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ((*producer)->stats().epoch, epoch);
  EXPECT_EQ((*producer)->stats().corrupt, 1U);
  EXPECT_EQ(count(**producer), 999U);
  bool told = false;
  for (const ProducerEvent& event : (*producer)->take_events()) {
    told = told || event.kind == ProducerEvent::Kind::kCorrupt;
  }
  EXPECT_TRUE(told);
}

TEST_F(PosixSpool, ASegmentWithoutAHeaderIsSetAside) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE((*producer)->append(0, std::string(100, 'x'), at(0s)));
  }
  producer->reset();
  spill(segments()[1], "not a segment at all");
  producer = open();
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ((*producer)->stats().corrupt_segments, 1U);
  EXPECT_LT(count(**producer), 1000U);
  EXPECT_EQ(slurp(spool / "damaged.seg.kept"), "not a segment at all");
}

TEST_F(PosixSpool, IgnoresFilesThatAreNotItsOwn) {
  fs::create_directory(spool);
  for (const char* name : {"notes.txt", "1.seg", "0000000000000000000x.seg", "x.seg.kept"}) {
    spill(spool / name, "hands off");
  }
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  EXPECT_EQ(slurp(spool / "notes.txt"), "hands off");
  EXPECT_EQ(slurp(spool / "1.seg"), "hands off");
  EXPECT_EQ((*producer)->stats().segments, 1U);
}

// A file size limit is the nearest thing to a full disk that needs no disk of its own: a write is
// cut short, the next one fails.
TEST_F(PosixSpool, AFullDiskIsAnErrorAndLeavesNothingBehind) {
  auto old = std::signal(SIGXFSZ, SIG_IGN);
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*producer)->append(0, "0123456789", at(0s)));
  fs::path last = segments().back();
  std::string before = slurp(last);
  rlimit saved{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &saved), 0);
  rlimit limit{before.size() + 20, saved.rlim_max};  // half a record more
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  Result<uint64_t> failed = (*producer)->append(0, "0123456789", at(0s));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &saved), 0);
  std::signal(SIGXFSZ, old);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, Errc::kRetryable);
  EXPECT_NE(failed.error().message.find("cannot be written"), std::string::npos);
  EXPECT_EQ(slurp(last), before);
  EXPECT_EQ((*producer)->stats().append_failed, 1U);
  EXPECT_EQ(*(*producer)->append(0, "0123456789", at(0s)), 6U);
  producer->reset();
  producer = open();
  EXPECT_EQ(count(**producer), 6U);
}

TEST_F(PosixSpool, StopsCleanlyAndGoesOn) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  uint64_t epoch = (*producer)->stats().epoch;
  ASSERT_TRUE((*producer)->append(0, "x", at(0s)));
  ASSERT_TRUE((*producer)->close_cleanly(at(1s)).has_value());
  producer->reset();
  producer = open();
  EXPECT_EQ((*producer)->stats().epoch, epoch);
}

TEST_F(PosixSpool, SyncsOnItsOwnThreadAndKeepsFewFilesOpen) {
  auto producer = open();
  ASSERT_TRUE(producer.has_value());
  auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  auto before = open_files();
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 300; ++i) {
      ASSERT_TRUE((*producer)->append(0, std::string(100, 'x'), at(round * 1s)));
    }
    PositionSet all = (*producer)->own_positions();
    Duration t = round * 1s;
    ASSERT_TRUE(::gema::testing::wait_until([&] {
      (*producer)->tick(at(t += 50ms));
      return (*producer)->synced(all);
    }));
  }
  EXPECT_LE(open_files(), before + 12);
  EXPECT_EQ((*producer)->stats().sync_failures, 0U);
}

TEST(MachineBootId, IsTheSameTwiceAndEpochsAreNot) {
  EXPECT_EQ(machine_boot_id(), machine_boot_id());
  EXPECT_NE(random_epoch(), random_epoch());
}

}  // namespace
}  // namespace gema::stream
