#include "services/cli/io/stage.h"

#include "services/cli/core/runs.h"

namespace gema::cli {
namespace {

Sqlite make() {
  Sqlite db = Sqlite::temporary();
  db.run(
      "CREATE TABLE checks (device INTEGER, at INTEGER, source INTEGER, seq INTEGER, step INTEGER,"
      " data BLOB, PRIMARY KEY (device, at, source, seq)) WITHOUT ROWID; BEGIN");
  return db;
}

}  // namespace

Stage::Stage() : db_(make()), insert_(db_, "INSERT INTO checks VALUES (?, ?, ?, ?, ?, ?)") {}

uint32_t Stage::source(const StageSource& source) {
  const auto [place, fresh] = places_.emplace(source, static_cast<uint32_t>(sources_.size()));
  if (fresh) sources_.push_back(source);
  return place->second;
}

void Stage::add(DeviceId device, uint32_t source, const Check& check) {
  pack_check(check, bytes_);
  insert_.bind(1, static_cast<int64_t>(device))
      .bind(2, check.at_ms)
      .bind(3, int64_t{source})
      .bind(4, static_cast<int64_t>(count_))
      .bind(5, int64_t{check.interval_ms})
      .bind(6, std::string_view(bytes_));
  insert_.step();
  insert_.reset();
  ++count_;
}

void Stage::close() {
  db_.run("COMMIT");
  Statement spans(db_,
                  "SELECT device, source, count(*), min(at), max(at) FROM checks"
                  " GROUP BY device, source ORDER BY device, source");
  while (spans.step()) {
    spans_.push_back({.device = static_cast<DeviceId>(spans.int64(0)),
                      .source = static_cast<uint32_t>(spans.int64(1)),
                      .checks = static_cast<uint64_t>(spans.int64(2)),
                      .first_ms = spans.int64(3),
                      .last_ms = spans.int64(4)});
  }
}

uint32_t Stage::spacing(const StageSpan& span) {
  Statement times(db_, "SELECT at FROM checks WHERE device = ? AND source = ? ORDER BY at");
  times.bind(1, static_cast<int64_t>(span.device)).bind(2, int64_t{span.source});
  std::vector<int64_t> differences;
  int64_t last = 0;
  for (bool any = false; times.step(); any = true) {
    const int64_t at = times.int64(0);
    if (any && at > last) differences.push_back(at - last);
    last = at;
  }
  return median_spacing(differences);
}

void Stage::each(DeviceId device, const std::function<void(const StagedCheck&)>& each) {
  Statement checks(db_,
                   "SELECT source, at, step, data FROM checks WHERE device = ?"
                   " ORDER BY at, source, seq");
  checks.bind(1, static_cast<int64_t>(device));
  StagedCheck check;
  while (checks.step()) {
    check.source = static_cast<uint32_t>(checks.int64(0));
    check.at_ms = checks.int64(1);
    check.interval_ms = static_cast<uint32_t>(checks.int64(2));
    check.data = checks.text(3);
    each(check);
  }
}

std::vector<int64_t> Stage::days() {
  Statement days(db_, "SELECT DISTINCT at / 86400000 FROM checks ORDER BY 1");
  std::vector<int64_t> out;
  while (days.step()) out.push_back(days.int64(0) * 86'400'000);
  return out;
}

}  // namespace gema::cli
