#include "common/codec/device_codec.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <xxhash.h>

#include <algorithm>

#include "common/codec/message.h"
#include "gema/v1/call.pb.h"
#include "gema/v1/inventory.pb.h"

namespace gema {
namespace {

// The same bytes for the same message, always: a map's order would otherwise change from one time
// to the next, and a snapshot published again would not complete the one before.
std::string serialise(const google::protobuf::MessageLite& message) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return out;
}

uint64_t digest_of(std::string_view bytes) {
  return XXH64(bytes.data(), bytes.size(), 0);
}

// Names a snapshot: the same contents under the same version have the same id.
uint64_t snapshot_id(Version version, uint64_t digest) {
  const uint64_t words[2] = {version.generation, version.number};
  return XXH64(words, sizeof words, digest);
}

void to_proto(const ProofSpec& proof, v1::ProofSpec& message) {
  message.set_web_url(proof.web_url);
  message.set_web_status(proof.web_status);
  message.set_web_insecure(proof.web_insecure);
  message.set_web_auth(proof.web_auth);
  message.set_web_json(proof.web_json);
  message.mutable_tcp_ports()->Add(proof.tcp_ports.begin(), proof.tcp_ports.end());
}

ProofSpec from_proto(const v1::ProofSpec& message) {
  return {.web_url = message.web_url(),
          .web_status = message.web_status() == 0 ? 200 : message.web_status(),
          .web_insecure = message.web_insecure(),
          .web_auth = message.web_auth(),
          .web_json = message.web_json(),
          .tcp_ports = {message.tcp_ports().begin(), message.tcp_ports().end()}};
}

// Receivers rely on it: ids ascend, so look-ups may search and two equal lists compare equal.
template <class Items>
bool ids_ascend(const Items& items) {
  return std::adjacent_find(items.begin(), items.end(), [](const auto& a, const auto& b) {
           return a.id >= b.id;
         }) == items.end();
}

}  // namespace

void to_proto(const Device& device, v1::Device& message) {
  message.set_id(device.id);
  message.set_address(device.address);
  message.set_hostname(device.hostname);
  message.set_merk(device.merk);
  message.set_os(device.os);
  message.set_kondisi(device.kondisi);
  message.set_supplier(device.supplier);
  message.set_type(device.type);
  message.set_post_code(device.post_code);
  message.set_web_url(device.web_url);
  message.set_id_lokasi(device.id_lokasi);
  for (const std::string& location : device.probe_from) message.add_probe_from(location);
  message.set_parent(device.parent);
  message.set_interval_ms(device.interval_ms);
  message.set_timeout_ms(device.timeout_ms);
  message.set_echo_count(device.echo_count);
  message.set_min_replies(device.min_replies);
  for (const auto& [name, value] : device.tags) (*message.mutable_tags())[name] = value;
  message.set_echo_spacing_ms(device.echo_spacing_ms);
  message.set_web_status(device.web_status);
  message.set_web_insecure(device.web_insecure);
  message.set_web_auth(device.web_auth);
  message.set_web_json(device.web_json);
  message.mutable_tcp_ports()->Add(device.tcp_ports.begin(), device.tcp_ports.end());
  message.set_source(device.source);
  message.set_source_id(device.source_id);
}

Device from_proto(const v1::Device& message) {
  Device device;
  device.id = message.id();
  device.address = message.address();
  device.hostname = message.hostname();
  device.merk = message.merk();
  device.os = message.os();
  device.kondisi = message.kondisi();
  device.supplier = message.supplier();
  device.type = message.type();
  device.post_code = message.post_code();
  device.web_url = message.web_url();
  device.id_lokasi = message.id_lokasi();
  device.probe_from.assign(message.probe_from().begin(), message.probe_from().end());
  device.parent = message.parent();
  device.interval_ms = message.interval_ms();
  device.timeout_ms = message.timeout_ms();
  device.echo_count = message.echo_count();
  device.min_replies = message.min_replies();
  if (message.echo_spacing_ms() != 0) device.echo_spacing_ms = message.echo_spacing_ms();
  if (message.web_status() != 0) device.web_status = message.web_status();
  device.web_insecure = message.web_insecure();
  device.web_auth = message.web_auth();
  device.web_json = message.web_json();
  device.tcp_ports.assign(message.tcp_ports().begin(), message.tcp_ports().end());
  device.tags.insert(message.tags().begin(), message.tags().end());
  device.source = message.source();
  device.source_id = message.source_id();
  return device;
}

