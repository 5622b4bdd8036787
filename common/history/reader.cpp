#include "common/history/reader.h"

#include <algorithm>
#include <utility>

#include "common/base/assert.h"
#include "common/history/scan.h"

namespace gema::history {
namespace {

using postgres::Transaction;

constexpr int64_t kForever = 9'200'000'000'000;

// Names as indices into Results::names.
class Indices {
 public:
  Indices(const Names& names, Results& out) : names_(names), out_(out) {}

  // Of a source; rows that follow each other are nearly always of one.
  struct Pair {
    uint16_t location = 0;
    uint16_t producer = 0;
  };
  Pair of(const Source& source) {
    if (location_ != source.location || producer_ != source.producer || out_.names.empty()) {
      location_ = source.location;
      producer_ = source.producer;
      pair_ = {index(source.location), index(source.producer)};
    }
    return pair_;
  }

 private:
  uint16_t index(int32_t id) {
    const auto it = indices_.find(id);
    if (it != indices_.end()) return it->second;
    const auto next = static_cast<uint16_t>(out_.names.size());
    out_.names.push_back(names_[id]);
    indices_.emplace(id, next);
    return next;
  }

  const Names& names_;
  Results& out_;
  std::map<int32_t, uint16_t> indices_;
  int32_t location_ = 0;  // of pair_, by their ids in history
  int32_t producer_ = 0;
  Pair pair_;
};

// Of which results of a source nothing is known beyond their echoes: nearly all, even where checks
// fail.
class PlainResults {
 public:
  bool has(const Merged::Entry& entry) {
    if (source_ != entry.source) set(*entry.source);
    return all_ || plain_[entry.index];
  }

 private:
  void set(const Source& source) {
    source_ = &source;
    all_ = source.plain();
    if (all_) return;
    plain_.assign(source.results.size(), true);
    auto mark = [this](const auto& of) {
      for (const auto& each : of) plain_[each.index] = false;
    };
    mark(source.texts);
    mark(source.results.burst);
    mark(source.results.notes);
    mark(source.results.proofs);
  }

  const Source* source_ = nullptr;
  bool all_ = false;
  std::vector<bool> plain_;
};

// Takes one result that counts and of which nothing but a single echo is known. Returns: false when
// there is more.
bool append_plain(const Merged::Entry& entry, Indices& names, Results& out) {
  const Source& source = *entry.source;
  const PingResults& r = source.results;
  const uint32_t echo = r.echo_begin[entry.index];
  if (r.echo_begin[entry.index + 1] != echo + 1) return false;
  const Indices::Pair by = names.of(source);
  const uint32_t rtt_us = r.echo_rtt_us[echo];
  out.rows.push_back({.due_ms = entry.due_ms,
                      .interval_ms = r.interval_ms[entry.index],
                      .verdict = r.verdict[entry.index],
                      .reason = r.reason[entry.index],
                      .location = by.location,
                      .producer = by.producer,
                      .echo_begin = static_cast<uint32_t>(out.echoes.size()),
                      .echo_count = 1,
                      .rtt_us = rtt_us});
  out.echoes.push_back({r.echo_outcome[echo], rtt_us});
  return true;
}

// Takes one result that counts. The burst's answers follow the own echoes.
void append_row(const Merged& merged, const Merged::Entry& entry, Indices& names, Results& out) {
  const Source& source = *entry.source;
  const ResultView v = view_of(source, entry.index);
  const Indices::Pair by = names.of(source);
  // Written where it stays: made here and copied there, it costs twice as much.
  Row& row = out.rows.emplace_back();
  row.due_ms = entry.due_ms;
  row.interval_ms = source.results.interval_ms[entry.index];
  row.verdict = v.verdict;
  row.reason = v.reason;
  row.location = by.location;
  row.producer = by.producer;
  const size_t begin = out.echoes.size();
  row.echo_begin = static_cast<uint32_t>(begin);
  row.echo_count = static_cast<uint16_t>(v.outcomes.size());
  row.burst_sent = static_cast<uint16_t>(v.burst_sent);
  row.burst_answered = static_cast<uint16_t>(v.burst_rtt_us.size());
  out.echoes.resize(begin + v.outcomes.size() + v.burst_rtt_us.size());
  Echo* echo = out.echoes.data() + begin;
  uint64_t sum = 0;
  uint64_t answered = 0;
  for (size_t e = 0; e < v.outcomes.size(); ++e, ++echo) {
    echo->outcome = v.outcomes[e];
    echo->rtt_us = v.rtt_us[e];
    if (v.outcomes[e] != EchoOutcome::kReply) continue;
    sum += v.rtt_us[e];
    ++answered;
  }
  for (const uint32_t rtt_us : v.burst_rtt_us) {
    *echo++ = {EchoOutcome::kReply, rtt_us};
    sum += rtt_us;
    ++answered;
  }
  if (answered == 1) {
    row.rtt_us = static_cast<uint32_t>(sum);
  } else if (answered > 1) {
    row.rtt_us = static_cast<uint32_t>((sum + answered / 2) / answered);
  }
  std::vector<Stray> strays = merged.strays_of(entry);
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
}

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
  broken_.clear();
  return connection_.snapshot([&](Transaction& tx) {
    const Devices one({device});
    Scan scan(tx, broken_, one, from_ms, to_ms, {.results_first = true});
    Results out;
    Indices names(scan.names(), out);
    PlainResults plain;
    scan.results(one, {from_ms, to_ms}, [&](DeviceId, const Merged& merged) {
      const auto& entries = merged.entries();
      out.truncated = entries.size() > limit;
      const size_t kept = std::min(limit, entries.size());
      out.rows.reserve(kept);
      out.echoes.reserve(kept);
      for (size_t i = entries.size() - kept; i < entries.size(); ++i) {
        if (!merged.has_strays() && plain.has(entries[i]) && append_plain(entries[i], names, out)) {
          continue;
        }
        append_row(merged, entries[i], names, out);
      }
    });
    return out;
  });
}

Result<Reader::Latest> Reader::latest(int64_t since_ms) {
  broken_.clear();
  return connection_.snapshot([&](Transaction& tx) {
    Scan scan(tx, broken_, {}, since_ms, kForever);
    Latest out;
    Indices names(scan.names(), out.names_and_echoes);
    scan.results({}, {since_ms, kForever}, [&](DeviceId device, const Merged& merged) {
      append_row(merged, merged.entries().back(), names, out.names_and_echoes);
      out.rows[device] = out.names_and_echoes.rows.back();
      out.names_and_echoes.rows.clear();
    });
    return out;
  });
}

Result<void> Reader::each_device(
    int64_t from_ms, int64_t to_ms,
    const std::function<void(DeviceId, const std::vector<Row>&)>& each) {
  broken_.clear();
  return connection_.snapshot([&](Transaction& tx) {
    Scan scan(tx, broken_, {}, from_ms, to_ms);
    Results results;
    Indices names(scan.names(), results);
    scan.results({}, {from_ms, to_ms}, [&](DeviceId device, const Merged& merged) {
      results.rows.clear();
      results.echoes.clear();
      results.details.clear();
      for (const Merged::Entry& entry : merged.entries()) {
        append_row(merged, entry, names, results);
      }
      each(device, results.rows);
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
