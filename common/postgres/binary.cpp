#include "common/postgres/binary.h"

#include <fmt/format.h>

#include "common/base/assert.h"

namespace gema::postgres {
namespace {

constexpr size_t kFlushBytes = 256 * 1024;
constexpr int64_t kEpoch2000Us = 946'684'800'000'000;  // PostgreSQL counts from 2000-01-01
constexpr uint32_t kInt4Oid = 23;

template <class T>
void put(std::string& out, T value) {  // network order
  using U = std::make_unsigned_t<T>;
  const U bits = static_cast<U>(value);
  for (size_t i = sizeof(T); i-- > 0;) out.push_back(static_cast<char>((bits >> (8 * i)) & 0xff));
}

template <class T>
T get(const char* at) {
  std::make_unsigned_t<T> bits = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    bits = static_cast<std::make_unsigned_t<T>>(bits << 8 | static_cast<unsigned char>(at[i]));
  }
  return static_cast<T>(bits);
}

std::string one_line(const char* text) {
  std::string line = text == nullptr ? "" : text;
  for (char& c : line) {
    if (c == '\n' || c == '\t') c = ' ';
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

[[noreturn]] void fail(PGconn* raw, const PGresult* result, const std::string& what) {
  const bool broken = PQstatus(raw) != CONNECTION_OK;
  const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
  const char* text = result == nullptr ? nullptr : PQresultErrorMessage(result);
  if (text == nullptr || *text == '\0') text = PQerrorMessage(raw);
  const std::string said = what + ": " + one_line(text);
  if (state == nullptr) throw RawError({Errc::kUnavailable, "PostgreSQL: " + said}, broken);
  Error error = error_of_sqlstate(state, said);
  if (broken) error.code = Errc::kUnavailable;
  throw RawError(std::move(error), broken);
}

// Parameters as libpq wants them.
struct Pointers {
  explicit Pointers(const std::vector<std::string>& from) : formats(from.size(), 1) {
    for (const std::string& value : from) {
      values.push_back(value.data());
      lengths.push_back(static_cast<int>(value.size()));
    }
  }
  int count() const { return static_cast<int>(values.size()); }

  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
};

using ResultPtr = std::unique_ptr<PGresult, decltype(&PQclear)>;

}  // namespace

CopyIn::CopyIn(Transaction& tx, const std::string& statement) : raw_(tx.raw()) {
  const ResultPtr result(PQexec(raw_, statement.c_str()), &PQclear);
  if (PQresultStatus(result.get()) != PGRES_COPY_IN) {
    open_ = false;
    fail(raw_, result.get(), "COPY");
  }
  buffer_.reserve(kFlushBytes + 64 * 1024);
  buffer_.append("PGCOPY\n\377\r\n\0", 11);
  put<int32_t>(buffer_, 0);  // flags
  put<int32_t>(buffer_, 0);  // header extension
}

CopyIn::~CopyIn() {
  if (!open_) return;
  PQputCopyEnd(raw_, "given up");
  while (PGresult* result = PQgetResult(raw_)) PQclear(result);
}

void CopyIn::row(int16_t columns) {
  if (buffer_.size() >= kFlushBytes) flush();
  put(buffer_, columns);
}

void CopyIn::int16(int16_t value) {
  put<int32_t>(buffer_, 2);
  put(buffer_, value);
}

void CopyIn::int32(int32_t value) {
  put<int32_t>(buffer_, 4);
  put(buffer_, value);
}

void CopyIn::int64(int64_t value) {
  put<int32_t>(buffer_, 8);
  put(buffer_, value);
}

void CopyIn::timestamptz_us(int64_t unix_us) {
  int64(unix_us - kEpoch2000Us);
}

void CopyIn::bytes(std::string_view value) {
  put<int32_t>(buffer_, static_cast<int32_t>(value.size()));
  buffer_ += value;
}

void CopyIn::int32_array(std::span<const int32_t> values) {
  if (values.empty()) {  // no dimensions
    put<int32_t>(buffer_, 12);
    put<int32_t>(buffer_, 0);
    put<int32_t>(buffer_, 0);
    put<uint32_t>(buffer_, kInt4Oid);
    return;
  }
  put<int32_t>(buffer_, static_cast<int32_t>(20 + 8 * values.size()));
  put<int32_t>(buffer_, 1);  // dimensions
  put<int32_t>(buffer_, 0);  // holds no NULL
  put<uint32_t>(buffer_, kInt4Oid);
  put<int32_t>(buffer_, static_cast<int32_t>(values.size()));
  put<int32_t>(buffer_, 1);  // lower bound
  for (const int32_t value : values) {
    put<int32_t>(buffer_, 4);
    put(buffer_, value);
  }
}

void CopyIn::null() {
  put<int32_t>(buffer_, -1);
}

void CopyIn::flush() {
  if (PQputCopyData(raw_, buffer_.data(), static_cast<int>(buffer_.size())) != 1) {
    open_ = false;
    fail(raw_, nullptr, "COPY");
  }
  buffer_.clear();
}

void CopyIn::finish() {
  put<int16_t>(buffer_, -1);
  flush();
  open_ = false;
  if (PQputCopyEnd(raw_, nullptr) != 1) fail(raw_, nullptr, "COPY");
  const ResultPtr result(PQgetResult(raw_), &PQclear);
  while (PGresult* more = PQgetResult(raw_)) PQclear(more);
  if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) fail(raw_, result.get(), "COPY");
}

Params& Params::int16(int16_t value) {
  put(values_.emplace_back(), value);
  return *this;
}

Params& Params::int32(int32_t value) {
  put(values_.emplace_back(), value);
  return *this;
}

Params& Params::int64(int64_t value) {
  put(values_.emplace_back(), value);
  return *this;
}

Params& Params::bytes(std::string_view value) {
  values_.emplace_back(value);
  return *this;
}

BinaryResult::BinaryResult(Transaction& tx, const std::string& statement, const Params& params)
    : result_(nullptr, &PQclear) {
  const Pointers p(params.values_);
  result_.reset(PQexecParams(tx.raw(), statement.c_str(), p.count(), nullptr, p.values.data(),
                             p.lengths.data(), p.formats.data(), 1));
  check(tx);
}

BinaryResult::BinaryResult(Transaction& tx, Prepared& statement, const Params& params)
    : result_(nullptr, &PQclear) {
  const Pointers p(params.values_);
  if (!statement.known_) {
    result_.reset(
        PQprepare(tx.raw(), statement.name_.c_str(), statement.statement_.c_str(), 0, nullptr));
    check(tx);
    statement.known_ = true;
  }
  result_.reset(PQexecPrepared(tx.raw(), statement.name_.c_str(), p.count(), p.values.data(),
                               p.lengths.data(), p.formats.data(), 1));
  check(tx);
}

void BinaryResult::check(Transaction& tx) const {
  const ExecStatusType status = PQresultStatus(result_.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
    fail(tx.raw(), result_.get(), "statement");
  }
}

Pipeline::Pipeline(Transaction& tx) : tx_(tx) {
  if (PQenterPipelineMode(tx_.raw()) != 1) fail(tx_.raw(), nullptr, "pipeline");
}

Pipeline::~Pipeline() {
  drain();
}

void Pipeline::add(const std::string& statement, const Params& params) {
  GEMA_ASSERT(!all_sent_);
  const Pointers p(params.values_);
  if (PQsendQueryParams(tx_.raw(), statement.c_str(), p.count(), nullptr, p.values.data(),
                        p.lengths.data(), p.formats.data(), 1) != 1) {
    fail(tx_.raw(), nullptr, "statement");
  }
}

void Pipeline::send() {
  GEMA_ASSERT(!all_sent_);
  if (PQpipelineSync(tx_.raw()) != 1) fail(tx_.raw(), nullptr, "pipeline");
  all_sent_ = true;
}

void Pipeline::send_and_go_on() {
  GEMA_ASSERT(!all_sent_);
  if (PQsendFlushRequest(tx_.raw()) != 1 || PQflush(tx_.raw()) != 0) {
    fail(tx_.raw(), nullptr, "pipeline");
  }
}

BinaryResult Pipeline::next() {
  BinaryResult result(PQgetResult(tx_.raw()));
  result.check(tx_);
  PQclear(PQgetResult(tx_.raw()));  // the null that ends a statement's answer
  return result;
}

// Up to where the server is in step again, or the connection is lost.
void Pipeline::drain() {
  if (!all_sent_ && PQpipelineSync(tx_.raw()) != 1) return;
  // Two nulls in a row: nothing more comes.
  for (int nulls = 0; nulls < 2 && PQstatus(tx_.raw()) == CONNECTION_OK;) {
    PGresult* result = PQgetResult(tx_.raw());
    nulls = result == nullptr ? nulls + 1 : 0;
    const bool end = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    PQclear(result);
    if (end) break;
  }
  PQexitPipelineMode(tx_.raw());
}

int16_t BinaryResult::int16(int row, int column) const {
  return get<int16_t>(PQgetvalue(result_.get(), row, column));
}

int32_t BinaryResult::int32(int row, int column) const {
  return get<int32_t>(PQgetvalue(result_.get(), row, column));
}

int64_t BinaryResult::int64(int row, int column) const {
  return get<int64_t>(PQgetvalue(result_.get(), row, column));
}

std::string_view BinaryResult::bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

bool BinaryResult::int32_array(int row, int column, std::vector<int32_t>& out) const {
  out.clear();
  if (is_null(row, column)) return true;
  const std::string_view field = bytes(row, column);
  if (field.size() < 12) return false;
  if (get<int32_t>(field.data()) == 0) return true;
  if (field.size() < 20 || get<int32_t>(field.data()) != 1 ||
      get<uint32_t>(field.data() + 8) != kInt4Oid) {
    return false;
  }
  const auto count = static_cast<size_t>(get<int32_t>(field.data() + 12));
  if (field.size() != 20 + 8 * count) return false;
  out.resize(count);
  for (size_t i = 0; i < count; ++i) out[i] = get<int32_t>(field.data() + 24 + 8 * i);
  return true;
}

}  // namespace gema::postgres
