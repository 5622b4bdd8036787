#include "services/recorder/io/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "common/base/assert.h"
#include "common/codec/hot_codec.h"
#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/domain/packed_chunk.h"
#include "common/postgres/binary.h"
#include "common/postgres/migrate.h"
#include "services/recorder/core/halve.h"
#include "services/recorder/core/judge.h"
#include "services/recorder/core/limits.h"
#include "services/recorder/core/transpose.h"

namespace gema::recorder {
namespace {

using postgres::BinaryResult;
using postgres::CopyIn;
using postgres::Params;
using postgres::Transaction;

// The migration whose tables this file writes; inventory applies it.
constexpr int kSchemaNeeded = 9;
constexpr int64_t kLeafUs = 600LL * 1'000'000;  // ping_hot_make_leaf(): ten minutes

std::string hex(std::string_view bytes) {
  std::string out = "\\x";
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

// '{"a","b"}'. Numbers are passed as their texts.
class ArrayLiteral {
 public:
  void add(std::string_view text) {
    out_ += out_.size() == 1 ? "\"" : ",\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out_ += '\\';
      out_ += c;
    }
    out_ += '"';
  }
  template <class Int>
  requires std::integral<Int>
  void add(Int number) {
    if (out_.size() > 1) out_ += ',';
    out_ += std::to_string(number);
  }
  void add_null() { out_ += out_.size() == 1 ? "NULL" : ",NULL"; }
  std::string text() const { return out_ + "}"; }

 private:
  std::string out_ = "{";
};

int64_t as_bigint(uint64_t value) {
  return static_cast<int64_t>(value);
}

// Partitions whose positions or hot rows a batch changes.
std::set<uint32_t> touched_by(const Batch& batch, const stream::PositionSet::Changes& changes) {
  std::set<uint32_t> touched;
  for (const auto& [key, position] : changes.upserts) touched.insert(key.partition);
  for (const auto& key : changes.removals) touched.insert(key.partition);
  for (const RecordRow& record : batch.records) touched.insert(record.key.partition);
  return touched;
}

// True when the head rows say that this batch is in already.
bool is_committed(const Batch& batch, const std::set<uint32_t>& touched, const Tokens& tokens) {
  if (touched.empty()) return false;
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (tokens[p] != (touched.count(p) > 0 ? batch.token : batch.tokens[p])) return false;
  }
  return true;
}

}  // namespace

// Arrays are given as their texts.
Store::Store(postgres::Options options)
    : options_(std::move(options)),
      lock_heads_("lock_heads",
                  "SELECT partition, number, token,"
                  " floor(extract(epoch FROM now()) * 1000000)::bigint"
                  " FROM stream_heads WHERE stream = $1::text ORDER BY partition FOR UPDATE"),
      write_heads_("write_heads",
                   "UPDATE stream_heads h SET number = n.number, token = n.token"
                   " FROM unnest($2::text::smallint[], $3::text::bigint[], $4::text::bigint[])"
                   " AS n (partition, number, token)"
                   " WHERE h.stream = $1::text AND h.partition = n.partition"),
      write_positions_(
          "write_positions",
          "INSERT INTO stream_positions (stream, producer, epoch, partition, cumulative, highest,"
          " missing, epoch_order, closed)"
          " SELECT $1::text, * FROM unnest($2::text::text[], $3::text::bigint[],"
          " $4::text::smallint[], $5::text::bigint[], $6::text::bigint[], $7::text::text[],"
          " $8::text::bigint[], $9::text::boolean[])"
          " ON CONFLICT (stream, producer, epoch, partition) DO UPDATE SET"
          " cumulative = excluded.cumulative, highest = excluded.highest,"
          " missing = excluded.missing, epoch_order = excluded.epoch_order,"
          " closed = excluded.closed") {}

template <class Work>
auto Store::run(Work&& work) ->
    typename postgres::internal::AsResult<std::invoke_result_t<Work, Transaction&>>::type {
  if (auto ready = ensure_ready(); !ready) return ready.error();
  auto result = connection_->transact(std::forward<Work>(work));
  if (!connection_->usable()) connection_.reset();
  return result;
}

Result<void> Store::ensure_ready() {
  if (connection_ != nullptr && connection_->usable()) return {};
  connection_.reset();
  leaves_until_us_ = 0;
  for (postgres::Prepared* known : {&lock_heads_, &write_heads_, &write_positions_}) {
    known->forget();
  }
  auto opened = postgres::Connection::open(options_);
  if (!opened) return opened.error();
  auto version = postgres::schema_version(**opened);
  if (!version) return version.error();
  if (*version < kSchemaNeeded) {
    return Error{
        Errc::kUnavailable,
        fmt::format("PostgreSQL: the schema has version {}, {} is needed (inventory brings "
                    "it up)",
                    *version, kSchemaNeeded)};
  }
  connection_ = std::move(*opened);
  return {};
}

// --- positions -------------------------------------------------------------------------------

Store::Heads Store::lock_heads(Transaction& tx, const std::string& stream) {
  Params params;
  params.bytes(stream);
  const BinaryResult rows(tx, lock_heads_, params);
  Heads heads;
  for (int i = 0; i < rows.rows(); ++i) {
    const auto p = static_cast<uint32_t>(rows.int16(i, 0));
    if (p >= kPartitions) continue;
    heads.numbers[p] = rows.int64(i, 1);
    heads.tokens[p] = rows.int64(i, 2);
    heads.now_us = rows.int64(i, 3);
  }
  return heads;
}

