// The schema, as numbered SQL files (migrations/NNNN_name.sql, compiled in). Each is applied once,
// in order, in a transaction of its own under an advisory lock, and noted in schema_migrations with
// a checksum. A file that was ever released is never edited: add the next number.
#pragma once

#include <span>
#include <string>

#include "common/base/result.h"
#include "common/postgres/connection.h"

namespace gema::postgres {

struct Migration {
  int version = 0;        // NNNN of the file's name
  const char* name = "";  // without number and ".sql"
  const char* sql = "";
};

// What this binary brings, by rising version.
std::span<const Migration> built_in_migrations();
// The schema that this binary's statements are written for: the last of them.
int newest_version();

// Applies what is missing. Returns: the number of migrations applied. Several processes may call it
// at once. Fails with kPermanent, in one clear line, when the database knows a version that
// `migrations` does not (a newer Gema wrote it), or when an applied file's text has changed.
Result<int> migrate(Connection& connection,
                    std::span<const Migration> migrations = built_in_migrations());

// The version the database has; 0 = nothing applied yet. Fails like migrate() on a newer schema or
// a changed checksum, without changing anything: for processes that only wait for the schema.
Result<int> schema_version(Connection& connection,
                           std::span<const Migration> migrations = built_in_migrations());

}  // namespace gema::postgres
