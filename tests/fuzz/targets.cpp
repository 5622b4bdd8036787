#include "tests/fuzz/targets.h"

// Later versions log by other means.
#if __has_include(<google/protobuf/stubs/logging.h>)
#include <google/protobuf/stubs/logging.h>
#define GEMA_PROTOBUF_LOGS 1
#endif

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
    {"sealed_chunk", sealed_chunk},
    {"rollup_row", rollup_row},
    {"history_call", history_call},
    {"device_message", device_message},
    {"devices_csv", devices_csv},
    {"web_reply", web_reply},
};

}  // namespace

void keep_protobuf_quiet() {
#ifdef GEMA_PROTOBUF_LOGS
  google::protobuf::SetLogHandler(nullptr);
#endif
}

std::span<const Target> targets() {
  return kTargets;
}

}  // namespace gema::fuzz
