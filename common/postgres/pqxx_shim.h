// What differs between libpqxx 6.4 (Debian 12) and 7.10 (Debian 13), and nothing else. Only
// common/postgres includes it.
//
// 6.4 takes no string_view, reconnects silently (session state, locks and the transaction's
// isolation would vanish unnoticed) and hides its PGconn; 7.10 deprecates exec_params. Here both
// adopt a PGconn that we opened, never open another, and take parameters the same way.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <pqxx/pqxx>
#include <string>
#include <utility>

namespace gema::postgres {

#if PQXX_VERSION_MAJOR >= 7

using PqxxConnection = pqxx::connection;
using PqxxSnapshot =
    pqxx::transaction<pqxx::isolation_level::repeatable_read, pqxx::write_policy::read_only>;

// Takes ownership of `raw`, which must be connected.
inline std::unique_ptr<PqxxConnection> adopt(PGconn* raw) {
  return std::make_unique<PqxxConnection>(pqxx::connection::seize_raw_connection(raw));
}

template <class... Args>
pqxx::result exec_with(pqxx::transaction_base& tx, const std::string& sql, Args&&... args) {
  return tx.exec(sql, pqxx::params{std::forward<Args>(args)...});
}

inline std::string sqlstate_of(const pqxx::sql_error& e) {
  return std::string(e.sqlstate());
}

#else

using PqxxSnapshot = pqxx::transaction<pqxx::repeatable_read, pqxx::read_only>;

// Hands out the connection it was given, once. Whatever asks for another one is told that the
// connection is broken, which is the truth.
class AdoptPolicy : public pqxx::connectionpolicy {
 public:
  explicit AdoptPolicy(PGconn* raw) : pqxx::connectionpolicy(std::string()), raw_(raw) {}

  handle do_startconnect(handle orig) override {
    if (orig != nullptr) return orig;
    if (raw_ == nullptr) throw pqxx::broken_connection("the connection to PostgreSQL was lost");
    return std::exchange(raw_, nullptr);
  }

 private:
  PGconn* raw_;
};

class PqxxConnection : public pqxx::connection_base {
 public:
  explicit PqxxConnection(PGconn* raw) : pqxx::connection_base(policy_), policy_(raw) { init(); }
  ~PqxxConnection() noexcept { close(); }
  PqxxConnection(const PqxxConnection&) = delete;
  PqxxConnection& operator=(const PqxxConnection&) = delete;

 private:
  AdoptPolicy policy_;
};

inline std::unique_ptr<PqxxConnection> adopt(PGconn* raw) {
  return std::make_unique<PqxxConnection>(raw);
}

template <class... Args>
pqxx::result exec_with(pqxx::transaction_base& tx, const std::string& sql, Args&&... args) {
  return tx.exec_params(sql, std::forward<Args>(args)...);
}

inline std::string sqlstate_of(const pqxx::sql_error& e) {
  return e.sqlstate();
}

#endif

}  // namespace gema::postgres
