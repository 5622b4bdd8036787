#include "services/recorder/io/refusals.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "common/base/assert.h"
#include "common/codec/ping_codec.h"
#include "common/postgres/binary.h"
#include "services/recorder/core/limits.h"

namespace gema::recorder {
namespace {

using postgres::BinaryResult;
using postgres::Transaction;

// More of what the server said is not kept.
constexpr size_t kReasonBytesMax = 1'000;

std::string hex(std::string_view bytes) {
  std::string out = "\\x";
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

int64_t as_bigint(uint64_t value) {
  return static_cast<int64_t>(value);
}

std::string ascii(std::string text) {
  for (char& c : text) {
    if (c == '\0' || static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return text;
}

// Which row it was, its bytes say; and without it what is refused for the same reason has the same.
std::string without_detail(std::string message) {
  const size_t from = message.find(" DETAIL:");
  if (from == std::string::npos) return message;
  const size_t to = message.rfind(" (SQLSTATE");
  return message.erase(from, to == std::string::npos || to < from ? std::string::npos : to - from);
}

std::string shortened(std::string text) {
  if (text.size() <= kReasonBytesMax) return text;
  size_t end = kReasonBytesMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

int64_t insert(Transaction& tx, const std::string& stream, const RecordRow& row, bool refused,
               const std::optional<Span>& span) {
  std::optional<int64_t> gap;
  auto text = [](const std::optional<int64_t>& value) {
    return value ? std::to_string(*value) : std::string();
  };
  if (span) {
    gap = tx.exec(
                "INSERT INTO stream_gaps (stream, producer, epoch, partition, first_seq, last_seq,"
                " from_ms, to_ms, reason) VALUES ($1, $2, $3, $4, $5, $5, nullif($6, '')::bigint,"
                " nullif($7, '')::bigint, 'refused by PostgreSQL') RETURNING id",
                stream, row.key.producer, as_bigint(row.key.epoch), row.key.partition,
                as_bigint(row.key.seq), text(span->from_ms), text(span->to_ms))[0][0]
              .as<int64_t>();
  }
  return tx
      .exec(
          "INSERT INTO stream_quarantine (stream, producer, epoch, partition, seq, produced_at,"
          " reason, payload, refused, gap_id) VALUES ($1, $2, $3, $4, $5,"
          " to_timestamp($6::bigint / 1000000.0), $7, $8::bytea, $9::boolean,"
          " nullif($10, '')::bigint)",
          stream, row.key.producer, as_bigint(row.key.epoch), row.key.partition,
          as_bigint(row.key.seq),
          // As it stood in a damaged row, say: perhaps no time at all.
          std::clamp(row.produced_at_us, int64_t{0}, kTimeMaxMs * 1000), row.reason,
          hex(row.payload), refused ? "t" : "f", text(gap))
      .affected_rows();
}

Result<void> force(Transaction& tx, const std::string& stream, RecordRow row, bool refused,
                   const std::optional<Span>& span) {
  Result<void> done =
      in_savepoint(tx, [&](Transaction& part) { insert(part, stream, row, refused, span); });
  if (done || done.error().code != Errc::kBadInput) return done;
  row.key.producer = ascii(row.key.producer);
  row.reason = ascii(row.reason);
  return in_savepoint(tx, [&](Transaction& part) { insert(part, stream, row, refused, span); });
}

}  // namespace

Result<void> in_savepoint(Transaction& tx, const std::function<void(Transaction&)>& work) {
  Result<void> done;
  try {
    const BinaryResult begun(tx, "SAVEPOINT part", {});
    try {
      // Between libpqxx and its transaction, which would not survive a failed statement.
      pqxx::subtransaction shield(dynamic_cast<pqxx::dbtransaction&>(tx.pqxx()));
      Transaction part(shield, tx.raw());
      work(part);
      shield.commit();
    } catch (...) {
      done = postgres::error_from_current_exception();
    }
    if (!done) const BinaryResult undone(tx, "ROLLBACK TO SAVEPOINT part", {});
    const BinaryResult ended(tx, "RELEASE SAVEPOINT part", {});
  } catch (...) {  // the connection, mostly
    return postgres::error_from_current_exception();
  }
  return done;
}

void put_in_quarantine(Transaction& tx, const std::string& stream, const RecordRow& row) {
  insert(tx, stream, row, false, std::nullopt);
}

Result<void> force_into_quarantine(Transaction& tx, const std::string& stream,
                                   const RecordRow& row) {
  return force(tx, stream, row, false, std::nullopt);
}

Span span_of_ping(std::string_view payload) {
  PingResults results;
  if (!decode_ping(payload, results)) return {};
  const auto [oldest, newest] = std::minmax_element(results.due_ms.begin(), results.due_ms.end());
  return {*oldest, *newest};
}

Refusals::Refusals(Transaction& tx, std::string stream) : tx_(tx), stream_(std::move(stream)) {
  const auto there =
      tx.exec("SELECT count(*) FROM stream_quarantine WHERE refused")[0][0].as<uint64_t>();
  room_ = kRefusedMax - std::min(kRefusedMax, there);
}

Result<void> Refusals::keep(RecordRow row, const std::optional<Span>& span, const Error& error) {
  if (room_ == 0) {
    return Error{Errc::kBadInput,
                 fmt::format("PostgreSQL refuses what comes, and {} refused records are set aside"
                             " already, the most there may be: everything waits (see"
                             " stream_quarantine). It says: {}",
                             kRefusedMax, without_detail(error.message))};
  }
  const std::string why = without_detail(error.message);
  row.reason = shortened(row.reason.empty() ? why : row.reason + "; " + why);
  if (Result<void> done = force(tx_, stream_, row, true, span); !done) return done;
  --room_;
  kept_.push_back({row.key, row.reason});
  return {};
}

Result<void> Refusals::keep_chunk(const ChunkView& chunk, const std::string& location,
                                  const std::string& producer, int64_t clock_steps, int64_t seq,
                                  const Error& error) {
  PingResults all;
  std::vector<ResultText> texts;
  if (!append_chunk(chunk, all, &texts)) {
    return Error{Errc::kPermanent, "a chunk that was refused breaks the rules of chunks"};
  }
  // A batch has one note, who paused; a chunk may have several.
  std::map<std::string, PingResults> by_text;
  std::vector<ResultText> unused;
  size_t t = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    while (t < texts.size() && texts[t].index < i) ++t;
    const bool has = t < texts.size() && texts[t].index == i;
    append_result(all, i, by_text[has ? texts[t].text : std::string()], unused);
  }
  // Chunks know of an epoch how often the clock had stepped, which is what it counts by.
  const auto epochs = tx_.exec(
      "SELECT epoch FROM stream_epochs WHERE stream = 'ping' AND producer = $1 AND clock_steps = $2"
      " ORDER BY first_seen DESC, epoch DESC LIMIT 1",
      ascii(producer), clock_steps);
  RecordRow row{
      .key = {.producer = producer,
              .epoch = epochs.empty() ? 0 : static_cast<uint64_t>(epochs[0][0].as<int64_t>()),
              .partition = partition_of(chunk.device),
              .seq = static_cast<uint64_t>(seq)},
      .produced_at_us = chunk.start_ms * 1000,
      .reason = fmt::format("results of device {}", chunk.device)};
  if (by_text.empty()) {  // no batch can hold that
    row.payload = chunk.details;
    row.reason = fmt::format("late answers of device {} (details of a chunk)", chunk.device);
    return keep(std::move(row), std::nullopt, error);
  }
  by_text.begin()->second.strays = std::move(all.strays);
  for (auto& [text, results] : by_text) {
    results.location = location;
    results.note = text;
    encode_ping(results, row.payload);
    const Span span{results.due_ms.front(), results.due_ms.back()};
    if (Result<void> done = keep(row, span, error); !done) return done;
  }
  return {};
}

}  // namespace gema::recorder
