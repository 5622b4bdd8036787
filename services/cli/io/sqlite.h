// SQLite, as little of it as import needs: reading somebody's file without changing a byte, and a
// temporary file of our own to sort in. Failures are thrown as SqliteError and end in import.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace gema::cli {

class SqliteError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Sqlite {
 public:
  // Read only: whatever is wrong with the file, it stays as it is. Throws when it is no database.
  static Sqlite open_file(const std::filesystem::path& path);
  // On disk, nameless, gone with this object; memory stays small.
  static Sqlite temporary();

  void run(const char* sql);
  sqlite3* raw() const { return db_.get(); }

 private:
  explicit Sqlite(sqlite3* db) : db_(db) {}
  struct Close {
    void operator()(sqlite3* db) const { sqlite3_close(db); }
  };
  std::unique_ptr<sqlite3, Close> db_;
};

class Statement {
 public:
  Statement(const Sqlite& db, const std::string& sql);

  Statement& bind(int place, int64_t value);  // from 1
  Statement& bind(int place, std::string_view blob);
  // True: a row is there. False: no more.
  bool step();
  void reset();

  bool is_null(int column) const { return type(column) == SQLITE_NULL; }
  int type(int column) const { return sqlite3_column_type(statement_.get(), column); }
  int64_t int64(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  double real(int column) const { return sqlite3_column_double(statement_.get(), column); }
  std::string_view bytes(int column) const;  // of text or blob; until the next step
  std::string text(int column) const { return std::string(bytes(column)); }

 private:
  struct Finish {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  sqlite3* db_;
  std::unique_ptr<sqlite3_stmt, Finish> statement_;
};

}  // namespace gema::cli
