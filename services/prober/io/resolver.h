// Addresses of devices that are given by name, looked up on a thread of its own and again every few
// minutes. A name that fails keeps its last address and is tried again sooner.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/time.h"
#include "common/domain/slot.h"
#include "common/runtime/worker.h"
#include "services/prober/core/address.h"

namespace gema::prober {

struct Resolved {
  DeviceId device = 0;
  Address address;
};

class Resolver {
 public:
  // Which families there are sockets for.
  Resolver(bool v4, bool v6);

  // Replaces all names. Addresses known already stay known.
  struct Named {
    DeviceId device = 0;
    std::string name;
  };
  void assign(const std::vector<Named>& names);
  // Unknown until resolved once.
  Address known(const std::string& name) const;

  // Takes what came back and asks for what is due. Appends changed addresses.
  void tick(MonoTime now, std::vector<Resolved>& changed);
  std::optional<MonoTime> next_wakeup() const;
  int fd() const { return worker_.fd(); }

  size_t names() const { return names_.size(); }
  size_t unresolved() const;
  uint64_t failures() const { return failures_; }

 private:
  struct Entry {
    std::vector<DeviceId> devices;
    Address address;
    MonoTime due{};
    bool asked = false;
  };
  struct Answer {
    std::string name;
    std::optional<Address> address;
  };

  std::map<std::string, Entry> names_;  // at most as many as devices
  uint64_t failures_ = 0;
  runtime::Worker<std::string, Answer> worker_;
};

}  // namespace gema::prober
