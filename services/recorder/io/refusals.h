// What PostgreSQL refuses for its content: set aside in stream_quarantine, its bytes whole, with
// the server's reason, and the slots it is about in stream_gaps. All within the transaction that
// does the rest, so that both happen once or not at all.
//
// Only what fails by itself is set aside (core/halve.h), and only for what it is (SQLSTATE classes
// that postgres::Errc::kBadInput stands for): a database that is away, full or lacks a table or a
// right is waited for.
//
// Bound: kRefusedMax rows. There keep() fails, and with it the transaction: as long as nobody looks
// after them nothing more is set aside, and whoever wanted to waits.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/chunk.h"
#include "common/postgres/connection.h"
#include "common/stream/core/types.h"
#include "services/recorder/core/gap_spans.h"

namespace gema::recorder {

struct RecordRow {  // for ping_hot, stream_set_aside and stream_quarantine
  stream::RecordKey key;
  int64_t produced_at_us = 0;
  std::string payload;
  uint32_t results = 0;
  int64_t newest_ms = 0;  // set aside
  std::string reason;     // quarantine
};

// What was set aside, to be told.
struct Refused {
  stream::RecordKey key;
  std::string reason;
};

// Runs `work` in a savepoint: done, or no trace of it and the transaction goes on.
Result<void> in_savepoint(postgres::Transaction& tx,
                          const std::function<void(postgres::Transaction&)>& work);

void put_in_quarantine(postgres::Transaction& tx, const std::string& stream, const RecordRow& row);
// The same for bytes that may be anything: names that are no text lose what is not ASCII.
Result<void> force_into_quarantine(postgres::Transaction& tx, const std::string& stream,
                                   const RecordRow& row);

// The oldest and newest slot of a record of stream ping; unknown when it does not decode.
Span span_of_ping(std::string_view payload);

class Refusals {
 public:
  // Within `tx`, which outlives it. Requires: no other Refusals in the same transaction.
  Refusals(postgres::Transaction& tx, std::string stream);

  // `row.reason`: what it is, in words, if its bytes do not say. `span`: the slots that are not in
  // history because of it; nullopt: none.
  Result<void> keep(RecordRow row, const std::optional<Span>& span, const Error& error);
  // The results of a chunk (`packed` is what the table would hold), as records that can be tried
  // again. `seq`: of no record, tells it from others.
  Result<void> keep_chunk(const ChunkView& chunk, const std::string& location,
                          const std::string& producer, int64_t clock_steps, int64_t seq,
                          const Error& error);

  std::vector<Refused> take() { return std::move(kept_); }

 private:
  postgres::Transaction& tx_;
  const std::string stream_;
  uint64_t room_ = 0;
  std::vector<Refused> kept_;
};

}  // namespace gema::recorder
