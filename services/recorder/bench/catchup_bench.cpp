// How quickly the recorder catches up after it was away: a real spool, a real gema-broker, a real
// gema-recorder with the settings it has by default, a PostgreSQL with the settings that are given,
// all on this machine. 10,000 devices at 1 Hz, and live results go on meanwhile.
//   catchup_bench [--quick] [--seconds N] [NAME=VALUE...]
//
// Timed from the start of the recorder's process until it has acknowledged what the spool held at
// that time (so: committed) and is no more than two seconds behind live. Hot rows are transposed
// into short chunks meanwhile, as ever. Afterwards every slot of every device is looked for in
// history.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <set>
#include <thread>

#include "common/codec/ping_codec.h"
#include "common/history/reader.h"
#include "common/runtime/clock.h"
#include "common/stream/producer.h"
#include "services/recorder/bench/ingest_load.h"
#include "tests/integration/history_site.h"

namespace {

using namespace gema;
using namespace gema::recorder::bench;

constexpr DeviceId kDevices = 10'000;
constexpr auto kPatience = 300s;

double seconds_between(MonoTime a, MonoTime b) {
  return std::chrono::duration<double>(b - a).count();
}

// A prober's end of the stream.
class Site {
 public:
  Site(const std::filesystem::path& spool, bus::BusOptions bus)
      : spool_(spool), bus_(must(bus::BusClient::open(std::move(bus)))) {
    open();
    for (const std::string& prefix : producer_->subscriptions()) bus_->subscribe(prefix);
  }

  // The slots of [from_ms, to_ms), into the spool alone.
  void fill(int64_t from_ms, int64_t to_ms) {
    next_ms_ = first_ms_ = from_ms;
    while (next_ms_ < to_ms) {
      const Now now = runtime::read_clock();
      flush(now);
      producer_->tick(now);
      producer_->take_outgoing(now);  // nobody listens
    }
    // As after a restart: what it did in the last second is forgotten, too.
    must(producer_->close_cleanly(runtime::read_clock()));
    producer_.reset();
    open();
  }

  void start() {
    thread_ = std::thread([this] { run(); });
  }
  void end_live() { live_ = false; }
  void stop() {
    stop_ = true;
    thread_.join();
  }

  int64_t first_ms() const { return first_ms_; }
  int64_t next_ms() const { return next_ms_; }
  uint64_t samples() const { return samples_; }
  uint64_t unacknowledged() const { return unacknowledged_; }
  uint64_t dropped() const { return producer_->stats().dropped; }
  double cpu_s() const { return cpu_s_; }

 private:
  void open() {
    producer_ = must(stream::Producer::open({.dir = spool_,
                                             .stream = "ping",
                                             .name = "prober-1",
                                             .groups = {"recorder"},
                                             .bytes_max = 2ULL << 30},
                                            runtime::read_clock()));
  }

  void flush(Now now) {
    samples_ += load_.flush(next_ms_, batches_);
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (batches_[p].empty()) continue;
      encode_ping(batches_[p], payload_);
      must(producer_->append(p, payload_, now));
    }
    next_ms_ += Load::kFlushMs;
  }

  void run() {
    std::string topic, payload;
    while (!stop_) {
      const Now now = runtime::read_clock();
      while (bus_->receive(topic, payload)) producer_->on_message(topic, payload, now);
      const MonoTime bus_due = bus_->tick(now);
      while (live_ && next_ms_ + Load::kFlushMs <= unix_ms(now.wall)) flush(now);
      producer_->tick(now);
      for (const stream::Outgoing& m : producer_->take_outgoing(now)) {
        bus_->publish(m.topic, m.payload);
      }
      unacknowledged_ = producer_->stats().unacknowledged;
      cpu_s_ = thread_cpu_s();
      const MonoTime due = std::min(producer_->next_wakeup().value_or(bus_due), bus_due);
      const auto wait = std::chrono::ceil<std::chrono::milliseconds>(due - now.mono).count();
      pollfd waiting{.fd = bus_->fd(), .events = POLLIN, .revents = 0};
      ::poll(&waiting, 1, static_cast<int>(std::clamp<int64_t>(wait, 0, 50)));
    }
  }

