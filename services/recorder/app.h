// The recorder: how records become history. Wires the bus to one Lane per stream and runs the
// Chunker, the Compactor and the CsvWriter beside them. It decides nothing itself.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/bus/heartbeat.h"
#include "common/catalogue/catalogue_feed.h"
#include "common/runtime/service_main.h"
#include "services/recorder/config.h"
#include "services/recorder/io/chunker.h"
#include "services/recorder/io/compactor.h"
#include "services/recorder/io/csv_metrics.h"
#include "services/recorder/io/csv_writer.h"
#include "services/recorder/io/lane.h"
#include "services/recorder/io/lane_metrics.h"

namespace gema::recorder {

class App {
 public:
  static constexpr const char* kName = "recorder";
  static constexpr const char* kSummary =
      "keeps the history: results and transitions in PostgreSQL, acknowledged once they are there";
  using Config = recorder::Config;

  App(Config config, const runtime::Environment& environment);
  ~App();

  Result<void> start();
  std::optional<MonoTime> turn(Now now);
  void stop();

 private:
  struct Stream {
    std::string name;
    std::unique_ptr<Lane> lane;
    std::unique_ptr<LaneMetrics> metrics;
    bool subscribed = false;
  };

  // Returns: false when more is waiting on the bus than one turn takes.
  bool drain(Now now);
  void answer_calls();
  void turn_stream(Stream& stream, Now now, MonoTime& wakeup);
  void say_what_we_wait_for();

  Config config_;
  runtime::Environment environment_;
  std::unique_ptr<bus::BusClient> bus_;
  std::unique_ptr<bus::Heartbeat> heartbeat_;
  std::unique_ptr<CsvWriter> csv_;
  std::unique_ptr<CsvMetrics> csv_metrics_;
  CatalogueFeed catalogue_;  // for csv_; recording needs none
  std::unique_ptr<bus::Caller> caller_;
  std::unique_ptr<bus::CallServer> server_;
  std::vector<Stream> streams_;
  std::unique_ptr<Chunker> chunker_;
  std::unique_ptr<ChunkerMetrics> chunker_metrics_;
  std::unique_ptr<Compactor> compactor_;
  std::unique_ptr<CompactorMetrics> compactor_metrics_;
  Now now_{};  // of this turn, for the handlers of calls
  MonoTime next_metrics_{};
  std::string topic_;
  std::string payload_;
};

}  // namespace gema::recorder
