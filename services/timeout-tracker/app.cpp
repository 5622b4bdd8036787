#include "services/timeout-tracker/app.h"

#include <algorithm>
#include <random>

#include "common/codec/transition_codec.h"
#include "common/observability/log.h"
#include "common/postgres/from_config.h"
#include "common/runtime/clock.h"
#include "common/runtime/local_time.h"
#include "services/timeout-tracker/io/presence.h"

namespace gema::timeout_tracker {
namespace {

constexpr int kMessagesPerTurn = 2'000;  // then the engine gets its turn; about 20 ms (guess)
constexpr Duration kStopPatience = 3s;   // for the last checkpoint

redis::Options redis_options(const config::Common& common) {
  if (common.redis_host.empty()) {
    return {.socket = common.run_dir() / "redis.sock",
            .password_file = common.redis_password_file,
            .command_timeout = 5s};
  }
  return {.host = common.redis_host,
          .port = common.redis_port,
          .password_file = common.redis_password_file,
          .command_timeout = 5s};
}

uint64_t random_nonce() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

App::App(Config config, const runtime::Environment& environment)
    : config_(config),
      environment_(environment),
      catalogue_(environment.state_dir() / "catalogue",
                 [this](Catalogue catalogue) { take_catalogue(std::move(catalogue)); }) {
  config_.policy.down_after = environment.common.down_after;
}

App::~App() = default;

Result<void> App::start() {
  const config::Common& common = environment_.common;
  if (auto zone = runtime::use_timezone(common.timezone); !zone) return zone.error();
  const Now now = runtime::read_clock();
  auto engine = Engine::open(
      {.config = config_,
       .redis = redis_options(common),
       .postgres = postgres::options_from(common, "gema-timeout-tracker"),
       .spool_dir = environment_.spool_dir(),
       .timeouts_file =
           config_.writes_timeouts() ? common.csv_output_dir + "/" + kTimeoutFile : std::string(),
       .nonce = random_nonce()},
      environment_.metrics, environment_.health, now);
  if (!engine) return engine.error();
  engine_ = *std::move(engine);
  if (config_.writes_timeouts()) {
    timeouts_ = std::make_unique<TimeoutsWriter>(
        TimeoutsWriterOptions{.dir = common.csv_dir(),
                              .write_every = config_.csv_write_every,
                              .local_offset = [] { return runtime::local_offset(); }},
        environment_.metrics, now);
    environment_.loop.add_fd(timeouts_->fd());
  }
  auto client = bus::BusClient::open({.ingress = common.ingress_endpoint(),
                                      .egress = common.inner_endpoint(),
                                      .keys_dir = common.keys_dir(),
                                      .name = environment_.instance});
  if (!client) return client.error();
  bus_ = *std::move(client);
  for (const std::string& prefix : engine_->subscriptions()) bus_->subscribe(prefix);
  catalogue_.subscribe(*bus_);
  caller_ = std::make_unique<bus::Caller>(*bus_, environment_.instance);
  server_ = std::make_unique<bus::CallServer>(*bus_, environment_.instance);
  heartbeat_ = std::make_unique<bus::Heartbeat>(
      make_heartbeat(*bus_, now, environment_.health, [this] { return catalogue_.version(); }));
  answer_calls();
  catalogue_.load();
  environment_.loop.add_fd(bus_->fd());
  for (const int fd : engine_->fds()) environment_.loop.add_fd(fd);
  return {};
}

void App::answer_calls() {
  server_->handle("state.snapshot", [this](const std::string&, const bus::Responder& responder) {
    responder.answer(engine_->snapshot());
  });
  server_->handle(
      "timeouts.reset", [this](const std::string& body, const bus::Responder& responder) {
        auto devices = decode_timeouts_reset(body);
        if (!devices) return responder.fail(devices.error());
        auto reset = engine_->reset_timeouts(*devices, now_);
        if (!reset) return responder.fail(reset.error());
        obs::log_info("timeouts reset", {{"caller", responder.caller()}, {"devices", *reset}});
        responder.reply(encode_timeouts_reset_reply(*reset));
      });
}

void App::take_catalogue(Catalogue catalogue) {
  std::vector<DeviceId> devices;
  devices.reserve(catalogue.devices.size());
  for (const Device& device : catalogue.devices) devices.push_back(device.id);
  std::sort(devices.begin(), devices.end());
  engine_->set_catalogue(devices);
  if (timeouts_) timeouts_->set_catalogue(std::make_shared<const Catalogue>(std::move(catalogue)));
}

void App::on_message(Now now) {
  if (caller_->on_message(topic_, payload_, now) || server_->on_message(topic_, payload_, now)) {
    return;
  }
  if (catalogue_.on_message(topic_, payload_)) return;
  engine_->on_message(topic_, payload_, now);
}

void App::publish(Now now) {
  for (const stream::Outgoing& message : engine_->take_outgoing(now)) {
    bus_->publish(message.topic, message.payload);  // dropped ones are counted and sent again
  }
}

std::optional<MonoTime> App::turn(Now now) {
  now_ = now;
  int taken = 0;
  while (taken < kMessagesPerTurn && bus_->receive(topic_, payload_)) {
    ++taken;
    on_message(now);
  }
  catalogue_.tick(*caller_, now);
  std::optional<MonoTime> wakeup = bus_->tick(now);
  const auto at = [&](std::optional<MonoTime> time) {
    if (time) wakeup = std::min(*wakeup, *time);
  };
  if (bus_->connected()) {
    environment_.health.clear_waiting("bus");
  } else {
    environment_.health.set_waiting("bus", bus_->why_not_connected());
  }
  at(engine_->turn(now));
  if (timeouts_) at(turn_timeouts(now));
  at(caller_->tick(now));
  at(server_->tick(now));
  at(heartbeat_->tick(now));
  publish(now);
  if (taken == kMessagesPerTurn) return now.mono;  // there may be more
  return wakeup;
}

MonoTime App::turn_timeouts(Now now) {
  const MonoTime wakeup = timeouts_->turn(engine_->running() ? &engine_->tracker() : nullptr, now);
  if (const std::string problem = timeouts_->problem(now); problem.empty()) {
    environment_.health.clear_impaired("csv");
  } else {
    environment_.health.set_impaired("csv", problem);
  }
  return wakeup;
}

void App::stop() {
  if (!engine_) return;
  if (timeouts_) environment_.loop.remove_fd(timeouts_->fd());
  const Now now = runtime::read_clock();
  engine_->close(now, kStopPatience);
  if (bus_) publish(runtime::read_clock());
}

}  // namespace gema::timeout_tracker
