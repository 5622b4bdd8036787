#include "services/gateway/io/history_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <future>

#include "common/history/reader.h"
#include "common/history/statistics.h"
#include "common/runtime/clock.h"
#include "services/gateway/io/newest_results.h"

namespace gema::gateway {

HistoryService::HistoryService(HistoryOptions options)
    : options_(std::move(options)),
      cache_(options_.patience, [] { return runtime::read_clock().mono; }),
      threads_(options_.connections, options_.waiting_max) {}

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
    history::Reader reader(connection);
    const ResultsQuery query{.device = device, .from_ms = from_ms, .to_ms = to_ms, .limit = limit};
    auto results = newest_results(query, [&](int64_t begin_ms, size_t most) {
      return reader.results(device, begin_ms, to_ms, most);
    });
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

Result<history::Results> HistoryService::results(const ResultsQuery& query) {
  return run<history::Results>([query](postgres::Connection& connection) {
    history::Reader reader(connection);
    return newest_results(query, [&](int64_t from_ms, size_t limit) {
      return reader.results(query.device, from_ms, query.to_ms, limit);
    });
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

Result<history::Series> HistoryService::series(const history::SeriesQuery& query) {
  return run<history::Series>([query](postgres::Connection& connection) {
    return history::read_series(connection, query);
  });
}

Result<history::Outages> HistoryService::outages(const history::OutageQuery& query) {
  return run<history::Outages>([query](postgres::Connection& connection) {
    return history::read_outages(connection, query);
  });
}

Result<history::Availability> HistoryService::availability(
    const history::AvailabilityQuery& query) {
  return run<history::Availability>([query](postgres::Connection& connection) {
    return history::read_availability(connection, query);
  });
}

Result<std::shared_ptr<const history::WindowStatistics>> HistoryService::statistics(
    const history::StatisticsQuery& query) {
  using Answer = std::shared_ptr<const history::WindowStatistics>;
  const auto read = [&] {
    return run<Answer>([query](postgres::Connection& connection) -> Result<Answer> {
      auto statistics = history::read_statistics(connection, query);
      if (!statistics) {
        return statistics.error();
      }
      return std::make_shared<const history::WindowStatistics>(std::move(*statistics));
    });
  };
  if (!query.devices.empty()) {
    return read();
  }
  return cache_.get(fmt::format("{} {} {} {} {}", query.from_ms, query.to_ms, query.whole_hours,
                                query.per_device, query.location.value_or("\n")),
                    read);
}

Result<HistoryOverview> HistoryService::overview() {
  return run<HistoryOverview>(read_overview);
}

HistoryService::Stats HistoryService::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace gema::gateway
