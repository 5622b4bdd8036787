#include "common/history/reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

#include "common/base/assert.h"
#include "common/codec/hot_codec.h"
#include "common/codec/ping_codec.h"
#include "common/domain/chunk.h"
#include "common/domain/packed_chunk.h"
#include "common/postgres/binary.h"

namespace gema::history {
namespace {

using postgres::BinaryResult;
using postgres::Params;
using postgres::Transaction;

constexpr int kFetchRows = 4'000;

class Names {
 public:
  uint16_t id(std::string_view name) {
    const auto it = ids_.find(name);
    if (it != ids_.end()) return it->second;
    const auto next = static_cast<uint16_t>(names_.size());
    names_.emplace_back(name);
    ids_.emplace(std::string(name), next);
    return next;
  }
  const std::string& operator[](uint16_t id) const { return names_[id]; }
  const std::vector<std::string>& all() const { return names_; }

 private:
  std::vector<std::string> names_;
  std::map<std::string, uint16_t, std::less<>> ids_;
};

// Results of one device from one source, before it is decided which count.
struct Source {
  uint16_t location = 0;
  uint16_t producer = 0;
  uint32_t clock_steps = 0;
  PingResults results;
  std::vector<ResultText> texts;  // by rising index
};

struct DeviceResults {
  std::vector<Source> sources;

