// A day of a device from the row table the quickest way we know: one prepared statement, binary
// rows, read into columns at once, with whichever plan is quicker here.
#pragma once

#include <libpq-fe.h>

#include <cstdint>
#include <string>
#include <vector>

namespace gema::bench {

struct Columns {
  std::vector<int64_t> at_ms;
  std::vector<int16_t> verdict;
  std::vector<int16_t> reason;
  std::vector<int32_t> rtt_us;  // -1: none
};

class RowClient {
 public:
  explicit RowClient(const std::string& conninfo);
  ~RowClient();
  RowClient(const RowClient&) = delete;
  RowClient& operator=(const RowClient&) = delete;

  void exec(const std::string& statement);
  void read(uint64_t device, int64_t from_ms, int64_t to_ms, Columns& out);

 private:
  PGconn* connection_;
};

}  // namespace gema::bench
