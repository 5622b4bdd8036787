#include "services/prober/io/resolver.h"

#include <arpa/inet.h>
#include <netdb.h>

#include <algorithm>
#include <cstring>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

std::optional<Address> from_info(const addrinfo& info) {
  Address address;
  if (info.ai_family == AF_INET) {
    address.family = 4;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(info.ai_addr)->sin_addr,
                4);
    return address;
  }
  if (info.ai_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(info.ai_addr);
    address.family = 6;
    address.scope = in6->sin6_scope_id;
    std::memcpy(address.bytes.data(), &in6->sin6_addr, 16);
    return address;
  }
  return std::nullopt;
}

// The first address of a family that we can probe, in the order that the system prefers.
std::optional<Address> look_up(const std::string& name, int flags, bool v4, bool v6) {
  addrinfo hints{};
  hints.ai_family = v4 && v6 ? AF_UNSPEC : v4 ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &list) != 0) return std::nullopt;
  std::optional<Address> found;
  for (const addrinfo* i = list; i != nullptr && !found; i = i->ai_next) found = from_info(*i);
  freeaddrinfo(list);
  return found;
}

}  // namespace

Resolver::Resolver(bool v4, bool v6)
    : worker_("resolver", kNamesWaitingMax, [v4, v6](std::string name) {
        auto address = look_up(name, AI_ADDRCONFIG, v4, v6);
        return Answer{std::move(name), address};
      }) {}

void Resolver::assign(const std::vector<Named>& names) {
  std::map<std::string, Entry> before = std::exchange(names_, {});
  for (const Named& named : names) {
    Entry& entry = names_[named.name];
    if (entry.devices.empty()) {
      if (const auto old = before.find(named.name); old != before.end()) {
        entry = std::move(old->second);
        entry.devices.clear();
      }
    }
    entry.devices.push_back(named.device);
  }
}

Address Resolver::known(const std::string& name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? Address{} : found->second.address;
}

void Resolver::tick(MonoTime now, std::vector<Resolved>& changed) {
  for (const Answer& answer : worker_.take_done()) {
    const auto found = names_.find(answer.name);
    if (found == names_.end()) continue;  // not assigned any more
    Entry& entry = found->second;
    entry.asked = false;
    entry.due = now + (answer.address ? kResolveAgain : kResolveRetry);
    if (!answer.address) {
      ++failures_;
    } else if (*answer.address != entry.address) {
      entry.address = *answer.address;
      for (const DeviceId device : entry.devices) changed.push_back({device, entry.address});
    }
  }
  for (auto& [name, entry] : names_) {
    if (entry.asked || entry.due > now) continue;
    if (!worker_.try_submit(name)) break;  // full: next round
    entry.asked = true;
  }
}

std::optional<MonoTime> Resolver::next_wakeup() const {
  std::optional<MonoTime> next;
  for (const auto& [name, entry] : names_) {
    if (!entry.asked && (!next || entry.due < *next)) next = entry.due;
  }
  return next;
}

size_t Resolver::unresolved() const {
  return static_cast<size_t>(std::count_if(names_.begin(), names_.end(), [](const auto& named) {
    return !named.second.address.known();
  }));
}

}  // namespace gema::prober
