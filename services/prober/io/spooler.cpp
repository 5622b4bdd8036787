#include "services/prober/io/spooler.h"

#include <utility>

#include "common/codec/ping_codec.h"
#include "common/observability/log.h"
#include "services/prober/core/limits.h"

namespace gema::prober {

Spooler::Spooler(stream::Producer& producer, std::filesystem::path mark_path)
    : producer_(producer), mark_path_(std::move(mark_path)) {}

Result<Spooler::Past> Spooler::read_past() {
  Past past;
  stream::PositionSet position;
  auto mark = read_mark(mark_path_);
  if (!mark) {
    obs::log_warn("mark ignored", {{"why", mark.error().message}});
  } else if (*mark) {
    auto parsed = stream::PositionSet::parse((*mark)->position);
    if (parsed) {
      past.done_until_ms = (*mark)->done_until_ms;
      position = std::move(*parsed);
      marks_.note((*mark)->done_until_ms, (*mark)->position);
      next_mark_ = **mark;
    } else {
      obs::log_warn("mark ignored", {{"why", parsed.error().message}});
    }
  }
  PingResults results;
  const auto read = producer_.read_after(position, [&](const stream::Spooled& record) {
    if (record.part || !decode_ping(record.payload, results)) return true;  // not of ours
    for (size_t i = 0; i < results.size(); ++i) {
      past.last_slot[results.device[i]] = results.due_ms[i];  // in slot order per device
    }
    return true;
  });
  if (!read) return read.error();
  return past;
}

void Spooler::append(uint32_t partition, const PingResults& results, Now now) {
  encode_ping(results, encoded_);
  if (waiting_.empty()) {
    const auto done = producer_.append(partition, encoded_, now);
    if (done) return;
    ++errors_;
    last_error_ = done.error().message;
  }
  if (waiting_.size() >= kRecordsWaitingMax) {
    waiting_.pop_front();
    ++dropped_;
  }
  waiting_.push_back({partition, encoded_});
}

void Spooler::retry(Now now) {
  while (!waiting_.empty()) {
    const auto done = producer_.append(waiting_.front().partition, waiting_.front().bytes, now);
    if (!done) {
      ++errors_;
      last_error_ = done.error().message;
      if (done.error().code != Errc::kBadInput) return;
      ++dropped_;  // refused for good
    }
    waiting_.pop_front();
  }
}

std::optional<SpoolMark> Spooler::make_mark(int64_t done_until_ms, int64_t now_ms) {
  marks_.note(now_ms, producer_.own_positions().serialise());
  auto position = marks_.position_for(done_until_ms);
  if (!position) return std::nullopt;
  return SpoolMark{done_until_ms, std::move(*position)};
}

void Spooler::write(const SpoolMark& mark) {
  if (const auto done = write_mark(mark_path_, mark); !done) {
    ++errors_;
    last_error_ = done.error().message;
  }
}

void Spooler::mark(int64_t done_until_ms, int64_t now_ms) {
  auto mark = make_mark(done_until_ms, now_ms);
  if (next_mark_) write(*next_mark_);
  next_mark_ = std::move(mark);
}

void Spooler::mark_finally(int64_t done_until_ms, int64_t now_ms) {
  if (const auto mark = make_mark(done_until_ms, now_ms)) write(*mark);
}

void Spooler::forget_marks() {
  marks_.clear();
  next_mark_.reset();
}

}  // namespace gema::prober
