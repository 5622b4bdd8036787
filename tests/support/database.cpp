#include "tests/support/database.h"

#include <stdexcept>

#include "common/postgres/migrate.h"

#if defined(__SANITIZE_ADDRESS__)
// libpqxx 6.4 forgets one PGresult when a connection breaks under a statement: about 2 KB each
// time.
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libpqxx-6.4";
}
#endif

namespace gema::testing {

void DatabaseTest::SetUp() {
  if (!server().running()) server().restart();
  connect();
  empty_schema();
}

PostgresServer& DatabaseTest::server() {
  static PostgresServer instance;
  return instance;
}

postgres::Options DatabaseTest::database() {
  return {.conninfo = server().conninfo()};
}

std::unique_ptr<postgres::Connection> DatabaseTest::open() {
  auto connection = postgres::Connection::open(database());
  // Nothing of the test makes sense without it.
  if (!connection) throw std::runtime_error(connection.error().message + "\n" + server().log());
  return std::move(*connection);
}

void DatabaseTest::restart_server() {
  server().restart();
  connect();
}

void DatabaseTest::empty_schema() {
  sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
  if (schema_ == Schema::kNone) return;
  auto migrated = postgres::migrate(*connection_);
  ASSERT_TRUE(migrated) << migrated.error().message;
}

std::string DatabaseTest::sql(const std::string& statements) {
  auto result = connection_->transact([&](postgres::Transaction& tx) {
    const auto rows = tx.exec(statements);
    return rows.empty() || rows[0][0].is_null() ? std::string() : rows[0][0].as<std::string>();
  });
  EXPECT_TRUE(result) << statements << ": " << (result ? "" : result.error().message);
  return result ? *result : "";
}

std::string DatabaseTest::rows(const std::string& query) {
  std::string out;
  auto done = connection_->transact([&](postgres::Transaction& tx) {
    for (const auto& row : tx.exec(query)) {
      for (int i = 0; i < static_cast<int>(row.size()); ++i) {
        out += (i > 0 ? "|" : "") + std::string(row[i].is_null() ? "" : row[i].c_str());
      }
      out += "\n";
    }
  });
  EXPECT_TRUE(done) << query << ": " << (done ? "" : done.error().message);
  return out;
}

}  // namespace gema::testing
