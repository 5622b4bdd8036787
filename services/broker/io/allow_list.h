// The allow-list of client keys: DIR/keys/clients.yaml as values, and as a snapshot that the loop
// replaces while the ZAP thread reads it.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "services/broker/core/rights.h"

namespace gema::broker {

class AllowList {
 public:
  // Requires: names and keys are unique (parse_clients checks it).
  explicit AllowList(std::vector<Client> clients);

  // nullptr: nobody has this key. Lives as long as the list.
  const Client* find_key(std::string_view public_key) const;
  const std::vector<Client>& clients() const { return clients_; }

 private:
  std::vector<Client> clients_;
  std::map<std::string, size_t, std::less<>> by_key_;
};

// Fails with kBadInput naming the entry and the rule: unknown or missing keys, a name or key twice,
// not a name, not a key, more than kClientsMax.
Result<std::vector<Client>> parse_clients(const std::string& yaml);
std::string print_clients(const std::vector<Client>& clients);

// kUnavailable when the file cannot be read.
Result<std::vector<Client>> read_clients(const std::string& path);

// Thread-safe.
class SharedAllowList {
 public:
  explicit SharedAllowList(std::shared_ptr<const AllowList> list) : list_(std::move(list)) {}
  std::shared_ptr<const AllowList> get() const {
    const std::lock_guard lock(mutex_);
    return list_;
  }
  void set(std::shared_ptr<const AllowList> list) {
    const std::lock_guard lock(mutex_);
    list_ = std::move(list);
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const AllowList> list_;
};

}  // namespace gema::broker