Loaded Store::read(Transaction& tx, const std::string& stream) {
  Loaded out;
  for (const auto& row : tx.exec(
           "SELECT producer, epoch, partition, cumulative, highest, missing, epoch_order, closed"
           " FROM stream_positions WHERE stream = $1",
           stream)) {
    auto missing = stream::parse_ranges(row[5].as<std::string>());
    if (!missing) throw postgres::RawError({Errc::kPermanent, missing.error().message}, false);
    out.positions.set({row[0].as<std::string>(), static_cast<uint64_t>(row[1].as<int64_t>()),
                       row[2].as<uint32_t>()},
                      {.cumulative = static_cast<uint64_t>(row[3].as<int64_t>()),
                       .highest = static_cast<uint64_t>(row[4].as<int64_t>()),
                       .missing = std::move(*missing),
                       .order = static_cast<uint64_t>(row[6].as<int64_t>()),
                       .closed = row[7].as<bool>()});
  }
  out.set_aside = tx.exec("SELECT count(*) FROM stream_set_aside WHERE stream = $1", stream)[0][0]
                      .as<uint64_t>();
  return out;
}

Result<Loaded> Store::load(const std::string& stream) {
  return run([&](Transaction& tx) {
    const Heads heads = lock_heads(tx, stream);
    Loaded out = read(tx, stream);
    out.tokens = heads.tokens;
    return out;
  });
}

template <class Work>
auto Store::run_apart(Work&& work) {
  auto done = run([&](Transaction& tx) { return work(tx, false); });
  // Leaves made in a transaction that did not commit are not there.
  if (!done) leaves_until_us_ = 0;
  if (!done && done.error().code == Errc::kBadInput) {
    done = run([&](Transaction& tx) {
      // Refused now, not at the end, where nobody could tell what.
      tx.exec("SET CONSTRAINTS ALL IMMEDIATE");
      return work(tx, true);
    });
    if (!done) leaves_until_us_ = 0;
  }
  return done;
}

Result<Committed> Store::commit(const Batch& batch) {
  return run_apart([&](Transaction& tx, bool apart) { return commit(tx, batch, apart); });
}

Committed Store::commit(Transaction& tx, const Batch& batch, bool apart) {
  Heads heads = lock_heads(tx, batch.stream);
  const auto changes = batch.after.changes_since(batch.before);
  const std::set<uint32_t> touched = touched_by(batch, changes);
  Committed out;
  if (is_committed(batch, touched, heads.tokens)) {
    out.earlier = true;
    out.tokens = heads.tokens;
    return out;
  }
  if (heads.tokens != batch.tokens) {
    out.conflict = true;
    out.tokens = heads.tokens;
    out.now = read(tx, batch.stream);
    out.now.tokens = heads.tokens;
    return out;
  }
  write(tx, heads, batch, apart, out);
  write_positions(tx, batch.stream, changes);
  for (const uint32_t p : touched) heads.tokens[p] = batch.token;
  write_heads(tx, batch.stream, heads, touched);
  out.tokens = heads.tokens;
  return out;
}

void Store::write_heads(Transaction& tx, const std::string& stream, const Heads& heads,
                        const std::set<uint32_t>& partitions) {
  if (partitions.empty()) return;
  ArrayLiteral places, numbers, tokens;
  for (const uint32_t p : partitions) {
    places.add(p);
    numbers.add(heads.numbers[p]);
    tokens.add(heads.tokens[p]);
  }
  Params params;
  params.bytes(stream).bytes(places.text()).bytes(numbers.text()).bytes(tokens.text());
  const BinaryResult done(tx, write_heads_, params);
}

void Store::write_positions(Transaction& tx, const std::string& stream,
                            const stream::PositionSet::Changes& changes) {
  if (!changes.upserts.empty()) {
    ArrayLiteral producers, epochs, partitions, cumulative, highest, missing, orders, closed;
    for (const auto& [key, position] : changes.upserts) {
      producers.add(key.producer);
      epochs.add(as_bigint(key.epoch));
      partitions.add(key.partition);
      cumulative.add(as_bigint(position.cumulative));
      highest.add(as_bigint(position.highest));
      missing.add(stream::format_ranges(position.missing));
      orders.add(as_bigint(position.order));
      closed.add(std::string_view(position.closed ? "t" : "f"));
    }
    Params params;
    params.bytes(stream).bytes(producers.text()).bytes(epochs.text()).bytes(partitions.text());
    params.bytes(cumulative.text()).bytes(highest.text()).bytes(missing.text());
    params.bytes(orders.text()).bytes(closed.text());
    const BinaryResult done(tx, write_positions_, params);
  }
  if (!changes.removals.empty()) {
    ArrayLiteral producers, epochs, partitions;
    for (const auto& key : changes.removals) {
      producers.add(key.producer);
      epochs.add(as_bigint(key.epoch));
      partitions.add(key.partition);
    }
    tx.exec(
        "DELETE FROM stream_positions p USING unnest($2::text[], $3::bigint[], $4::smallint[])"
        " AS gone (producer, epoch, partition) WHERE p.stream = $1 AND p.producer = gone.producer"
        " AND p.epoch = gone.epoch AND p.partition = gone.partition",
        stream, producers.text(), epochs.text(), partitions.text());
  }
}

