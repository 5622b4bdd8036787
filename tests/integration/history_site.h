// History under faults: a real broker, a real recorder process, a real PostgreSQL, and a producer
// as the prober has it, on a thread of its own. What is measured follows from device and slot
// alone, so that an audit needs no memory of what was sent: whatever is missing, there twice, or
// other than it was measured is found, in what the reader gives and in the tables themselves.
//
// Threads: all calls from one thread, the test's; the feeder's are safe from any.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "common/bus/testing/broker_process.h"
#include "common/domain/chunk.h"
#include "common/domain/ping.h"
#include "common/history/reader.h"
#include "common/postgres/connection.h"
#include "common/stream/producer.h"
#include "tests/support/child_process.h"
#include "tests/support/postgres_server.h"

namespace gema::testing {

// What the devices 1..devices gave at 1 s in [from_ms, to_ms).
struct Plan {
  DeviceId devices = 10;
  int64_t from_ms = 0;
  int64_t to_ms = 0;
  uint64_t seed = 1;
  uint32_t block_ms = 2'000;  // of slots in one record, which is one partition's

  static constexpr uint32_t kIntervalMs = 1000;
  uint64_t samples() const;
  // Appends the result of one slot.
  void measure(DeviceId device, int64_t due_ms, PingResults& results) const;
};

struct FeederOptions {
  std::filesystem::path spool;  // empty: its own one in the site
  std::string name = "prober-1";
  // One of several producers, counted from 0: every ten minutes of slots a device is another's.
  uint32_t number = 0;
  uint32_t producers = 1;
  // What the spool has from an earlier life (kill -9) is not appended again: the same spans must be
  // fed, in the same order.
  bool resume = false;
  uint64_t spool_bytes_max = 1ULL << 30;
  // Records that come later than their time: by up to a third of their span.
  uint32_t late_per_mille = 0;
  // No more is appended while so many records are not acknowledged; 0: always.
  uint64_t unacknowledged_max = 0;
  double samples_per_second = 0;  // 0: as quickly as it goes
};

// The producer of ping and its place on the bus.
class Feeder {
 public:
  Feeder(const Plan& plan, FeederOptions options, bus::BusOptions bus);
  ~Feeder();

  // Another span of slots; what was given before is appended first.
  void feed(int64_t from_ms, int64_t to_ms);
  void hold(bool held) { held_ = held; }  // appends nothing meanwhile
  bool appended_all() const { return appended_all_; }
  bool acknowledged_all() const { return appended_all_ && unacknowledged_ == 0; }
  uint64_t unacknowledged() const { return unacknowledged_; }
  uint64_t samples() const { return samples_; }  // in the spool, or acknowledged
  uint64_t replayed() const { return replayed_; }
  uint64_t dropped() const { return dropped_; }
  uint64_t spool_bytes() const { return spool_bytes_; }
  std::string failure() const;  // "": none

 private:
  struct Block {
    uint32_t partition = 0;
    int64_t from_ms = 0;
    int64_t to_ms = 0;
  };

  void run();
  void cut(int64_t from_ms, int64_t to_ms);
  void append_due(Now now);
  bool is_ours(DeviceId device, const Block& block) const;
  uint64_t our_devices(const Block& block) const;
  bool append(const Block& block, Now now);

  const Plan plan_;
  const FeederOptions options_;
  std::vector<std::vector<DeviceId>> devices_;  // by partition
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<stream::Producer> producer_;
  std::mutex mutex_;
  std::vector<std::pair<int64_t, int64_t>> spans_;  // not begun
  std::vector<Block> blocks_;
  size_t next_ = 0;
  std::array<uint64_t, kPartitions> in_spool_{};  // records of an earlier life, not yet passed over
  MonoTime began_{};
  uint64_t began_samples_ = 0;
  std::atomic<bool> held_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> appended_all_{true};
  std::atomic<uint64_t> unacknowledged_{0};
  std::atomic<uint64_t> samples_{0};
  std::atomic<uint64_t> replayed_{0};
  std::atomic<uint64_t> dropped_{0};
  std::atomic<uint64_t> spool_bytes_{0};
  mutable std::mutex failure_mutex_;
  std::string failure_;
  PingResults results_;
  std::string payload_;
  std::thread thread_;
};

struct SiteOptions {
  PostgresServer::Options postgres;
  bus::testing::BrokerOptions broker;
  std::vector<std::string> recorder_settings = {
      "GEMA_RECORDER__CHUNK_EVERY_S=1", "GEMA_RECORDER__COMPACT_AFTER_S=2",
      "GEMA_RECORDER__COMMIT_EVERY_MS=200", "GEMA_RECORDER__CSV_ROWS=off"};
  // How far the clocks of recorder and PostgreSQL are ahead of the machine's. Set: they can be set
  // on later (set_clock_ahead). The test's own is set by itself (tests/support/shifted_clock.h).
  std::optional<int64_t> clock_ahead_ms;
};

// What is wrong with history, and the first few cases in words.
struct Audit {
  uint64_t expected = 0;
  uint64_t found = 0;
  uint64_t lost = 0;     // slots that were measured and are not there
  uint64_t doubled = 0;  // there more than once, or counted more than once
  uint64_t wrong = 0;    // there with another content, or never measured
  uint64_t broken = 0;   // rows that do not decode
  std::vector<std::string> examples;

  bool clean() const { return lost + doubled + wrong + broken == 0; }
  std::string text() const;
  void note(const std::string& what);
  void add(const Audit& other);
};

class HistorySite {
 public:
  explicit HistorySite(SiteOptions options = {});

  std::unique_ptr<postgres::Connection> connect();
  // The first field of the first row; "" when there is none. Throws when the database refuses.
  std::string sql(const std::string& statement);

  void start_recorder();
  void kill_recorder();
  // PostgreSQL's at once, the recorder's from its next start on.
  void set_clock_ahead(int64_t ms);
  pid_t recorder_pid() const { return recorder_.pid(); }
  bool recorder_running() { return recorder_.running(); }
  // Of the recorder's own socket: "" while it does not answer.
  std::string readyz() const;
  double recorder_metric(const std::string& series) const;
  std::string recorder_log() const;

  FeederOptions feeder_options() const;
  std::unique_ptr<Feeder> feeder(const Plan& plan, FeederOptions options) const;

  // Waits until all hot rows are chunks and all hours that closed are compacted.
  bool settled();
  bool wait_settled(std::chrono::milliseconds deadline = std::chrono::seconds(120));
  // As ten minutes later: leaves go that are not needed any more. Returns how many.
  uint64_t drop_leaves();

  // What a reader sees of every device.
  Audit audit_reader(const Plan& plan);
  // What stands in short chunks and packed rows; a slot in both is no fault (a reader takes one),
  // twice in packed rows is. `packed_only`: short chunks must be gone.
  Audit audit_tables(const Plan& plan, bool packed_only);
  // What rollups count, against what was measured, of every hour of the plan.
  Audit audit_rollups(const Plan& plan);

  bus::testing::BrokerProcess& broker() { return broker_; }
  PostgresServer& postgres() { return postgres_; }

 private:
  SiteOptions options_;
  bus::testing::BrokerProcess broker_;
  PostgresServer postgres_;
  ChildProcess recorder_;
};

}  // namespace gema::testing
