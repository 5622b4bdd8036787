#include "services/cli/io/sqlite.h"

#include <fmt/format.h>

namespace gema::cli {
namespace {

[[noreturn]] void fail(sqlite3* db) {
  if (db == nullptr) throw SqliteError("out of memory");
  // Only where it sorts does it write.
  const bool full = sqlite3_errcode(db) == SQLITE_FULL;
  throw SqliteError(std::string(sqlite3_errmsg(db)) +
                    (full ? " (temporary files: $SQLITE_TMPDIR, else /var/tmp)" : ""));
}

}  // namespace

Sqlite Sqlite::open_file(const std::filesystem::path& path) {
  sqlite3* db = nullptr;
  // As a path, never as a URI; an old system that still runs may hold its locks for a moment.
  const int code = sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READONLY, nullptr);
  Sqlite out(db);
  if (code != SQLITE_OK) fail(db);
  sqlite3_busy_timeout(db, 10'000);
  // A hostile file's views and triggers call nothing, and its header is not believed.
  sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  out.run("PRAGMA query_only = ON; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;");
  Statement check(out, "SELECT count(*) FROM sqlite_master");
  check.step();
  return out;
}

Sqlite Sqlite::temporary() {
  sqlite3* db = nullptr;
  const int code = sqlite3_open_v2("", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  Sqlite out(db);
  if (code != SQLITE_OK) fail(db);
  out.run(
      "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;"
      "PRAGMA temp_store = FILE; PRAGMA cache_size = -16384;");
  return out;
}

void Sqlite::run(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(db_.get());
}

Statement::Statement(const Sqlite& db, const std::string& sql) : db_(db.raw()) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, sql.c_str(), static_cast<int>(sql.size()), &statement, nullptr) !=
      SQLITE_OK) {
    fail(db_);
  }
  statement_.reset(statement);
}

Statement& Statement::bind(int place, int64_t value) {
  if (sqlite3_bind_int64(statement_.get(), place, value) != SQLITE_OK) fail(db_);
  return *this;
}

Statement& Statement::bind(int place, std::string_view blob) {
  if (sqlite3_bind_blob64(statement_.get(), place, blob.data(), blob.size(), SQLITE_STATIC) !=
      SQLITE_OK) {
    fail(db_);
  }
  return *this;
}

bool Statement::step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code != SQLITE_DONE) fail(db_);
  return false;
}

void Statement::reset() {
  sqlite3_reset(statement_.get());
}

std::string_view Statement::bytes(int column) const {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_.get(), column));
  return {data == nullptr ? "" : data,
          static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

}  // namespace gema::cli
