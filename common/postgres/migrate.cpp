#include "common/postgres/migrate.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstring>
#include <map>

namespace gema::postgres {
namespace {

// "gema" and "sche" as ASCII: any number will do that nobody else on this database locks.
constexpr int64_t kMigrationLock = 0x67656d6173636865;

struct Applied {
  std::string name;
  std::string checksum;
};

std::string checksum_of(const Migration& m) {
  return fmt::format("{:016x}", XXH64(m.sql, std::strlen(m.sql), 0));
}

bool table_exists(Transaction& tx) {
  return !tx.exec("SELECT to_regclass('schema_migrations')")[0][0].is_null();
}

std::map<int, Applied> read_applied(Transaction& tx) {
  std::map<int, Applied> applied;
  for (const auto& row :
       tx.exec("SELECT version, name, checksum FROM schema_migrations ORDER BY version")) {
    applied[row[0].as<int>()] = {row[1].as<std::string>(), row[2].as<std::string>()};
  }
  return applied;
}

Result<void> check(const std::map<int, Applied>& applied, std::span<const Migration> known) {
  std::map<int, const Migration*> by_version;
  for (const Migration& m : known) by_version[m.version] = &m;
  const int newest = known.empty() ? 0 : known.back().version;
  for (const auto& [version, row] : applied) {
    const auto it = by_version.find(version);
    if (it == by_version.end()) {
      return Error{
          Errc::kPermanent,
          fmt::format("the database's schema has version {} ({}), this program knows up to "
                      "{}: start a Gema at least as new as the one that wrote it",
                      version, row.name, newest)};
    }
    const std::string checksum = checksum_of(*it->second);
    if (checksum != row.checksum) {
      return Error{Errc::kPermanent,
                   fmt::format("migration {:04}_{} was applied with checksum {}, this program has "
                               "{}: an applied migration was edited",
                               version, row.name, row.checksum, checksum)};
    }
  }
  return {};
}

// Applies the first missing migration. Returns: false when none was missing.
Result<bool> apply_next(Transaction& tx, std::span<const Migration> migrations) {
  tx.exec("SELECT pg_advisory_xact_lock($1)", kMigrationLock);
  if (!table_exists(tx)) {
    tx.exec(
        "CREATE TABLE schema_migrations (version integer PRIMARY KEY, name text NOT NULL,"
        " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())");
  }
  const auto applied = read_applied(tx);
  if (auto ok = check(applied, migrations); !ok) return ok.error();
  for (const Migration& m : migrations) {
    if (applied.count(m.version) > 0) continue;
    tx.exec(m.sql);
    tx.exec("INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            m.version, std::string(m.name), checksum_of(m));
    return true;
  }
  return false;
}

}  // namespace

int newest_version() {
  const auto all = built_in_migrations();
  return all.empty() ? 0 : all.back().version;
}

Result<int> migrate(Connection& connection, std::span<const Migration> migrations) {
  for (int count = 0;; ++count) {
    auto more = connection.transact([&](Transaction& tx) { return apply_next(tx, migrations); });
    if (!more) return more.error();
    if (!*more) return count;
  }
}

Result<int> schema_version(Connection& connection, std::span<const Migration> migrations) {
  return connection.snapshot([&](Transaction& tx) -> Result<int> {
    if (!table_exists(tx)) return 0;
    const auto applied = read_applied(tx);
    if (auto ok = check(applied, migrations); !ok) return ok.error();
    return applied.empty() ? 0 : applied.rbegin()->first;
  });
}

}  // namespace gema::postgres
