// A test on a database with gema's schema and nothing in it, or not even that. All such tests of
// one program share one server and empty its database between them: initdb takes longer than most
// tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "common/postgres/connection.h"
#include "tests/support/postgres_server.h"

namespace gema::testing {

class DatabaseTest : public ::testing::Test {
 protected:
  enum class Schema { kMigrated, kNone };
  explicit DatabaseTest(Schema schema = Schema::kMigrated) : schema_(schema) {}
  // Starts the server when it does not run, connects, and empties the database.
  void SetUp() override;

  static PostgresServer& server();
  static postgres::Options database();

  // A connection of the caller's own.
  static std::unique_ptr<postgres::Connection> open();
  void connect() { connection_ = open(); }
  // After it was killed, too.
  void restart_server();
  void empty_schema();
  // Runs statements; the last one's first value as text, "" for NULL and for no row.
  std::string sql(const std::string& statements);
  // The rows of a query, a line each, columns separated by "|".
  std::string rows(const std::string& query);

  std::unique_ptr<postgres::Connection> connection_;

 private:
  const Schema schema_;
};

}  // namespace gema::testing
