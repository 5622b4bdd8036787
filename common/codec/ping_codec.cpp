#include "common/codec/ping_codec.h"

#include <algorithm>

#include "common/codec/echo_notes.h"
#include "common/codec/message.h"
#include "common/codec/ping_columns.h"
#include "common/domain/packing.h"
#include "gema/v1/ping.pb.h"

namespace gema {
namespace {

template <class Column, class Values, class Convert>
void put_one_or_n(Column* column, const Values& values, Convert convert) {
  const bool same =
      std::all_of(values.begin(), values.end(), [&](const auto& v) { return v == values.front(); });
  const size_t n = same ? 1 : values.size();
  column->Reserve(static_cast<int>(n));
  for (size_t i = 0; i < n; ++i) column->AddAlreadyReserved(convert(values[i]));
}

// A column that holds one value for all or one for each.
template <class Column>
class OneOrN {
 public:
  OneOrN(const Column& column, size_t n) : column_(column), one_(column.size() == 1 && n != 1) {}
  static bool fits(const Column& column, size_t n) {
    return column.size() == 1 || static_cast<size_t>(column.size()) == n;
  }
  uint32_t operator[](size_t i) const { return column_.Get(one_ ? 0 : static_cast<int>(i)); }

 private:
  const Column& column_;
  bool one_;
};

using Column32 = google::protobuf::RepeatedField<uint32_t>;

Error bad(const char* rule) {
  return bad_message("ping batch", rule);
}

Result<void> read_echoes(const v1::PingBatch& batch, size_t n, PingResults& results) {
  if (!OneOrN<Column32>::fits(batch.echo_count(), n)) return bad("echo_count has a wrong length");
  const OneOrN<Column32> counts(batch.echo_count(), n);
  uint64_t total = 0;
  results.echo_begin.reserve(n + 1);
  for (size_t i = 0; i < n; ++i) {
    total += counts[i];
    if (total > kBatchEchoesMax) return bad("more echoes than a batch may hold");
    results.echo_begin.push_back(static_cast<uint32_t>(total));
  }
  if (total > 0 && !OneOrN<Column32>::fits(batch.echo_outcome(), total)) {
    return bad("echo_outcome has a wrong length");
  }
  const OneOrN<Column32> outcomes(batch.echo_outcome(), total);
  results.echo_outcome.resize(total);
  results.echo_rtt_us.resize(total);
  int next_rtt = 0;
  for (size_t e = 0; e < total; ++e) {
    const uint32_t outcome = outcomes[e];
    if (!is_echo_outcome(outcome)) return bad("echo_outcome out of range");
    results.echo_outcome[e] = static_cast<EchoOutcome>(outcome);
    if (results.echo_outcome[e] != EchoOutcome::kReply) continue;
    if (next_rtt >= batch.rtt_us_size()) return bad("fewer rtt_us than answered echoes");
    results.echo_rtt_us[e] = batch.rtt_us(next_rtt++);
  }
  if (next_rtt != batch.rtt_us_size()) return bad("more rtt_us than answered echoes");
  return {};
}

Result<void> read_results(const v1::PingBatch& batch, size_t n, PingResults& results) {
  if (static_cast<size_t>(batch.due_offset_ms_size()) != n)
    return bad("due_offset_ms has a wrong length");
  if (!OneOrN<Column32>::fits(batch.interval_ms(), n)) return bad("interval_ms has a wrong length");
  if (!OneOrN<Column32>::fits(batch.verdict(), n)) return bad("verdict has a wrong length");
  if (!OneOrN<Column32>::fits(batch.reason(), n)) return bad("reason has a wrong length");
  const OneOrN<Column32> intervals(batch.interval_ms(), n);
  const OneOrN<Column32> verdicts(batch.verdict(), n);
  const OneOrN<Column32> reasons(batch.reason(), n);
  results.device.resize(n);
  results.interval_ms.resize(n);
  results.due_ms.resize(n);
  results.verdict.resize(n);
  results.reason.resize(n);
  uint64_t device = 0;
  if (!is_due(batch.first_due_ms())) return bad("first_due_ms out of range");
  for (size_t i = 0; i < n; ++i) {
    const int at = static_cast<int>(i);
    device += static_cast<uint64_t>(batch.device_delta(at));
    if (intervals[i] == 0) return bad("interval_ms is 0");
    if (!is_verdict(verdicts[i])) return bad("verdict out of range");
    if (!is_reason(reasons[i])) return bad("reason out of range");
    results.device[i] = device;
    results.interval_ms[i] = intervals[i];
    results.due_ms[i] = batch.first_due_ms() + batch.due_offset_ms(at);
    if (!is_due(results.due_ms[i])) return bad("due_offset_ms out of range");
    results.verdict[i] = static_cast<Verdict>(verdicts[i]);
    results.reason[i] = static_cast<Reason>(reasons[i]);
  }
  return {};
}

Result<void> read_bursts(const v1::PingBatch& batch, size_t n, PingResults& results) {
  for (const auto& burst : batch.burst()) {
    if (burst.index() >= n) return bad("burst index out of range");
    if (static_cast<uint32_t>(burst.rtt_us_size()) > burst.sent()) {
      return bad("burst has more answers than echoes");
    }
    results.burst.push_back(
        {burst.index(), burst.sent(), {burst.rtt_us().begin(), burst.rtt_us().end()}});
  }
  return {};
}

Result<void> read_proofs(const v1::PingBatch& batch, size_t n, PingResults& results) {
  uint32_t before = 0;
  for (const auto& proof : batch.proof()) {
    if (proof.index() >= n) return bad("proof index out of range");
    if (proof.index() < before) return bad("proofs are not in order");
    before = proof.index();
    if (proof.kind() > static_cast<uint32_t>(kProofKindMax)) return bad("proof kind out of range");
    if (proof.outcome() > static_cast<uint32_t>(kProofOutcomeMax)) {
      return bad("proof outcome out of range");
    }
    if (proof.port() > 65535 || proof.status() > 65535) return bad("proof number out of range");
    results.proofs.push_back({.index = proof.index(),
                              .kind = static_cast<ProofKind>(proof.kind()),
                              .outcome = static_cast<ProofOutcome>(proof.outcome()),
                              .port = static_cast<uint16_t>(proof.port()),
                              .status = static_cast<uint16_t>(proof.status()),
                              .elapsed_us = proof.elapsed_us()});
  }
  return {};
}

Result<void> read_asides(const v1::PingBatch& batch, PingResults& results) {
  for (const auto& stray : batch.stray()) {
    if (stray.kind() != static_cast<uint32_t>(NoteKind::kLate) &&
        stray.kind() != static_cast<uint32_t>(NoteKind::kDuplicate)) {
      return bad("stray kind out of range");
    }
    if (!is_due(stray.due_ms())) return bad("stray due_ms out of range");
    results.strays.push_back({.device = stray.device(),
                              .due_ms = stray.due_ms(),
                              .echo = stray.echo(),
                              .kind = static_cast<NoteKind>(stray.kind()),
                              .rtt_us = stray.rtt_us()});
  }
  for (const auto& change : batch.address_change()) {
    const auto from = ip_from_bytes(change.from());
    const auto to = ip_from_bytes(change.to());
    if (!from || !to) return bad("address change holds no address");
    if (!is_due(change.at_ms())) return bad("address change at_ms out of range");
    results.address_changes.push_back(
        {.device = change.device(), .at_ms = change.at_ms(), .from = *from, .to = *to});
  }
  return {};
}

Result<void> read(const v1::PingBatch& batch, PingResults& results) {
  const size_t n = static_cast<size_t>(batch.device_delta_size());
  if (n == 0) return bad("holds no result");
  if (auto done = read_results(batch, n, results); !done) return done;
  if (auto done = read_echoes(batch, n, results); !done) return done;
  if (auto done = read_bursts(batch, n, results); !done) return done;
  if (const char* rule = read_echo_notes(batch, n, results.notes)) return bad(rule);
  if (auto done = read_proofs(batch, n, results); !done) return done;
  if (auto done = read_asides(batch, results); !done) return done;
  results.location = batch.location();
  if (batch.note_size() > 0) results.note = batch.note(0);
  const auto& health = batch.health();
  if (health.suspicion() > static_cast<uint32_t>(kSuspicionMax)) {
    return bad("suspicion out of range");
  }
  results.health = {.lag_max_us = health.lag_max_us(),
                    .send_errors = health.send_errors(),
                    .socket_drops = health.socket_drops(),
                    .missed_slots = health.missed_slots(),
                    .paused_ms = health.paused_ms(),
                    .canaries_answered = health.canaries_answered(),
                    .canaries_failed = health.canaries_failed(),
                    .suspicion = static_cast<Suspicion>(health.suspicion())};
  return {};
}

void write_asides(const PingResults& results, v1::PingBatch& batch) {
  for (const ProofResult& proof : results.proofs) {
    v1::ProofResult* out = batch.add_proof();
    out->set_index(proof.index);
    out->set_kind(static_cast<uint32_t>(proof.kind));
    out->set_outcome(static_cast<uint32_t>(proof.outcome));
    out->set_port(proof.port);
    out->set_status(proof.status);
    out->set_elapsed_us(proof.elapsed_us);
  }
  for (const Stray& stray : results.strays) {
    v1::Stray* out = batch.add_stray();
    out->set_device(stray.device);
    out->set_due_ms(stray.due_ms);
    out->set_echo(stray.echo);
    out->set_kind(static_cast<uint32_t>(stray.kind));
    out->set_rtt_us(stray.rtt_us);
  }
  for (const AddressChange& change : results.address_changes) {
    v1::AddressChange* out = batch.add_address_change();
    out->set_device(change.device);
    out->set_at_ms(change.at_ms);
    out->set_from(std::string(bytes_of(change.from)));
    out->set_to(std::string(bytes_of(change.to)));
  }
}

// Clear() keeps capacity, so one message per thread serves every batch.
v1::PingBatch& scratch() {
  thread_local v1::PingBatch message;
  message.Clear();
  return message;
}

}  // namespace

bool may_hold(std::string_view bytes, DeviceId device) {
  // Only what finds its way through the message: fields, and the column of devices.
  constexpr uint64_t kDeviceDelta = 3;
  constexpr uint64_t kStray = 17;
  enum Wire : uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
  packing::Input in(bytes);
  DeviceId at = 0;
  while (!in.at_end()) {
    const uint64_t tag = in.varint();
    uint64_t length = 0;
    switch (tag & 7) {
      case kVarint: {
        const int64_t value = in.signed_varint();
        if (tag >> 3 == kDeviceDelta) at += static_cast<uint64_t>(value);
        if (tag >> 3 == kDeviceDelta && at == device) return true;
        break;
      }
      case kFixed64:
        length = 8;
        break;
      case kFixed32:
        length = 4;
        break;
      case kBytes:
        length = in.varint();
        break;
      default:
        return true;
    }
    if (in.failed() || length > in.rest().size() || tag >> 3 == kStray) return true;
    if (length == 0) continue;
    const std::string_view field = in.rest().substr(0, length);
    in = packing::Input(in.rest().substr(length));
    if (tag >> 3 != kDeviceDelta) continue;
    for (packing::Input deltas(field); !deltas.at_end();) {
      at += static_cast<uint64_t>(deltas.signed_varint());
      if (at == device || deltas.failed()) return true;
    }
  }
  return false;
}

void encode_ping(const PingResults& results, std::string& out) {
  const size_t n = results.size();
  GEMA_ASSERT(n > 0 && results.echo_begin.size() == n + 1);
  v1::PingBatch& batch = scratch();
  batch.set_location(results.location);
  const int64_t first = *std::min_element(results.due_ms.begin(), results.due_ms.end());
  batch.set_first_due_ms(first);
  uint64_t before = 0;
  batch.mutable_device_delta()->Reserve(static_cast<int>(n));
  batch.mutable_due_offset_ms()->Reserve(static_cast<int>(n));
  for (size_t i = 0; i < n; ++i) {
    batch.add_device_delta(static_cast<int64_t>(results.device[i] - before));
    before = results.device[i];
    batch.add_due_offset_ms(static_cast<uint32_t>(results.due_ms[i] - first));
  }
  auto same = [](uint32_t v) { return v; };
  auto number = [](auto v) { return static_cast<uint32_t>(v); };
  put_one_or_n(batch.mutable_interval_ms(), results.interval_ms, same);
  put_one_or_n(batch.mutable_verdict(), results.verdict, number);
  put_one_or_n(batch.mutable_reason(), results.reason, number);
  bool one_count = true;
  for (size_t i = 0; i + 1 < n; ++i) {
    one_count &= results.echo_begin[i + 1] - results.echo_begin[i] ==
                 results.echo_begin[i + 2] - results.echo_begin[i + 1];
  }
  for (size_t i = 0; i < (one_count ? 1 : n); ++i) {
    batch.add_echo_count(results.echo_begin[i + 1] - results.echo_begin[i]);
  }
  if (!results.echo_outcome.empty()) {
    put_one_or_n(batch.mutable_echo_outcome(), results.echo_outcome, number);
  }
  for (size_t e = 0; e < results.echo_outcome.size(); ++e) {
    if (results.echo_outcome[e] == EchoOutcome::kReply) batch.add_rtt_us(results.echo_rtt_us[e]);
  }
  for (const BurstResult& burst : results.burst) {
    v1::Burst* b = batch.add_burst();
    b->set_index(burst.index);
    b->set_sent(burst.sent);
    b->mutable_rtt_us()->Add(burst.rtt_us.begin(), burst.rtt_us.end());
  }
  write_echo_notes(results.notes, batch);
  write_asides(results, batch);
  if (!results.note.empty()) batch.add_note(results.note);
  if (results.health != ProberHealth{}) {
    v1::ProberHealth* health = batch.mutable_health();
    health->set_lag_max_us(results.health.lag_max_us);
    health->set_send_errors(results.health.send_errors);
    health->set_socket_drops(results.health.socket_drops);
    health->set_missed_slots(results.health.missed_slots);
    health->set_paused_ms(results.health.paused_ms);
    health->set_canaries_answered(results.health.canaries_answered);
    health->set_canaries_failed(results.health.canaries_failed);
    health->set_suspicion(static_cast<uint32_t>(results.health.suspicion));
  }
  out.clear();
  batch.AppendToString(&out);
}

Result<void> decode_ping(std::string_view bytes, PingResults& results) {
  results.clear();
  if (decode_plain_ping(bytes, results)) return {};
  results.clear();
  return decode_any_ping(bytes, results);
}

Result<void> decode_any_ping(std::string_view bytes, PingResults& results) {
  results.clear();
  v1::PingBatch& batch = scratch();
  if (!parse(bytes, batch)) return bad("bytes are no PingBatch");
  auto done = read(batch, results);
  if (!done) results.clear();
  return done;
}

}  // namespace gema