  Source& of(uint16_t location, uint16_t producer, uint32_t clock_steps) {
    for (Source& s : sources) {
      if (s.location == location && s.producer == producer && s.clock_steps == clock_steps) {
        return s;
      }
    }
    sources.push_back({location, producer, clock_steps, {}, {}});
    return sources.back();
  }
};

// Result `i` of a source, its text with it.
ResultView view_of(const Source& source, size_t i) {
  ResultView view = gema::view_of(source.results, i);
  if (source.texts.empty()) return view;
  const auto text =
      std::lower_bound(source.texts.begin(), source.texts.end(), i,
                       [](const ResultText& t, size_t index) { return t.index < index; });
  if (text != source.texts.end() && text->index == i) view.text = text->text;
  return view;
}

void append_one(const PingResults& from, size_t i, Source& source) {
  const ResultView v = gema::view_of(from, i);
  PingResults& to = source.results;
  to.device.push_back(from.device[i]);
  to.interval_ms.push_back(from.interval_ms[i]);
  to.due_ms.push_back(from.due_ms[i]);
  to.verdict.push_back(v.verdict);
  to.reason.push_back(v.reason);
  to.echo_outcome.insert(to.echo_outcome.end(), v.outcomes.begin(), v.outcomes.end());
  to.echo_rtt_us.insert(to.echo_rtt_us.end(), v.rtt_us.begin(), v.rtt_us.end());
  to.echo_begin.push_back(static_cast<uint32_t>(to.echo_outcome.size()));
  if (v.burst_sent > 0) {
    to.burst.push_back({static_cast<uint32_t>(to.size() - 1),
                        v.burst_sent,
                        {v.burst_rtt_us.begin(), v.burst_rtt_us.end()}});
  }
  const auto index = static_cast<uint32_t>(to.size() - 1);
  for (EchoNote note : v.notes) {
    note.index = index;
    to.notes.push_back(note);
  }
  for (ProofResult proof : v.proofs) {
    proof.index = index;
    to.proofs.push_back(proof);
  }
  if (!v.text.empty()) source.texts.push_back({index, std::string(v.text)});
}

// An answer that came late, and whose echo it answers.
struct LateAnswer {
  uint16_t location;
  uint16_t producer;
  Stray stray;
};

auto key_of(const LateAnswer& a) {
  return std::tie(a.stray.due_ms, a.location, a.producer, a.stray.echo, a.stray.kind,
                  a.stray.rtt_us);
}

// Those to the echoes of one source for one slot. Requires: sorted by key_of.
std::vector<Stray> strays_of(const std::vector<LateAnswer>& all, const Source& source,
                             int64_t due_ms) {
  std::vector<Stray> out;
  const auto key = std::tie(due_ms, source.location, source.producer);
  auto at = std::lower_bound(all.begin(), all.end(), key, [](const LateAnswer& a, const auto& k) {
    return std::tie(a.stray.due_ms, a.location, a.producer) < k;
  });
  for (; at != all.end() && at->stray.due_ms == due_ms && at->location == source.location &&
         at->producer == source.producer;
       ++at) {
    out.push_back(at->stray);
  }
  return out;
}

// Takes one result that counts. The burst's answers follow the own echoes.
void append_row(const Source& source, size_t i, const ResultView& v,
                const std::vector<LateAnswer>& late, Results& out) {
  Row row{.due_ms = source.results.due_ms[i],
          .interval_ms = source.results.interval_ms[i],
          .verdict = v.verdict,
          .reason = v.reason,
          .location = source.location,
          .producer = source.producer,
          .echo_begin = static_cast<uint32_t>(out.echoes.size()),
          .echo_count = static_cast<uint16_t>(v.outcomes.size()),
          .burst_sent = static_cast<uint16_t>(v.burst_sent),
          .burst_answered = static_cast<uint16_t>(v.burst_rtt_us.size())};
  uint64_t sum = 0;
  uint64_t answered = 0;
  for (size_t e = 0; e < v.outcomes.size(); ++e) {
    out.echoes.push_back({v.outcomes[e], v.rtt_us[e]});
    if (v.outcomes[e] != EchoOutcome::kReply) continue;
    sum += v.rtt_us[e];
    ++answered;
  }
  for (const uint32_t rtt_us : v.burst_rtt_us) {
    out.echoes.push_back({EchoOutcome::kReply, rtt_us});
    sum += rtt_us;
    ++answered;
  }
  if (answered > 0) row.rtt_us = static_cast<uint32_t>((sum + answered / 2) / answered);
  std::vector<Stray> strays;
  if (!late.empty()) strays = strays_of(late, source, row.due_ms);
  if (!strays.empty() || !v.notes.empty() || !v.proofs.empty() || !v.text.empty()) {
    Details details{.notes = {v.notes.begin(), v.notes.end()},
                    .proofs = {v.proofs.begin(), v.proofs.end()},
                    .strays = std::move(strays),
                    .text = std::string(v.text)};
    for (EchoNote& note : details.notes) note.index = 0;
    for (ProofResult& proof : details.proofs) proof.index = 0;
    row.details = static_cast<uint32_t>(out.details.size());
    out.details.push_back(std::move(details));
  }
  out.rows.push_back(row);
}

// Decides per slot and location, and appends what counts within the window to `out`.
void merge(const DeviceResults& device, const Names& names, int64_t from_ms, int64_t to_ms,
           Results& out) {
  struct Candidate {
    int64_t due_ms;
    uint16_t location;
    uint16_t source;
    uint32_t index;
  };
  std::vector<Candidate> candidates;
  std::vector<LateAnswer> late;
  for (size_t s = 0; s < device.sources.size(); ++s) {
    const PingResults& r = device.sources[s].results;
    for (size_t i = 0; i < r.size(); ++i) {
      if (r.due_ms[i] < from_ms || r.due_ms[i] >= to_ms) continue;
      candidates.push_back({r.due_ms[i], device.sources[s].location, static_cast<uint16_t>(s),
                            static_cast<uint32_t>(i)});
    }
    for (const Stray& stray : r.strays) {
      late.push_back({device.sources[s].location, device.sources[s].producer, stray});
    }
  }
  std::sort(late.begin(), late.end(),
            [](const LateAnswer& a, const LateAnswer& b) { return key_of(a) < key_of(b); });
  // For a while the same may be in a packed row and in a short chunk.
  late.erase(
      std::unique(late.begin(), late.end(),
                  [](const LateAnswer& a, const LateAnswer& b) { return key_of(a) == key_of(b); }),
      late.end());
  auto key = [&](const Candidate& c) {
    return std::tuple<int64_t, std::string_view>(c.due_ms, names[c.location]);
  };
  std::sort(candidates.begin(), candidates.end(), [&](const Candidate& a, const Candidate& b) {
    if (a.due_ms != b.due_ms) return a.due_ms < b.due_ms;
    return a.location != b.location && names[a.location] < names[b.location];
  });
  std::vector<Claim> claims;
  for (size_t i = 0; i < candidates.size();) {
    claims.clear();
    size_t end = i;
    for (; end < candidates.size() && key(candidates[end]) == key(candidates[i]); ++end) {
      const Candidate& c = candidates[end];
      const Source& source = device.sources[c.source];
      claims.push_back({names[source.producer], source.clock_steps, view_of(source, c.index)});
    }
    const size_t best = claims.size() == 1 ? 0 : choose(claims);
    const Candidate& c = candidates[i + best];
    append_row(device.sources[c.source], c.index, claims[best].result, late, out);
    i = end;
  }
}

// Everything about one window, as one snapshot sees it.
class Scan {
 public:
  Scan(Transaction& tx, int64_t from_ms, int64_t to_ms, std::optional<DeviceId> only,
       std::vector<BrokenRow>& broken)
      : tx_(tx), from_ms_(from_ms), to_ms_(to_ms), only_(only), broken_(broken) {
    broken_.clear();
  }

