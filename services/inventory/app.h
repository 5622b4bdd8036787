// Inventory's shell: the bus, the worker that talks to PostgreSQL, the worker that writes to disk,
// and between them the pure cores that decide (core/inventory.h, core/assigner.h).
//
// One change at a time: a file or a call is planned from the inventory in memory, written by the
// worker, and only then made true in memory and published. What comes meanwhile waits (bounded).
// Pause and resume need the disk only: they work while PostgreSQL is away.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/base/result.h"
#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/runtime/service_main.h"
#include "common/runtime/worker.h"
#include "services/inventory/check_devices.h"
#include "services/inventory/config.h"
#include "services/inventory/core/assigner.h"
#include "services/inventory/core/inventory.h"
#include "services/inventory/core/probing.h"
#include "services/inventory/io/gauges.h"
#include "services/inventory/io/state_files.h"
#include "services/inventory/io/store.h"

namespace gema::inventory {

class App {
 public:
  static constexpr const char* kName = "inventory";
  static constexpr const char* kSummary = "knows which devices exist and which prober checks which";
  using Config = inventory::Config;

  App(Config config, const runtime::Environment& environment);
  ~App();

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  // Runs on a worker; what it returns runs on the loop.
  using Continuation = std::function<void(Now)>;
  using Job = std::function<Continuation()>;

  // A change that waits for the database: a call's, or the devices file's.
  struct Request {
    // Runs on the worker. Requires: nobody changes the inventory meanwhile.
    std::function<Result<Planned>(const Inventory&)> plan;
    std::string actor;
    // Called once, on the loop, with what took effect or with why not.
    std::function<void(Result<Planned>)> done;
  };

  // app.cpp: bus and time
  void open_bus(Now now);
  void serve_calls();
  void drain_bus(Now now);
  void on_heartbeat(std::string_view process, std::string_view payload, Now now);
  void note_version(Version theirs, Version ours);
  void publish_catalogue(Now now);
  void perform(const AssignerEffects& effects);
  void keep_on_disk();
  void refresh_health(Now now);

  // app_changes.cpp: the database and what changes the inventory
  Result<void> restore_from_disk(Now now);
  Store::Known known() const;
  void load(Now now);
  void loaded(Result<Inventory> inventory, Now now);
  void database_lost(const Error& error, Now now);
  void accept(Request request);
  void accept_call(const char* method, const std::string& body, const bus::Responder& responder);
  void accept_reload(std::optional<bus::Responder> responder);
  void pump(Now now);
  void run_change(Request request, Now now);
  void look_after_database(Now now);
  void inventory_changed(Now now);

  // app_probing.cpp: pause and resume
  void restore_probing(Now now);
  void serve_probing_calls();
  void accept_probing(ProbingAction action, const std::string& body,
                      const bus::Responder& responder);
  void pump_probing(Now now);
  void write_probing_audit(Now now);

  Config config_;
  const runtime::Environment& env_;
  StateFiles files_;
  Store store_;  // the database worker's alone
  Assigner assigner_;
  Inventory inventory_;
  Gauges gauges_;

  std::unique_ptr<bus::BusClient> client_;
  std::unique_ptr<bus::CallServer> calls_;
  std::unique_ptr<bus::Heartbeat> heartbeat_;
  std::unique_ptr<runtime::Worker<Job, Continuation>> database_;
  std::unique_ptr<runtime::Worker<Job, Continuation>> disk_;

  bool have_inventory_ = false;  // from disk or database: something to publish
  bool database_ready_ = false;
  bool database_busy_ = false;
  bool ever_loaded_ = false;       // from the database, in this run
  bool reload_wanted_ = false;     // the devices file, once the database is there
  uint64_t generation_above_ = 0;  // seen in a heartbeat, not from us: begin a higher one
  MonoTime next_try_{};            // at the database: to connect, or to see that it is still there
  MonoTime probers_written_at_{};
  std::map<std::string, std::string> probers_written_;  // name -> location
  std::map<std::string, std::string> probers_heard_;    // at most kProbersMax
  std::deque<Request> waiting_;  // at most kChangesQueued; more are answered "unavailable"

  struct ProbingRequest {
    ProbingAction action;
    ProbingChange change;
    bus::Responder responder;
  };
  KeptProbing probing_;
  std::deque<ProbingRequest> probing_waiting_;  // at most kProbingChangesQueued
  bool probing_to_disk_ = false;                // audit rows were taken off

  std::string catalogue_bytes_;  // of inventory_, serialised
  bool publish_due_ = false;
  std::optional<MonoTime> published_at_;
  bool catalogue_to_disk_ = false;
  bool owners_to_disk_ = false;
  bool disk_busy_ = false;
  // Handed to the disk worker by keep_on_disk(), and not known to be written.
  struct OnItsWay {
    bool catalogue = false;
    bool owners = false;
    bool probing = false;
  } on_its_way_;
  bool trim_due_ = false;
  std::optional<MonoTime> shown_at_;
};

}  // namespace gema::inventory