// --- what is written ---------------------------------------------------------------------------

void Store::write_at_once(Transaction& tx, Heads& heads, const Batch& batch, Committed& out) {
  write_rarities(tx, batch);
  if (!batch.transitions.empty()) write_transitions(tx, batch);
  if (!batch.address_changes.empty()) write_address_changes(tx, batch);
  if (!batch.records.empty()) out.hot_bytes += write_hot(tx, heads, batch.records, out.hot_rows);
}

namespace {

// A batch as a row of things, in the order in which they are written.
class Things {
 public:
  explicit Things(const Batch& batch) : batch_(batch) {}

  size_t size() const {
    return batch_.epochs.size() + batch_.gaps.size() + batch_.quarantined.size() +
           batch_.set_aside.size() + batch_.transitions.size() + batch_.address_changes.size() +
           batch_.records.size();
  }

  // Things [from, to) as a batch of their own.
  Batch part(size_t from, size_t to) const {
    Batch out{.stream = batch_.stream};
    size_t at = 0;
    auto take = [&](const auto& all, auto& some) {
      const size_t begin = std::clamp(from, at, at + all.size()) - at;
      const size_t end = std::clamp(to, at, at + all.size()) - at;
      some.assign(all.begin() + static_cast<ptrdiff_t>(begin),
                  all.begin() + static_cast<ptrdiff_t>(end));
      at += all.size();
    };
    take(batch_.epochs, out.epochs);
    take(batch_.gaps, out.gaps);
    take(batch_.quarantined, out.quarantined);
    take(batch_.set_aside, out.set_aside);
    take(batch_.transitions, out.transitions);
    take(batch_.address_changes, out.address_changes);
    take(batch_.records, out.records);
    return out;
  }

  // Sets thing `i` aside.
  Result<void> refuse(size_t i, const Error& error, Refusals& refusals) const {
    const Batch one = part(i, i + 1);
    for (const EpochRow& e : one.epochs) {
      RecordRow row{.key = {.producer = e.producer, .epoch = e.epoch},
                    .reason = fmt::format("the beginning of an epoch after epoch {}: {}",
                                          e.predecessor, stream::to_string(e.reason))};
      return refusals.keep(std::move(row), std::nullopt, error);
    }
    for (const GapRow& g : one.gaps) {
      RecordRow row{.key = g.key,
                    .reason = fmt::format("records {} to {} are lost: {}; slots from {} to {}",
                                          g.seqs.first, g.seqs.last, g.reason,
                                          g.span.from_ms.value_or(0), g.span.to_ms.value_or(0))};
      return refusals.keep(std::move(row), std::nullopt, error);
    }
    for (const RecordRow& q : one.quarantined) return refusals.keep(q, std::nullopt, error);
    for (const RecordRow& s : one.set_aside) {
      return refusals.keep(s, span_of_ping(s.payload), error);
    }
    for (const TransitionRow& t : one.transitions) {
      return refusals.keep(t.record, Span{t.slot_ms, t.slot_ms}, error);
    }
    for (const AddressChangeRow& a : one.address_changes) {
      RecordRow row{.key = a.key,
                    .produced_at_us = a.change.at_ms * 1000,
                    .reason = fmt::format(
                        "an address change: device {} at location {} from '{}' to '{}' at {} ms",
                        a.change.device, a.location, to_text(a.change.from), to_text(a.change.to),
                        a.change.at_ms)};
      return refusals.keep(std::move(row), std::nullopt, error);
    }
    for (const RecordRow& r : one.records) return refusals.keep(r, span_of_ping(r.payload), error);
    return {};
  }

 private:
  const Batch& batch_;
};

}  // namespace

void Store::write(Transaction& tx, Heads& heads, const Batch& batch, bool apart, Committed& out) {
  if (!apart) return write_at_once(tx, heads, batch, out);
  // Not within a savepoint that may be undone.
  if (!batch.records.empty()) make_hot_leaves(tx, heads);
  const Things things(batch);
  Refusals refusals(tx, batch.stream);
  auto attempt = [&](size_t from, size_t to) {
    Heads raised = heads;
    Committed written;
    Result<void> done = in_savepoint(tx, [&](Transaction& part) {
      write_at_once(part, raised, things.part(from, to), written);
    });
    if (!done) return done;
    heads = raised;
    out.hot_rows += written.hot_rows;
    out.hot_bytes += written.hot_bytes;
    return done;
  };
  auto refuse = [&](size_t i, const Error& error) { return things.refuse(i, error, refusals); };
  if (Result<void> done = halve(0, things.size(), attempt, refuse); !done) {
    throw postgres::RawError(done.error(), false);
  }
  out.refused = refusals.take();
}

void Store::make_hot_leaves(Transaction& tx, const Heads& heads) {
  if (heads.now_us < leaves_until_us_) return;
  // Now's leaf and the next, so that the next one is there when its time comes.
  tx.exec("SELECT ping_hot_make_leaf(now()), ping_hot_make_leaf(now() + interval '10 minutes')");
  leaves_until_us_ = (heads.now_us / kLeafUs + 2) * kLeafUs;
}

