// A spool as files of one directory: NNN.seg, spool.meta, LOCK (held by flock as long as the store
// lives). fdatasync runs on a thread of its own, so that the owner's loop never waits for a disk.
#pragma once

#include <filesystem>
#include <memory>

#include "common/base/result.h"
#include "common/stream/segment_store.h"

namespace gema::stream {

// Creates the directory when missing. Fails with one sentence that names the directory:
// kUnavailable when another process holds it, kPermanent when it cannot be used.
Result<std::unique_ptr<SegmentStore>> open_posix_store(const std::filesystem::path& dir);

// Of this boot of the machine, from /proc; a fresh random text where that cannot be read (every
// start then counts as a boot, which is safe).
std::string machine_boot_id();
// Random, never 0, from the system's generator.
uint64_t random_epoch();

}  // namespace gema::stream
