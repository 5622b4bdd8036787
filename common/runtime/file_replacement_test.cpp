#include "common/runtime/file_replacement.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/support/temp_dir.h"

namespace gema::runtime {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void replace(const fs::path& dir, const std::string& name, const std::string& text) {
  auto file = FileReplacement::begin(dir, name);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(file->write(text));
  ASSERT_TRUE(file->commit());
}

TEST(FileReplacement, WhoeverReadsSeesAWholeFileAtAnyTime) {
  const gema::testing::TempDir dir;
  const fs::path path = dir / "results.csv";
  const auto whole = [](char fill) { return std::string(300'000, fill) + "\r\n"; };
  replace(dir.path(), path.filename(), whole('a'));
  std::atomic<bool> stop = false;
  std::atomic<int> reads = 0;
  std::atomic<int> broken = 0;
  std::thread reader([&] {
    while (!stop) {
      const std::string text = text_of(path);
      ++reads;
      if (text != whole('a') && text != whole('b')) ++broken;
    }
  });
  for (int i = 0; i < 100 || reads < 20; ++i) {
    replace(dir.path(), path.filename(), whole(i % 2 == 0 ? 'b' : 'a'));
  }
  stop = true;
  reader.join();
  EXPECT_EQ(broken, 0);
}

TEST(FileReplacement, AReplacementThatIsNotFinishedLeavesNothingAndTheOldFileAsItWas) {
  const gema::testing::TempDir dir;
  replace(dir.path(), "results.csv", "old");
  {
    auto file = FileReplacement::begin(dir.path(), "results.csv");
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("half"));
  }
  EXPECT_EQ(text_of(dir / "results.csv"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(dir.path()), fs::directory_iterator()), 1);
}

TEST(FileReplacement, APipeOrALinkInTheWayHoldsNobodyUpAndIsNotWrittenTo) {
  const gema::testing::TempDir dir;
  const fs::path next = dir / (".results.csv." + std::to_string(::getpid()) + ".new");
  ASSERT_EQ(::mkfifo(next.c_str(), 0600), 0);
  ASSERT_EQ(::mkfifo((dir / "results.csv").c_str(), 0600), 0);
  replace(dir.path(), "results.csv", "new");
  EXPECT_EQ(text_of(dir / "results.csv"), "new");
  std::ofstream(dir / "precious") << "mine";
  fs::create_symlink(dir / "precious", next);
  replace(dir.path(), "results.csv", "newer");
  EXPECT_EQ(text_of(dir / "precious"), "mine");
  EXPECT_EQ(text_of(dir / "results.csv"), "newer");
}

TEST(FileReplacement, ADirectoryThatCannotBeIsOneSentence) {
  const gema::testing::TempDir dir;
  std::ofstream(dir / "file") << "x";
  auto in_file = FileReplacement::begin(dir / "file", "results.csv");
  ASSERT_FALSE(in_file);
  EXPECT_EQ(in_file.error().code, Errc::kPermanent);
  EXPECT_NE(in_file.error().message.find("Not a directory"), std::string::npos);
  EXPECT_FALSE(FileReplacement::begin(dir / "no/where", "results.csv"));
  ASSERT_TRUE(fs::create_directory(dir / "results.csv"));
  auto onto = FileReplacement::begin(dir.path(), "results.csv");
  ASSERT_TRUE(onto);
  EXPECT_FALSE(onto->commit());
}

TEST(FileReplacement, AWriteThatFailsInMidFileIsToldAndLeavesTheOldFile) {
  const gema::testing::TempDir dir;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 64 * 1024;
  std::signal(SIGXFSZ, SIG_IGN);
  replace(dir.path(), "results.csv", "old");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Result<void> written;
  {
    auto file = FileReplacement::begin(dir.path(), "results.csv");
    ASSERT_TRUE(file);
    written = file->write(std::string(1 << 20, 'x'));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message.find("File too large"), std::string::npos);
  EXPECT_EQ(text_of(dir / "results.csv"), "old");
}

TEST(FileReplacement, WhatACrashLeftOfOneFileIsRemovedAndNothingElse) {
  const gema::testing::TempDir dir;
  for (const char* name : {".results.csv.77.new", "results.csv", ".results.csv.77", "results.new",
                           ".results.csv2.77.new"}) {
    std::ofstream(dir / name) << "x";
  }
  fs::create_directory(dir / ".results.csv.78.new");
  ASSERT_TRUE(remove_unfinished(dir.path(), "results.csv"));
  EXPECT_FALSE(fs::exists(dir / ".results.csv.77.new"));
  for (const char* name : {"results.csv", ".results.csv.77", "results.new", ".results.csv2.77.new",
                           ".results.csv.78.new"}) {
    EXPECT_TRUE(fs::exists(dir / name)) << name;
  }
  EXPECT_TRUE(remove_unfinished(dir / "nowhere", "results.csv"));
  EXPECT_FALSE(remove_unfinished(dir / "results.csv", "results.csv"));
}

}  // namespace
}  // namespace gema::runtime
