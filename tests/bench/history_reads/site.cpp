#include "tests/bench/history_reads/site.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <iterator>

#include "common/bus/calls.h"
#include "common/bus/heartbeat.h"
#include "common/codec/device_codec.h"
#include "common/codec/transition_codec.h"
#include "common/runtime/clock.h"
#include "tests/bench/history_reads/http_client.h"
#include "tests/bench/history_reads/report.h"
#include "tests/bench/history_reads/samples.h"
#include "tests/support/wait_until.h"

namespace gema::bench {
namespace {

// One of those we play.
struct Played {
  std::unique_ptr<bus::BusClient> client;
  std::unique_ptr<bus::CallServer> calls;
};

Played enter(const bus::testing::BrokerProcess& broker, const std::string& name) {
  auto client = must(bus::BusClient::open(broker.client_options(name)));
  auto calls = std::make_unique<bus::CallServer>(*client, name);
  return {std::move(client), std::move(calls)};
}

// As a site with many kinds of devices has them; addresses are documentation's and benchmarks'.
std::string catalogue_of(uint32_t devices) {
  Catalogue catalogue{.version = {.generation = 1, .number = 1}, .devices = {}};
  const std::array merks = {"Hikvision", "Dahua", "MikroTik", "TP-Link", "Vivotek"};
  for (uint32_t d = 1; d <= devices; ++d) {
    Device device;
    device.id = d;
    device.address = fmt::format("198.{}.{}.{}", 18 + (d >> 16), d >> 8 & 255, d & 255);
    device.hostname = fmt::format("cam-{:06}.site-{}.example", d, d % 300);
    device.merk = merks[d % merks.size()];
    device.os = "linux";
    device.kondisi = "baik";
    device.id_lokasi = fmt::format("{}", d % 300);
    device.interval_ms = kIntervalMs;
    catalogue.devices.push_back(std::move(device));
  }
  return encode_catalogue(catalogue);
}

// One of a hundred is down.
std::string states_of(uint32_t devices, int64_t now_ms) {
  StateSnapshot snapshot;
  for (uint32_t d = 1; d <= devices; ++d) {
    const int64_t slot = slot_at_or_before(d, kIntervalMs, now_ms);
    const bool down = d % 100 == 0;
    snapshot.states.push_back({.device = d,
                               .status = down ? DeviceStatus::kDown : DeviceStatus::kUp,
                               .consecutive_timeouts = down ? 40U : 0U,
                               .first_timeout_ms = down ? slot - 40 * kIntervalMs : 0,
                               .last_timeout_ms = down ? slot : 0,
                               .consecutive_answers = down ? 0U : 17'000U,
                               .since_ms = slot - 86'400'000,
                               .last_success_ms = down ? slot - 41 * kIntervalMs : slot,
                               .last_slot_ms = slot,
                               .last_verdict = down ? Verdict::kFailed : Verdict::kAnswered,
                               .last_reason = down ? Reason::kTimeout : Reason::kNone,
                               .last_rtt_us = 300 + d % 40'000,
                               .transition_counter = 1,
                               .ever_answered = true,
                               .location = "default",
                               .last_prober = "prober-1"});
  }
  std::string bytes;
  encode_snapshot(snapshot, bytes);
  return bytes;
}

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void replace_all(std::string& text, const std::string& what, const std::string& by) {
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size()) {
    text.replace(at, what.size(), by);
  }
}

}  // namespace

Site::Site(SiteOptions options) : options_(std::move(options)) {
  catalogue_ = catalogue_of(options_.devices);
  states_ = states_of(options_.devices, unix_ms(runtime::read_clock().wall));
  player_ = std::thread([this] { play(); });
  start_gateway();
  start_nginx();
}

Site::~Site() {
  nginx_.signal(SIGTERM);  // its workers with it
  nginx_.wait();
  stop_ = true;
  player_.join();
}

void Site::play() {
  Played inventory = enter(broker_, "inventory");
  inventory.calls->handle("catalogue.snapshot",
                          [this](const std::string&, bus::Responder to) { to.reply(catalogue_); });
  Played tracker = enter(broker_, "timeout-tracker");
  tracker.calls->handle("state.snapshot",
                        [this](const std::string&, bus::Responder to) { to.reply(states_); });
  const Now begin = runtime::read_clock();
  bus::Heartbeat inventory_beat(*inventory.client, "inventory", begin, [](v1::Heartbeat&) {});
  bus::Heartbeat tracker_beat(*tracker.client, "timeout-tracker", begin, [](v1::Heartbeat&) {});
  std::string topic;
  std::string payload;
  while (!stop_) {
    std::array<pollfd, 2> fds{pollfd{inventory.client->fd(), POLLIN, 0},
                              pollfd{tracker.client->fd(), POLLIN, 0}};
    ::poll(fds.data(), fds.size(), 50);
    const Now now = runtime::read_clock();
    for (Played* p : {&inventory, &tracker}) {
      p->client->tick(now);
      p->calls->tick(now);
      while (p->client->receive(topic, payload)) p->calls->on_message(topic, payload, now);
    }
    inventory_beat.tick(now);
    tracker_beat.tick(now);
  }
}

void Site::start_gateway() {
  std::ofstream(data_ / "admin.token") << token_ << "\n";
  ::chmod((data_ / "admin.token").c_str(), 0600);
  testing::ChildOptions child;
  child.command = {options_.binary, "--data-dir", data_.path().string()};
  child.log = data_ / "gateway.log";
  child.environment = {
      "GEMA_BUS__INGRESS=" + broker_.ingress(), "GEMA_BUS__INNER=" + broker_.inner(),
      "GEMA_BUS__KEYS_DIR=" + broker_.keys_dir().string(),
      "GEMA_POSTGRES__HOST=" + options_.postgres_socket_dir, "GEMA_GENERAL__TIMEZONE=UTC",
      // A statement that takes longer is said, not cut off.
      "GEMA_GATEWAY__HISTORY_TIMEOUT_S=60"};
  gateway_ = testing::ChildProcess(child);
  const auto socket = data_ / "run" / "gateway.http.sock";
  const bool ready = testing::wait_until(
      [&] { return !gateway_.running() || bus::testing::http_get(socket, "/readyz") == "ready\n"; },
      std::chrono::seconds(60));
  if (!ready || !gateway_.running()) {
    fail("the gateway does not become ready:\n" + text_of(data_ / "gateway.log"));
  }
}

void Site::start_nginx() {
  std::string conf = text_of(options_.source / "deploy/local/templates/nginx.conf");
  const std::string port = std::to_string(testing::free_port());
  replace_all(conf, "@DIR@", data_.path().string());
  replace_all(conf, "@PORT@", port);
  std::ofstream(data_ / "nginx.conf") << conf;
  url_ = "http://127.0.0.1:" + port;
  testing::ChildOptions child;
  const std::string who = ::getuid() == 0 ? " user root;" : "";
  child.command = {"/usr/sbin/nginx",
                   "-e",
                   "stderr",
                   "-p",
                   data_.path().string(),
                   "-c",
                   (data_ / "nginx.conf").string(),
                   "-g",
                   "daemon off;" + who};
  child.log = data_ / "nginx.log";
  child.death_signal = 15;  // the master takes its workers along
  nginx_ = testing::ChildProcess(child);
  HttpClient client(url_, token_);
  if (!testing::wait_until([&] { return client.get("/api/health").status == 200; })) {
    fail("nginx does not answer:\n" + text_of(data_ / "nginx.log"));
  }
}

}  // namespace gema::bench