  // Calls `each` once for every device that has anything, in no stated order.
  void run(const std::function<void(DeviceId, const DeviceResults&)>& each) {
    // A leaf of ping_hot may be dropped once a later watermark covers it, one of ping_chunks once
    // packed rows do; our snapshot may be earlier. LOCK TABLE takes no snapshot, so the one we take
    // next is not older than the lock.
    tx_.exec("LOCK TABLE ONLY ping_hot, ONLY ping_chunks, ONLY ping_packed IN ACCESS SHARE MODE");
    read_epochs();
    for (uint32_t p = 0; p < kPartitions; ++p) {
      if (!only_ || partition_of(*only_) == p) read_hot_rows(static_cast<int16_t>(p));
    }
    read_chunks(each);
    for (const auto& [device, results] : hot_) each(device, results);
  }

  const Names& names() const { return names_; }

 private:
  void read_epochs() {
    const BinaryResult r(
        tx_, "SELECT producer, epoch, clock_steps FROM stream_epochs WHERE stream = 'ping'", {});
    for (int i = 0; i < r.rows(); ++i) {
      clock_steps_[{std::string(r.bytes(i, 0)), static_cast<uint64_t>(r.int64(i, 1))}] =
          static_cast<uint32_t>(r.int16(i, 2));
    }
  }

  void read_hot_rows(int16_t partition) {
    Params params;
    params.int16(partition);
    const BinaryResult rows(tx_,
                            "SELECT batches, number FROM ping_hot WHERE partition = $1 AND number >"
                            " (SELECT number FROM ping_watermarks WHERE partition = $1)"
                            " ORDER BY number",
                            params);
    for (int i = 0; i < rows.rows(); ++i) {
      auto done = read_hot(rows.bytes(i, 0), [&](const HotRecord& record) { take_hot(record); });
      if (!done) broken_.push_back({.table = "ping_hot", .part = rows.int64(i, 1)});
    }
  }

  void take_hot(const HotRecord& record) {
    // What cannot be decoded here was quarantined or will be, when its row becomes chunks.
    if (!decode_ping(record.payload, scratch_)) return;
    sort_bursts(scratch_);
    const auto it = clock_steps_.find({std::string(record.producer), record.epoch});
    const uint32_t steps = it == clock_steps_.end() ? 0 : it->second;
    for (size_t i = 0; i < scratch_.size(); ++i) {
      if (only_ && scratch_.device[i] != *only_) continue;
      if (scratch_.due_ms[i] < from_ms_ || scratch_.due_ms[i] >= to_ms_) continue;
      const uint16_t location = names_.id(scratch_.location);
      const uint16_t producer = names_.id(record.producer);
      append_one(scratch_, i, hot_[scratch_.device[i]].of(location, producer, steps));
    }
    for (const Stray& stray : scratch_.strays) {
      if (only_ && stray.device != *only_) continue;
      if (stray.due_ms < from_ms_ || stray.due_ms >= to_ms_) continue;
      const uint16_t location = names_.id(scratch_.location);
      const uint16_t producer = names_.id(record.producer);
      hot_[stray.device].of(location, producer, steps).results.strays.push_back(stray);
    }
  }

