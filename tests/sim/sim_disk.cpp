#include "tests/sim/sim_disk.h"

#include <algorithm>

namespace gema::sim {
namespace {

Error missing() {
  return Error{Errc::kPermanent, "no such segment"};
}
Error no_space() {
  return Error{Errc::kRetryable, "no space left on device"};
}

}  // namespace

void SimDisk::power_cut(Random& random) {
  for (auto it = files.begin(); it != files.end();) {
    SimFile& file = it->second;
    if (!file.name_synced && random.chance(500)) {
      it = files.erase(it);
      continue;
    }
    size_t unsynced = file.bytes.size() - file.synced;
    // File systems that allocate late mostly come back with the size of the last sync.
    size_t kept = unsynced == 0 || random.chance(400) ? 0 : random.below(unsynced + 1);
    file.bytes.resize(file.synced + kept);
    // Blocks that were allocated but never written read as zeros, or as somebody's old data.
    if (kept > 0 && random.chance(300)) {
      size_t from = file.synced + random.below(kept);
      char filler = random.chance(500) ? '\0' : static_cast<char>(random.below(256));
      std::fill(file.bytes.begin() + static_cast<std::ptrdiff_t>(from), file.bytes.end(), filler);
    }
    file.synced = file.bytes.size();
    file.name_synced = true;
    file.broken = false;
    ++it;
  }
  for (auto& [number, file] : removed) {
    if (!random.chance(500)) continue;
    file.bytes.resize(file.synced);
    file.name_synced = true;
    files.emplace(number, std::move(file));
  }
  removed.clear();
  if (meta != meta_synced && random.chance(500)) {
    meta = meta_synced;
  } else {
    meta_synced = meta;
  }
}

std::optional<uint64_t> SimDisk::flip_bit(Random& random) {
  if (files.empty()) return std::nullopt;
  auto it = files.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(random.below(files.size())));
  if (it->second.bytes.empty()) return std::nullopt;
  size_t at = random.below(it->second.bytes.size());
  char& byte = it->second.bytes[at];
  byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << random.below(8)));
  return it->first;
}

Result<std::vector<uint64_t>> SimStore::list() {
  std::vector<uint64_t> numbers;
  for (const auto& [number, file] : disk_.files) numbers.push_back(number);
  return numbers;
}

Result<std::string> SimStore::read_all(uint64_t number) {
  auto it = disk_.files.find(number);
  if (it == disk_.files.end()) return missing();
  return it->second.bytes;
}

Result<std::string> SimStore::read(uint64_t number, uint64_t offset, uint64_t bytes) {
  auto it = disk_.files.find(number);
  if (it == disk_.files.end() || offset + bytes > it->second.bytes.size()) return missing();
  return it->second.bytes.substr(offset, bytes);
}

Result<void> SimStore::create(uint64_t number, std::string_view header) {
  if (disk_.full) return no_space();
  if (disk_.files.count(number) != 0) return Error{Errc::kPermanent, "segment exists"};
  disk_.removed.erase(number);
  disk_.files[number].bytes = header;
  return {};
}

Result<void> SimStore::append(uint64_t number, std::string_view bytes) {
  auto it = disk_.files.find(number);
  if (it == disk_.files.end()) return Error{Errc::kPermanent, "no such segment"};
  if (disk_.die_in_write) {
    it->second.bytes += bytes.substr(0, bytes.size() * *disk_.die_in_write / 1000);
    disk_.die_in_write.reset();
    disk_.died_in_write = true;
    return Error{Errc::kPermanent, "killed"};
  }
  if (disk_.full) return no_space();
  it->second.bytes += bytes;
  return {};
}

Result<void> SimStore::truncate(uint64_t number, uint64_t bytes) {
  auto it = disk_.files.find(number);
  if (it == disk_.files.end()) return missing();
  it->second.bytes.resize(bytes);
  it->second.synced = std::min(it->second.synced, static_cast<size_t>(bytes));
  return {};
}

Result<void> SimStore::remove(uint64_t number) {
  auto it = disk_.files.find(number);
  if (it == disk_.files.end()) return missing();
  disk_.removed[number] = std::move(it->second);
  disk_.files.erase(it);
  return {};
}

Result<void> SimStore::set_aside(uint64_t number) {
  disk_.files.erase(number);
  return {};
}

void SimStore::begin_sync(std::vector<uint64_t> numbers) {
  syncing_.emplace();
  syncing_meta_ = disk_.meta;
  for (uint64_t number : numbers) {
    auto it = disk_.files.find(number);
    if (it != disk_.files.end()) syncing_->emplace_back(number, it->second.bytes.size());
  }
}

std::optional<Result<void>> SimStore::sync_result() {
  if (!syncing_) return std::nullopt;
  return finish_sync();
}

Result<void> SimStore::finish_sync() {
  bool fails = disk_.sync_fails_per_mille > 0 && random_.chance(disk_.sync_fails_per_mille);
  for (const auto& [number, bytes] : *syncing_) {
    auto it = disk_.files.find(number);
    if (it == disk_.files.end()) continue;
    if (fails) it->second.broken = true;
    if (!it->second.broken) it->second.synced = std::max(it->second.synced, bytes);
    if (!fails) it->second.name_synced = true;
  }
  syncing_.reset();
  if (fails) {
    ++disk_.sync_failures;
    return Error{Errc::kPermanent, "fdatasync: input/output error"};
  }
  disk_.removed.clear();
  disk_.meta_synced = syncing_meta_;
  return {};
}

Result<void> SimStore::sync_now(std::vector<uint64_t> numbers) {
  if (syncing_) {
    for (const auto& [number, bytes] : *syncing_) numbers.push_back(number);
  }
  begin_sync(std::move(numbers));
  return finish_sync();
}

Result<std::optional<std::string>> SimStore::read_meta() {
  return disk_.meta;
}

Result<void> SimStore::write_meta(std::string_view bytes, bool durable) {
  if (disk_.full) return no_space();
  disk_.meta = std::string(bytes);
  if (durable) disk_.meta_synced = disk_.meta;
  return {};
}

}  // namespace gema::sim
