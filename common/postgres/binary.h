// What libpqxx cannot do, on the same connection and in the same transaction: COPY ... FROM STDIN
// (FORMAT binary), and statements with binary parameters and results. For hot paths; everything
// else uses Transaction::exec.
//
// Errors are thrown as RawError and become a Result at the end of Connection::transact.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/postgres/connection.h"

namespace gema::postgres {

// One COPY. Rows are buffered and sent in pieces of about 256 KiB.
class CopyIn {
 public:
  // `statement`: "COPY t (a, b) FROM STDIN (FORMAT binary)".
  CopyIn(Transaction& tx, const std::string& statement);
  // Unfinished: the COPY is cancelled, and the transaction with it.
  ~CopyIn();
  CopyIn(const CopyIn&) = delete;
  CopyIn& operator=(const CopyIn&) = delete;

  void row(int16_t columns);
  void int16(int16_t value);
  void int32(int32_t value);
  void int64(int64_t value);
  void timestamptz_us(int64_t unix_us);
  void bytes(std::string_view value);  // text and bytea
  void int32_array(std::span<const int32_t> values);
  void null();

  void finish();

 private:
  void flush();

  PGconn* raw_;
  std::string buffer_;
  bool open_ = true;
};

// A statement's parameters, in the server's binary form.
class Params {
 public:
  Params& int16(int16_t value);
  Params& int32(int32_t value);
  Params& int64(int64_t value);
  Params& bytes(std::string_view value);  // text and bytea

 private:
  friend class BinaryResult;
  friend class Pipeline;
  std::vector<std::string> values_;
};

// The text of a statement, and on which connection the server knows it. One object for one text.
class Prepared {
 public:
  // `name`: of no other statement of the connections it is used on.
  Prepared(std::string name, std::string statement)
      : name_(std::move(name)), statement_(std::move(statement)) {}
  // The connection it was used on is gone.
  void forget() { known_ = false; }

 private:
  friend class BinaryResult;
  std::string name_;
  std::string statement_;
  bool known_ = false;
};

// Rows in binary form; fields are read as the type they have in the statement (cast there).
class BinaryResult {
 public:
  BinaryResult(Transaction& tx, const std::string& statement, const Params& params);
  // A statement that comes often: the server reads and plans it once for each connection.
  BinaryResult(Transaction& tx, Prepared& statement, const Params& params);

  int rows() const { return PQntuples(result_.get()); }
  bool is_null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  int16_t int16(int row, int column) const;
  int32_t int32(int row, int column) const;
  int64_t int64(int row, int column) const;
  std::string_view bytes(int row, int column) const;  // text and bytea; views live as long as this
  // Replaces `out`; NULL gives none. False: it is no integer[] of one dimension without NULLs.
  [[nodiscard]] bool int32_array(int row, int column, std::vector<int32_t>& out) const;

 private:
  friend class Pipeline;
  explicit BinaryResult(PGresult* result) : result_(result, &PQclear) {}
  void check(Transaction& tx) const;

  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

// Statements that do not wait for each other's answers: several for one round trip, or the next
// under way while an answer is being read.
//
//   Pipeline p(tx);
//   p.add(...); p.add(...);
//   p.send();
//   const BinaryResult first = p.next(), second = p.next();
//
// One that fails fails those after it, and the transaction. While it lives, nothing else may be
// done in the transaction. Requires: what is sent without next() is small (some KB: the server
// reads no further while nobody reads what it answers).
class Pipeline {
 public:
  explicit Pipeline(Transaction& tx);
  // Passes over answers that were not asked for.
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // One statement.
  void add(const std::string& statement, const Params& params);
  // What was added goes to the server. Nothing may be added afterwards.
  void send();
  // The same, but more will follow. Costs a round trip more in the end.
  void send_and_go_on();
  // Requires: it was sent; not more often than add().
  BinaryResult next();

 private:
  void drain();

  Transaction& tx_;
  bool all_sent_ = false;
};

}  // namespace gema::postgres
