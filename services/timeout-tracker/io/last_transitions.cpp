#include "services/timeout-tracker/io/last_transitions.h"

#include "common/codec/transition_codec.h"

namespace gema::timeout_tracker {
namespace {

// PostgreSQL's encode(..., 'hex'): lower case, two digits a byte.
std::string from_hex(const std::string& hex) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(16 * digit(hex[i]) + digit(hex[i + 1]));
  }
  return bytes;
}

}  // namespace

Result<LastTransitions> read_last_transitions(const postgres::Options& options) {
  auto connection = postgres::Connection::open(options);
  if (!connection) return connection.error();
  return (*connection)->snapshot([](postgres::Transaction& tx) -> Result<LastTransitions> {
    const auto table = tx.exec("SELECT to_regclass('transitions') IS NOT NULL");
    if (!table[0][0].as<bool>()) {
      return Error{Errc::kUnavailable, "PostgreSQL has no table of transitions yet"};
    }
    LastTransitions last;
    // Below 0 are those that gema import made of another system's past: they decide nothing.
    const auto rows = tx.exec(
        "SELECT DISTINCT ON (device_id) encode(state, 'hex') FROM transitions"
        " WHERE counter >= 0 ORDER BY device_id, counter DESC");
    for (const auto& row : rows) {
      auto state = decode_state(from_hex(row[0].as<std::string>()));
      if (state) {
        last.states.push_back(*std::move(state));
      } else {
        ++last.unreadable;
      }
    }
    return last;
  });
}

}  // namespace gema::timeout_tracker
