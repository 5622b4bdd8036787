#include "services/prober/io/resolver.h"

// 1.34 deprecates functions whose successors 1.18 does not have.
#define CARES_NO_DEPRECATED
#include <ares.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/observability/log.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {
namespace {

Address from_bytes(int family, const void* bytes) {
  Address address{.family = static_cast<uint8_t>(family == AF_INET ? 4 : 6)};
  std::memcpy(address.bytes.data(), bytes, family == AF_INET ? 4 : 16);
  return address;
}

std::optional<Address> from_sockaddr(const sockaddr* name) {
  if (name == nullptr) return std::nullopt;
  if (name->sa_family == AF_INET) {
    return from_bytes(AF_INET, &reinterpret_cast<const sockaddr_in*>(name)->sin_addr);
  }
  if (name->sa_family != AF_INET6) return std::nullopt;
  const auto* in6 = reinterpret_cast<const sockaddr_in6*>(name);
  Address address = from_bytes(AF_INET6, &in6->sin6_addr);
  address.scope = in6->sin6_scope_id;
  return address;
}

// Whether there are a route and a source address. Sends nothing.
bool is_usable(const Address& address) {
  sockaddr_storage name{};
  socklen_t length = 0;
  if (address.family == 4) {
    auto* in = reinterpret_cast<sockaddr_in*>(&name);
    in->sin_family = AF_INET;
    in->sin_port = htons(9);
    std::memcpy(&in->sin_addr, address.bytes.data(), 4);
    length = sizeof *in;
  } else {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&name);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(9);
    in6->sin6_scope_id = address.scope;
    std::memcpy(&in6->sin6_addr, address.bytes.data(), 16);
    length = sizeof *in6;
  }
  const int fd = ::socket(name.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const bool usable = ::connect(fd, reinterpret_cast<const sockaddr*>(&name), length) == 0;
  ::close(fd);
  return usable;
}

NameFault fault_of(int status) {
  switch (status) {
    case ARES_SUCCESS:
      return NameFault::kNone;
    case ARES_ENOTFOUND:
    case ARES_ENONAME:
      return NameFault::kNoSuchName;
    case ARES_ENODATA:
      return NameFault::kNoData;
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
    case ARES_EBADSTR:
      return NameFault::kBadName;
    case ARES_EREFUSED:
      return NameFault::kRefused;
    case ARES_ETIMEOUT:
      return NameFault::kTimeout;
    case ARES_ECONNREFUSED:
    case ARES_EOF:
      return NameFault::kNoServer;
    default:
      return NameFault::kServerFailure;
  }
}

bool is_port(const std::string& text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

// c-ares itself takes ports of five digits, and lists.
bool is_server(const std::string& text) {
  if (parse_address(text)) return true;
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || !is_port(text.substr(colon + 1))) return false;
  const bool brackets = colon >= 2 && text[0] == '[' && text[colon - 1] == ']';
  const auto address = parse_address(brackets ? text.substr(1, colon - 2) : text.substr(0, colon));
  return address && (address->family == 6) == brackets;
}

bool is_link_local(const ares_addr_port_node& server) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&server.addr);
  return server.family == AF_INET6 && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80;
}

std::array<int64_t, 3> version_of(const std::string& file) {
  struct stat s {};
  if (::stat(file.c_str(), &s) != 0) return {};
  return {static_cast<int64_t>(s.st_ino),
          static_cast<int64_t>(s.st_mtim.tv_sec) * 1'000'000'000 + s.st_mtim.tv_nsec, s.st_size};
}

}  // namespace

struct Resolver::Query {
  Resolver* resolver;
  uint64_t ask;
  int family;
  size_t server;  // whom
  size_t tried;   // servers before it
};

