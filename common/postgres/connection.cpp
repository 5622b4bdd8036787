#include "common/postgres/connection.h"

#include <fmt/format.h>

#include <fstream>
#include <vector>

namespace gema::postgres {
namespace {

std::string trimmed(const char* text) {
  std::string line = text == nullptr ? "" : text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.pop_back();
  for (char& c : line) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  return line;
}

Result<std::string> read_password(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  if (!in || !std::getline(in, line)) {
    return Error{Errc::kPermanent, fmt::format("PostgreSQL: cannot read password_file {}", file)};
  }
  return line;
}

// Whatever is refused at connect and will be refused again.
bool refused_for_good(const std::string& message) {
  for (const char* text : {"authentication failed", "does not exist", "no pg_hba.conf entry",
                           "no password supplied", "not permitted"}) {
    // A socket file that does not exist (yet) is a server that is away.
    if (message.find(text) != std::string::npos &&
        message.find("No such file or directory") == std::string::npos) {
      return true;
    }
  }
  return false;
}

std::string session_settings(const Options& o) {
  return fmt::format(
      "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={} "
      "-c client_min_messages=warning -c timezone=UTC -c client_encoding=UTF8",
      o.statement_timeout.count(), o.lock_timeout.count(), o.idle_in_transaction_timeout.count());
}

void ignore_notice(void*, const char*) {}

}  // namespace

Errc errc_of_sqlstate(const std::string& s) {
  auto is_class = [&](const char* two) { return s.compare(0, 2, two) == 0; };
  if (s == "40001" || s == "40P01" || s == "55P03" || s == "57014") return Errc::kRetryable;
  // 08 connection, 53 resources, 57P0x shutdown and crash, 58 I/O, 25006 read-only server.
  if (is_class("08") || is_class("53") || is_class("57") || is_class("58") || s == "25006") {
    return Errc::kUnavailable;
  }
  // 22 a value, 23 a constraint, 44 a view's check, 54 too large for a page, P0 a trigger's RAISE.
  for (const char* content : {"22", "23", "44", "54", "P0"}) {
    if (is_class(content)) return Errc::kBadInput;
  }
  return Errc::kPermanent;
}

Error error_of_sqlstate(const std::string& state, const std::string& text) {
  // The server names another file each time; which volume it is, its own log says.
  if (state == "53100") {
    return {Errc::kUnavailable,
            "PostgreSQL: its disk is full: everything waits, and goes on once there is room"};
  }
  return {errc_of_sqlstate(state), fmt::format("PostgreSQL: {} (SQLSTATE {})", text, state)};
}

namespace {

Error error_from_sql(const pqxx::sql_error& e) {
  const std::string state = sqlstate_of(e);
  // Without a state the server said nothing at all: the connection broke under the statement.
  if (state.empty()) return {Errc::kUnavailable, "PostgreSQL: " + trimmed(e.what())};
  return error_of_sqlstate(state, trimmed(e.what()));
}

}  // namespace

Error error_from_current_exception() {
  try {
    throw;
  } catch (const RawError& e) {
    return e.error();
  } catch (const pqxx::in_doubt_error& e) {
    return {Errc::kTimeout, "PostgreSQL: in doubt: " + trimmed(e.what())};
  } catch (const pqxx::broken_connection& e) {
    // 6.4 notices while it looks for the encoding of the answer, and says only that.
    const std::string text = trimmed(e.what());
    const bool odd = text.find("client encoding") != std::string::npos;
    return {Errc::kUnavailable, "PostgreSQL: " + (odd ? "the connection was lost" : text)};
  } catch (const pqxx::transaction_rollback& e) {
    // An sql_error in libpqxx 7, a failure of its own in 6.4.
    if (const auto* sql = dynamic_cast<const pqxx::sql_error*>(&e)) return error_from_sql(*sql);
    return {Errc::kRetryable, "PostgreSQL: " + trimmed(e.what())};
  } catch (const pqxx::sql_error& e) {
    return error_from_sql(e);
  } catch (const std::exception& e) {
    return {Errc::kPermanent, "PostgreSQL: " + trimmed(e.what())};
  }
}

Result<std::unique_ptr<Connection>> Connection::open(const Options& o) {
  std::vector<std::pair<std::string, std::string>> values;
  if (o.conninfo.empty()) {
    values = {{"host", o.host},
              {"port", std::to_string(o.port)},
              {"dbname", o.database},
              {"user", o.user}};
    if (!o.password_file.empty()) {
      auto password = read_password(o.password_file);
      if (!password) return password.error();
      values.emplace_back("password", *password);
    }
  } else {
    values = {{"dbname", o.conninfo}};  // expanded by libpq
  }
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(o.connect_timeout).count();
  values.emplace_back("connect_timeout", std::to_string(seconds < 2 ? 2 : seconds));
  values.emplace_back("application_name", o.application);
  values.emplace_back("tcp_user_timeout", std::to_string(o.tcp_user_timeout.count()));
  values.emplace_back("keepalives_idle", "10");
  values.emplace_back("options", session_settings(o));
  std::vector<const char*> names;
  std::vector<const char*> texts;
  for (const auto& [name, text] : values) {
    names.push_back(name.c_str());
    texts.push_back(text.c_str());
  }
  names.push_back(nullptr);
  texts.push_back(nullptr);
  std::unique_ptr<PGconn, decltype(&PQfinish)> raw(PQconnectdbParams(names.data(), texts.data(), 1),
                                                   &PQfinish);
  if (raw == nullptr) return Error{Errc::kUnavailable, "PostgreSQL: out of memory"};
  if (PQstatus(raw.get()) != CONNECTION_OK) {
    const std::string message = trimmed(PQerrorMessage(raw.get()));
    return Error{refused_for_good(message) ? Errc::kPermanent : Errc::kUnavailable,
                 "PostgreSQL: " + message};
  }
  if (PQserverVersion(raw.get()) < 150000) {
    return Error{Errc::kPermanent,
                 fmt::format("PostgreSQL: the server's version is {}, at least 15 is needed",
                             PQserverVersion(raw.get()) / 10000)};
  }
  PQsetNoticeProcessor(raw.get(), ignore_notice, nullptr);
  try {
    return std::unique_ptr<Connection>(new Connection(raw.release()));
  } catch (...) {
    return error_from_current_exception();
  }
}

Connection::Connection(PGconn* raw) : raw_(raw), pqxx_(adopt(raw)) {}

Connection::~Connection() {
  try {
    pqxx_.reset();
  } catch (...) {  // closing a dead connection may complain; there is nobody to tell
  }
}

bool Connection::usable() const {
  return pqxx_->is_open() && PQstatus(raw_) == CONNECTION_OK;
}

}  // namespace gema::postgres
