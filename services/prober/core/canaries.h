// The canaries: a few addresses that always answer (by default this host's gateways). When most of
// those that ever answered fall silent, the trouble is here and not with the devices.
//
// Each is asked once a second. An echo that is not answered makes it doubtful and is followed at
// once by kCanaryEchoes more: none answered, it fails. recheck() asks all of them at once and tells
// as soon as it is clear. In: outcomes. Out: what to ask. It sends nothing itself.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "common/base/time.h"
#include "services/prober/core/address.h"

namespace gema::prober {

// Requires: on_outcome() or not_asked() with the id, once. One answered echo is enough.
struct CanaryProbe {
  uint64_t id = 0;
  Address address;
  uint8_t count = 1;
};

class Canaries {
 public:
  // Replaces them; what is known of those that stay stays known. Unknown addresses and what is more
  // than kCanariesMax are left out.
  void assign(std::span<const Address> addresses);

  void tick(MonoTime now, std::vector<CanaryProbe>& out);
  void on_outcome(uint64_t id, bool answered, MonoTime now);
  // It could not be sent: asked again in a second; a recheck stays unclear.
  void not_asked(uint64_t id);
  std::optional<MonoTime> next_wakeup() const;

  // Asks all of them now, with the next tick().
  void recheck();
  // What came of it: true, most that ever answered do; false, most do not; nullopt, not clear yet.
  std::optional<bool> rechecked() const;

  // Of those that ever answered.
  uint32_t answering() const;
  uint32_t failing() const;
  uint32_t known() const;
  bool most_fail() const { return failing() * 2 > known(); }
  // Most have answered a probe that began then or later.
  bool answered_since(MonoTime t) const;
  // Those that fail count no more, until they answer again. Returns how many.
  uint32_t forget_failing();

 private:
  enum class State : uint8_t { kUnknown, kAnswering, kDoubtful, kFailing };
  enum class Recheck : uint8_t { kNone, kWanted, kAsked, kAnswered, kFailed };
  struct Canary {
    uint64_t key = 0;
    Address address;
    State state = State::kUnknown;  // kUnknown: it never answered
    Recheck recheck = Recheck::kNone;
    bool asked = false;  // the regular probe is under way
    MonoTime due{};
    MonoTime asked_at{}, rechecked_at{};  // when the probes under way began
    MonoTime well_at{};                   // when the latest that was answered did
  };
  Canary* find(uint64_t id);
  uint32_t count(State state) const;

  std::vector<Canary> canaries_;
  uint64_t next_key_ = 0;
};

}  // namespace gema::prober
