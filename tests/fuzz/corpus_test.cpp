// The kept corpus through every target: what was found once is not broken again, in any build.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "common/base/random.h"
#include "tests/fuzz/fuzz.h"

namespace gema::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<std::vector<uint8_t>> corpus_of(const std::string& target) {
  std::vector<std::vector<uint8_t>> out;
  for (const auto& entry : fs::directory_iterator(fs::path(GEMA_FUZZ_CORPUS) / target)) {
    std::ifstream in(entry.path(), std::ios::binary);
    out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return out;
}

TEST(FuzzCorpus, GoesThroughEveryTarget) {
  keep_protobuf_quiet();
  for (const Target& target : targets()) {
    SCOPED_TRACE(target.name);
    const auto corpus = corpus_of(target.name);
    EXPECT_GE(corpus.size(), 3U);
    for (const auto& bytes : corpus) target.run(bytes);
  }
}

TEST(FuzzCorpus, HasNoFolderWithoutATarget) {
  for (const auto& entry : fs::directory_iterator(GEMA_FUZZ_CORPUS)) {
    bool known = false;
    for (const Target& target : targets()) known = known || entry.path().filename() == target.name;
    EXPECT_TRUE(known) << entry.path();
  }
}

// Not what libFuzzer does, but something, where there is no libFuzzer.
TEST(FuzzCorpus, MutilatedGoesThroughEveryTarget) {
  const char* given = std::getenv("GEMA_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 20261120;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  keep_protobuf_quiet();
  for (const Target& target : targets()) {
    SCOPED_TRACE(target.name);
    const auto corpus = corpus_of(target.name);
    for (int round = 0; round < 5'000; ++round) {
      std::vector<uint8_t> bytes = corpus[random.below(corpus.size())];
      if (bytes.empty()) continue;
      for (uint64_t k = 0; k <= random.below(4); ++k) {
        bytes[random.below(bytes.size())] = static_cast<uint8_t>(random.next());
      }
      if (random.chance(300)) bytes.resize(random.below(bytes.size() + 1));
      bytes.shrink_to_fit();
      target.run(bytes);
    }
  }
}

}  // namespace
}  // namespace gema::fuzz