uint64_t Store::write_hot(Transaction& tx, Heads& heads, const std::vector<RecordRow>& records,
                          uint64_t& rows) {
  std::array<std::string, kPartitions> batches;
  std::array<int64_t, kPartitions> results{};
  for (const RecordRow& r : records) {
    GEMA_ASSERT(r.key.partition < kPartitions);
    append_hot({r.key.producer, r.key.epoch, r.key.seq, r.produced_at_us, r.payload},
               batches[r.key.partition]);
    results[r.key.partition] += r.results;
  }
  make_hot_leaves(tx, heads);
  uint64_t bytes = 0;
  CopyIn copy(tx,
              "COPY ping_hot (number, written_at, results, partition, batches) FROM STDIN"
              " (FORMAT binary)");
  for (uint32_t p = 0; p < kPartitions; ++p) {
    if (batches[p].empty()) continue;
    copy.row(5);
    copy.int64(++heads.numbers[p]);
    copy.timestamptz_us(heads.now_us);
    copy.int32(static_cast<int32_t>(results[p]));
    copy.int16(static_cast<int16_t>(p));
    copy.bytes(batches[p]);
    bytes += batches[p].size();
    ++rows;
  }
  copy.finish();
  return bytes;
}

void Store::write_rarities(Transaction& tx, const Batch& batch) {
  for (const EpochRow& e : batch.epochs) {
    tx.exec(
        "INSERT INTO stream_epochs (stream, producer, epoch, predecessor, reason, clock_steps)"
        " VALUES ($1, $2, $3, $4, $5::smallint, least(32767, coalesce((SELECT clock_steps FROM"
        "   stream_epochs WHERE stream = $1 AND producer = $2 AND epoch = $4), 0)"
        "   + CASE WHEN $5::int = $6::int THEN 1 ELSE 0 END))"
        " ON CONFLICT DO NOTHING",
        batch.stream, e.producer, as_bigint(e.epoch), as_bigint(e.predecessor),
        static_cast<int>(e.reason), static_cast<int>(stream::EpochReason::kClockStep));
  }
  for (const GapRow& g : batch.gaps) {
    tx.exec(
        "INSERT INTO stream_gaps (stream, producer, epoch, partition, first_seq, last_seq, from_ms,"
        " to_ms, reason) VALUES ($1, $2, $3, $4, $5, $6, nullif($7, '')::bigint,"
        " nullif($8, '')::bigint, $9)",
        batch.stream, g.key.producer, as_bigint(g.key.epoch), g.key.partition,
        as_bigint(g.seqs.first), as_bigint(g.seqs.last),
        g.span.from_ms ? std::to_string(*g.span.from_ms) : std::string(),
        g.span.to_ms ? std::to_string(*g.span.to_ms) : std::string(), g.reason);
  }
  for (const RecordRow& q : batch.quarantined) put_in_quarantine(tx, batch.stream, q);
  for (const RecordRow& s : batch.set_aside) {
    tx.exec(
        "INSERT INTO stream_set_aside (stream, producer, epoch, partition, seq, newest_ms,"
        " produced_at, payload) VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7::bigint / "
        "1000000.0),"
        " $8::bytea) ON CONFLICT DO NOTHING",
        batch.stream, s.key.producer, as_bigint(s.key.epoch), s.key.partition, as_bigint(s.key.seq),
        s.newest_ms, s.produced_at_us, hex(s.payload));
  }
}

void Store::write_transitions(Transaction& tx, const Batch& batch) {
  ArrayLiteral ids, devices, counters, froms, tos, reasons, slots, decided, states;
  for (const TransitionRow& t : batch.transitions) {
    std::string id;
    for (const uint8_t byte : t.id) id += fmt::format("{:02x}", byte);
    ids.add(std::string_view(id));
    devices.add(as_bigint(t.device));
    counters.add(as_bigint(t.counter));
    froms.add(t.from);
    tos.add(t.to);
    reasons.add(t.reason);
    slots.add(t.slot_ms);
    decided.add(t.decided_at_us);
    states.add(std::string_view(hex(t.state)));
  }
  tx.exec(
      "INSERT INTO transitions (id, device_id, counter, from_status, to_status, reason, slot_at,"
      " decided_at, state)"
      " SELECT id, device, counter, f, t, reason, to_timestamp(slot_ms / 1000.0),"
      " to_timestamp(decided_us / 1000000.0), state"
      " FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::smallint[], $5::smallint[],"
      " $6::smallint[], $7::bigint[], $8::bigint[], $9::bytea[])"
      " AS n (id, device, counter, f, t, reason, slot_ms, decided_us, state)"
      " ON CONFLICT (id) DO NOTHING",
      ids.text(), devices.text(), counters.text(), froms.text(), tos.text(), reasons.text(),
      slots.text(), decided.text(), states.text());
}

