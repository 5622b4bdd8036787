// Where a spool keeps its bytes: numbered segments and one small meta file. Two kinds: files
// (posix_store.h), and memory with power cuts and broken disks (tests/sim).
//
// One thread calls; begin_sync() must not block it. A store is the only user of its place as long
// as it lives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"

namespace gema::stream {

class SegmentStore {
 public:
  virtual ~SegmentStore() = default;

  virtual Result<std::vector<uint64_t>> list() = 0;  // ascending
  virtual Result<std::string> read_all(uint64_t number) = 0;
  // Exactly `bytes` bytes.
  virtual Result<std::string> read(uint64_t number, uint64_t offset, uint64_t bytes) = 0;

  // A new segment that begins with `header`. On failure there is none.
  virtual Result<void> create(uint64_t number, std::string_view header) = 0;
  // All or nothing. kRetryable: the segment is as it was. kPermanent: what it ends with is unknown.
  virtual Result<void> append(uint64_t number, std::string_view bytes) = 0;
  virtual Result<void> truncate(uint64_t number, uint64_t bytes) = 0;
  virtual Result<void> remove(uint64_t number) = 0;
  // Out of the way, but kept for whoever wants to know what happened (the newest one only).
  virtual Result<void> set_aside(uint64_t number) = 0;

  // Begins to make these segments durable, and the names of those created, and the meta file as it
  // was written last. One at a time:
  // begin_sync again only after sync_result() gave the last one's.
  virtual void begin_sync(std::vector<uint64_t> numbers) = 0;
  virtual std::optional<Result<void>> sync_result() = 0;
  // Blocks until everything is durable, a begun sync included.
  virtual Result<void> sync_now(std::vector<uint64_t> numbers) = 0;

  virtual Result<std::optional<std::string>> read_meta() = 0;  // nullopt = there is none
  // Replaces it as a whole.
  virtual Result<void> write_meta(std::string_view bytes, bool durable) = 0;
};

}  // namespace gema::stream
