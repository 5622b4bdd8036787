// A program of its own, because it counts every allocation there is.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "services/prober/core/engine.h"

namespace {
size_t allocations = 0;
}

void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size); memory != nullptr) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace gema::prober {
namespace {

TEST(Engine, AllocatesNothingPerCheckOnceItsTablesHaveGrown) {
  MonoTime now{1000s};
  SlotClock clock(Now{.mono = now, .wall = WallTime(1'700'000'000s)});
  Engine engine(EngineConfig{}, clock, now);
  std::vector<Target> targets;
  for (uint32_t i = 1; i <= 2000; ++i) {
    Address address{.family = 4};
    address.bytes[0] = 198;
    address.bytes[2] = static_cast<uint8_t>(i >> 8);
    address.bytes[3] = static_cast<uint8_t>(i);
    targets.push_back({.id = i,
                       .address = address,
                       .interval_ms = 1000,
                       .timeout_ms = 500,
                       .echo_count = static_cast<uint8_t>(i % 4 == 0 ? 5 : 1),
                       .min_replies = 1});
  }
  engine.assign(targets, 3);
  std::vector<Send> sends;
  std::vector<Sent> sent;
  std::vector<Answer> answers;
  size_t results = 0;
  auto run = [&](Duration length) {
    for (const MonoTime end = now + length; now < end; now += 5ms) {
      engine.on_answers(answers, now);  // of the turn before
      engine.expire(now);
      engine.start_due(now);
      sends.clear();
      std::swap(sends, engine.sends());
      sent.clear();
      answers.clear();
      for (const Send& s : sends) {
        sent.push_back({s.check, s.generation, s.ordinal, SendStatus::kSent, now, 0});
        if (s.check % 50 == 0 && s.ordinal == 1) continue;  // some of a train are lost
        answers.push_back({.check = s.check,
                           .generation = s.generation,
                           .ordinal = s.ordinal,
                           .at = now + 1ms,
                           .sent = now,
                           .timeout = std::chrono::milliseconds(s.timeout_ms),
                           .destination = s.destination});
      }
      engine.on_sent(sent);
      if (now.time_since_epoch() % 200ms == 0ms) {
        engine.take_results([&](uint32_t, PingResults& r) { results += r.size(); });
      }
    }
  };
  run(20s);
  const size_t before = allocations, results_before = results;
  run(10s);
  EXPECT_GT(before, 0U);
  EXPECT_EQ(allocations, before);
  EXPECT_GE(results - results_before, 19'000U);
}

}  // namespace
}  // namespace gema::prober