void Store::write_address_changes(Transaction& tx, const Batch& batch) {
  ArrayLiteral devices, locations, probers, times, before, after;
  auto add = [](ArrayLiteral& array, const IpAddress& address) {
    if (address.known()) {
      array.add(std::string_view(to_text(address)));
    } else {
      array.add_null();
    }
  };
  for (const AddressChangeRow& row : batch.address_changes) {
    devices.add(as_bigint(row.change.device));
    locations.add(row.location);
    probers.add(row.key.producer);
    times.add(row.change.at_ms);
    add(before, row.change.from);
    add(after, row.change.to);
  }
  tx.exec(
      "INSERT INTO address_changes (device_id, location, prober, at, was, becomes)"
      " SELECT device, location, prober, to_timestamp(at_ms / 1000.0), was, becomes"
      " FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::inet[], $6::inet[])"
      " AS n (device, location, prober, at_ms, was, becomes)",
      devices.text(), locations.text(), probers.text(), times.text(), before.text(), after.text());
}

Result<TransitionRow> transition_of(RecordRow record) {
  auto transition = decode_transition(record.payload);
  if (!transition) return transition.error();
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  if (transition->device > kMax || transition->state.transition_counter > kMax) {
    return Error{Errc::kBadInput, "a device id or counter is out of range"};
  }
  if (transition->slot_ms < 0 || transition->slot_ms > kTimeMaxMs) {
    return Error{Errc::kBadInput, "a transition's slot is no time"};
  }
  TransitionRow row{.id = transition->id,
                    .device = transition->device,
                    .counter = transition->state.transition_counter,
                    .from = static_cast<uint8_t>(transition->from),
                    .to = static_cast<uint8_t>(transition->to),
                    .reason = static_cast<uint8_t>(transition->reason),
                    .slot_ms = transition->slot_ms,
                    .decided_at_us = unix_us(transition->decided_at)};
  encode_state(transition->state, row.state);
  row.record = std::move(record);
  return row;
}

Result<TakenIn> Store::take_in(const std::string& stream, WallTime now) {
  return run_apart([&](Transaction& tx, bool apart) { return take_in(tx, stream, now, apart); });
}

TakenIn Store::take_in(Transaction& tx, const std::string& stream, WallTime now, bool apart) {
  Heads heads = lock_heads(tx, stream);
  Batch batch{.stream = stream};
  std::vector<RecordRow> records;
  auto take = [&](const std::string& statement, const Params& params) {
    const BinaryResult rows(tx, statement, params);
    for (int i = 0; i < rows.rows(); ++i) {
      records.push_back(
          {.key = {std::string(rows.bytes(i, 0)), static_cast<uint64_t>(rows.int64(i, 1)),
                   static_cast<uint32_t>(rows.int16(i, 2)),
                   static_cast<uint64_t>(rows.int64(i, 3))},
           .produced_at_us = rows.int64(i, 4),
           .payload = std::string(rows.bytes(i, 5))});
    }
  };
  Params due;
  due.bytes(stream).int64(unix_ms(now + kFutureMax)).int32(kTakeInMax);
  take(
      "DELETE FROM stream_set_aside WHERE stream = $1::text AND (producer, epoch, partition, seq)"
      " IN (SELECT producer, epoch, partition, seq FROM stream_set_aside WHERE stream = $1::text"
      "  AND newest_ms <= $2 ORDER BY newest_ms LIMIT $3::int)"
      " RETURNING producer, epoch, partition, seq,"
      " floor(extract(epoch FROM produced_at) * 1000000)::bigint, payload",
      due);
  Params again;
  again.bytes(stream).int32(kTakeInMax);
  take(
      "WITH taken AS (DELETE FROM stream_quarantine WHERE id IN (SELECT id FROM stream_quarantine"
      "  WHERE refused AND again AND stream = $1::text ORDER BY id LIMIT $2::int)"
      "  RETURNING producer, epoch, partition, seq, produced_at, payload, gap_id),"
      " closed AS (DELETE FROM stream_gaps WHERE id IN (SELECT gap_id FROM taken))"
      " SELECT producer, epoch, partition, seq,"
      " coalesce(floor(extract(epoch FROM produced_at) * 1000000)::bigint, 0), payload FROM taken",
      again);
  TakenIn out{.records = records.size()};
  std::set<uint32_t> touched;
  PingResults results;
  for (RecordRow& record : records) {
    Result<void> right;
    if (stream == "transitions") {
      if (auto row = transition_of(record)) {
        batch.transitions.push_back(std::move(*row));
      } else {
        right = row.error();
      }
    } else if (right = decode_ping(record.payload, results); right) {
      record.results = static_cast<uint32_t>(results.size());
      touched.insert(record.key.partition);
      batch.records.push_back(std::move(record));
    }
    if (right) continue;
    record.reason = "tried again: " + right.error().message;
    batch.quarantined.push_back(std::move(record));
  }
  if (!records.empty()) {
    Committed written;
    write(tx, heads, batch, apart, written);
    write_heads(tx, stream, heads, touched);
    out.refused = std::move(written.refused);
  }
  out.set_aside = tx.exec("SELECT count(*) FROM stream_set_aside WHERE stream = $1", stream)[0][0]
                      .as<uint64_t>();
  return out;
}

// --- chunks ----------------------------------------------------------------------------------

Result<Chunked> Store::chunk(uint32_t partition, WallTime now, Duration retention) {
  return run_apart(
      [&](Transaction& tx, bool apart) { return chunk(tx, partition, now, retention, apart); });
}

