#include "tests/bench/history_reads/row_client.h"

#include <arpa/inet.h>
#include <endian.h>

#include <array>
#include <cstring>

#include "tests/bench/history_reads/report.h"

namespace gema::bench {
namespace {

constexpr int64_t kPostgresEpochUs = 946'684'800'000'000;  // 2000-01-01

template <class T>
T raw(const PGresult* result, int row, int column) {
  T value;
  std::memcpy(&value, PQgetvalue(result, row, column), sizeof value);
  return value;
}

}  // namespace

RowClient::RowClient(const std::string& conninfo) : connection_(PQconnectdb(conninfo.c_str())) {
  if (PQstatus(connection_) != CONNECTION_OK) fail(PQerrorMessage(connection_));
  PGresult* result =
      PQprepare(connection_, "day",
                "SELECT at, verdict, reason, rtt_us FROM ping_rows WHERE device_id = $1::integer"
                " AND at >= $2::timestamptz AND at < $3::timestamptz ORDER BY at",
                0, nullptr);
  if (PQresultStatus(result) != PGRES_COMMAND_OK) fail(PQerrorMessage(connection_));
  PQclear(result);
}

RowClient::~RowClient() {
  PQfinish(connection_);
}

void RowClient::exec(const std::string& statement) {
  PGresult* result = PQexec(connection_, statement.c_str());
  const ExecStatusType status = PQresultStatus(result);
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) fail(PQerrorMessage(connection_));
  PQclear(result);
}

void RowClient::read(uint64_t device, int64_t from_ms, int64_t to_ms, Columns& out) {
  const uint32_t id = htonl(static_cast<uint32_t>(device));
  const uint64_t from = htobe64(static_cast<uint64_t>(from_ms * 1000 - kPostgresEpochUs));
  const uint64_t to = htobe64(static_cast<uint64_t>(to_ms * 1000 - kPostgresEpochUs));
  const std::array<const char*, 3> values{reinterpret_cast<const char*>(&id),
                                          reinterpret_cast<const char*>(&from),
                                          reinterpret_cast<const char*>(&to)};
  const std::array<int, 3> lengths{4, 8, 8};
  const std::array<int, 3> formats{1, 1, 1};
  PGresult* result =
      PQexecPrepared(connection_, "day", 3, values.data(), lengths.data(), formats.data(), 1);
  if (PQresultStatus(result) != PGRES_TUPLES_OK) fail(PQerrorMessage(connection_));
  const int rows = PQntuples(result);
  const auto n = static_cast<size_t>(rows);
  out.at_ms.resize(n);
  out.verdict.resize(n);
  out.reason.resize(n);
  out.rtt_us.resize(n);
  for (int i = 0; i < rows; ++i) {
    const auto k = static_cast<size_t>(i);
    const auto at = static_cast<int64_t>(be64toh(raw<uint64_t>(result, i, 0)));
    out.at_ms[k] = (at + kPostgresEpochUs) / 1000;
    out.verdict[k] = static_cast<int16_t>(ntohs(raw<uint16_t>(result, i, 1)));
    out.reason[k] = static_cast<int16_t>(ntohs(raw<uint16_t>(result, i, 2)));
    out.rtt_us[k] = PQgetisnull(result, i, 3) != 0
                        ? -1
                        : static_cast<int32_t>(ntohl(raw<uint32_t>(result, i, 3)));
  }
  PQclear(result);
}

}  // namespace gema::bench
