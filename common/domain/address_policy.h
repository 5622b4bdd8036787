// Which addresses may be pinged because somebody asks for it (not: on a schedule; inventory decides
// that). Pure.
//
// Some classes are never pinged on demand, whoever asks and whatever the lists say: one echo to
// them is answered by many, by nobody, or by something that no monitor has business with. The
// gateway asks judge(); a prober asks never_pinged() once more, because it does not trust the bus.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/ip_address.h"

namespace gema {

// A block of addresses: the first `bits` of them are equal.
struct Cidr {
  IpAddress base;
  uint8_t bits = 0;

  bool contains(const IpAddress& address) const;
  friend bool operator==(const Cidr&, const Cidr&) = default;
};

// "10.0.0.0/8", "2001:db8::/32", or one address. Fails with kBadInput: not that, or bits set behind
// the prefix (a typing error more often than not).
Result<Cidr> parse_cidr(std::string_view text);

// Why an address may not be pinged, or that it may. The words of to_string() are in answers.
enum class AddressVerdict : uint8_t {
  kAllowed = 0,
  kUnspecified = 1,
  kBroadcast = 2,
  kMulticast = 3,
  kReserved = 4,   // 0.0.0.0/8, 240.0.0.0/4
  kMetadata = 5,   // where clouds serve machines their secrets
  kLoopback = 6,   // and no device's address
  kDenied = 7,     // in the deny list
  kNotListed = 8,  // neither a device's address nor in the allow list
};
inline constexpr int kAddressVerdictMax = 8;
const char* to_string(AddressVerdict verdict);

// kUnspecified .. kMetadata, or kAllowed. A loopback address passes here.
AddressVerdict never_pinged(const IpAddress& address);
bool is_loopback(const IpAddress& address);

struct AddressPolicy {
  std::vector<Cidr> allow;
  std::vector<Cidr> deny;
};

// In this order: what is never pinged; what is denied (devices too); the addresses of known
// devices; loopback (each prober's own: no list can know whose is meant); what is allowed.
// Everything else is not.
AddressVerdict judge(const AddressPolicy& policy, const IpAddress& address, bool is_device);

}  // namespace gema
