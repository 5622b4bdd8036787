#include "services/prober/io/proof.h"

#include <algorithm>
#include <utility>

#include "common/domain/address_policy.h"
#include "common/observability/log.h"
#include "services/prober/core/limits.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {

// What a device may prove, and what is known of it from the last time.
struct Proofs::Target {
  ProofSpec assigned;
  ProofSpec spec;       // without ports that are none
  std::string address;  // as assigned: an address or a name
  uint32_t timeout_ms = 0;
  std::optional<WebUrl> url;
  std::string host;  // whom the bound per host counts
  bool host_to_resolve = false;
  bool proven = false;       // the last proof said alive
  uint32_t connections = 0;  // that one proof needs at most
};

struct Proofs::Proof {
  Key key;
  std::shared_ptr<Target> target;
  MonoTime wanted;
  MonoTime deadline;
  bool admitted = false;  // counted by its host
  bool started = false;
  bool young = false;
  bool finished = false;
  uint32_t legs_open = 0;
  std::vector<ProofResult> results;
  std::unique_ptr<WebProof> web;
  MonoTime web_begun;
  std::vector<std::unique_ptr<TcpConnect>> ports;  // one per port; null when decided
};

namespace {

IpAddress plain(const Address& address) {
  IpAddress out;
  out.bytes = address.bytes;
  out.family = address.family;
  return out;
}

// Adds a result for what has none yet.
template <class Target>
void add_open_legs(const Target& target, ProofOutcome outcome, uint32_t elapsed,
                   std::vector<ProofResult>& results) {
  const auto add = [&](ProofKind kind, uint16_t port) {
    const bool there = std::any_of(results.begin(), results.end(), [&](const ProofResult& r) {
      return r.kind == kind && (kind == ProofKind::kWeb || r.port == port);
    });
    if (there) return;
    results.push_back({.kind = kind, .outcome = outcome, .port = port, .elapsed_us = elapsed});
  };
  if (!target.spec.web_url.empty()) {
    add(ProofKind::kWeb, target.url ? target.url->port : uint16_t{0});
  }
  for (const uint32_t port : target.spec.tcp_ports) {
    add(ProofKind::kTcp, static_cast<uint16_t>(port));
  }
}

uint32_t elapsed_us(MonoTime from, MonoTime to) {
  return static_cast<uint32_t>(std::clamp<int64_t>((to - from) / 1us, 0, UINT32_MAX));
}

}  // namespace

Proofs::Proofs(ProofConfig config, runtime::Loop& loop, AddressOf address_of)
    : config_(std::move(config)),
      loop_(loop),
      address_of_(std::move(address_of)),
      transfers_(loop, config_.ca_file) {}

Proofs::~Proofs() = default;

void Proofs::assign(const std::vector<AssignedDevice>& devices) {
  std::unordered_map<DeviceId, std::shared_ptr<Target>> before = std::exchange(targets_, {});
  for (const AssignedDevice& d : devices) {
    if (!d.proof.any()) continue;
    // Most are as before: an assignment costs what it changes.
    const auto old = before.find(d.id);
    if (old != before.end() && old->second->assigned == d.proof &&
        old->second->address == d.address) {
      old->second->timeout_ms = d.timeout_ms;
      targets_.emplace(d.id, std::move(old->second));
    } else {
      targets_.emplace(d.id, make_target(d));
    }
  }
}

