#include "services/recorder/io/lane_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

namespace gema::recorder {

void Following::follow(double value) {
  if (value > last_) counter_->Increment(value - last_);
  last_ = value;
}

namespace {
double number(uint64_t value) {
  return static_cast<double>(value);
}
}  // namespace

LaneMetrics::LaneMetrics(obs::Metrics& m, const std::string& stream)
    : records_(m.counter("records_total", "Records taken from the stream", {{"stream", stream}})),
      results_(m.counter("results_total", "Results (or transitions) taken to be recorded",
                         {{"stream", stream}})),
      discarded_(m.counter("discarded_results_total", "Results past raw retention when they came",
                           {{"stream", stream}})),
      quarantined_(m.counter("quarantined_total", "Records that can never be recorded",
                             {{"stream", stream}})),
      refused_(m.counter("refused_total", "Records that PostgreSQL refused, set aside",
                         {{"stream", stream}})),
      set_aside_total_(m.counter("set_aside_total", "Records with slots too far in the future",
                                 {{"stream", stream}})),
      gaps_(m.counter("gaps_total", "Gaps announced by producers", {{"stream", stream}})),
      gap_records_(
          m.counter("gap_records_total", "Records announced as lost", {{"stream", stream}})),
      commits_(m.counter("commits_total", "Commits that recorded something", {{"stream", stream}})),
      commit_failures_(m.counter("commit_failures_total", "Commits that failed and are tried again",
                                 {{"stream", stream}})),
      conflicts_(m.counter("conflicts_total",
                           "Times the database was not as this recorder had left it",
                           {{"stream", stream}})),
      hot_rows_(m.counter("hot_rows_total", "Hot rows written", {{"stream", stream}})),
      hot_bytes_(m.counter("hot_bytes_total", "Bytes of hot rows", {{"stream", stream}})),
      taken_in_(
          m.counter("taken_in_total", "Set-aside records recorded later", {{"stream", stream}})),
      duplicates_(
          m.counter("duplicates_total", "Records that had come before", {{"stream", stream}})),
      wanted_(m.counter("wanted_total", "Records asked for again", {{"stream", stream}})),
      address_changes_(m.counter("address_changes_total",
                                 "Names that got another address, as probers said",
                                 {{"stream", stream}})),
      pending_bytes_(
          m.gauge("pending_bytes", "Bytes waiting for PostgreSQL", {{"stream", stream}})),
      pending_records_(
          m.gauge("pending_records", "Records waiting for PostgreSQL", {{"stream", stream}})),
      paused_(m.gauge("paused", "1 while the queue is at its bound", {{"stream", stream}})),
      set_aside_(m.gauge("set_aside", "Records set aside now", {{"stream", stream}})),
      lag_(m.gauge("lag_seconds", "Now minus the newest slot that is recorded",
                   {{"stream", stream}})),
      outstanding_(m.gauge("outstanding", "Records known to exist and not yet here",
                           {{"stream", stream}})) {}

void LaneMetrics::update(const Lane& lane, Now now) {
  const SorterCounts& s = lane.sorted();
  const LaneCounts& c = lane.counts();
  const stream::ConsumerStats stream = lane.stream_stats();
  records_.follow(number(s.records));
  results_.follow(number(s.results));
  discarded_.follow(number(s.discarded_results));
  quarantined_.follow(number(s.quarantined));
  refused_.follow(number(c.refused));
  set_aside_total_.follow(number(s.set_aside));
  gaps_.follow(number(s.gaps));
  gap_records_.follow(number(s.gap_records));
  commits_.follow(number(c.commits));
  commit_failures_.follow(number(c.commit_failures));
  conflicts_.follow(number(c.conflicts));
  hot_rows_.follow(number(c.hot_rows));
  hot_bytes_.follow(number(c.hot_bytes));
  taken_in_.follow(number(c.taken_in));
  duplicates_.follow(number(stream.duplicates));
  wanted_.follow(number(stream.wanted));
  address_changes_.follow(number(s.address_changes));
  pending_bytes_.Set(number(lane.pending_bytes()));
  pending_records_.Set(number(lane.pending_records()));
  paused_.Set(lane.paused() ? 1 : 0);
  set_aside_.Set(number(lane.set_aside()));
  outstanding_.Set(number(stream.outstanding));
  if (c.newest_recorded_ms > 0) {
    lag_.Set(static_cast<double>(unix_ms(now.wall) - c.newest_recorded_ms) / 1000.0);
  }
}

ChunkerMetrics::ChunkerMetrics(obs::Metrics& m)
    : runs_(m.counter("chunk_runs_total", "Chunk transactions")),
      failures_(m.counter("chunk_failures_total", "Chunk transactions that failed")),
      hot_rows_(m.counter("chunked_hot_rows_total", "Hot rows transposed")),
      chunks_(m.counter("chunks_total", "Chunks written")),
      results_(m.counter("chunk_results_total", "Results in those chunks")),
      doubled_(m.counter("chunk_doubled_total", "Results of a slot that had a better one")),
      discarded_(m.counter("chunk_discarded_total", "Results past raw retention when transposed")),
      undecodable_(m.counter("chunk_undecodable_total", "Hot records that could not be decoded")),
      refused_(m.counter("chunk_refused_total", "Chunks that PostgreSQL refused, set aside")),
      hot_leaves_(m.counter("hot_leaves_dropped_total", "Partitions of hot rows dropped")),
      trimmed_(m.counter("quarantine_trimmed_total", "Oldest quarantined records dropped")),
      addresses_(m.counter("address_changes_dropped_total",
                           "Address changes past raw retention, dropped")),
      gaps_(m.counter("gaps_dropped_total", "Announced losses past raw retention, dropped")),
      transitions_(
          m.counter("transitions_dropped_total", "Transitions past their retention, dropped")),
      epochs_(m.counter("epochs_dropped_total",
                        "Epochs of producers whose results are past raw retention, dropped")),
      refused_dropped_(
          m.counter("refused_dropped_total", "Refused records past raw retention, dropped")),
      strays_(m.counter("chunk_strays_total", "Late and doubled answers written beside results")),
      seconds_(m.counter("chunk_seconds_total", "Time spent in chunk transactions")),
      last_seconds_(m.gauge("chunk_last_seconds", "Duration of the last chunk transaction")) {}

void ChunkerMetrics::update(const Chunker& chunker) {
  const ChunkerCounts& c = chunker.counts();
  runs_.follow(number(c.runs));
  failures_.follow(number(c.failures));
  hot_rows_.follow(number(c.hot_rows));
  chunks_.follow(number(c.chunks));
  results_.follow(number(c.results));
  doubled_.follow(number(c.doubled));
  discarded_.follow(number(c.discarded));
  undecodable_.follow(number(c.undecodable));
  refused_.follow(number(c.refused));
  hot_leaves_.follow(number(c.hot_leaves_dropped));
  trimmed_.follow(number(c.quarantine_trimmed));
  addresses_.follow(number(c.address_changes_dropped));
  gaps_.follow(number(c.gaps_dropped));
  transitions_.follow(number(c.transitions_dropped));
  epochs_.follow(number(c.epochs_dropped));
  refused_dropped_.follow(number(c.refused_dropped));
  strays_.follow(number(c.strays));
  seconds_.follow(c.seconds);
  last_seconds_.Set(c.last_seconds);
}

CompactorMetrics::CompactorMetrics(obs::Metrics& m)
    : metrics_(m),
      hours_(m.counter("compact_hours_total", "Hours compacted")),
      late_hours_(m.counter("compact_late_hours_total", "Of these: again, for what came late")),
      days_(m.counter("compact_days_total", "Days whose hour rollups were built")),
      rows_(m.counter("compact_rows_total", "Packed rows written")),
      results_(m.counter("compact_results_total", "Results in those rows")),
      doubled_(m.counter("compact_doubled_total", "Results of a slot that had a better one")),
      packed_bytes_(m.counter("compact_packed_bytes_total", "Bytes of packed rows written")),
      rollup_bytes_(m.counter("compact_rollup_bytes_total", "Bytes of rollups written")),
      broken_(m.counter("compact_broken_total", "Rows left out because they do not decode")),
      refused_(m.counter("compact_refused_total",
                         "Hours of a device that PostgreSQL refused, what was new in them set "
                         "aside")),
      failures_(m.counter("compact_failures_total", "Transactions of the compactor that failed")),
      seconds_(m.counter("compact_seconds_total", "Time spent compacting")),
      chunk_leaves_(m.counter("chunk_leaves_dropped_total",
                              "Partitions of short chunks dropped "
                              "because packed rows hold them")),
      recent_leaves_(m.counter("recent_leaves_dropped_total",
                               "Partitions of recent hour rollups dropped because their day's "
                               "are there")),
      leaves_(m.counter("retention_leaves_dropped_total",
                        "Partitions past their retention, "
                        "dropped")),
      pending_(m.gauge("compact_pending_hours", "Closed hours that wait to be compacted")),
      dirty_(m.gauge("compact_dirty_hours", "Of these: because of what came late")),
      lag_(m.gauge("compact_lag_seconds", "How long the oldest of them has waited")),
      broken_rows_(m.gauge("broken_rows", "Rows of history_broken")),
      refused_records_(m.gauge("refused_records", "Refused records that are set aside now")) {}

void CompactorMetrics::update(const Compactor& compactor) {
  const CompactorCounts& c = compactor.counts();
  hours_.follow(number(c.done.hours));
  late_hours_.follow(number(c.done.late_hours));
  days_.follow(number(c.done.days));
  rows_.follow(number(c.done.rows));
  results_.follow(number(c.done.results));
  doubled_.follow(number(c.done.doubled));
  packed_bytes_.follow(number(c.done.packed_bytes));
  rollup_bytes_.follow(number(c.done.rollup_bytes));
  broken_.follow(number(c.done.broken));
  refused_.follow(number(c.done.refused));
  failures_.follow(number(c.failures));
  seconds_.follow(c.seconds);
  chunk_leaves_.follow(number(c.housekept.chunk_leaves_dropped));
  recent_leaves_.follow(number(c.housekept.recent_leaves_dropped));
  leaves_.follow(number(c.housekept.leaves_dropped));
  pending_.Set(number(c.status.pending_hours));
  dirty_.Set(number(c.status.dirty_hours));
  lag_.Set(c.status.lag_s);
  broken_rows_.Set(number(c.status.broken_rows));
  refused_records_.Set(number(c.status.refused_records));
  for (const auto& [table, bytes] : c.status.table_bytes) {
    metrics_.gauge("table_bytes", "Bytes of a table on disk, indexes included", {{"table", table}})
        .Set(number(bytes));
  }
}

}  // namespace gema::recorder
