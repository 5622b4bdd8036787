#include "services/prober/core/canaries.h"

#include <algorithm>

#include "services/prober/core/limits.h"

namespace gema::prober {

void Canaries::assign(std::span<const Address> addresses) {
  std::vector<Canary> next;
  for (const Address& address : addresses) {
    auto same = [&](const Canary& c) { return c.address == address; };
    if (next.size() == kCanariesMax) break;
    if (!address.known() || std::any_of(next.begin(), next.end(), same)) continue;
    const auto known = std::find_if(canaries_.begin(), canaries_.end(), same);
    if (known != canaries_.end()) {
      next.push_back(*known);
    } else {
      next.push_back({.key = next_key_++, .address = address});
    }
  }
  canaries_ = std::move(next);
}

void Canaries::tick(MonoTime now, std::vector<CanaryProbe>& out) {
  for (Canary& c : canaries_) {
    if (c.recheck == Recheck::kWanted) {
      c.recheck = Recheck::kAsked;
      c.rechecked_at = now;
      out.push_back({c.key << 1 | 1, c.address, kCanaryEchoes});
    }
    if (c.asked || now < c.due) continue;
    c.asked = true;
    c.asked_at = now;
    c.due = now + kCanaryEvery;
    const bool sure = c.state != State::kDoubtful;
    out.push_back({c.key << 1, c.address, sure ? uint8_t{1} : kCanaryEchoes});
  }
}

Canaries::Canary* Canaries::find(uint64_t id) {
  const auto at = std::find_if(canaries_.begin(), canaries_.end(),
                               [&](const Canary& c) { return c.key == id >> 1; });
  return at == canaries_.end() ? nullptr : &*at;  // not a canary any more
}

void Canaries::not_asked(uint64_t id) {
  Canary* c = find(id);
  if (c == nullptr) return;
  if ((id & 1) == 0) c->asked = false;
}

void Canaries::on_outcome(uint64_t id, bool answered, MonoTime now) {
  Canary* at = find(id);
  if (at == nullptr) return;
  Canary& c = *at;
  const bool recheck = (id & 1) != 0;
  if (recheck) {
    c.recheck = answered ? Recheck::kAnswered : Recheck::kFailed;
  } else {
    c.asked = false;
  }
  if (answered) {
    c.state = State::kAnswering;
    c.well_at = std::max(c.well_at, recheck ? c.rechecked_at : c.asked_at);
  } else if (recheck || c.state == State::kDoubtful) {
    if (c.state != State::kUnknown) c.state = State::kFailing;
  } else if (c.state == State::kAnswering) {
    c.state = State::kDoubtful;
    c.due = now;
  }
}

std::optional<MonoTime> Canaries::next_wakeup() const {
  std::optional<MonoTime> next;
  for (const Canary& c : canaries_) {
    if (c.recheck == Recheck::kWanted) return MonoTime{};  // at once
    if (!c.asked && (!next || c.due < *next)) next = c.due;
  }
  return next;
}

void Canaries::recheck() {
  for (Canary& c : canaries_) {
    c.recheck = c.state == State::kUnknown ? Recheck::kNone : Recheck::kWanted;
  }
}

std::optional<bool> Canaries::rechecked() const {
  uint32_t asked = 0, answered = 0, failed = 0;
  for (const Canary& c : canaries_) {
    asked += c.recheck != Recheck::kNone ? 1 : 0;
    answered += c.recheck == Recheck::kAnswered ? 1 : 0;
    failed += c.recheck == Recheck::kFailed ? 1 : 0;
  }
  if (failed * 2 > asked) return false;
  if (answered * 2 >= asked) return true;
  return std::nullopt;
}

uint32_t Canaries::count(State state) const {
  return static_cast<uint32_t>(std::count_if(canaries_.begin(), canaries_.end(),
                                             [&](const Canary& c) { return c.state == state; }));
}

uint32_t Canaries::answering() const {
  return count(State::kAnswering) + count(State::kDoubtful);
}

uint32_t Canaries::failing() const {
  return count(State::kFailing);
}

uint32_t Canaries::known() const {
  return answering() + failing();
}

bool Canaries::answered_since(MonoTime t) const {
  const auto n = std::count_if(canaries_.begin(), canaries_.end(), [&](const Canary& c) {
    return c.state == State::kAnswering && c.well_at >= t;
  });
  return static_cast<uint32_t>(n) * 2 >= known() && known() > 0;
}

uint32_t Canaries::forget_failing() {
  uint32_t n = 0;
  for (Canary& c : canaries_) {
    if (c.state != State::kFailing) continue;
    c.state = State::kUnknown;
    ++n;
  }
  return n;
}

}  // namespace gema::prober
