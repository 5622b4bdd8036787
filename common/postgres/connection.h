// One connection to PostgreSQL: libpqxx for ordinary SQL, and the same connection's libpq handle
// for what libpqxx cannot do (binary COPY, binary results; see binary.h).
//
// Work happens in transactions: a function that is handed a Transaction. It may throw what libpqxx
// throws; the exception ends here and becomes a Result. Afterwards ask usable(): a broken
// connection never comes back (no silent reconnect: session state and locks would be gone
// unnoticed), open another.
//
// What an Error's code tells:
//   kUnavailable  no connection, server starting or stopping, out of disk or memory, read-only
//   kRetryable    serialization failure, deadlock, lock or statement timeout: the same again
//   kTimeout      in doubt: the connection broke during COMMIT; it may have taken effect
//   kBadInput     the content was refused: a value, a constraint, a trigger (22, 23, 44, 54, P0)
//   kPermanent    anything else: a bug, a missing table, a missing right
// The message ends with "(SQLSTATE ...)" where the server gave one.
//
// Thread rule: one thread at a time. All calls block: never on a thread that drains a socket.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <type_traits>

#include "common/base/result.h"
#include "common/postgres/pqxx_shim.h"

namespace gema::postgres {

struct Options {
  std::string host;  // directory of the Unix socket, or a host name
  uint16_t port = 5432;
  std::string database = "gema";
  std::string user = "gema";
  std::string password_file;  // empty = none (a Unix socket with peer or trust authentication)
  std::string application = "gema";
  std::string conninfo;  // not empty: used as it is in place of the five fields above (tests)
  std::chrono::milliseconds connect_timeout{5'000};
  std::chrono::milliseconds statement_timeout{30'000};
  std::chrono::milliseconds lock_timeout{10'000};
  // A dead peer's transaction, and its locks, end after this long.
  std::chrono::milliseconds idle_in_transaction_timeout{60'000};
  std::chrono::milliseconds tcp_user_timeout{15'000};
};

class Transaction {
 public:
  Transaction(pqxx::transaction_base& tx, PGconn* raw) : tx_(tx), raw_(raw) {}

  // Runs one statement with $1.. parameters (numbers, std::string, const char*, nullptr); without
  // parameters several statements may stand in one text. Throws; use it inside transact only.
  template <class... Args>
  pqxx::result exec(const std::string& sql, Args&&... args) {
    if constexpr (sizeof...(Args) == 0) {
      return tx_.exec(sql);
    } else {
      return exec_with(tx_, sql, std::forward<Args>(args)...);
    }
  }

  pqxx::transaction_base& pqxx() { return tx_; }
  // The transaction is open on it. Nothing but binary.h should need it.
  PGconn* raw() { return raw_; }

 private:
  pqxx::transaction_base& tx_;
  PGconn* raw_;
};

// What an exception in flight means. Requires: called within a catch block.
Error error_from_current_exception();
// What an SQLSTATE means to the caller.
Errc errc_of_sqlstate(const std::string& sqlstate);
// The same with a message: the server's text, or where people must do something (a full disk) one
// sentence that is always the same.
Error error_of_sqlstate(const std::string& sqlstate, const std::string& text);

// A failed statement sent over the raw handle. Thrown inside transactions like libpqxx's own.
class RawError : public std::exception {
 public:
  RawError(Error error, bool broken) : error_(std::move(error)), broken_(broken) {}
  const char* what() const noexcept override { return error_.message.c_str(); }
  const Error& error() const { return error_; }
  bool broken() const { return broken_; }

 private:
  Error error_;
  bool broken_;
};

namespace internal {
template <class T>
struct AsResult {
  using type = Result<T>;
};
template <class T>
struct AsResult<Result<T>> {
  using type = Result<T>;
};
}  // namespace internal

class Connection {
 public:
  // Connects and checks the server's version (>= 15). Fails with kUnavailable when the server is
  // away, kPermanent when it refuses us (password, unknown database, too old).
  static Result<std::unique_ptr<Connection>> open(const Options& options);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Runs `work(Transaction&)` (returning void, T or Result<T>) in one transaction: committed when
  // it returns without an error, else rolled back.
  template <class Work>
  auto transact(Work&& work) {
    return run<pqxx::work>(std::forward<Work>(work));
  }

  // The same, read only, all statements seeing one snapshot. The snapshot is taken by the first
  // statement that needs one (LOCK TABLE does not).
  template <class Work>
  auto snapshot(Work&& work) {
    return run<PqxxSnapshot>(std::forward<Work>(work));
  }

  // False: open another one.
  bool usable() const;

 private:
  explicit Connection(PGconn* raw);

  template <class Begun, class Work>
  auto run(Work&& work) ->
      typename internal::AsResult<std::invoke_result_t<Work, Transaction&>>::type {
    using Returned = std::invoke_result_t<Work, Transaction&>;
    if (!usable()) return Error{Errc::kUnavailable, "PostgreSQL: the connection was lost"};
    try {
      Begun tx(*pqxx_);
      Transaction transaction(tx, raw_);
      if constexpr (std::is_void_v<Returned>) {
        work(transaction);
        tx.commit();
        return {};
      } else {
        typename internal::AsResult<Returned>::type result = work(transaction);
        if (result.has_value()) tx.commit();
        return result;
      }
    } catch (...) {
      return error_from_current_exception();
    }
  }

  PGconn* raw_;  // owned by pqxx_
  std::unique_ptr<PqxxConnection> pqxx_;
};

}  // namespace gema::postgres
