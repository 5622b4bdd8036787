// Devices, catalogues and assignments to bytes and back, and snapshots in parts.
//
// Decoding never trusts its input: it fails with kBadInput, naming the rule, and never allocates
// more than a small multiple of what it was given.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/catalogue.h"

namespace gema {

namespace v1 {
class Device;
class Version;
}  // namespace v1

void to_proto(const Device& device, v1::Device& message);
Device from_proto(const v1::Device& message);
void to_proto(const Version& version, v1::Version& message);
Version from_proto(const v1::Version& message);

std::string encode_device(const Device& device);
Result<Device> decode_device(std::string_view bytes);

std::string encode_catalogue(const Catalogue& catalogue);
Result<Catalogue> decode_catalogue(std::string_view bytes);

std::string encode_assignment(const Assignment& assignment);
Result<Assignment> decode_assignment(std::string_view bytes);

// Bodies of the calls device.create, device.update and device.delete, and of their replies.
std::string encode_device_change(const DeviceChange& change);
Result<DeviceChange> decode_device_change(std::string_view bytes);
std::string encode_device_change_reply(const Device& device);
Result<Device> decode_device_change_reply(std::string_view bytes);

// The body of the call assignment.snapshot.
std::string encode_assignment_request(std::string_view prober);
Result<std::string> decode_assignment_request(std::string_view bytes);

// --- snapshots in parts -------------------------------------------------------------------------
// catalogue/ and assign/<prober>/ carry a serialised Catalogue or Assignment cut into
// v1::SnapshotPart messages, each small enough for the bus.

inline constexpr size_t kSnapshotPartBytes = 128 * 1024;  // what one part carries of the whole
inline constexpr size_t kSnapshotBytesMax = 128 * 1024 * 1024;  // larger: parts are refused
// About 400 bytes a device at most, so 300,000 devices fit.

// Serialised SnapshotParts in order; at least one, also for an empty whole. Equal input gives equal
// parts, so that publishing a snapshot again completes what a receiver missed the first time.
std::vector<std::string> split_snapshot(std::string_view whole, Version version);

struct Snapshot {
  Version version;
  std::string bytes;
};

// Collects the parts of one snapshot at a time, the newest: a part of a newer version (or of other
// contents) lets go of what was begun, one of an older version is dropped. Holds at most
// kSnapshotBytesMax bytes. Not thread-safe.
class SnapshotAssembler {
 public:
  // Versions up to `held` are what the owner has already; their parts are dropped unread.
  explicit SnapshotAssembler(Version held = {}) : held_(held) {}

  // The whole, when `part` was the last one missing and the digest is right; held() is then its
  // version. nullopt: not yet whole, a repetition, or nothing newer than what is held.
  // kBadInput: bytes that are no part, limits exceeded, or a wrong digest (begun again from
  // nothing).
  Result<std::optional<Snapshot>> add(std::string_view part);

  // What the owner has, by whichever way it came (a call, its disk).
  Version held() const { return held_; }
  void set_held(Version held) { held_ = held; }

 private:
  void begin_nothing();

  Version held_;
  Version version_;  // of what is being collected
  uint64_t id_ = 0;
  uint64_t digest_ = 0;
  uint32_t count_ = 0;  // 0 = collecting nothing
  size_t bytes_ = 0;
  std::map<uint32_t, std::string> parts_;
};

}  // namespace gema
