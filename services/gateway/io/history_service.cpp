#include "services/gateway/io/history_service.h"

#include <algorithm>
#include <atomic>
#include <future>

#include "common/history/reader.h"
#include "common/history/statistics.h"

namespace gema::gateway {

HistoryService::HistoryService(HistoryOptions options)
    : options_(std::move(options)), threads_(options_.connections, options_.waiting_max) {}

HistoryService::~HistoryService() {
  threads_.shutdown();
}

Result<std::unique_ptr<postgres::Connection>> HistoryService::take_connection() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      auto connection = std::move(idle_.back());
      idle_.pop_back();
      return connection;
    }
  }
  return postgres::Connection::open(options_.postgres);
}

void HistoryService::give_back(std::unique_ptr<postgres::Connection> connection) {
  const std::lock_guard lock(mutex_);
  if (connection->usable() && idle_.size() < options_.connections) {
    idle_.push_back(std::move(connection));
  }
}

template <class T>
Result<T> HistoryService::run(std::function<Result<T>(postgres::Connection&)> query) {
  struct Job {
    std::promise<Result<T>> answer;
    std::atomic<bool> abandoned{false};
  };
  auto job = std::make_shared<Job>();
  auto answer = job->answer.get_future();
  const bool taken = threads_.try_enqueue([this, job, query = std::move(query)] {
    if (job->abandoned) {
      return;  // nobody waits any more
    }
    auto connection = take_connection();
    Result<T> result = connection ? query(**connection) : Result<T>(connection.error());
    // A connection that died while it was idle says so on first use: one more try on a new one.
    if (connection && !result && !(*connection)->usable()) {
      connection = postgres::Connection::open(options_.postgres);
      result = connection ? query(**connection) : Result<T>(connection.error());
    }
    if (connection) {
      give_back(std::move(*connection));
    }
    job->answer.set_value(std::move(result));
  });
  Result<T> result = Error{Errc::kUnavailable, "history is busy: try again in a moment"};
  const bool came = taken && answer.wait_for(options_.patience) == std::future_status::ready;
  if (came) {
    result = answer.get();
  } else if (taken) {
    job->abandoned = true;
    result = Error{Errc::kTimeout, "history did not answer within " +
                                       std::to_string(options_.patience.count() / 1000) + " s"};
  }
  const std::lock_guard lock(mutex_);
  ++stats_.queries;
  stats_.refused += taken ? 0 : 1;
  stats_.late += taken && !came ? 1 : 0;
  stats_.failed += result ? 0 : 1;
  return result;
}

Result<DeviceHistory> HistoryService::device(DeviceId device, int64_t from_ms, int64_t to_ms,
                                             size_t limit) {
  return run<DeviceHistory>([=](postgres::Connection& connection) -> Result<DeviceHistory> {
    auto results = history::Reader(connection).results(device, from_ms, to_ms, limit);
    if (!results) {
      return results.error();
    }
    DeviceHistory out;
    out.truncated = results->truncated;
    out.rows.reserve(results->rows.size());
    for (auto row = results->rows.rbegin(); row != results->rows.rend(); ++row) {
      out.rows.push_back({.due_ms = row->due_ms,
                          .verdict = row->verdict,
                          .reason = row->reason,
                          .rtt_us = row->rtt_us});
    }
    return out;
  });
}

Result<DeviceResults> HistoryService::results(DeviceId device, int64_t from_ms, int64_t to_ms,
                                              size_t limit) {
  return run<DeviceResults>([=](postgres::Connection& connection) -> Result<DeviceResults> {
    auto read = history::Reader(connection).results(device, from_ms, to_ms, limit);
    if (!read) {
      return read.error();
    }
    DeviceResults out;
    out.truncated = read->truncated;
    out.results.reserve(read->rows.size());
    for (auto row = read->rows.rbegin(); row != read->rows.rend(); ++row) {
      DetailedResult result{.due_ms = row->due_ms,
                            .interval_ms = row->interval_ms,
                            .verdict = row->verdict,
                            .reason = row->reason,
                            .rtt_us = row->rtt_us,
                            .location = read->location(*row),
                            .prober = read->producer(*row),
                            .details = {}};
      for (const history::Echo& echo : read->echoes_of(*row)) {
        result.details.echoes.push_back({echo.outcome, echo.rtt_us});
      }
      result.details.burst_sent = row->burst_sent;
      for (const history::Echo& echo : read->burst_answers_of(*row)) {
        result.details.burst_rtt_us.push_back(echo.rtt_us);
      }
      if (const history::Details* details = read->details_of(*row)) {
        result.details.notes = details->notes;
        result.details.proofs = details->proofs;
        result.details.strays = details->strays;
        result.details.text = details->text;
      }
      out.results.push_back(std::move(result));
    }
    return out;
  });
}

Result<std::vector<AddressRow>> HistoryService::addresses(DeviceId device, size_t limit) {
  using Rows = std::vector<AddressRow>;
  return run<Rows>([=](postgres::Connection& connection) -> Result<Rows> {
    auto read = history::Reader(connection).address_changes(device, limit);
    if (!read) {
      return read.error();
    }
    Rows out;
    for (auto& row : *read) {
      out.push_back({row.at_ms, std::move(row.location), std::move(row.prober), std::move(row.was),
                     std::move(row.becomes)});
    }
    return out;
  });
}

Result<HistoryStatistics> HistoryService::statistics(std::optional<DeviceId> device,
                                                     int64_t from_ms, int64_t to_ms) {
  return run<HistoryStatistics>([=](postgres::Connection& connection) -> Result<HistoryStatistics> {
    history::StatisticsQuery query{.from_ms = from_ms, .to_ms = to_ms};
    if (device) {
      query.devices = {*device};
    }
    auto read = history::read_statistics(connection, query);
    if (!read) {
      return read.error();
    }
    HistoryStatistics out;
    const auto count = [](const Rollup& r, Verdict verdict) {
      return r.verdicts[static_cast<size_t>(verdict)];
    };
    for (const history::DeviceStatistics& one : read->devices) {
      if (count(one.rollup, Verdict::kAnswered) + count(one.rollup, Verdict::kFailed) > 0) {
        ++out.devices;
      }
    }
    out.answered = count(read->total, Verdict::kAnswered);
    out.failed = count(read->total, Verdict::kFailed);
    out.rtt_min_us = read->total.rtt_min_us;
    out.rtt_max_us = read->total.rtt_max_us;
    out.rtt_mean_us = read->total.mean_us();
    return out;
  });
}

HistoryService::Stats HistoryService::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace gema::gateway
