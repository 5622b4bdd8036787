// Who asks the same within seconds gets the same answer, from one query.
#include "services/gateway/io/statistics_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "services/gateway/core/limits.h"

namespace gema::gateway {
namespace {

using Answer = StatisticsCache::Answer;

Answer answer_of(int64_t to_ms) {
  auto out = std::make_shared<history::WindowStatistics>();
  out->to_ms = to_ms;
  return std::shared_ptr<const history::WindowStatistics>(std::move(out));
}

struct StatisticsCacheTest : ::testing::Test {
  Answer get(const std::string& key, int64_t value) {
    return cache.get(key, [&] {
      ++reads;
      return answer_of(value);
    });
  }
  std::atomic<int64_t> now_s{100};
  int reads = 0;
  StatisticsCache cache{std::chrono::seconds(10),
                        [this] { return MonoTime(std::chrono::seconds(now_s)); }};
};

TEST_F(StatisticsCacheTest, AnAnswerServesForSecondsAndNoLonger) {
  EXPECT_EQ((*get("a", 1))->to_ms, 1);
  EXPECT_EQ((*get("a", 2))->to_ms, 1);
  EXPECT_EQ((*get("b", 3))->to_ms, 3);
  now_s += 5;
  EXPECT_EQ((*get("a", 4))->to_ms, 4);
  EXPECT_EQ(reads, 3);
  EXPECT_EQ(cache.stats().hits, 1u);
  EXPECT_EQ(cache.stats().misses, 3u);
}

TEST_F(StatisticsCacheTest, AFailureIsNotKept) {
  const Error away{Errc::kUnavailable, "away"};
  EXPECT_FALSE(cache.get("a", [&] { return Answer(away); }));
  const Answer again = get("a", 1);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->to_ms, 1);
}

TEST_F(StatisticsCacheTest, TheOldestGoesAtTheBound) {
  EXPECT_TRUE(get("first", 1));
  for (size_t i = 0; i < kStatisticsKept; ++i) {
    if (i == 0) ++now_s;
    EXPECT_TRUE(get(std::to_string(i), 0));
  }
  const int before = reads;
  EXPECT_TRUE(get("0", 0));
  EXPECT_EQ(reads, before);
  EXPECT_TRUE(get("first", 1));
  EXPECT_EQ(reads, before + 1);
}

TEST_F(StatisticsCacheTest, OfThoseWhoAskAtOnceOneAsksTheDatabase) {
  std::promise<void> release;
  auto released = release.get_future().share();
  std::atomic<int> asked{0};
  const auto ask = [&] {
    return cache.get("a", [&] {
      ++asked;
      released.wait();
      return answer_of(7);
    });
  };
  std::vector<std::future<Answer>> answers;
  for (int i = 0; i < 4; ++i) answers.push_back(std::async(std::launch::async, ask));
  while (cache.stats().hits < 3) std::this_thread::yield();
  release.set_value();
  for (auto& answer : answers) EXPECT_EQ((*answer.get())->to_ms, 7);
  EXPECT_EQ(asked, 1);
}

TEST_F(StatisticsCacheTest, WhoWaitsTooLongIsToldSo) {
  StatisticsCache impatient{std::chrono::milliseconds(1), [] { return MonoTime{}; }};
  std::promise<void> release;
  auto released = release.get_future();
  auto first = std::async(std::launch::async, [&] {
    return impatient.get("a", [&] {
      released.wait();
      return answer_of(7);
    });
  });
  while (impatient.stats().misses < 1) std::this_thread::yield();
  const auto second = impatient.get("a", [] { return answer_of(8); });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kTimeout);
  release.set_value();
  EXPECT_EQ((*first.get())->to_ms, 7);
}

}  // namespace
}  // namespace gema::gateway
