// Addresses of devices that are given by name: asks for names when they are due (c-ares, in the
// process' own loop), /etc/hosts first, then the servers in turn, at a bounded rate. What an answer
// means is core/name_policy.h's. Never blocks but to read /etc/hosts. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/domain/slot.h"
#include "common/runtime/loop.h"
#include "services/prober/core/address.h"
#include "services/prober/core/limits.h"
#include "services/prober/core/name_policy.h"

struct ares_addrinfo;

namespace gema::prober {

// A device that is given by name has got an address, another one, or none any more.
struct Resolved {
  DeviceId device = 0;
  Address from, to;

  friend bool operator==(const Resolved&, const Resolved&) = default;
};

struct ResolverOptions {
  bool v4 = true, v6 = true;         // the families that may be asked for
  std::vector<std::string> servers;  // "192.0.2.53", "[2001:db8::53]:5353"; none: the system's
  Duration timeout = kDnsTimeout;    // of the first try
  std::string system = "/etc/resolv.conf";  // read again when it changes
};

struct ResolverStats {
  uint64_t asked = 0;                                  // names, not packets
  std::array<uint64_t, kNameFaultMax + 1> failures{};  // by NameFault
  uint64_t address_changes = 0;                        // of names
  uint64_t lines_left_out = 0;                         // of the log
};

class Resolver {
 public:
  // `loop` must outlive it. Fails with one sentence when a server is none.
  static Result<std::unique_ptr<Resolver>> open(runtime::Loop& loop, ResolverOptions options);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // Replaces all names. Addresses known already stay known.
  struct Named {
    DeviceId device = 0;
    std::string name;
  };
  void assign(const std::vector<Named>& names);
  // None until resolved once.
  Address known(const std::string& name) const;

  // Takes what came back and asks for what is due. Appends changed addresses.
  void tick(MonoTime now, std::vector<Resolved>& changed);
  std::optional<MonoTime> next_wakeup(MonoTime now) const;

  size_t servers_read() const { return reads_; }  // how often
  size_t names() const { return names_.size(); }
  size_t asked() const { return asks_.size(); }  // waiting for an answer
  size_t unresolved() const;                     // names without an address
  size_t failing() const;                        // names whose last question failed
  const ResolverStats& stats() const { return stats_; }

 private:
  struct Server;  // one channel of c-ares to one server
  struct Query;   // one family of one name at one server
  struct Entry {
    std::vector<DeviceId> devices;
    NameState state;
    bool asked = false;
  };
  struct Ask {
    std::string name;
    NameAnswer answer;
    int waiting = 0;     // for families
    bool slow = false;   // it timed out the last time
    bool void_ = false;  // the servers were replaced meanwhile
  };
  using Due = std::set<std::pair<MonoTime, const std::string*>>;

  Resolver(runtime::Loop& loop, ResolverOptions options);
  Result<void> open_servers();
  void queue(const std::string& name, const Entry& entry);
  void start(const std::string& name, Entry& entry);
  bool ask_hosts_file(const std::string& name, NameAnswer& answer);
  void ask_server(uint64_t ask, int family, size_t tried);
  static void on_answer(void* query, int status, int timeouts, ares_addrinfo* info);
  void on_family(const Query& query, FamilyAnswer answer);
  void conclude(Ask& ask, MonoTime now, std::vector<Resolved>& changed);
  void note(const std::string& name, const NameStep& step, const Entry& entry, MonoTime now);
  bool may_log(MonoTime now);
  void watch_config(MonoTime now);

  runtime::Loop& loop_;
  const ResolverOptions options_;
  std::vector<std::unique_ptr<Server>> servers_;
  size_t first_server_ = 0;  // the one that answered last

  std::map<std::string, Entry> names_;  // at most as many as devices
  std::array<Due, 2> due_;              // names that are not in question; [1]: slow ones
  std::map<uint64_t, Ask> asks_;        // at most kNamesAskedMax
  uint64_t next_ask_ = 1;
  size_t slow_asked_ = 0;
  std::vector<uint64_t> done_;
  MonoTime next_start_{};
  MonoTime config_due_{};
  std::array<int64_t, 3> config_seen_{};
  size_t reads_ = 0;
  MonoTime lines_until_{};
  uint32_t lines_ = 0;
  ResolverStats stats_;
};

}  // namespace gema::prober
