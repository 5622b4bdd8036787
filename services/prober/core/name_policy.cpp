#include "services/prober/core/name_policy.h"

#include <algorithm>
#include <iterator>
#include <tuple>

#include "common/domain/address_policy.h"
#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

bool starts_with(const Address& a, std::initializer_list<uint8_t> prefix) {
  return std::equal(prefix.begin(), prefix.end(), a.bytes.begin());
}

bool may_be_used(const Address& a) {
  const bool link_local = a.family == 6 && a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80;
  if (link_local && a.scope == 0) return false;  // no name says which interface
  return never_pinged(ip_of(a)) == AddressVerdict::kAllowed;
}

// RFC 6724, 2.1.
int precedence(const Address& a) {
  if (a.family == 4) return 35;
  if (never_pinged(ip_of(a)) == AddressVerdict::kAllowed && is_loopback(ip_of(a))) return 50;
  if (starts_with(a, {0x20, 0x02})) return 30;                      // 6to4
  if (starts_with(a, {0x20, 0x01, 0x00, 0x00})) return 5;           // Teredo
  if ((a.bytes[0] & 0xfe) == 0xfc) return 3;                        // private
  if (a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0xc0) return 1;  // site-local
  return 40;
}

bool better(const Candidate& a, const Candidate& b) {
  auto rank = [](const Candidate& c) {
    return std::tuple(!c.usable, -precedence(c.address), c.address.bytes);
  };
  return rank(a) < rank(b);
}

// Up to a tenth earlier.
MonoTime later(MonoTime now, Duration wait, uint32_t spread) {
  return now + wait - wait / 10 * (spread % 1024) / 1024;
}

Duration back_off(uint32_t failures) {
  Duration wait = kResolveRetryMin;
  for (uint32_t i = 1; i < failures && wait < kResolveRetryMax; ++i) wait *= 2;
  return std::min<Duration>(wait, kResolveRetryMax);
}

Duration time_to_live(const NameAnswer& answer) {
  uint32_t ttl_s = UINT32_MAX;
  for (const FamilyAnswer* family : {&answer.v4, &answer.v6}) {
    if (!family->candidates.empty()) ttl_s = std::min(ttl_s, family->ttl_s);
  }
  return std::clamp<Duration>(std::chrono::seconds(ttl_s), kNameTtlMin, kNameTtlMax);
}

// Of a name that gave nothing that may be used. What may pass comes first: nobody knows then.
NameFault fault_of(const NameAnswer& answer) {
  for (const FamilyAnswer* family : {&answer.v4, &answer.v6}) {
    if (is_passing(family->fault)) return family->fault;
  }
  if (!answer.v4.candidates.empty() || !answer.v6.candidates.empty()) return NameFault::kForbidden;
  for (const NameFault fault : {NameFault::kBadName, NameFault::kNoSuchName}) {
    if (answer.v4.fault == fault || answer.v6.fault == fault) return fault;
  }
  return NameFault::kNoData;
}

}  // namespace

const char* to_string(NameFault fault) {
  static constexpr const char* kTexts[] = {"none",
                                           "no such name",
                                           "no address of a permitted family",
                                           "only addresses that are never pinged",
                                           "not a name",
                                           "server failure",
                                           "refused",
                                           "timeout",
                                           "no server"};
  static_assert(std::size(kTexts) == kNameFaultMax + 1);
  return kTexts[static_cast<size_t>(fault)];
}

bool is_passing(NameFault fault) {
  return fault >= NameFault::kServerFailure;
}

IpAddress ip_of(const Address& address) {
  return {.bytes = address.bytes, .family = address.family};
}

NameStep on_name_answer(NameState& state, const NameAnswer& answer, MonoTime now, uint32_t spread) {
  const NameFault fault_before = state.fault;
  NameStep step{.from = state.address};
  std::vector<Candidate> allowed;
  for (const FamilyAnswer* family : {&answer.v4, &answer.v6}) {
    std::copy_if(family->candidates.begin(), family->candidates.end(), std::back_inserter(allowed),
                 [](const Candidate& c) { return may_be_used(c.address); });
  }
  const FamilyAnswer& own = state.address.family == 6 ? answer.v6 : answer.v4;
  const bool still_there = std::any_of(allowed.begin(), allowed.end(), [&](const Candidate& c) {
    return c.address == state.address;
  });
  const bool unknown = state.address.known() && !still_there && is_passing(own.fault);
  if (!allowed.empty() && !unknown) {
    if (!still_there) {
      state.address = std::min_element(allowed.begin(), allowed.end(), better)->address;
    }
    state.fault = NameFault::kNone;
    state.failures = 0;
    state.gone_since = {};
    state.due = later(now, time_to_live(answer), spread);
  } else {
    state.fault = unknown ? own.fault : fault_of(answer);
    state.failures = std::min(state.failures + 1, 1000U);
    state.due = later(now, back_off(state.failures), spread);
    if (!is_passing(state.fault) && state.gone_since == MonoTime{}) state.gone_since = now;
    const bool gone = !is_passing(state.fault) && now - state.gone_since >= kNameGoneAfter;
    if (state.fault == NameFault::kForbidden || gone) state.address = {};
  }
  step.changed = state.address != step.from;
  step.fault_changed = state.fault != fault_before;
  return step;
}

}  // namespace gema::prober