struct Resolver::Server {
  explicit Server(runtime::Loop& the_loop) : loop(the_loop) {}
  ~Server() {
    if (channel != nullptr) ares_destroy(channel);  // answers what is under way, closes sockets
    for (const int fd : fds) loop.remove_fd(fd);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<void> open(const ResolverOptions& options) {
    ares_options with{};
    // One server to a channel and answers unchecked: else 1.18 gives one reason for every failure.
    with.flags = ARES_FLAG_NOCHECKRESP;
    with.timeout = static_cast<int>(options.timeout / 1ms);
    with.tries = kDnsTries;
    char dns_only[] = "b";
    with.lookups = dns_only;
    with.sock_state_cb = &Server::on_socket;
    with.sock_state_cb_data = this;
    const int status = ares_init_options(&channel, &with,
                                         ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
                                             ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
    if (status == ARES_SUCCESS) return {};
    channel = nullptr;
    return Error{Errc::kPermanent,
                 fmt::format("the resolver cannot be initialised: {}", ares_strerror(status))};
  }

  static void on_socket(void* data, ares_socket_t fd, int read, int write) {
    auto& self = *static_cast<Server*>(data);
    const runtime::Readiness wanted{.read = read != 0, .write = write != 0};
    if (!wanted.read && !wanted.write) {
      if (self.fds.erase(fd) > 0) self.loop.remove_fd(fd);
    } else if (!self.fds.insert(fd).second) {
      self.loop.change_fd(fd, wanted);
    } else {
      self.loop.watch_fd(fd, wanted, [&self, fd](Now, runtime::Readiness ready) {
        ares_process_fd(self.channel, ready.read ? fd : ARES_SOCKET_BAD,
                        ready.write ? fd : ARES_SOCKET_BAD);
      });
    }
  }

  runtime::Loop& loop;
  ares_channel channel = nullptr;
  std::set<int> fds;
};

Resolver::Resolver(runtime::Loop& loop, ResolverOptions options)
    : loop_(loop), options_(std::move(options)) {}

Resolver::~Resolver() {
  for (auto& [id, ask] : asks_) ask.void_ = true;
  servers_.clear();  // ends what is under way, while the tables still stand
}

Result<std::unique_ptr<Resolver>> Resolver::open(runtime::Loop& loop, ResolverOptions options) {
  if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
    return Error{Errc::kPermanent, "the resolver's library cannot be initialised"};
  }
  std::unique_ptr<Resolver> resolver(new Resolver(loop, std::move(options)));
  resolver->config_seen_ = version_of(resolver->options_.system);
  if (auto opened = resolver->open_servers(); !opened) return opened.error();
  return resolver;
}

Result<void> Resolver::open_servers() {
  ++reads_;
  servers_.clear();
  first_server_ = 0;
  auto add = [&]() -> Result<Server*> {
    auto server = std::make_unique<Server>(loop_);
    if (auto opened = server->open(options_); !opened) return opened.error();
    servers_.push_back(std::move(server));
    return servers_.back().get();
  };
  for (const std::string& text : options_.servers) {
    auto server = add();
    if (!server) return server.error();
    if (!is_server(text) ||
        ares_set_servers_ports_csv((*server)->channel, text.c_str()) != ARES_SUCCESS) {
      return Error{Errc::kBadInput,
                   fmt::format("prober.dns_servers = {}: must be an IP address, or one with a "
                               "port: 192.0.2.53:53, [2001:db8::53]:53",
                               text)};
    }
    if (servers_.size() == kDnsServersMax) break;
  }
  if (!servers_.empty()) return {};
  auto all = add();  // with the system's servers
  if (!all) return all.error();
  ares_addr_port_node* list = nullptr;
  if (ares_get_servers_ports((*all)->channel, &list) != ARES_SUCCESS || list == nullptr) return {};
  const std::unique_ptr<void, decltype(&ares_free_data)> owner(list, ares_free_data);
  for (const auto* s = list; s != nullptr; s = s->next) {
    if (is_link_local(*s)) return {};  // the list does not name its interface
  }
  servers_.clear();
  for (const auto* s = list; s != nullptr && servers_.size() < kDnsServersMax; s = s->next) {
    auto server = add();
    if (!server) return server.error();
    ares_addr_port_node one = *s;
    one.next = nullptr;
    if (ares_set_servers_ports((*server)->channel, &one) != ARES_SUCCESS) {
      return Error{Errc::kPermanent, "the system's name servers cannot be used"};
    }
  }
  return {};
}

// --- which names --------------------------------------------------------------------------------

void Resolver::queue(const std::string& name, const Entry& entry) {
  due_[entry.state.fault == NameFault::kTimeout ? 1 : 0].emplace(entry.state.due, &name);
}

void Resolver::assign(const std::vector<Named>& names) {
  std::map<std::string, Entry> before = std::exchange(names_, {});
  for (auto& due : due_) due.clear();
  for (const Named& named : names) {
    auto [at, is_new] = names_.try_emplace(named.name);
    Entry& entry = at->second;
    const auto old = before.find(named.name);
    if (is_new && old != before.end()) {
      entry = std::move(old->second);
      entry.devices.clear();
    }
    entry.devices.push_back(named.device);
  }
  for (const auto& [name, entry] : names_) {
    if (!entry.asked) queue(name, entry);
  }
}

Address Resolver::known(const std::string& name) const {
  const auto found = names_.find(name);
  return found == names_.end() ? Address{} : found->second.state.address;
}

size_t Resolver::unresolved() const {
  return static_cast<size_t>(std::count_if(names_.begin(), names_.end(), [](const auto& named) {
    return !named.second.state.address.known();
  }));
}

size_t Resolver::failing() const {
  return static_cast<size_t>(std::count_if(names_.begin(), names_.end(), [](const auto& named) {
    return named.second.state.fault != NameFault::kNone;
  }));
}

// --- when ---------------------------------------------------------------------------------------

void Resolver::tick(MonoTime now, std::vector<Resolved>& changed) {
  watch_config(now);
  if (!asks_.empty()) {
    for (const auto& server : servers_) {  // what timed out
      ares_process_fd(server->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
  }
  auto take_done = [&] {
    for (const uint64_t id : std::exchange(done_, {})) {
      auto ask = asks_.extract(id);
      if (!ask.empty()) conclude(ask.mapped(), now, changed);
    }
  };
  take_done();
  next_start_ = std::max(next_start_, now - kNameSpacing * kNameBurst);
  while (next_start_ <= now && asks_.size() < kNamesAskedMax) {
    Due* from = nullptr;
    for (Due* due : {&due_[0], &due_[1]}) {
      if (due->empty() || due->begin()->first > now) continue;
      if (due == &due_[1] && slow_asked_ >= kNamesAskedSlowMax) continue;
      if (from == nullptr || due->begin()->first < from->begin()->first) from = due;
    }
    if (from == nullptr) break;
    const std::string& name = *from->begin()->second;
    from->erase(from->begin());
    next_start_ += kNameSpacing;
    start(name, names_.at(name));
    take_done();  // /etc/hosts answers at once
  }
}

std::optional<MonoTime> Resolver::next_wakeup(MonoTime now) const {
  if (!done_.empty()) return now;
  std::optional<MonoTime> next;
  auto by = [&](MonoTime at) { next = next ? std::min(*next, at) : at; };
  if (!names_.empty() && options_.servers.empty()) by(config_due_);
  if (asks_.size() < kNamesAskedMax) {
    if (!due_[0].empty()) by(std::max(due_[0].begin()->first, next_start_));
    if (!due_[1].empty() && slow_asked_ < kNamesAskedSlowMax) {
      by(std::max(due_[1].begin()->first, next_start_));
    }
  }
  if (asks_.empty()) return next;
  for (const auto& server : servers_) {
    timeval wait{};
    if (ares_timeout(server->channel, nullptr, &wait) == nullptr) continue;
    by(now + std::chrono::seconds(wait.tv_sec) + std::chrono::microseconds(wait.tv_usec) + 1ms);
  }
  return next;
}

// The system's servers may change while we run. What is under way is asked again.
void Resolver::watch_config(MonoTime now) {
  if (!options_.servers.empty() || now < config_due_) return;
  config_due_ = now + kDnsConfigEvery;
  const auto seen = version_of(options_.system);
  if (seen == config_seen_) return;
  config_seen_ = seen;
  for (auto& [id, ask] : asks_) ask.void_ = true;
  if (const auto opened = open_servers(); !opened) {
    obs::log_error("name servers not read", {{"why", opened.error().message}});
  } else {
    obs::log_info("name servers read again", {{"servers", servers_.size()}});
  }
}

// --- asking -------------------------------------------------------------------------------------

void Resolver::start(const std::string& name, Entry& entry) {
  ++stats_.asked;
  entry.asked = true;
  const uint64_t id = next_ask_++;
  Ask& ask = asks_[id];
  ask.name = name;
  ask.slow = entry.state.fault == NameFault::kTimeout;
  slow_asked_ += ask.slow ? 1 : 0;
  if (servers_.empty()) {
    ask.answer.v4.fault = ask.answer.v6.fault = NameFault::kNoServer;
    done_.push_back(id);
    return;
  }
  if (ask_hosts_file(name, ask.answer)) {
    done_.push_back(id);
    return;
  }
  ask.waiting = (options_.v4 ? 1 : 0) + (options_.v6 ? 1 : 0);
  // Either may answer, and so end, before the call returns.
  if (options_.v4) ask_server(id, AF_INET, 0);
  if (options_.v6) ask_server(id, AF_INET6, 0);
}

// What stands there holds for both families, as everywhere.
bool Resolver::ask_hosts_file(const std::string& name, NameAnswer& answer) {
  bool found = false;
  for (const int family : {AF_INET, AF_INET6}) {
    hostent* host = nullptr;
    if (ares_gethostbyname_file(servers_[0]->channel, name.c_str(), family, &host) !=
        ARES_SUCCESS) {
      continue;
    }
    found = true;
    FamilyAnswer& of_family = family == AF_INET ? answer.v4 : answer.v6;
    if (family == AF_INET ? options_.v4 : options_.v6) {
      of_family.fault = NameFault::kNone;
      for (char** a = host->h_addr_list;
           *a != nullptr && of_family.candidates.size() < kNameAddressesMax; ++a) {
        of_family.candidates.push_back({from_bytes(family, *a)});
      }
    }
    ares_free_hostent(host);
  }
  return found;
}

void Resolver::ask_server(uint64_t ask, int family, size_t tried) {
  const size_t server = (first_server_ + tried) % servers_.size();
  ares_addrinfo_hints hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = ARES_AI_NOSORT;
  auto* query = new Query{this, ask, family, server, tried};  // on_answer() deletes it
  ares_getaddrinfo(servers_[server]->channel, asks_.at(ask).name.c_str(), nullptr, &hints,
                   &Resolver::on_answer, query);
}

void Resolver::on_answer(void* data, int status, int, ares_addrinfo* info) {
  const std::unique_ptr<Query> query(static_cast<Query*>(data));
  FamilyAnswer answer{.fault = fault_of(status)};
  if (info != nullptr) {
    uint32_t ttl_s = UINT32_MAX;
    for (const auto* c = info->cnames; c != nullptr; c = c->next) {
      ttl_s = std::min(ttl_s, static_cast<uint32_t>(std::max(c->ttl, 0)));
    }
    for (const auto* n = info->nodes; n != nullptr && answer.candidates.size() < kNameAddressesMax;
         n = n->ai_next) {
      const auto address = from_sockaddr(n->ai_addr);
      if (!address || n->ai_family != query->family) continue;
      ttl_s = std::min(ttl_s, static_cast<uint32_t>(std::max(n->ai_ttl, 0)));
      answer.candidates.push_back({*address});
    }
    answer.ttl_s = ttl_s;
    ares_freeaddrinfo(info);
  }
  if (answer.fault == NameFault::kNone && answer.candidates.empty()) {
    answer.fault = NameFault::kNoData;
  }
  query->resolver->on_family(*query, std::move(answer));
}

void Resolver::on_family(const Query& query, FamilyAnswer answer) {
  const auto found = asks_.find(query.ask);
  if (found == asks_.end()) return;
  Ask& ask = found->second;
  if (!ask.void_) {
    if (is_passing(answer.fault) && query.tried + 1 < servers_.size()) {
      ask_server(query.ask, query.family, query.tried + 1);
      return;
    }
    if (!is_passing(answer.fault)) first_server_ = query.server;
    (query.family == AF_INET ? ask.answer.v4 : ask.answer.v6) = std::move(answer);
  }
  if (--ask.waiting == 0) done_.push_back(query.ask);
}

// --- what it means ------------------------------------------------------------------------------

void Resolver::conclude(Ask& ask, MonoTime now, std::vector<Resolved>& changed) {
  slow_asked_ -= ask.slow ? 1 : 0;
  const auto found = names_.find(ask.name);
  if (found == names_.end() || !found->second.asked) return;  // not assigned any more
  Entry& entry = found->second;
  entry.asked = false;
  if (ask.void_) {
    entry.state.due = now;
    queue(found->first, entry);
    return;
  }
  if (ask.answer.v4.candidates.size() + ask.answer.v6.candidates.size() > 1) {
    for (FamilyAnswer* family : {&ask.answer.v4, &ask.answer.v6}) {
      for (Candidate& c : family->candidates) c.usable = is_usable(c.address);
    }
  }
  const auto spread = static_cast<uint32_t>(XXH64(ask.name.data(), ask.name.size(), 0));
  const NameStep step = on_name_answer(entry.state, ask.answer, now, spread);
  ++stats_.failures[static_cast<size_t>(entry.state.fault)];
  if (step.changed) {
    ++stats_.address_changes;
    for (const DeviceId device : entry.devices) {
      changed.push_back({device, step.from, entry.state.address});
    }
  }
  note(ask.name, step, entry, now);
  queue(found->first, entry);
}

void Resolver::note(const std::string& name, const NameStep& step, const Entry& entry,
                    MonoTime now) {
  if (step.changed && may_log(now)) {
    obs::log_info("address changed", {{"name", name},
                                      {"from", to_text(step.from)},
                                      {"to", to_text(entry.state.address)},
                                      {"devices", entry.devices.size()}});
  }
  if (!step.fault_changed || !may_log(now)) return;
  if (entry.state.fault == NameFault::kNone) {
    obs::log_info("name resolves again", {{"name", name}});
  } else {
    obs::log_warn("name does not resolve", {{"name", name},
                                            {"why", to_string(entry.state.fault)},
                                            {"still_checked_at", to_text(entry.state.address)}});
  }
}

bool Resolver::may_log(MonoTime now) {
  if (now >= lines_until_) {
    lines_until_ = now + 60s;
    lines_ = 0;
  }
  if (lines_++ < kNameLinesMax) return true;
  if (lines_ == kNameLinesMax + 1) obs::log_warn("more about names is left out for a minute");
  ++stats_.lines_left_out;
  return false;
}

}  // namespace gema::prober
