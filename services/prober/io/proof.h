// Proof of life: asks devices whose echoes failed over HTTP(S) and TCP, without ever waiting, in
// the prober's own loop. Decides who is asked when: a bounded number at once and per host, in
// order, those first that proved to live the last time; a target that hangs delays nobody for long.
//
// In: what devices may prove (assign), what the engine wants (want, cancel), time. Out: a ProofDone
// for each that was wanted and not cancelled, by its deadline at the latest. Every method belongs
// to the loop's thread.
#pragma once

#include <array>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/domain/catalogue.h"
#include "common/runtime/loop.h"
#include "services/prober/core/engine.h"
#include "services/prober/io/web_proof.h"
#include "services/prober/io/web_transfers.h"

namespace gema::prober {

struct ProofConfig {
  uint32_t connections_max = 1024;
  std::filesystem::path secrets_dir;
  std::string ca_file;  // "" = the system's
  Address source_ipv4, source_ipv6;
};

struct ProofStats {
  std::array<std::array<uint64_t, kProofOutcomeMax + 1>, kProofKindMax + 1> outcomes{};
  uint64_t wanted = 0;
  uint64_t refused = 0;  // kProofsWaitingMax was reached
  uint64_t cancelled = 0;
};

class Proofs {
 public:
  // The current address of a device or host given by name; unknown when it does not resolve.
  using AddressOf = std::function<Address(const std::string& name)>;

  Proofs(ProofConfig config, runtime::Loop& loop, AddressOf address_of);
  ~Proofs();

  // Replaces what devices may prove; proofs under way end as begun.
  void assign(const std::vector<AssignedDevice>& devices);
  // The host names of web addresses, which somebody must resolve. Ascending, each once.
  std::vector<std::string> host_names() const;

  void want(const ProofWanted& wanted, Now now);
  void cancel(const ProofWanted& wanted);
  // Each turn.
  void tick(Now now);
  std::optional<MonoTime> next_wakeup() const;
  // Appends what is done. May be asked at any time; nothing is there before tick().
  void take_done(std::vector<ProofDone>& done);

  size_t in_flight() const { return proofs_.size() - waiting_; }
  size_t waiting() const { return waiting_; }
  const ProofStats& stats() const { return stats_; }

 private:
  struct Target;
  struct Proof;
  using Key = std::pair<uint32_t, uint32_t>;  // check, generation

  static std::shared_ptr<Target> make_target(const AssignedDevice& device);
  bool may_start(const Proof& proof) const;
  void start_waiting(Now now);
  void start(Proof& proof, Now now);
  void start_web(Proof& proof, Now now);
  void start_port(Proof& proof, size_t which, Now now);
  void leg_done(Proof& proof, ProofResult result, MonoTime begun, Now now);
  void answer(Proof& proof);
  void count(const std::vector<ProofResult>& results);
  void forget(Proof& proof);
  void grow_old(MonoTime now);
  void expire(Now now);
  ProofOutcome judge(const Target& target, const Address& address, bool literal) const;
  Address source_for(const Address& to) const;
  void note_missing_secret(const std::string& name, const std::string& why);

  const ProofConfig config_;
  runtime::Loop& loop_;
  const AddressOf address_of_;
  WebTransfers transfers_;
  std::unordered_map<DeviceId, std::shared_ptr<Target>> targets_;
  std::map<Key, std::unique_ptr<Proof>> proofs_;      // waiting and in flight
  std::set<std::pair<MonoTime, Key>> deadlines_;      // of all of them
  std::array<std::deque<Key>, 2> ready_;              // proven ones, others; may name forgotten
  std::deque<std::pair<MonoTime, Key>> young_order_;  // in the order of their start
  struct Host {
    uint32_t admitted = 0;    // in flight, or in ready_
    std::deque<Key> waiting;  // may name forgotten ones
  };
  std::map<std::string, Host> hosts_;              // those with a proof
  std::vector<std::unique_ptr<Proof>> graveyard_;  // destroyed by tick(): callbacks may run in them
  std::vector<ProofDone> done_;
  std::set<std::string> secrets_missed_;  // named in the log
  size_t waiting_ = 0;
  uint32_t connections_ = 0;
  uint32_t young_ = 0;
  bool fresh_ = false;  // something was wanted since the last tick
  ProofStats stats_;
};

}  // namespace gema::prober