  void read_chunks(const std::function<void(DeviceId, const DeviceResults&)>& each) {
    Params params;
    // A chunk lies within one span, so it begins at most one span before the window.
    params.int64(from_ms_ - kChunkSpanMs + 1).int64(to_ms_);
    std::string where = "c.start_ms >= $1 AND c.start_ms < $2";
    if (only_) {
      params.int64(static_cast<int64_t>(*only_));
      where += " AND c.device_id = $3";
    }
    const BinaryResult declared(
        tx_,
        fmt::format("DECLARE chunks NO SCROLL CURSOR FOR SELECT c.device_id, c.start_ms, c.step_ms,"
                    " c.clock_steps, c.echoes, l.name, p.name, c.samples, c.extra,"
                    " c.details, c.packed, c.part FROM ("
                    "SELECT device_id, start_ms, step_ms, clock_steps, echoes, location_id,"
                    " producer_id, samples, extra, details, NULL::bytea AS packed, part"
                    " FROM ping_chunks c WHERE {0} UNION ALL "
                    "SELECT device_id, start_ms, step_ms, clock_steps, 0::smallint, location_id,"
                    " producer_id, NULL, NULL, details, packed, part"
                    " FROM ping_packed c WHERE {0}) c"
                    " JOIN history_names l ON l.id = c.location_id"
                    " JOIN history_names p ON p.id = c.producer_id"
                    " ORDER BY c.device_id",
                    where),
        params);
    DeviceId current = 0;
    DeviceResults results;
    auto finish = [&] {
      if (!results.sources.empty()) each(current, results);
      results = {};
    };
    while (true) {
      const BinaryResult rows(tx_, fmt::format("FETCH {} FROM chunks", kFetchRows), {});
      for (int i = 0; i < rows.rows(); ++i) {
        const auto device = static_cast<DeviceId>(rows.int64(i, 0));
        if (device != current) {
          finish();
          current = device;
          const auto hot = hot_.find(device);
          if (hot != hot_.end()) {
            results = std::move(hot->second);
            hot_.erase(hot);
          }
        }
        take_chunk(rows, i, results);
      }
      if (rows.rows() < kFetchRows) break;
    }
    finish();
  }

  // A short chunk, or a packed row.
  void take_chunk(const BinaryResult& rows, int i, DeviceResults& results) {
    const bool is_packed = !rows.is_null(i, 10);
    bool right = true;
    if (is_packed) {
      right = unpack_chunk(rows.bytes(i, 10), arrays_).has_value();
    } else {
      arrays_.echoes = static_cast<uint32_t>(rows.int16(i, 4));
      rows.int32_array(i, 7, arrays_.samples);
      rows.int32_array(i, 8, arrays_.extra);
    }
    Source& to = results.of(names_.id(rows.bytes(i, 5)), names_.id(rows.bytes(i, 6)),
                            static_cast<uint32_t>(rows.int16(i, 3)));
    const ChunkMark mark = mark_of(to.results, to.texts);
    right = right && append_chunk({.device = static_cast<DeviceId>(rows.int64(i, 0)),
                                   .start_ms = rows.int64(i, 1),
                                   .step_ms = static_cast<uint32_t>(rows.int32(i, 2)),
                                   .echoes = arrays_.echoes,
                                   .samples = arrays_.samples,
                                   .extra = arrays_.extra,
                                   .details = rows.bytes(i, 9)},
                                  to.results, &to.texts);
    if (right) return;
    cut_back(mark, to.results, to.texts);
    broken_.push_back({is_packed ? "ping_packed" : "ping_chunks",
                       static_cast<DeviceId>(rows.int64(i, 0)), rows.int64(i, 1),
                       rows.int64(i, 11)});
  }

