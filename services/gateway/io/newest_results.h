// The newest results of a window without reading all of it: a page of 100 must not cost the 90 days
// that the window may span.
#pragma once

#include <functional>

#include "common/history/reader.h"
#include "services/gateway/io/history_reads.h"

namespace gema::gateway {

// read(from_ms, limit): the results of [from_ms, query.to_ms), by rising time, at most the newest
// `limit`.
using ReadBack = std::function<Result<history::Results>(int64_t from_ms, size_t limit)>;

// By rising time: the newest query.limit rows, and the others of the oldest one's slot, so that a
// next page that ends before that slot misses none. `truncated` when the window has older ones.
Result<history::Results> newest_results(const ResultsQuery& query, const ReadBack& read);

}  // namespace gema::gateway
