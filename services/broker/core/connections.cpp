#include "services/broker/core/connections.h"

namespace gema::broker {

const char* to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kKeep:
      return "keep";
    case Verdict::kTooManyConnections:
      return "too_many_connections";
    case Verdict::kTooManySubscriptions:
      return "too_many_subscriptions";
    case Verdict::kNotASubscription:
      return "not_a_subscription";
    case Verdict::kKeyRevoked:
      return "key_revoked";
    case Verdict::kMemory:
      return "memory";
  }
  return "?";
}

Verdict Connections::on_accepted(int fd) {
  open_[fd] = Account{};
  return open_.size() > limits_.connections_max ? Verdict::kTooManyConnections : Verdict::kKeep;
}

void Connections::on_closed(int fd) {
  open_.erase(fd);
}

Verdict Connections::on_subscription(int fd, std::string_view key, size_t prefix_bytes) {
  const auto at = open_.find(fd);
  if (at == open_.end()) return Verdict::kKeep;  // closed meanwhile
  Account& account = at->second;
  account.key = key;
  account.subscriptions += 1;
  account.subscription_bytes += prefix_bytes;
  const bool over = account.subscriptions > limits_.subscriptions_max ||
                    account.subscription_bytes > limits_.subscription_bytes_max;
  return over ? Verdict::kTooManySubscriptions : Verdict::kKeep;
}

std::vector<int> Connections::all() const {
  std::vector<int> fds;
  for (const auto& [fd, account] : open_) fds.push_back(fd);
  return fds;
}

}  // namespace gema::broker