  Transaction& tx_;
  const int64_t from_ms_;
  const int64_t to_ms_;
  const std::optional<DeviceId> only_;
  Names names_;
  std::map<std::pair<std::string, uint64_t>, uint32_t> clock_steps_;
  std::map<DeviceId, DeviceResults> hot_;
  PingResults scratch_;
  ChunkArrays arrays_;
  std::vector<BrokenRow>& broken_;
};

}  // namespace

Statistics statistics_of(const Results& results) {
  Statistics s;
  double sum = 0;
  for (const Row& row : results.rows) {
    if (row.verdict == Verdict::kAnswered) ++s.answered;
    if (row.verdict == Verdict::kFailed) ++s.failed;
    if (row.verdict == Verdict::kNotMeasured) {
      ++s.not_measured;
      continue;
    }
    const std::span echoes(results.echoes.data() + row.echo_begin,
                           size_t{row.echo_count} + row.burst_answered);
    for (const Echo& echo : echoes) {
      if (echo.outcome != EchoOutcome::kReply) continue;
      s.rtt_min_us = s.echoes_answered == 0 ? echo.rtt_us : std::min(s.rtt_min_us, echo.rtt_us);
      s.rtt_max_us = std::max(s.rtt_max_us, echo.rtt_us);
      sum += echo.rtt_us;
      ++s.echoes_answered;
    }
  }
  if (s.echoes_answered > 0) s.rtt_mean_us = sum / static_cast<double>(s.echoes_answered);
  return s;
}

bool explained_by(const std::vector<Gap>& gaps, DeviceId device, int64_t due_ms) {
  return std::any_of(gaps.begin(), gaps.end(), [&](const Gap& gap) {
    return gap.partition == partition_of(device) && gap.from_ms.value_or(due_ms) <= due_ms &&
           gap.to_ms.value_or(due_ms) >= due_ms;
  });
}

SlotAudit audit_slots(const Results& results, DeviceId device, uint32_t interval_ms,
                      int64_t from_ms, int64_t to_ms, const std::string& location) {
  GEMA_ASSERT(interval_ms > 0);
  SlotAudit audit;
  std::map<int64_t, const Row*> found;
  for (const Row& row : results.rows) {
    if (row.due_ms < from_ms || row.due_ms >= to_ms || results.location(row) != location) continue;
    const bool expected = row.interval_ms == interval_ms &&
                          is_slot(device, interval_ms, row.due_ms) &&
                          found.emplace(row.due_ms, &row).second;
    if (!expected) ++audit.unexpected;
  }
  for (int64_t due = slot_after(device, interval_ms, from_ms - 1); due < to_ms;
       due += interval_ms) {
    ++audit.expected;
    const auto it = found.find(due);
    if (it == found.end()) {
      audit.missing.push_back(due);
      continue;
    }
    ++audit.found;
    if (it->second->verdict == Verdict::kNotMeasured) {
      ++audit.not_measured;
      ++audit.reasons[it->second->reason];
    }
  }
  return audit;
}

Result<Results> Reader::results(DeviceId device, int64_t from_ms, int64_t to_ms, size_t limit) {
  return connection_.snapshot([&](Transaction& tx) {
    Scan scan(tx, from_ms, to_ms, device, broken_);
    Results out;
    scan.run([&](DeviceId, const DeviceResults& results) {
      merge(results, scan.names(), from_ms, to_ms, out);
    });
    out.names = scan.names().all();
    if (out.rows.size() > limit) {
      out.rows.erase(out.rows.begin(), out.rows.end() - static_cast<ptrdiff_t>(limit));
      out.truncated = true;
    }
    return out;
  });
}

Result<std::map<DeviceId, Statistics>> Reader::statistics(int64_t from_ms, int64_t to_ms) {
  return connection_.snapshot([&](Transaction& tx) {
    Scan scan(tx, from_ms, to_ms, std::nullopt, broken_);
    std::map<DeviceId, Statistics> out;
    Results merged;
    scan.run([&](DeviceId device, const DeviceResults& results) {
      merged.rows.clear();
      merged.echoes.clear();
      merged.details.clear();
      merge(results, scan.names(), from_ms, to_ms, merged);
      if (!merged.rows.empty()) out[device] = statistics_of(merged);
    });
    return out;
  });
}

Result<Reader::Latest> Reader::latest(int64_t since_ms) {
  return connection_.snapshot([&](Transaction& tx) {
    constexpr int64_t kForever = 9'200'000'000'000;
    Scan scan(tx, since_ms, kForever, std::nullopt, broken_);
    Latest out;
    Results merged;
    scan.run([&](DeviceId device, const DeviceResults& results) {
      merged.rows.clear();
      merged.echoes.clear();
      merged.details.clear();
      merge(results, scan.names(), since_ms, kForever, merged);
      if (merged.rows.empty()) return;
      Row row = merged.rows.back();
      const auto* begin = merged.echoes.data() + row.echo_begin;
      row.echo_begin = static_cast<uint32_t>(out.names_and_echoes.echoes.size());
      out.names_and_echoes.echoes.insert(out.names_and_echoes.echoes.end(), begin,
                                         begin + row.echo_count + row.burst_answered);
      if (const Details* details = merged.details_of(row)) {
        row.details = static_cast<uint32_t>(out.names_and_echoes.details.size());
        out.names_and_echoes.details.push_back(*details);
      }
      out.rows[device] = row;
    });
    out.names_and_echoes.names = scan.names().all();
    return out;
  });
}

Result<void> Reader::each_device(
    int64_t from_ms, int64_t to_ms,
    const std::function<void(DeviceId, const std::vector<Row>&)>& each) {
  return connection_.snapshot([&](Transaction& tx) {
    Scan scan(tx, from_ms, to_ms, std::nullopt, broken_);
    Results merged;
    scan.run([&](DeviceId device, const DeviceResults& results) {
      merged.rows.clear();
      merged.echoes.clear();
      merged.details.clear();
      merge(results, scan.names(), from_ms, to_ms, merged);
      if (!merged.rows.empty()) each(device, merged.rows);
    });
  });
}

Result<std::vector<AddressChangeRow>> Reader::address_changes(DeviceId device, size_t limit) {
  return connection_.snapshot([&](Transaction& tx) {
    std::vector<AddressChangeRow> out;
    for (const auto& row :
         tx.exec("SELECT floor(extract(epoch FROM at) * 1000)::bigint, location, prober,"
                 " coalesce(host(was), ''), coalesce(host(becomes), '') FROM address_changes"
                 " WHERE device_id = $1 ORDER BY at DESC, id DESC LIMIT $2",
                 static_cast<int64_t>(device), static_cast<int64_t>(limit))) {
      out.push_back({.at_ms = row[0].as<int64_t>(),
                     .location = row[1].as<std::string>(),
                     .prober = row[2].as<std::string>(),
                     .was = row[3].as<std::string>(),
                     .becomes = row[4].as<std::string>()});
    }
    return out;
  });
}

Result<std::vector<Gap>> Reader::gaps(int64_t from_ms, int64_t to_ms, size_t limit) {
  return connection_.snapshot([&](Transaction& tx) {
    std::vector<Gap> out;
    const auto rows = tx.exec(
        "SELECT producer, epoch, partition, first_seq, last_seq, from_ms, to_ms, reason"
        " FROM stream_gaps WHERE stream = 'ping' AND coalesce(from_ms, $1) < $2"
        " AND coalesce(to_ms, $2) >= $1 ORDER BY id DESC LIMIT $3",
        from_ms, to_ms, static_cast<int64_t>(limit));
    for (const auto& row : rows) {
      Gap gap{.producer = row[0].as<std::string>(),
              .epoch = static_cast<uint64_t>(row[1].as<int64_t>()),
              .partition = row[2].as<uint32_t>(),
              .first_seq = static_cast<uint64_t>(row[3].as<int64_t>()),
              .last_seq = static_cast<uint64_t>(row[4].as<int64_t>())};
      if (!row[5].is_null()) gap.from_ms = row[5].as<int64_t>();
      if (!row[6].is_null()) gap.to_ms = row[6].as<int64_t>();
      gap.reason = row[7].as<std::string>();
      out.push_back(std::move(gap));
    }
    return out;
  });
}

}  // namespace gema::history
