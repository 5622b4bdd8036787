#include "services/prober/io/assignments.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/observability/log.h"
#include "services/prober/core/limits.h"
#include "services/prober/io/address_text.h"

namespace gema::prober {
namespace {

// Why a device cannot be checked; nullptr when it can.
const char* refusal(const AssignedDevice& d) {
  if (d.interval_ms < kIntervalMsMin || d.interval_ms > kIntervalMsMax) return "interval";
  if (d.timeout_ms < kTimeoutMsMin || d.timeout_ms > kTimeoutMsMax) return "timeout";
  if (d.echo_count < 1 || d.echo_count > kEchoCountMax) return "echo count";
  if (d.min_replies < 1 || d.min_replies > d.echo_count) return "min replies";
  if (d.echo_spacing_ms < kEchoSpacingMsMin || d.echo_spacing_ms > kEchoSpacingMsMax) {
    return "echo spacing";
  }
  if (uint64_t{d.echo_count - 1} * d.echo_spacing_ms > d.interval_ms) {
    return "its echoes take longer than its interval";
  }
  const auto address = parse_address(d.address);
  if (address && !may_be_pinged(*address)) {
    return "its address is unspecified, broadcast, multicast or reserved";
  }
  return nullptr;
}

}  // namespace

Assignments::Assignments(std::string prober, std::filesystem::path path, Engine& engine,
                         Resolver& resolver, Proofs& proofs)
    : prober_(std::move(prober)),
      path_(std::move(path)),
      engine_(engine),
      resolver_(resolver),
      proofs_(proofs) {}

// Takes out what cannot be checked, and parses addresses. The codec has seen to ascending ids.
Assignments::Prepared Assignments::prepare(Assignment& assignment) {
  auto& devices = assignment.devices;
  const size_t all = devices.size();
  size_t refused = 0;
  std::erase_if(devices, [&](const AssignedDevice& d) {
    const char* why = refusal(d);
    if (why == nullptr) return false;
    if (++refused <= kRefusalsLogged) {
      obs::log_warn("device refused", {{"device", d.id}, {"address", d.address}, {"why", why}});
    }
    return true;
  });
  if (devices.size() > kDevicesMax) devices.resize(kDevicesMax);
  refused_ = all - devices.size();
  Prepared prepared;
  prepared.targets.reserve(devices.size());
  for (const AssignedDevice& d : devices) {
    Target target{.id = d.id,
                  .interval_ms = d.interval_ms,
                  .timeout_ms = d.timeout_ms,
                  .echo_count = static_cast<uint8_t>(d.echo_count),
                  .min_replies = static_cast<uint8_t>(d.min_replies),
                  .echo_spacing_ms = d.echo_spacing_ms,
                  .has_proof = d.proof.any()};
    if (const auto address = parse_address(d.address)) {
      target.address = *address;
    } else if (!d.address.empty()) {
      target.address = resolver_.known(d.address);
      prepared.names.push_back({d.id, d.address});
    }
    prepared.targets.push_back(target);
  }
  return prepared;
}

void Assignments::apply(Assignment& assignment) {
  Prepared prepared = prepare(assignment);
  proofs_.assign(assignment.devices);
  for (std::string& host : proofs_.host_names()) prepared.names.push_back({0, std::move(host)});
  resolver_.assign(prepared.names);
  const uint32_t down_after = assignment.down_after == 0 ? 3 : assignment.down_after;
  const AssignChange change = engine_.assign(prepared.targets, down_after);
  if (engine_.paused_by() != assignment.paused_by) {
    obs::log_info(assignment.paused_by.empty() ? "resumed" : "paused",
                  {{"by", assignment.paused_by}});
  }
  engine_.pause(assignment.paused_by);
  version_ = assignment.version;
  assembler_.set_held(version_);
  obs::log_info("assignment in force", {{"generation", version_.generation},
                                        {"number", version_.number},
                                        {"devices", prepared.targets.size()},
                                        {"added", change.added},
                                        {"removed", change.removed},
                                        {"changed", change.changed},
                                        {"names", prepared.names.size()},
                                        {"refused", refused_}});
}

Result<void> Assignments::keep(Assignment assignment) {
  KeptAssignment kept{.assignment = std::move(assignment)};
  kept.since_ms.reserve(kept.assignment.devices.size());
  for (const AssignedDevice& d : kept.assignment.devices) {
    kept.since_ms.push_back(engine_.since_ms(d.id));
  }
  kept.leaving = engine_.leaving(engine_.done_until_ms());
  return write_assignment(path_, kept);
}

Result<std::vector<KeptSchedule>> Assignments::restore() {
  auto read = read_assignment(path_);
  if (!read) return read.error();
  std::vector<KeptSchedule> schedules;
  if (!*read) return schedules;
  KeptAssignment& kept = **read;
  std::map<DeviceId, int64_t> since;
  for (size_t i = 0; i < kept.since_ms.size(); ++i) {
    since[kept.assignment.devices[i].id] = kept.since_ms[i];
  }
  apply(kept.assignment);
  for (const Leaving& l : kept.leaving) {
    engine_.add_leaving(l);
    schedules.push_back({l.device, l.interval_ms, l.since_ms, l.until_ms});
  }
  for (const AssignedDevice& d : kept.assignment.devices) {
    engine_.set_since_ms(d.id, since[d.id]);
    schedules.push_back({.device = d.id, .interval_ms = d.interval_ms, .since_ms = since[d.id]});
  }
  std::stable_sort(schedules.begin(), schedules.end(), [](const auto& a, const auto& b) {
    return a.device != b.device ? a.device < b.device : a.since_ms < b.since_ms;
  });
  return schedules;
}

Result<bool> Assignments::on_part(std::string_view part) {
  auto snapshot = assembler_.add(part);
  if (!snapshot) return snapshot.error();
  if (!*snapshot) return false;
  auto assignment = decode_assignment((*snapshot)->bytes);
  assembler_.set_held(version_);
  if (!assignment) return assignment.error();
  if (assignment->prober != prober_) {
    return Error{Errc::kBadInput, fmt::format("assignment is for {}", assignment->prober)};
  }
  if (any() && assignment->version <= version_) {
    return Error{
        Errc::kBadInput,
        fmt::format("assignment {}.{} is not newer than {}.{}", assignment->version.generation,
                    assignment->version.number, version_.generation, version_.number)};
  }
  apply(*assignment);
  // On disk before the first of its echoes is sent: a crash then knows what was owed.
  if (auto kept = keep(std::move(*assignment)); !kept) {
    obs::log_error("assignment not kept on disk", {{"why", kept.error().message}});
  }
  return true;
}

}  // namespace gema::prober