int32_t Store::name_id(Transaction& tx, const std::string& name,
                       std::map<std::string, int32_t>& ids) {
  const auto it = ids.find(name);
  if (it != ids.end()) return it->second;
  auto rows = tx.exec("SELECT id FROM history_names WHERE name = $1", name);
  if (rows.empty()) {
    tx.exec("INSERT INTO history_names (name) VALUES ($1) ON CONFLICT DO NOTHING", name);
    rows = tx.exec("SELECT id FROM history_names WHERE name = $1", name);
  }
  return ids[name] = rows[0][0].as<int32_t>();
}

namespace {

// Locations, producers and clocks of the records of one chunk transaction, numbered.
struct Sources {
  struct Source {
    std::string location;
    std::string producer;
    int16_t clock_steps;
    friend auto operator<=>(const Source&, const Source&) = default;
  };
  std::map<Source, uint32_t> ids;

  uint32_t id(Source source) {
    return ids.emplace(std::move(source), static_cast<uint32_t>(ids.size())).first->second;
  }
};

using ClockSteps = std::map<std::pair<std::string, uint64_t>, int16_t>;

ClockSteps read_clock_steps(Transaction& tx) {
  ClockSteps out;
  for (const auto& row :
       tx.exec("SELECT producer, epoch, clock_steps FROM stream_epochs WHERE stream = 'ping'")) {
    out[{row[0].as<std::string>(), static_cast<uint64_t>(row[1].as<int64_t>())}] =
        row[2].as<int16_t>();
  }
  return out;
}

RecordRow row_of(uint32_t partition, const HotRecord& record, std::string reason) {
  return {.key = {std::string(record.producer), record.epoch, partition, record.seq},
          .produced_at_us = record.produced_at_us,
          .payload = std::string(record.payload),
          .reason = std::move(reason)};
}

// How far one transaction goes: the last number, and whether more remains.
struct Extent {
  int64_t last = 0;
  uint64_t rows = 0;
  uint64_t bytes = 0;
  bool more = false;
};

Extent extent_above(Transaction& tx, uint32_t partition, int64_t watermark) {
  Extent extent{.last = watermark};
  const auto rows = tx.exec(
      "SELECT number, octet_length(batches) FROM ping_hot WHERE partition = $1::smallint"
      " AND number > $2 ORDER BY number LIMIT 10000",
      partition, watermark);
  for (const auto& row : rows) {
    const auto bytes = row[1].as<uint64_t>();
    if (extent.rows > 0 && extent.bytes + bytes > kChunkBytesMax) {
      extent.more = true;
      break;
    }
    extent.last = row[0].as<int64_t>();
    extent.bytes += bytes;
    ++extent.rows;
  }
  return extent;
}

// Unique per device.
int64_t part_of(int64_t last, const ChunkHead& h) {
  return last << 20 | static_cast<int64_t>(h.ordinal & 0xfffff);
}

// Columns location_id, producer_id and clock_steps of each source.
using SourceColumns = std::vector<std::array<int32_t, 3>>;

void copy_chunks(Transaction& tx, const Chunks& chunks, std::span<const ChunkHead> heads,
                 int64_t last, const SourceColumns& source_columns) {
  CopyIn copy(tx,
              "COPY ping_chunks (device_id, start_ms, part, step_ms, location_id, producer_id,"
              " clock_steps, echoes, results, packed, details) FROM STDIN (FORMAT binary)");
  for (const ChunkHead& h : heads) {
    copy.row(11);
    copy.int64(as_bigint(h.device));
    copy.int64(h.start_ms);
    copy.int64(part_of(last, h));
    copy.int32(static_cast<int32_t>(h.step_ms));
    copy.int32(source_columns[h.source][0]);
    copy.int32(source_columns[h.source][1]);
    copy.int16(static_cast<int16_t>(source_columns[h.source][2]));
    copy.int16(static_cast<int16_t>(h.echoes));
    copy.int32(static_cast<int32_t>(h.results));
    copy.bytes(pack_chunk(h.echoes, chunks.samples_of(h), chunks.extra_of(h)));
    if (h.details_begin == h.details_end) {
      copy.null();
    } else {
      copy.bytes(chunks.details_of(h));
    }
  }
  copy.finish();
}

}  // namespace

