#include "services/inventory/app.h"

#include <malloc.h>

#include <algorithm>

#include "common/bus/topics.h"
#include "common/codec/device_codec.h"
#include "common/observability/log.h"
#include "common/postgres/from_config.h"
#include "common/runtime/clock.h"
#include "services/inventory/io/messages.h"

namespace gema::inventory {
namespace {

// One job is in hand and at most one more waits: both workers are asked one thing at a time.
constexpr size_t kWorkerQueue = 4;
constexpr Duration kShowEvery = 500ms;  // metrics of what changes with every turn

}  // namespace

App::App(Config config, const runtime::Environment& environment)
    : config_(std::move(config)),
      env_(environment),
      files_(environment.state_dir()),
      store_(postgres::options_from(environment.common, "gema-inventory")),
      assigner_({.self = environment.instance,
                 .default_location = config_.default_location,
                 .down_after = environment.common.down_after}),
      gauges_(environment.metrics) {}

App::~App() = default;

Result<void> App::start() {
  const Now now = runtime::read_clock();
  auto client = bus::BusClient::open({.ingress = env_.common.ingress_endpoint(),
                                      .egress = env_.common.inner_endpoint(),
                                      .keys_dir = env_.common.keys_dir(),
                                      .name = env_.instance});
  if (!client) return client.error();
  client_ = std::move(*client);
  if (auto restored = restore_from_disk(now); !restored) return restored;
  restore_probing(now);
  // Once on this thread, before it drains anything: a schema that is too new ends the start.
  reload_wanted_ = !config_.devices_file.empty();
  auto first = store_.load(known());
  if (!first && first.error().code != Errc::kUnavailable &&
      first.error().code != Errc::kRetryable && first.error().code != Errc::kTimeout) {
    return first.error();
  }
  open_bus(now);
  loaded(std::move(first), now);
  return {};
}

void App::open_bus(Now now) {
  client_->subscribe(bus::heartbeat_prefix());
  calls_ = std::make_unique<bus::CallServer>(*client_, env_.instance);
  serve_calls();
  heartbeat_ = std::make_unique<bus::Heartbeat>(*client_, kName, now, [this](v1::Heartbeat& out) {
    fill({.catalogue = have_inventory_ ? inventory_.version : Version{},
          .assignments = assigner_.versions(),
          .ready = env_.health.ready(),
          .waiting_for = env_.health.waiting_for(),
          .probing = probing_.state},
         out);
  });
  const auto run = [](Job job) { return job(); };
  database_ = std::make_unique<runtime::Worker<Job, Continuation>>("database", kWorkerQueue, run);
  disk_ = std::make_unique<runtime::Worker<Job, Continuation>>("disk", kWorkerQueue, run);
  env_.loop.add_fd(client_->fd());
  for (auto* worker : {database_.get(), disk_.get()}) {
    env_.loop.add_fd(worker->fd(), [worker](Now at) {
      for (Continuation& done : worker->take_done()) done(at);
    });
  }
}

void App::serve_calls() {
  const auto catalogue = [this](const std::string&, const bus::Responder& responder) {
    if (!have_inventory_) {
      responder.fail({Errc::kUnavailable, "the inventory is not read yet"});
    } else {
      responder.reply(catalogue_bytes_);
    }
  };
  calls_->handle("catalogue.snapshot", catalogue);
  calls_->handle("device.list", catalogue);
  calls_->handle("assignment.snapshot",
                 [this](const std::string& body, const bus::Responder& responder) {
                   const auto prober = decode_assignment_request(body);
                   if (!prober) {
                     responder.fail(prober.error());
                   } else {
                     responder.reply(encode_assignment(assigner_.assignment_of(*prober)));
                   }
                 });
  for (const char* method : {"device.create", "device.update", "device.delete"}) {
    calls_->handle(method,
                   [this, method](const std::string& body, const bus::Responder& responder) {
                     accept_call(method, body, responder);
                   });
  }
  serve_probing_calls();
  calls_->handle("devices.reload", [this](const std::string&, const bus::Responder& responder) {
    accept_reload(responder);
  });
}

std::optional<MonoTime> App::turn(Now now) {
  drain_bus(now);
  if (env_.loop.take_reload()) accept_reload(std::nullopt);
  pump_probing(now);
  look_after_database(now);
  write_probing_audit(now);
  pump(now);
  perform(assigner_.tick(now));
  publish_catalogue(now);
  keep_on_disk();
  refresh_health(now);
  if (trim_due_ && !database_busy_ && !disk_busy_) {
    // A whole file's plan, rows and bytes are gone by now; the allocator would keep their memory.
    malloc_trim(0);
    trim_due_ = false;
  }
  MonoTime wakeup = std::min(client_->tick(now), heartbeat_->tick(now));
  // While the worker is busy its result wakes us.
  if (!database_busy_) wakeup = std::min(wakeup, next_try_);
  if (publish_due_ && published_at_) wakeup = std::min(wakeup, *published_at_ + kCoalesce);
  for (const auto& other : {calls_->tick(now), assigner_.next_wakeup()}) {
    if (other) wakeup = std::min(wakeup, *other);
  }
  return wakeup;
}

void App::drain_bus(Now now) {
  // Bounded, so that a flood does not keep us from our own heartbeat.
  constexpr int kMessagesPerTurn = 2'000;
  std::string topic, payload;
  for (int i = 0; i < kMessagesPerTurn && client_->receive(topic, payload); ++i) {
    if (calls_->on_message(topic, payload, now)) continue;
    const auto parsed = bus::parse_topic(topic);
    if (parsed && parsed->kind == bus::TopicKind::kHeartbeat) {
      on_heartbeat(parsed->process, payload, now);
    }
  }
}

void App::on_heartbeat(std::string_view process, std::string_view payload, Now now) {
  const auto heard = read_heartbeat(payload);
  if (!heard || heard->process != process) {
    gauges_.count("heartbeats_invalid_total",
                  "Heartbeats that cannot be read or name another process.");
    return;
  }
  if (process == env_.instance) {
    perform(assigner_.on_own_heartbeat(now));
    return;
  }
  note_version(heard->catalogue, inventory_.version);
  if (heard->kind != "prober") return;
  note_version(heard->assignment, assigner_.issued_version(heard->process));
  if (probers_heard_.size() < kProbersMax || probers_heard_.contains(heard->process)) {
    probers_heard_[heard->process] =
        heard->location.empty() ? config_.default_location : heard->location;
  }
  perform(assigner_.on_prober({.prober = heard->process,
                               .location = heard->location,
                               .held = heard->assignment,
                               .leaving = heard->leaving},
                              now));
}

// Somebody holds a version that we never gave: our disk and database are older than what was
// published. All begin anew above it.
void App::note_version(Version theirs, Version ours) {
  if (!have_inventory_ || theirs <= ours || theirs.generation < inventory_.version.generation)
    return;
  constexpr uint64_t kLeapMax = 1'000'000;  // further ahead is garbage, not history
  if (theirs.generation - inventory_.version.generation > kLeapMax) {
    gauges_.count("versions_refused_total", "Versions in heartbeats too far ahead to be true.");
    return;
  }
  generation_above_ = std::max(generation_above_, theirs.generation);
}

void App::publish_catalogue(Now now) {
  if (!publish_due_ || (published_at_ && now.mono - *published_at_ < kCoalesce)) return;
  publish_due_ = false;
  published_at_ = now.mono;
  const std::string topic = bus::catalogue_topic();
  for (const std::string& part : split_snapshot(catalogue_bytes_, inventory_.version)) {
    client_->publish(topic, part);
  }
  gauges_.count("snapshots_total", "Snapshots published.", {{"what", "catalogue"}});
}

void App::perform(const AssignerEffects& effects) {
  for (const std::string& prober : effects.publish) {
    const Assignment assignment = assigner_.assignment_of(prober);
    for (const std::string& part :
         split_snapshot(encode_assignment(assignment), assignment.version)) {
      client_->publish(bus::assign_topic(prober), part);
    }
    gauges_.count("snapshots_total", "Snapshots published.", {{"what", "assignment"}});
    obs::log_debug("assignment published", {{"prober", prober},
                                            {"generation", assignment.version.generation},
                                            {"number", assignment.version.number},
                                            {"devices", assignment.devices.size()}});
  }
  if (effects.keep_owners) owners_to_disk_ = true;
}

void App::keep_on_disk() {
  if (disk_busy_ || (!catalogue_to_disk_ && !owners_to_disk_ && !probing_to_disk_)) return;
  std::optional<std::string> catalogue;
  std::optional<Owners> owners;
  std::optional<KeptProbing> probing;
  if (probing_to_disk_) probing = probing_;
  if (catalogue_to_disk_) catalogue = catalogue_bytes_;
  if (owners_to_disk_) owners = assigner_.owners();
  const bool submitted = disk_->try_submit([this, catalogue, owners, probing]() -> Continuation {
    Result<void> done;
    if (probing) done = files_.write_probing(*probing);
    if (done && catalogue) done = files_.write_catalogue(*catalogue);
    if (done && owners) done = files_.write_owners(*owners);
    return [this, done](Now) {
      disk_busy_ = false;
      on_its_way_ = {};
      if (done) return;
      gauges_.count("disk_errors_total", "State files that could not be written.");
      obs::log_error("cannot keep the state on disk", {{"error", done.error().message}});
    };
  });
  if (!submitted) return;
  disk_busy_ = true;
  on_its_way_ = {catalogue_to_disk_, owners_to_disk_, probing_to_disk_};
  catalogue_to_disk_ = owners_to_disk_ = probing_to_disk_ = false;
}

void App::refresh_health(Now now) {
  const std::string why = client_->why_not_connected();
  if (!why.empty()) {
    env_.health.set_waiting("broker", why);
  } else {
    env_.health.clear_waiting("broker");
  }
  if (shown_at_ && now.mono - *shown_at_ < kShowEvery) return;
  shown_at_ = now.mono;
  gauges_.show(assigner_.stats());
  gauges_.set("holding", "1 while nothing may move.", assigner_.holding(now) ? 1 : 0);
  gauges_.set("changes_waiting", "Changes that wait for the database.",
              static_cast<double>(waiting_.size()));
  gauges_.set("database_ready", "1 while changes can be written.", database_ready_ ? 1 : 0);
}

void App::stop() {
  // The workers first: their jobs use everything else.
  for (auto* worker : {database_.get(), disk_.get()}) {
    if (worker != nullptr) env_.loop.remove_fd(worker->fd());
  }
  database_.reset();
  disk_.reset();
  if (client_ && calls_) env_.loop.remove_fd(client_->fd());
  // What the disk worker did not get to: it drops a job that it has not begun.
  if (catalogue_to_disk_ || on_its_way_.catalogue) (void)files_.write_catalogue(catalogue_bytes_);
  if (owners_to_disk_ || on_its_way_.owners) (void)files_.write_owners(assigner_.owners());
  if (probing_to_disk_ || on_its_way_.probing) (void)files_.write_probing(probing_);
}

}  // namespace gema::inventory
