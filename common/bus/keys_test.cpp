#include "common/bus/keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "tests/support/temp_dir.h"

namespace gema::bus {
namespace {

using gema::testing::TempDir;

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

int mode(const std::filesystem::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return static_cast<int>(status.st_mode & 0777);
}

TEST(Keys, AWrittenPairIsReadBackAndItsSecretIsOnlyOurs) {
  const TempDir dir;
  const auto pair = make_key_pair();
  ASSERT_TRUE(pair);
  ASSERT_TRUE(write_key_pair(dir.path(), "prober-1", *pair));
  EXPECT_EQ(mode(dir / "prober-1.key"), 0600);
  const auto read = read_key_pair(dir.path(), "prober-1");
  ASSERT_TRUE(read);
  EXPECT_EQ(read->public_key, pair->public_key);
  EXPECT_EQ(read->secret_key, pair->secret_key);
  EXPECT_EQ(*read_public_key(dir.path(), "prober-1"), pair->public_key);
}

TEST(Keys, MissingBrokenAndReadableKeysAreRefusedByName) {
  const TempDir dir;
  const auto missing = read_key_pair(dir.path(), "prober-1");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("prober-1.key"), std::string::npos);

  for (const std::string bad :
       {"", "short",
        "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""}) {
    ASSERT_TRUE(write_file_atomically(dir / "prober-1.key", bad, 0600));
    EXPECT_FALSE(read_key_pair(dir.path(), "prober-1")) << bad;
  }
  ASSERT_TRUE(write_key_pair(dir.path(), "prober-1", *make_key_pair()));
  ASSERT_EQ(::chmod((dir / "prober-1.key").c_str(), 0644), 0);
  const auto open = read_key_pair(dir.path(), "prober-1");
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Errc::kBadInput);
  EXPECT_NE(open.error().message.find("chmod 600"), std::string::npos);
}

TEST(Keys, AFileIsReplacedWholeOrNotAtAll) {
  const TempDir dir;
  ASSERT_TRUE(write_file_atomically(dir / "list", "old", 0600));
  ASSERT_TRUE(write_file_atomically(dir / "list", "new", 0600));
  EXPECT_EQ(content(dir / "list"), "new");
  std::filesystem::create_directory(dir / "list.new");  // in the way of the temporary file
  EXPECT_FALSE(write_file_atomically(dir / "list", "newer", 0600));
  EXPECT_EQ(content(dir / "list"), "new");
  EXPECT_FALSE(write_file_atomically(dir / "nowhere" / "list", "x", 0600));
}

}  // namespace
}  // namespace gema::bus