Chunked Store::chunk(Transaction& tx, uint32_t partition, WallTime now, Duration retention,
                     bool apart) {
  const auto watermark =
      tx.exec("SELECT number FROM ping_watermarks WHERE partition = $1::smallint FOR UPDATE",
              partition)[0][0]
          .as<int64_t>();
  const Extent extent = extent_above(tx, partition, watermark);
  Chunked out{.hot_rows = extent.rows, .hot_bytes = extent.bytes, .more = extent.more};
  if (extent.rows == 0) return out;

  const ClockSteps clock_steps = read_clock_steps(tx);
  Sources sources;
  Transposer transposer;
  PingResults results;
  {
    Params params;
    params.int16(static_cast<int16_t>(partition)).int64(watermark).int64(extent.last);
    auto quarantine = [&](const HotRecord& record, std::string reason) {
      const RecordRow row = row_of(partition, record, std::move(reason));
      ++out.undecodable;
      if (!apart) return put_in_quarantine(tx, "ping", row);
      if (auto done = force_into_quarantine(tx, "ping", row); !done) {
        throw postgres::RawError(done.error(), false);
      }
    };
    const BinaryResult rows(
        tx,
        "SELECT batches, number FROM ping_hot WHERE partition = $1 AND number > $2"
        " AND number <= $3 ORDER BY number",
        params);
    for (int i = 0; i < rows.rows(); ++i) {
      auto take = [&](const HotRecord& record) {
        auto decoded = decode_ping(record.payload, results);
        const char* unfit = decoded ? unfit_for_chunks(results, now) : nullptr;
        if (!decoded || unfit != nullptr) {
          return quarantine(record, decoded ? unfit : decoded.error().message);
        }
        const auto steps = clock_steps.find({std::string(record.producer), record.epoch});
        const uint32_t source =
            sources.id({results.location, std::string(record.producer),
                        steps == clock_steps.end() ? int16_t{0} : steps->second});
        transposer.add(source, results);
      };
      if (auto read = read_hot(rows.bytes(i, 0), take); !read) {
        // What came before the break is taken; the row is kept whole, for people.
        quarantine({.seq = static_cast<uint64_t>(rows.int64(i, 1)), .payload = rows.bytes(i, 0)},
                   "hot row (seq is its number): " + read.error().message);
      }
    }
  }
  const auto floor_ms = tx.exec("SELECT floor_ms FROM history_state")[0][0].as<int64_t>();
  const Chunks chunks = transposer.take(std::max(unix_ms(now - retention), floor_ms));
  std::vector<const Sources::Source*> source_of(sources.ids.size());
  for (const auto& [source, id] : sources.ids) source_of[id] = &source;
  auto write = [&](Transaction& part, std::span<const ChunkHead> heads) {
    std::map<std::string, int32_t> names;
    SourceColumns columns(source_of.size());
    std::vector<bool> known(source_of.size());
    for (const ChunkHead& h : heads) {
      if (known[h.source]) continue;
      known[h.source] = true;
      const Sources::Source& source = *source_of[h.source];
      columns[h.source] = {name_id(part, source.location, names),
                           name_id(part, source.producer, names), source.clock_steps};
    }
    copy_chunks(part, chunks, heads, extent.last, columns);
  };
  // A device's chunk at worst; its results go where they can be tried again.
  auto write_chunks_apart = [&] {
    Refusals refusals(tx, "ping");
    const std::span<const ChunkHead> heads(chunks.heads);
    auto attempt = [&](size_t from, size_t to) {
      return in_savepoint(tx,
                          [&](Transaction& part) { write(part, heads.subspan(from, to - from)); });
    };
    auto refuse = [&](size_t i, const Error& error) {
      const ChunkHead& h = heads[i];
      const Sources::Source& source = *source_of[h.source];
      ++out.refused;
      return refusals.keep_chunk({.device = h.device,
                                  .start_ms = h.start_ms,
                                  .step_ms = h.step_ms,
                                  .echoes = h.echoes,
                                  .samples = chunks.samples_of(h),
                                  .extra = chunks.extra_of(h),
                                  .details = chunks.details_of(h)},
                                 source.location, source.producer, source.clock_steps,
                                 part_of(extent.last, h), error);
    };
    if (Result<void> done = halve(0, heads.size(), attempt, refuse); !done) {
      throw postgres::RawError(done.error(), false);
    }
  };
  std::set<int64_t> hours;
  for (const ChunkHead& h : chunks.heads) {
    hours.insert(h.start_ms / kChunkSpanMs - (h.start_ms % kChunkSpanMs < 0 ? 1 : 0));
  }
  if (!chunks.heads.empty()) {
    // From here on no leaf is dropped, so those that are there stay until our rows are in.
    tx.exec("LOCK TABLE ONLY ping_chunks IN ROW EXCLUSIVE MODE");
    for (const int64_t hour : hours) {
      tx.exec("SELECT history_make_leaf_at('ping_chunks', $1)", hour * kChunkSpanMs);
    }
    if (apart) {
      write_chunks_apart();
    } else {
      write(tx, chunks.heads);
    }
  }
  // Tells the compactor, in this transaction, what there is to merge.
  for (const int64_t hour : hours) {
    tx.exec(
        "INSERT INTO ping_hours AS h (hour_ms, partition, written, written_ms, dirty_ms)"
        " VALUES ($1, $2::smallint, $3, $4, $4) ON CONFLICT (hour_ms, partition) DO UPDATE SET"
        " written = excluded.written, written_ms = excluded.written_ms,"
        " dirty_ms = CASE WHEN h.written > h.compacted THEN h.dirty_ms ELSE excluded.dirty_ms END",
        hour * kChunkSpanMs, partition, extent.last, unix_ms(now));
  }
  tx.exec("UPDATE ping_watermarks SET number = $2, moved_at = now() WHERE partition = $1::smallint",
          partition, extent.last);
  out.chunks = chunks.heads.size();
  out.results = chunks.results;
  out.strays = chunks.strays;
  out.doubled = chunks.doubled;
  out.discarded = chunks.discarded;
  return out;
}

