#include "services/gateway/io/newest_results.h"

#include <gtest/gtest.h>

namespace gema::gateway {
namespace {

constexpr int64_t kHourMs = 3'600'000;

struct NewestResults : ::testing::Test {
  // One result of each location every second from `first_ms` on.
  Result<history::Results> read(int64_t begin_ms, size_t limit) {
    asked.push_back(begin_ms);
    history::Results out;
    out.names = {"a", "b"};
    for (int64_t due = first_ms; due < to_ms; due += 1000) {
      if (due < begin_ms) continue;
      for (uint16_t location = 0; location < locations; ++location) {
        out.rows.push_back({.due_ms = due, .location = location});
      }
    }
    if (out.rows.size() > limit) {
      out.rows.erase(out.rows.begin(), out.rows.end() - static_cast<ptrdiff_t>(limit));
      out.truncated = true;
    }
    return out;
  }
  history::Results newest(size_t limit, std::optional<std::string> location = {}) {
    auto results = newest_results({.device = 1,
                                   .from_ms = from_ms,
                                   .to_ms = to_ms,
                                   .limit = limit,
                                   .location = location,
                                   .interval_ms = 1000},
                                  [this](int64_t f, size_t l) { return read(f, l); });
    EXPECT_TRUE(results);
    return std::move(*results);
  }

  static constexpr int64_t to_ms = 1'758'000'000'000;
  int64_t from_ms = to_ms - 90 * 24 * kHourMs;
  int64_t first_ms = to_ms - 10 * kHourMs;
  uint16_t locations = 1;
  std::vector<int64_t> asked;
};

TEST_F(NewestResults, ReadNoMoreThanTheyNeed) {
  const auto results = newest(100);
  EXPECT_EQ(results.rows.size(), 100u);
  EXPECT_TRUE(results.truncated);
  EXPECT_EQ(results.rows.back().due_ms, to_ms - 1000);
  EXPECT_EQ(asked, std::vector<int64_t>{to_ms - kHourMs});
}

TEST_F(NewestResults, GoBackUntilThereAreEnough) {
  first_ms = to_ms - 3 * 24 * kHourMs;
  const int64_t hole = to_ms - 2 * 24 * kHourMs;
  auto results = newest_results(
      {.device = 1, .from_ms = from_ms, .to_ms = to_ms, .limit = 50, .interval_ms = 1000},
      [&](int64_t f, size_t l) {
        auto out = read(f, l + 1'000'000);
        std::erase_if(out->rows, [&](const auto& row) { return row.due_ms >= hole; });
        return out;
      });
  EXPECT_EQ(results->rows.size(), 50u);
  EXPECT_EQ(results->rows.back().due_ms, hole - 1000);
  EXPECT_GT(asked.size(), 1u);
}

TEST_F(NewestResults, AreAllWhenThereAreNoMore) {
  first_ms = to_ms - 5000;
  const auto results = newest(100);
  EXPECT_EQ(results.rows.size(), 5u);
  EXPECT_FALSE(results.truncated);
  EXPECT_EQ(asked.back(), from_ms);
}

TEST_F(NewestResults, NeverCutASlotInTwo) {
  locations = 2;
  const auto results = newest(5);
  EXPECT_EQ(results.rows.size(), 6u);
  EXPECT_TRUE(results.truncated);
  EXPECT_EQ(results.rows.front().due_ms, to_ms - 3000);
}

TEST_F(NewestResults, OfOneLocationAreCountedWithoutTheOthers) {
  locations = 2;
  const auto results = newest(5, "b");
  EXPECT_EQ(results.rows.size(), 5u);
  for (const auto& row : results.rows) EXPECT_EQ(results.location(row), "b");
}

}  // namespace
}  // namespace gema::gateway
