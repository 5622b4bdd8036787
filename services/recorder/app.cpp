#include "services/recorder/app.h"

#include <sodium.h>

#include <algorithm>

#include "common/bus/topics.h"
#include "common/codec/cleanup_codec.h"
#include "common/codec/csv_codec.h"
#include "common/codec/device_codec.h"
#include "common/observability/log.h"
#include "common/postgres/from_config.h"
#include "common/runtime/clock.h"
#include "common/runtime/local_time.h"

namespace gema::recorder {
namespace {

// Messages taken in one turn, so that health, heartbeat and acknowledgements keep their time.
constexpr int kDrainMax = 2'000;

uint64_t random_seed() {
  uint64_t seed = 0;
  randombytes_buf(&seed, sizeof seed);
  return seed;
}

}  // namespace

App::App(Config config, const runtime::Environment& environment)
    : config_(std::move(config)),
      environment_(environment),
      catalogue_(environment.state_dir() / "catalogue", [this](Catalogue catalogue) {
        csv_->on_catalogue(std::make_shared<const Catalogue>(std::move(catalogue)));
      }) {}

App::~App() = default;

Result<void> App::start() {
  if (sodium_init() < 0) return Error{Errc::kPermanent, "libsodium cannot be initialised"};
  const config::Common& common = environment_.common;
  if (auto zone = runtime::use_timezone(common.timezone); !zone) return zone.error();
  const postgres::Options postgres =
      postgres::options_from(common, "gema-" + environment_.instance);
  // A schema that we do not know, or a refused login, is said at once. A database that is away, or
  // whose schema inventory has yet to bring up, is waited for.
  if (auto ready = Store(postgres).ensure_ready();
      !ready && ready.error().code == Errc::kPermanent) {
    return ready.error();
  }
  auto bus = bus::BusClient::open({.ingress = common.ingress_endpoint(),
                                   .egress = common.inner_endpoint(),
                                   .keys_dir = common.keys_dir(),
                                   .name = environment_.instance});
  if (!bus) return bus.error();
  bus_ = std::move(*bus);
  const Now now = runtime::read_clock();
  heartbeat_ = std::make_unique<bus::Heartbeat>(*bus_, kName, now, [this](v1::Heartbeat& beat) {
    beat.set_ready(environment_.health.ready());
    for (const std::string& what : environment_.health.waiting_for()) beat.add_waiting_for(what);
    for (const std::string& what : environment_.health.impaired()) beat.add_waiting_for(what);
    to_proto(catalogue_.version(), *beat.mutable_catalogue());
  });
  csv_ = std::make_unique<CsvWriter>(
      CsvWriterOptions{.desk = {.dir = common.csv_dir(),
                                .postgres = postgres,
                                .policy = config_.csv_policy(),
                                .local_offset = [] { return runtime::local_offset(); }}},
      now);
  csv_metrics_ = std::make_unique<CsvMetrics>(environment_.metrics);
  environment_.loop.add_fd(csv_->fd());
  const Duration retention = config_.raw_retention_days * 24h;
  auto add = [&](const char* name, std::unique_ptr<Sorter> sorter) {
    LaneOptions options{.stream = name,
                        .postgres = postgres,
                        .commit_every = config_.commit_every,
                        .seed = random_seed()};
    streams_.push_back({.name = name,
                        .lane = std::make_unique<Lane>(std::move(options), std::move(sorter)),
                        .metrics = std::make_unique<LaneMetrics>(environment_.metrics, name)});
    environment_.loop.add_fd(streams_.back().lane->fd());
  };
  add("ping", make_ping_sorter(retention, [this](const PingResults& results, Now at) {
        csv_->on_results(results, at);
      }));
  add("transitions", make_transition_sorter());
  chunker_ = std::make_unique<Chunker>(
      ChunkerOptions{
          .postgres = postgres,
          .chunk_every = config_.chunk_every,
          .retention = {.results = retention,
                        .transitions =
                            std::max(config_.transitions_days, config_.hour_rollups_days) * 24h}},
      now);
  chunker_metrics_ = std::make_unique<ChunkerMetrics>(environment_.metrics);
  environment_.loop.add_fd(chunker_->fd());
  CompactOptions compact{.postgres = postgres,
                         .compact_after = config_.compact_after,
                         .raw_retention = retention,
                         .minutes_retention = config_.minute_rollups_days * 24h,
                         .hours_retention = config_.hour_rollups_days * 24h};
  compact.postgres.statement_timeout = 5min;  // lists the devices of an hour in one statement
  compactor_ = std::make_unique<Compactor>(CompactorOptions{.store = std::move(compact)}, now);
  compactor_metrics_ = std::make_unique<CompactorMetrics>(environment_.metrics);
  environment_.loop.add_fd(compactor_->fd());
  environment_.loop.add_fd(bus_->fd());
  caller_ = std::make_unique<bus::Caller>(*bus_, environment_.instance);
  server_ = std::make_unique<bus::CallServer>(*bus_, environment_.instance);
  answer_calls();
  catalogue_.subscribe(*bus_);
  catalogue_.load();
  say_what_we_wait_for();
  return {};
}

void App::answer_calls() {
  server_->handle("csv.rebuild", [this](const std::string& body, const bus::Responder& responder) {
    auto day = decode_csv_rebuild(body);
    if (!day) return responder.fail(day.error());
    csv_->rebuild(
        *day,
        [responder](const CsvRebuilt& rebuilt) { responder.reply(encode_csv_rebuilt(rebuilt)); },
        now_);
  });
  server_->handle(
      "history.cleanup", [this](const std::string& body, const bus::Responder& responder) {
        auto order = decode_cleanup_order(body);
        if (!order) return responder.fail(order.error());
        compactor_->clean_up(*order, [responder, order = *order](const auto& report) {
          if (!report) return responder.fail(report.error());
          obs::log_info("history cleaned up", {{"caller", responder.caller()},
                                               {"actor", order.actor},
                                               {"older_than_days", order.older_than_days},
                                               {"dry_run", order.dry_run},
                                               {"leaves", report->leaves},
                                               {"bytes", report->bytes}});
          responder.reply(encode_cleanup_report(*report));
        });
      });
  server_->handle("csv.files", [this](const std::string&, const bus::Responder& responder) {
    csv_->list([responder](const Result<std::vector<CsvFile>>& files) {
      if (!files) return responder.fail(files.error());
      responder.reply(encode_csv_files(*files));
    });
  });
}

bool App::drain(Now now) {
  for (int i = 0; i < kDrainMax; ++i) {
    if (!bus_->receive(topic_, payload_)) return true;
    if (caller_->on_message(topic_, payload_, now) || server_->on_message(topic_, payload_, now) ||
        catalogue_.on_message(topic_, payload_)) {
      continue;
    }
    const auto parsed = bus::parse_topic(topic_);
    if (!parsed) continue;
    for (Stream& stream : streams_) {
      if (parsed->stream == stream.name) stream.lane->on_message(topic_, payload_, now);
    }
  }
  return false;
}

void App::turn_stream(Stream& stream, Now now, MonoTime& wakeup) {
  wakeup = std::min(wakeup, stream.lane->turn(now));
  if (!stream.subscribed) {
    for (const std::string& prefix : stream.lane->subscriptions()) {
      bus_->subscribe(prefix);
      stream.subscribed = true;
    }
  }
  for (const stream::Outgoing& message : stream.lane->take_outgoing(now)) {
    bus_->publish(message.topic, message.payload);
  }
}

std::optional<MonoTime> App::turn(Now now) {
  now_ = now;
  const bool drained = drain(now);
  catalogue_.tick(*caller_, now);
  MonoTime wakeup = now.mono + 1s;
  for (Stream& stream : streams_) turn_stream(stream, now, wakeup);
  wakeup = std::min({wakeup, chunker_->turn(now), compactor_->turn(now), csv_->turn(now),
                     bus_->tick(now), heartbeat_->tick(now)});
  for (const auto& other : {caller_->tick(now), server_->tick(now)}) {
    wakeup = std::min(wakeup, other.value_or(wakeup));
  }
  say_what_we_wait_for();
  if (now.mono >= next_metrics_) {
    next_metrics_ = now.mono + 1s;
    for (Stream& stream : streams_) stream.metrics->update(*stream.lane, now);
    chunker_metrics_->update(*chunker_);
    compactor_metrics_->update(*compactor_);
    csv_metrics_->update(*csv_, now);
  }
  return drained ? wakeup : now.mono;
}

void App::say_what_we_wait_for() {
  std::string why;
  for (const Stream& stream : streams_) {
    if (why.empty()) why = stream.lane->waiting_for();
  }
  if (why.empty()) {
    environment_.health.clear_waiting("postgres");
  } else {
    environment_.health.set_waiting("postgres", why);
  }
  // Recording goes on; what is said of PostgreSQL need not be said twice.
  auto impaired = [&](const char* what, const std::string& problem) {
    if (problem.empty() || !why.empty()) {
      environment_.health.clear_impaired(what);
    } else {
      environment_.health.set_impaired(what, problem);
    }
  };
  impaired("chunks", chunker_->waiting_for());
  impaired("compaction", compactor_->waiting_for());
  if (const std::string problem = csv_->problem(now_); problem.empty()) {
    environment_.health.clear_impaired("csv");
  } else {
    environment_.health.set_impaired("csv", problem);
  }
  if (bus_->connected()) {
    environment_.health.clear_waiting("bus");
  } else {
    environment_.health.set_waiting("bus", bus_->why_not_connected());
  }
}

void App::stop() {
  if (!bus_) return;  // start() failed
  // What was gathered is committed if that is quick, and acknowledged; else the spools keep it.
  const Now now = runtime::read_clock();
  for (Stream& stream : streams_) {
    stream.lane->flush(now, std::chrono::milliseconds(2'000));
    for (const stream::Outgoing& message : stream.lane->take_outgoing(runtime::read_clock())) {
      bus_->publish(message.topic, message.payload);
    }
    environment_.loop.remove_fd(stream.lane->fd());
  }
  environment_.loop.remove_fd(chunker_->fd());
  environment_.loop.remove_fd(compactor_->fd());
  environment_.loop.remove_fd(csv_->fd());
  environment_.loop.remove_fd(bus_->fd());
}

}  // namespace gema::recorder