Result<bool> Store::sweep(WallTime now, const RowRetention& retention, Housekept& out) {
  const int64_t results_ms = unix_ms(now - retention.results);
  const int64_t transitions_ms = unix_ms(now - retention.transitions);
  auto swept = run([&](Transaction& tx) -> std::array<uint64_t, 6> {
    auto count = [](const auto& rows) { return static_cast<uint64_t>(rows.affected_rows()); };
    return {
        count(tx.exec("DELETE FROM address_changes WHERE at < to_timestamp($1::bigint / 1000.0)",
                      results_ms)),
        count(tx.exec("DELETE FROM stream_gaps WHERE id IN (SELECT id FROM stream_gaps WHERE"
                      " noticed_at < to_timestamp($1::bigint / 1000.0) ORDER BY noticed_at"
                      " LIMIT $2)",
                      results_ms, kSweepRowsMax)),
        count(tx.exec("DELETE FROM stream_gaps WHERE id IN (SELECT id FROM stream_gaps WHERE id"
                      " <= (SELECT id FROM stream_gaps ORDER BY id DESC OFFSET $1 LIMIT 1)"
                      " LIMIT $2)",
                      kGapRowsMax, kSweepRowsMax)),
        count(tx.exec(
            "DELETE FROM transitions WHERE id IN (SELECT t.id FROM transitions t"
            " WHERE t.decided_at < to_timestamp($1::bigint / 1000.0) AND EXISTS (SELECT FROM"
            " transitions n WHERE n.device_id = t.device_id AND n.counter > t.counter AND"
            " n.decided_at < to_timestamp($1::bigint / 1000.0)) ORDER BY t.decided_at LIMIT $2)",
            transitions_ms, kSweepRowsMax)),
        // What an epoch measured is older than its producer's next one. If all that is older than
        // what is kept, and none of it is still to come or to be recorded, nobody asks any more how
        // often the clock had stepped. A producer's last one stays: the next counts on from it.
        count(tx.exec(
            "DELETE FROM stream_epochs WHERE (stream, producer, epoch) IN (SELECT stream, producer,"
            " epoch FROM stream_epochs e WHERE EXISTS (SELECT FROM stream_epochs n"
            "  WHERE n.stream = e.stream AND n.producer = e.producer"
            "  AND n.first_seen > e.first_seen AND n.clock_steps >= e.clock_steps"
            "  AND n.first_seen < to_timestamp($1::bigint / 1000.0))"
            " AND NOT EXISTS (SELECT FROM stream_positions p WHERE p.stream = e.stream"
            "  AND p.producer = e.producer AND p.epoch = e.epoch AND NOT p.closed)"
            " AND NOT EXISTS (SELECT FROM stream_set_aside s WHERE s.stream = e.stream"
            "  AND s.producer = e.producer AND s.epoch = e.epoch)"
            " AND NOT EXISTS (SELECT FROM stream_quarantine q WHERE q.refused"
            "  AND q.stream = e.stream AND q.producer = e.producer AND q.epoch = e.epoch)"
            " ORDER BY e.first_seen LIMIT $2)",
            results_ms, kSweepRowsMax)),
        count(tx.exec("DELETE FROM stream_quarantine WHERE id IN (SELECT id FROM stream_quarantine"
                      " WHERE refused AND noticed_at < to_timestamp($1::bigint / 1000.0) LIMIT $2)",
                      results_ms, kSweepRowsMax))};
  });
  if (!swept) return swept.error();
  const auto& [addresses, gaps, too_many_gaps, transitions, epochs, refused] = *swept;
  out.address_changes_dropped += addresses;
  out.gaps_dropped += gaps + too_many_gaps;
  out.transitions_dropped += transitions;
  out.epochs_dropped += epochs;
  out.refused_dropped += refused;
  return std::max({gaps, too_many_gaps, transitions, epochs, refused}) <
         static_cast<uint64_t>(kSweepRowsMax);
}

Result<Housekept> Store::housekeep(WallTime now, const RowRetention& retention) {
  Housekept out;
  // Short: whoever waits behind us for the table waits for the reader before us, too.
  const std::string patience = "SET LOCAL lock_timeout = '500ms'";
  auto hot = run([&](Transaction& tx) {
    tx.exec(patience);
    return tx
        .exec("SELECT ping_hot_drop_leaves(now() - $1::bigint * interval '1 second')",
              std::chrono::duration_cast<std::chrono::seconds>(kHotKeep).count())[0][0]
        .as<uint64_t>();
  });
  if (!hot) return hot.error();
  out.hot_leaves_dropped = *hot;
  if (now - swept_at_ >= kSweepEvery || now < swept_at_) {
    auto all = sweep(now, retention, out);
    if (!all) return all.error();
    if (*all) swept_at_ = now;
  }
  auto trimmed = run([&](Transaction& tx) {
    return tx
        .exec(
            "DELETE FROM stream_quarantine WHERE NOT refused AND id <= (SELECT id FROM"
            " stream_quarantine WHERE NOT refused ORDER BY id DESC OFFSET $1 LIMIT 1)",
            kQuarantineRowsMax)
        .affected_rows();
  });
  if (!trimmed) return trimmed.error();
  out.quarantine_trimmed = static_cast<uint64_t>(*trimmed);
  return out;
}

}  // namespace gema::recorder