std::shared_ptr<Proofs::Target> Proofs::make_target(const AssignedDevice& d) {
  auto target = std::make_shared<Target>(Target{
      .assigned = d.proof, .spec = d.proof, .address = d.address, .timeout_ms = d.timeout_ms});
  std::vector<uint32_t>& ports = target->spec.tcp_ports;
  std::erase_if(ports, [](uint32_t port) { return port < 1 || port > 65'535; });
  if (ports.size() > kTcpPortsMax) ports.resize(kTcpPortsMax);
  if (!d.proof.web_url.empty()) target->url = parse_web_url(d.proof.web_url);
  target->host = target->url ? target->url->host : d.address;
  target->host_to_resolve =
      target->url && target->host != d.address && !parse_address(target->host);
  target->connections = static_cast<uint32_t>(ports.size()) + (d.proof.web_url.empty() ? 0 : 1);
  return target;
}

std::vector<std::string> Proofs::host_names() const {
  std::set<std::string> names;
  for (const auto& [device, target] : targets_) {
    if (target->host_to_resolve) names.insert(target->host);
  }
  return {names.begin(), names.end()};
}

// --- who is asked when --------------------------------------------------------------------------

void Proofs::want(const ProofWanted& wanted, Now now) {
  ++stats_.wanted;
  const Key key{wanted.check, wanted.generation};
  const auto found = targets_.find(wanted.device);
  if (proofs_.contains(key)) return;  // asked twice: answered once
  if (found == targets_.end()) {      // the assignment has just changed
    done_.push_back({.check = wanted.check, .generation = wanted.generation});
    return;
  }
  if (proofs_.size() >= kProofsWaitingMax) {
    ++stats_.refused;
    ProofDone done{.check = wanted.check, .generation = wanted.generation};
    add_open_legs(*found->second, ProofOutcome::kNotTried, 0, done.results);
    count(done.results);
    done_.push_back(std::move(done));
    return;
  }
  const std::shared_ptr<Target>& target = found->second;
  auto proof = std::make_unique<Proof>();
  proof->key = key;
  proof->target = target;
  proof->wanted = now.mono;
  proof->deadline = now.mono + std::clamp<Duration>(std::chrono::milliseconds(target->timeout_ms),
                                                    kProofDeadlineMin, kProofDeadlineMax);
  deadlines_.emplace(proof->deadline, key);
  Host& host = hosts_[target->host];
  if (host.admitted < kProofsPerHost) {
    ++host.admitted;
    proof->admitted = true;
    ready_[target->proven ? 0 : 1].push_back(key);
  } else {
    host.waiting.push_back(key);
  }
  ++waiting_;
  fresh_ = true;
  proofs_.emplace(key, std::move(proof));
}

void Proofs::cancel(const ProofWanted& wanted) {
  const auto found = proofs_.find({wanted.check, wanted.generation});
  if (found == proofs_.end()) return;
  ++stats_.cancelled;
  forget(*found->second);
}

bool Proofs::may_start(const Proof& proof) const {
  if (young_ >= std::min(kProofsYoungMax, config_.connections_max)) return false;
  const uint32_t reserved =
      proof.target->proven ? 0 : config_.connections_max / kProofsReservedShare;
  return connections_ + proof.target->connections <= config_.connections_max - reserved;
}

void Proofs::start_waiting(Now now) {
  for (std::deque<Key>& queue : ready_) {
    while (!queue.empty()) {
      const auto found = proofs_.find(queue.front());
      if (found == proofs_.end() || found->second->started) {
        queue.pop_front();
        continue;
      }
      Proof& proof = *found->second;
      const bool too_late = proof.deadline - now.mono < kProofLeast;  // expire() says so
      if (!too_late && !may_start(proof)) break;
      queue.pop_front();
      if (!too_late) start(proof, now);
    }
  }
}

void Proofs::grow_old(MonoTime now) {
  while (!young_order_.empty() && young_order_.front().first + kProofYoung <= now) {
    const auto found = proofs_.find(young_order_.front().second);
    young_order_.pop_front();
    if (found == proofs_.end() || !found->second->young) continue;
    found->second->young = false;
    --young_;
  }
}

// --- one proof ----------------------------------------------------------------------------------

void Proofs::start(Proof& proof, Now now) {
  const Target& target = *proof.target;
  proof.started = proof.young = true;
  proof.legs_open = target.connections;
  --waiting_;
  ++young_;
  connections_ += target.connections;
  young_order_.emplace_back(now.mono, proof.key);
  if (!target.spec.web_url.empty()) start_web(proof, now);
  proof.ports.resize(target.spec.tcp_ports.size());
  for (size_t i = 0; i < proof.ports.size() && !proof.finished; ++i) start_port(proof, i, now);
}

// kAlive: nothing against it.
ProofOutcome Proofs::judge(const Target& target, const Address& address, bool literal) const {
  if (!address.known()) return ProofOutcome::kNoAddress;
  const IpAddress ip = plain(address);
  if (never_pinged(ip) != AddressVerdict::kAllowed) return ProofOutcome::kForbidden;
  if (!is_loopback(ip) || literal) return ProofOutcome::kAlive;
  // A name that suddenly means this machine would make us knock at our own doors.
  const auto own = parse_address(target.address);
  const bool named = target.address == "localhost" || target.address.ends_with(".localhost");
  return named || (own && is_loopback(plain(*own))) ? ProofOutcome::kAlive
                                                    : ProofOutcome::kForbidden;
}

Address Proofs::source_for(const Address& to) const {
  return to.family == 4 ? config_.source_ipv4 : config_.source_ipv6;
}

void Proofs::start_web(Proof& proof, Now now) {
  const Target& target = *proof.target;
  proof.web_begun = now.mono;
  const auto done = [this, &proof](ProofOutcome outcome, uint16_t status, Now at) {
    const auto& url = proof.target->url;
    leg_done(proof,
             {.kind = ProofKind::kWeb,
              .outcome = outcome,
              .port = url ? url->port : uint16_t{0},
              .status = status},
             proof.web_begun, at);
  };
  if (!target.url) return done(ProofOutcome::kForbidden, 0, now);
  const auto literal = parse_address(target.url->host);
  const Address address = literal ? *literal : address_of_(target.url->host);
  const bool local = literal || target.url->host == "localhost";
  const ProofOutcome allowed = judge(target, address, local);
  if (allowed != ProofOutcome::kAlive) return done(allowed, 0, now);
  WebProof::Question question{.spec = &proof.target->spec,
                              .url = *target.url,
                              .address = address,
                              .source = source_for(address),
                              .deadline = proof.deadline};
  if (!target.spec.web_auth.empty()) {
    auto secret = read_secret(config_.secrets_dir, target.spec.web_auth);
    if (!secret) {
      note_missing_secret(target.spec.web_auth, secret.error().message);
      return done(ProofOutcome::kNoCredentials, 0, now);
    }
    if (!secret->may_go_to(target.url->host)) {
      note_missing_secret(target.spec.web_auth, "its file does not name this host");
      return done(ProofOutcome::kNoCredentials, 0, now);
    }
    secrets_missed_.erase(target.spec.web_auth);
    question.secret = std::move(*secret);
  }
  proof.web = std::make_unique<WebProof>(loop_, transfers_);
  proof.web->begin(std::move(question), now, done);
}

void Proofs::start_port(Proof& proof, size_t which, Now now) {
  const Target& target = *proof.target;
  const auto port = static_cast<uint16_t>(target.spec.tcp_ports[which]);
  const auto done = [this, &proof, port, which, begun = now.mono](ProofOutcome outcome, Now at) {
    leg_done(proof, {.kind = ProofKind::kTcp, .outcome = outcome, .port = port}, begun, at);
  };
  const auto literal = parse_address(target.address);
  const Address address = literal ? *literal : address_of_(target.address);
  const ProofOutcome allowed = judge(target, address, literal.has_value());
  if (allowed != ProofOutcome::kAlive) return done(allowed, now);
  proof.ports[which] = std::make_unique<TcpConnect>(loop_);
  proof.ports[which]->begin(address, port, source_for(address), now, done);
}

void Proofs::leg_done(Proof& proof, ProofResult result, MonoTime begun, Now now) {
  if (proof.finished) return;
  result.elapsed_us = elapsed_us(begun, now.mono);
  proof.results.push_back(result);
  --proof.legs_open;
  if (result.outcome == ProofOutcome::kAlive || proof.legs_open == 0) answer(proof);
}

// --- the end of a proof -------------------------------------------------------------------------

void Proofs::count(const std::vector<ProofResult>& results) {
  for (const ProofResult& r : results) {
    ++stats_.outcomes[static_cast<size_t>(r.kind)][static_cast<size_t>(r.outcome)];
  }
}

void Proofs::answer(Proof& proof) {
  count(proof.results);
  proof.target->proven =
      std::any_of(proof.results.begin(), proof.results.end(),
                  [](const ProofResult& r) { return r.outcome == ProofOutcome::kAlive; });
  done_.push_back({.check = proof.key.first,
                   .generation = proof.key.second,
                   .results = std::move(proof.results)});
  forget(proof);
}

void Proofs::forget(Proof& proof) {
  proof.finished = true;
  if (proof.started) {
    connections_ -= proof.target->connections;
    young_ -= proof.young ? 1 : 0;
  } else {
    --waiting_;
  }
  deadlines_.erase({proof.deadline, proof.key});
  const auto found = proofs_.find(proof.key);
  graveyard_.push_back(std::move(found->second));
  proofs_.erase(found);
  const auto host = hosts_.find(proof.target->host);
  if (!proof.admitted) return;
  --host->second.admitted;
  while (!host->second.waiting.empty()) {
    const Key next = host->second.waiting.front();
    host->second.waiting.pop_front();
    const auto waiting = proofs_.find(next);
    if (waiting == proofs_.end() || waiting->second->admitted) continue;
    waiting->second->admitted = true;
    ++host->second.admitted;
    ready_[waiting->second->target->proven ? 0 : 1].push_back(next);
    break;
  }
  if (host->second.admitted == 0) hosts_.erase(host);
}

// What is still open at the deadline: no answer in time, or never asked.
void Proofs::expire(Now now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now.mono) {
    Proof& proof = *proofs_.at(deadlines_.begin()->second);
    add_open_legs(*proof.target, proof.started ? ProofOutcome::kTimeout : ProofOutcome::kNotTried,
                  elapsed_us(proof.wanted, now.mono), proof.results);
    answer(proof);
  }
}

void Proofs::note_missing_secret(const std::string& name, const std::string& why) {
  if (!secrets_missed_.insert(name).second) return;
  obs::log_error("web_auth cannot be used", {{"secret", name}, {"why", why}});
}

// --- time ---------------------------------------------------------------------------------------

void Proofs::tick(Now now) {
  transfers_.tick(now);
  expire(now);
  grow_old(now.mono);
  start_waiting(now);
  graveyard_.clear();
  fresh_ = false;
}

std::optional<MonoTime> Proofs::next_wakeup() const {
  std::optional<MonoTime> next = transfers_.next_wakeup();
  const auto at = [&next](MonoTime time) { next = next ? std::min(*next, time) : time; };
  if (!deadlines_.empty()) at(deadlines_.begin()->first);
  const bool blocked = !ready_[0].empty() || !ready_[1].empty();
  if (blocked && !young_order_.empty()) at(young_order_.front().first + kProofYoung);
  if (fresh_ || !done_.empty() || !graveyard_.empty()) at(MonoTime{});
  return next;
}

void Proofs::take_done(std::vector<ProofDone>& done) {
  std::move(done_.begin(), done_.end(), std::back_inserter(done));
  done_.clear();
}

}  // namespace gema::prober
