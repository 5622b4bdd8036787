#include "tests/fuzz/targets.h"

namespace gema::fuzz {
namespace {

constexpr Target kTargets[] = {
    {"packet_v4", packet_v4},
    {"packet_v6", packet_v6},
    {"packet_quoted", packet_quoted},
    {"ping_batch", ping_batch},
    {"hot_row", hot_row},
    {"chunk", chunk},
    {"packed_chunk", packed_chunk},
    {"device_message", device_message},
    {"devices_csv", devices_csv},
};

}  // namespace

std::span<const Target> targets() {
  return kTargets;
}

}  // namespace gema::fuzz
