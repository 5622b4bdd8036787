// Keeps account of the connections to one listening socket: how many there are, whose they are, and
// what each has subscribed. Decides which to cut. Pure; a connection is known by its descriptor.
//
// Descriptors are reused: on_accepted() begins a new account. libzmq tells of events a moment late,
// so in a race a new connection may inherit an old one's account, at worst to be cut once without
// need (clients reconnect by themselves).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace gema::broker {

struct ConnectionLimits {
  size_t connections_max = 0;  // beyond it a new one is cut at once
  size_t subscriptions_max = 0;
  size_t subscription_bytes_max = 0;
};

enum class Verdict {
  kKeep,
  kTooManyConnections,
  kTooManySubscriptions,
  kNotASubscription,  // a subscriber has no business sending anything else
  kKeyRevoked,
  kMemory,
};
const char* to_string(Verdict verdict);

class Connections {
 public:
  explicit Connections(const ConnectionLimits& limits) : limits_(limits) {}

  Verdict on_accepted(int fd);
  void on_closed(int fd);

  // `key`: of the client whose subscription it is. Counts over the connection's life: cancelling
  // one does not give it back.
  Verdict on_subscription(int fd, std::string_view key, size_t prefix_bytes);

  size_t size() const { return open_.size(); }
  std::vector<int> all() const;
  // Connections that have shown a key (by subscribing) for which `revoked(key)` holds.
  template <class Predicate>
  std::vector<int> of_keys(Predicate revoked) const {
    std::vector<int> found;
    for (const auto& [fd, account] : open_) {
      if (!account.key.empty() && revoked(account.key)) found.push_back(fd);
    }
    return found;
  }

 private:
  struct Account {
    std::string key;  // empty until its first subscription
    size_t subscriptions = 0;
    size_t subscription_bytes = 0;
  };
  ConnectionLimits limits_;
  std::map<int, Account> open_;  // as many as the process may have descriptors
};

}  // namespace gema::broker
