#include "services/gateway/io/newest_results.h"

#include <algorithm>
#include <limits>

namespace gema::gateway {
namespace {

constexpr int64_t kHourMs = 3'600'000;
constexpr int64_t kUnknownSpanMs = 24 * kHourMs;  // where the interval of checks is not known
// Rows of the slot at the border: a device is checked from at most so many locations.
constexpr size_t kLocationsMax = 64;

// How far back `limit` results probably go.
int64_t first_span(const ResultsQuery& query) {
  if (query.interval_ms == 0) return kUnknownSpanMs;
  const auto rows = static_cast<int64_t>(query.limit);
  return std::max(kHourMs, rows * query.interval_ms / 8 * 9 + 2 * query.interval_ms);
}

}  // namespace

Result<history::Results> newest_results(const ResultsQuery& query, const ReadBack& read) {
  // With a filter nobody knows how many rows it leaves.
  const size_t limit =
      query.location ? std::numeric_limits<size_t>::max() : query.limit + kLocationsMax;
  for (int64_t span = first_span(query);; span *= 4) {
    const bool all = span >= query.to_ms - query.from_ms;
    auto results = read(all ? query.from_ms : query.to_ms - span, limit);
    if (!results) return results;
    auto& rows = results->rows;
    if (query.location) {
      std::erase_if(
          rows, [&](const history::Row& row) { return results->location(row) != *query.location; });
    }
    if (rows.size() <= query.limit && !results->truncated && !all) continue;
    if (rows.size() > query.limit) {
      auto first = rows.end() - static_cast<ptrdiff_t>(query.limit);
      while (first != rows.begin() && std::prev(first)->due_ms == first->due_ms) --first;
      results->truncated = results->truncated || first != rows.begin();
      rows.erase(rows.begin(), first);
    }
    return results;
  }
}

}  // namespace gema::gateway
