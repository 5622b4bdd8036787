// At which address a device that is given by name is checked, and when its name is asked again.
//
// In: what the resolver said about a name, and when. Out: the name's new state. It will not ask,
// read clocks, or know devices.
//
// The rules: The address in use stays while it is in the answer: names whose servers hand out their
// addresses in turn do not flap, and a device whose one address is silent is down, not moved. An
// answer without it changes it, to the first in the order of RFC 6724: usable from here, then IPv6
// before IPv4 before private IPv6 (rule 6's table), then the lowest, so that all probers choose the
// same. A question that fails (no server, refused, server failure) changes nothing. A name that
// ceases to exist keeps its address for kNameGoneAfter. A name that has only addresses which are
// never pinged (multicast, broadcast, unspecified, ...) has none at once.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/time.h"
#include "common/domain/ip_address.h"
#include "services/prober/core/address.h"

namespace gema::prober {

// Why a name gave no address.
enum class NameFault : uint8_t {
  kNone,
  kNoSuchName,     // NXDOMAIN
  kNoData,         // it exists, without an address of a permitted family
  kForbidden,      // only addresses that are never pinged
  kBadName,        // no name at all
  kServerFailure,  // SERVFAIL, or an answer that is none
  kRefused,
  kTimeout,
  kNoServer,  // could not be reached
};
inline constexpr int kNameFaultMax = static_cast<int>(NameFault::kNoServer);
const char* to_string(NameFault fault);  // "no such name", "timeout", ...
// The next server, or the next time, may say something else.
bool is_passing(NameFault fault);

struct Candidate {
  Address address;
  bool usable = true;  // there is a route and a source address
};

// What a name has of one family. A family that was not asked: nothing, kNoData.
struct FamilyAnswer {
  NameFault fault = NameFault::kNoData;
  std::vector<Candidate> candidates;
  uint32_t ttl_s = 0;
};

struct NameAnswer {
  FamilyAnswer v4, v6;
};

struct NameState {
  Address address;  // in use
  NameFault fault = NameFault::kNone;
  uint32_t failures = 0;  // in a row
  MonoTime due{};         // to be asked again
  MonoTime gone_since{};  // the name ceased to exist; 0 = it did not
};

struct NameStep {
  bool changed = false;  // the address
  Address from;
  bool fault_changed = false;
};

// `spread`: a number that is the name's own; names of one time to live are not asked all at once.
NameStep on_name_answer(NameState& state, const NameAnswer& answer, MonoTime now, uint32_t spread);
// Without the interface of a link-local address.
IpAddress ip_of(const Address& address);

}  // namespace gema::prober