  const std::filesystem::path spool_;
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<stream::Producer> producer_;
  Load load_{1, kDevices, 3};
  std::array<PingResults, kPartitions> batches_;
  std::string payload_;
  int64_t first_ms_ = 0;
  std::atomic<int64_t> next_ms_{0};
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> unacknowledged_{0};
  std::atomic<double> cpu_s_{0};
  std::atomic<bool> live_{true};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// Slots that are not there, or are there with something that does not belong.
uint64_t missing(gema::testing::HistorySite& site, int64_t from_ms, int64_t to_ms) {
  auto connection = site.connect();
  history::Reader reader(*connection);
  std::vector<bool> seen(kDevices + 1);
  uint64_t wrong = 0;
  auto slots = [&](DeviceId device) {
    const int64_t first = slot_after(device, Load::kIntervalMs, from_ms - 1);
    return static_cast<uint64_t>((to_ms - 1 - first) / Load::kIntervalMs + 1);
  };
  must(reader.each_device(from_ms, to_ms,
                          [&](DeviceId device, const std::vector<history::Row>& rows) {
                            int64_t due_ms = slot_after(device, Load::kIntervalMs, from_ms - 1);
                            uint64_t right = 0;
                            for (const history::Row& row : rows) {
                              for (; due_ms < row.due_ms; due_ms += Load::kIntervalMs) {
                              }
                              right += row.due_ms == due_ms ? 1 : 0;
                              due_ms += Load::kIntervalMs;
                            }
                            if (device >= 1 && device <= kDevices) seen[device] = true;
                            wrong += slots(device) - right + (rows.size() - right);
                          }));
  for (DeviceId device = 1; device <= kDevices; ++device) {
    if (!seen[device]) wrong += slots(device);
  }
  return wrong;
}

double peak_mib(int pid) {
  std::ifstream in(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(in, line);) {
    if (line.substr(0, 6) == "VmHWM:") return std::strtod(line.c_str() + 6, nullptr) / 1024;
  }
  return 0;
}

bool wait_for(const std::function<bool()>& condition) {
  const MonoTime deadline = runtime::read_clock().mono + kPatience;
  while (!condition()) {
    if (runtime::read_clock().mono > deadline) return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  int64_t seconds = 3'600;
  gema::testing::SiteOptions options{.recorder_settings = {}};
  options.postgres.fsync = true;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") {
      seconds = 900;
    } else if (argument == "--seconds" && i + 1 < argc) {
      seconds = std::strtoll(argv[++i], nullptr, 10);
    } else {
      options.postgres.settings.push_back(argument);
    }
  }
  gema::testing::HistorySite site(std::move(options));
  const int postmaster = postmaster_of(site.postgres().socket_dir());
  Site prober(site.feeder_options().spool, site.broker().client_options("prober-1"));
  const int64_t now_ms = unix_ms(runtime::read_clock().wall);
  const int64_t end_ms = now_ms - now_ms % 1000;
  prober.fill(end_ms - seconds * 1000, end_ms);
  prober.start();

  const uint64_t backlog = prober.samples();
  const double server = server_cpu_s(postmaster);
  const double broker = site.broker().cpu_seconds();
  const double sender = prober.cpu_s();
  const MonoTime begin = runtime::read_clock().mono;
  site.start_recorder();
  if (!wait_for([&] { return prober.unacknowledged() > 0; })) return 1;
  // 40 records a second are live.
  if (!wait_for([&] { return prober.unacknowledged() <= 80; })) {
    std::cerr << "not caught up: " << prober.unacknowledged() << " records\n"
              << site.recorder_log();
    return 1;
  }
  const double took = seconds_between(begin, runtime::read_clock().mono);
  const int pid = site.recorder_pid();
  const double million = static_cast<double>(backlog) / 1e6;
  std::cerr << fmt::format(
      "{} samples in {:.1f} s with live results; CPU us a sample: recorder {:.3f}, PostgreSQL"
      " {:.3f}, broker {:.3f}, prober {:.3f}; {:.0f} samples of them are short chunks by now\n",
      backlog, took, process_cpu_s(pid) / million, (server_cpu_s(postmaster) - server) / million,
      (site.broker().cpu_seconds() - broker) / million, (prober.cpu_s() - sender) / million,
      site.recorder_metric("gema_recorder_chunk_results_total"));
  print("catchup_samples_per_second", static_cast<double>(backlog) / took, 1'000'000);
  print("catchup_recorder_peak_mib", peak_mib(pid));
  prober.end_live();
  if (!wait_for([&] { return prober.unacknowledged() == 0; })) return 1;
  prober.stop();
  const std::string hot = site.sql("SELECT count(*) FROM stream_gaps");
  const uint64_t lost = missing(site, prober.first_ms(), prober.next_ms());
  print("catchup_lost_or_doubled", static_cast<double>(lost));
  return lost == 0 && hot == "0" && prober.dropped() == 0 ? 0 : 1;
}
