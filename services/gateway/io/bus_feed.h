// Everything between the bus and the live view: observes ping and transitions, keeps the catalogue,
// hears heartbeats, asks inventory and tracker for snapshots, carries device changes to inventory,
// and publishes frames of events.
//
// It never acknowledges or asks for records: an observer must not hold anybody up. What it missed
// it gets from the tracker's snapshot.
//
// The loop's thread only; views are changed under their mutex.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/codec/device_codec.h"
#include "common/domain/on_demand.h"
#include "common/observability/health.h"
#include "common/stream/consumer.h"
#include "services/gateway/io/event_hub.h"
#include "services/gateway/io/shared_view.h"

namespace gema::gateway {

struct BusFeedOptions {
  bus::BusOptions bus;
  std::filesystem::path state_dir;  // the last catalogue is kept here
  Duration call_timeout = 5s;
};

struct BusFeedStats {
  uint64_t undecodable = 0;       // records, parts or heartbeats
  uint64_t snapshots_failed = 0;  // calls to the tracker without an answer
  uint64_t catalogues = 0;
};

class BusFeed {
 public:
  // Fails when the keys are missing (see BusClient::open).
  static Result<std::unique_ptr<BusFeed>> open(BusFeedOptions options, SharedView& view,
                                               EventHub& events, obs::Health& health, Now now);

  int fd() const { return client_->fd(); }
  // Takes what has come and does what is due; returns when to be called again.
  MonoTime turn(Now now);

  using ChangeDone = std::function<void(Result<Device>)>;
  void change_device(const std::string& method, const DeviceChange& change, ChangeDone done,
                     Now now);

  using ProbingDone = std::function<void(Result<Probing>)>;
  void change_probing(bool pause, const ProbingChange& change, ProbingDone done, Now now);

  using PingDone = std::function<void(Result<PingReport>)>;
  void ping(const std::string& prober, const PingOrder& order, Duration deadline, PingDone done,
            Now now);
  // Any call of another process; `done` gets the reply's body.
  void call(const std::string& process, const std::string& method, std::string body,
            Duration deadline, bus::Caller::Done done, Now now);

  const BusFeedStats& stats() const { return stats_; }
  const bus::BusClient& client() const { return *client_; }

 private:
  BusFeed(BusFeedOptions options, std::unique_ptr<bus::BusClient> client, SharedView& view,
          EventHub& events, obs::Health& health, Now now);

  void take(const std::string& topic, const std::string& payload, Now now);
  void take_ping(Now now);
  void take_transitions(Now now);
  void take_heartbeat(std::string_view process, const std::string& payload, Now now);
  void take_catalogue(Catalogue catalogue, bool keep, Now now);
  void load_catalogue(Now now);
  void keep_catalogue(const Catalogue& catalogue);
  void ask_for_catalogue(Now now);
  void ask_for_snapshot(Now now);
  void publish_events(Now now);
  void say_what_is_waited_for();

  const BusFeedOptions options_;
  std::unique_ptr<bus::BusClient> client_;
  SharedView& view_;
  EventHub& events_;
  obs::Health& health_;
  bus::Caller caller_;
  bus::Heartbeat heartbeat_;
  stream::Consumer ping_;
  stream::Consumer transitions_;
  SnapshotAssembler assembler_;
  std::vector<stream::Delivery> deliveries_;  // emptied at once; the memory is kept
  PingResults results_;
  std::string topic_;
  std::string payload_;

  Now now_{};  // of this turn, for answers to calls
  bool have_catalogue_ = false;
  bool have_snapshot_ = false;
  Version wanted_;  // the newest catalogue that inventory's heartbeat named
  bool catalogue_call_open_ = false;
  std::optional<MonoTime> catalogue_due_;
  MonoTime frames_due_{};
  BusFeedStats stats_;
};

}  // namespace gema::gateway
