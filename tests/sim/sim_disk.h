// A disk for simulated spools: what a process wrote survives its death, what was synced survives a
// power cut, and both can be broken on purpose. SimDisk outlives the processes; SimStore is one
// process's view of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/stream/segment_store.h"

namespace gema::sim {

struct SimFile {
  std::string bytes;         // as a process sees it
  size_t synced = 0;         // this much is on the platter
  bool name_synced = false;  // the directory entry is, too
  bool broken = false;       // an fdatasync failed: later ones say good, but nothing gets there
};

struct SimDisk {
  std::map<uint64_t, SimFile> files;
  std::map<uint64_t, SimFile> removed;  // but the directory was not synced since
  std::optional<std::string> meta;
  std::optional<std::string> meta_synced;

  bool full = false;  // every write fails
  uint32_t sync_fails_per_mille = 0;
  std::optional<uint64_t>
      die_in_write;  // the next append stops after this share (0..999 per mille)
  bool died_in_write = false;
  uint64_t sync_failures = 0;

  void power_cut(Random& random);
  // Flips one bit somewhere in a segment. Returns: its number; nullopt when there is none.
  std::optional<uint64_t> flip_bit(Random& random);
};

class SimStore final : public stream::SegmentStore {
 public:
  SimStore(SimDisk& disk, Random& random) : disk_(disk), random_(random) {}

  Result<std::vector<uint64_t>> list() override;
  Result<std::string> read_all(uint64_t number) override;
  Result<std::string> read(uint64_t number, uint64_t offset, uint64_t bytes) override;
  Result<void> create(uint64_t number, std::string_view header) override;
  Result<void> append(uint64_t number, std::string_view bytes) override;
  Result<void> truncate(uint64_t number, uint64_t bytes) override;
  Result<void> remove(uint64_t number) override;
  Result<void> set_aside(uint64_t number) override;
  void begin_sync(std::vector<uint64_t> numbers) override;
  std::optional<Result<void>> sync_result() override;
  Result<void> sync_now(std::vector<uint64_t> numbers) override;
  Result<std::optional<std::string>> read_meta() override;
  Result<void> write_meta(std::string_view bytes, bool durable) override;

 private:
  Result<void> finish_sync();

  SimDisk& disk_;
  Random& random_;
  std::optional<std::string> syncing_meta_;
  std::optional<std::vector<std::pair<uint64_t, size_t>>> syncing_;  // number, bytes at the begin
};

}  // namespace gema::sim