void to_proto(const Version& version, v1::Version& message) {
  message.set_generation(version.generation);
  message.set_number(version.number);
}

Version from_proto(const v1::Version& message) {
  return {message.generation(), message.number()};
}

std::string encode_device(const Device& device) {
  v1::Device message;
  to_proto(device, message);
  return serialise(message);
}

Result<Device> decode_device(std::string_view bytes) {
  v1::Device message;
  if (!parse(bytes, message)) return bad_message("device", "bytes are no Device");
  return from_proto(message);
}

std::string encode_catalogue(const Catalogue& catalogue) {
  v1::Catalogue message;
  to_proto(catalogue.version, *message.mutable_version());
  message.set_next_device_id(catalogue.next_device_id);
  message.mutable_devices()->Reserve(static_cast<int>(catalogue.devices.size()));
  for (const Device& device : catalogue.devices) to_proto(device, *message.add_devices());
  return serialise(message);
}

Result<Catalogue> decode_catalogue(std::string_view bytes) {
  v1::Catalogue message;
  if (!parse(bytes, message)) return bad_message("catalogue", "bytes are no Catalogue");
  Catalogue catalogue{.version = from_proto(message.version()),
                      .next_device_id = message.next_device_id()};
  catalogue.devices.reserve(static_cast<size_t>(message.devices_size()));
  for (const v1::Device& device : message.devices()) {
    if (device.id() == 0 || device.address().empty() || device.interval_ms() == 0) {
      return bad_message("catalogue",
                         fmt::format("device {} lacks id, address or interval", device.id()));
    }
    catalogue.devices.push_back(from_proto(device));
  }
  if (!ids_ascend(catalogue.devices)) return bad_message("catalogue", "device ids do not ascend");
  return catalogue;
}

std::string encode_assignment(const Assignment& assignment) {
  v1::Assignment message;
  to_proto(assignment.version, *message.mutable_version());
  message.set_prober(assignment.prober);
  message.set_location(assignment.location);
  message.set_down_after(assignment.down_after);
  message.set_paused_by(assignment.paused_by);
  message.mutable_devices()->Reserve(static_cast<int>(assignment.devices.size()));
  for (const AssignedDevice& device : assignment.devices) {
    v1::AssignedDevice* out = message.add_devices();
    out->set_id(device.id);
    out->set_address(device.address);
    out->set_interval_ms(device.interval_ms);
    out->set_timeout_ms(device.timeout_ms);
    out->set_echo_count(device.echo_count);
    out->set_min_replies(device.min_replies);
    // Most devices have what is the default; an assignment of 100,000 is read by every prober.
    if (device.echo_spacing_ms != kEchoSpacingMs) out->set_echo_spacing_ms(device.echo_spacing_ms);
    if (device.proof.any()) to_proto(device.proof, *out->mutable_proof());
  }
  return serialise(message);
}

Result<Assignment> decode_assignment(std::string_view bytes) {
  v1::Assignment message;
  if (!parse(bytes, message)) return bad_message("assignment", "bytes are no Assignment");
  Assignment assignment{.version = from_proto(message.version()),
                        .prober = message.prober(),
                        .location = message.location(),
                        .down_after = message.down_after(),
                        .paused_by = message.paused_by()};
  assignment.devices.reserve(static_cast<size_t>(message.devices_size()));
  for (const v1::AssignedDevice& device : message.devices()) {
    if (device.id() == 0 || device.address().empty() || device.interval_ms() == 0 ||
        device.timeout_ms() == 0 || device.echo_count() == 0) {
      return bad_message("assignment", fmt::format("device {} is incomplete", device.id()));
    }
    assignment.devices.push_back({.id = device.id(),
                                  .address = device.address(),
                                  .interval_ms = device.interval_ms(),
                                  .timeout_ms = device.timeout_ms(),
                                  .echo_count = device.echo_count(),
                                  .min_replies = device.min_replies(),
                                  .echo_spacing_ms = device.echo_spacing_ms() == 0
                                                         ? kEchoSpacingMs
                                                         : device.echo_spacing_ms()});
    if (device.has_proof()) assignment.devices.back().proof = from_proto(device.proof());
  }
  if (!ids_ascend(assignment.devices)) return bad_message("assignment", "device ids do not ascend");
  return assignment;
}

