#include "services/inventory/io/messages.h"

#include <algorithm>

#include "common/codec/device_codec.h"
#include "common/codec/on_demand_codec.h"
#include "gema/v1/call.pb.h"
#include "gema/v1/inventory.pb.h"
#include "proto/parse.h"
#include "services/inventory/core/limits.h"

namespace gema::inventory {

std::optional<HeardHeartbeat> read_heartbeat(std::string_view bytes) {
  v1::Heartbeat message;
  if (!parse(bytes, message)) return std::nullopt;
  return HeardHeartbeat{.process = message.process(),
                        .kind = message.kind(),
                        .location = message.location(),
                        .catalogue = from_proto(message.catalogue()),
                        .assignment = from_proto(message.assignment()),
                        .leaving = message.leaving()};
}

void fill(const OwnHeartbeat& own, v1::Heartbeat& message) {
  if (own.catalogue != Version{}) to_proto(own.catalogue, *message.mutable_catalogue());
  for (const auto& [prober, version] : own.assignments) {
    v1::AssignmentVersion* out = message.add_assignments();
    out->set_prober(prober);
    to_proto(version, *out->mutable_version());
  }
  message.set_ready(own.ready);
  for (const std::string& thing : own.waiting_for) message.add_waiting_for(thing);
  message.set_paused(own.probing.paused);
  to_proto(own.probing, *message.mutable_probing());
}

std::string encode_reload_reply(const Plan& plan) {
  const auto count = [&](Action action) { return static_cast<uint32_t>(plan.count(action)); };
  v1::DevicesReload reply;
  reply.set_devices(static_cast<uint32_t>(plan.devices));
  reply.set_created(count(Action::kCreated) + count(Action::kRestored));
  reply.set_updated(count(Action::kUpdated));
  reply.set_removed(count(Action::kRemoved));
  reply.set_problem_count(static_cast<uint32_t>(plan.problems.size()));
  for (size_t i = 0; i < std::min(plan.problems.size(), kProblemsShown); ++i) {
    reply.add_problems(to_text(plan.problems[i]));
  }
  return reply.SerializeAsString();
}

}  // namespace gema::inventory