std::string encode_device_change(const DeviceChange& change) {
  v1::DeviceChange message;
  to_proto(change.device, *message.mutable_device());
  for (const std::string& field : change.fields) message.add_fields(field);
  message.set_actor(change.actor);
  return serialise(message);
}

Result<DeviceChange> decode_device_change(std::string_view bytes) {
  v1::DeviceChange message;
  if (!parse(bytes, message)) return bad_message("device change", "bytes are no DeviceChange");
  return DeviceChange{.device = from_proto(message.device()),
                      .fields = {message.fields().begin(), message.fields().end()},
                      .actor = message.actor()};
}

std::string encode_device_change_reply(const Device& device) {
  v1::DeviceChangeReply message;
  to_proto(device, *message.mutable_device());
  return serialise(message);
}

Result<Device> decode_device_change_reply(std::string_view bytes) {
  v1::DeviceChangeReply message;
  if (!parse(bytes, message))
    return bad_message("device change reply", "bytes are no DeviceChangeReply");
  return from_proto(message.device());
}

std::string encode_assignment_request(std::string_view prober) {
  v1::AssignmentRequest message;
  message.set_prober(std::string(prober));
  return serialise(message);
}

Result<std::string> decode_assignment_request(std::string_view bytes) {
  v1::AssignmentRequest message;
  if (!parse(bytes, message))
    return bad_message("assignment request", "bytes are no AssignmentRequest");
  return message.prober();
}

std::vector<std::string> split_snapshot(std::string_view whole, Version version) {
  const uint64_t digest = digest_of(whole);
  const uint64_t id = snapshot_id(version, digest);
  const size_t count =
      std::max<size_t>(1, (whole.size() + kSnapshotPartBytes - 1) / kSnapshotPartBytes);
  std::vector<std::string> parts;
  parts.reserve(count);
  for (size_t index = 0; index < count; ++index) {
    v1::SnapshotPart part;
    to_proto(version, *part.mutable_version());
    part.set_id(id);
    part.set_index(static_cast<uint32_t>(index));
    part.set_count(static_cast<uint32_t>(count));
    part.set_digest(digest);
    const std::string_view slice = whole.substr(index * kSnapshotPartBytes, kSnapshotPartBytes);
    part.set_bytes(slice.data(), slice.size());
    parts.push_back(part.SerializeAsString());
  }
  return parts;
}

void SnapshotAssembler::begin_nothing() {
  count_ = 0;
  bytes_ = 0;
  parts_.clear();
}

Result<std::optional<Snapshot>> SnapshotAssembler::add(std::string_view bytes) {
  v1::SnapshotPart part;
  if (!parse(bytes, part)) return bad_message("snapshot", "bytes are no SnapshotPart");
  const uint64_t parts_max = kSnapshotBytesMax / kSnapshotPartBytes;
  if (part.count() == 0 || part.count() > parts_max || part.index() >= part.count()) {
    return bad_message("snapshot",
                       fmt::format("part {} of {} is impossible", part.index(), part.count()));
  }
  const Version version = from_proto(part.version());
  if (version <= held_) return std::optional<Snapshot>{};
  if (count_ > 0 && version < version_) return std::optional<Snapshot>{};
  if (count_ == 0 || version != version_ || part.id() != id_ || part.count() != count_ ||
      part.digest() != digest_) {
    begin_nothing();
    version_ = version;
    id_ = part.id();
    digest_ = part.digest();
    count_ = part.count();
  }
  if (parts_.contains(part.index())) return std::optional<Snapshot>{};
  bytes_ += part.bytes().size();
  if (bytes_ > kSnapshotBytesMax) {
    begin_nothing();
    return bad_message("snapshot", "larger than a snapshot may be");
  }
  parts_.emplace(part.index(), std::move(*part.mutable_bytes()));
  if (parts_.size() < count_) return std::optional<Snapshot>{};
  Snapshot whole{.version = version_};
  whole.bytes.reserve(bytes_);
  for (const auto& [index, piece] : parts_) whole.bytes += piece;
  const bool right = digest_of(whole.bytes) == digest_;
  begin_nothing();
  if (!right) return bad_message("snapshot", "the digest of the whole is wrong");
  held_ = whole.version;
  return std::optional<Snapshot>(std::move(whole));
}

}  // namespace gema
