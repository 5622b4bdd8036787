#include "services/timeout-tracker/core/transition_id.h"

#include <uuid/uuid.h>

namespace gema::timeout_tracker {
namespace {

// 6f1d8f5e-6b0d-5c1a-9a3e-67656d610001, made for this purpose. Never changed: ids are in history.
constexpr uuid_t kNamespace = {0x6f, 0x1d, 0x8f, 0x5e, 0x6b, 0x0d, 0x5c, 0x1a,
                               0x9a, 0x3e, 0x67, 0x65, 0x6d, 0x61, 0x00, 0x01};

}  // namespace

TransitionId transition_id(DeviceId device, uint64_t counter) {
  char name[16];
  for (int i = 0; i < 8; ++i) {
    name[i] = static_cast<char>(device >> (8 * i));
    name[8 + i] = static_cast<char>(counter >> (8 * i));
  }
  TransitionId id;
  uuid_generate_sha1(id.data(), kNamespace, name, sizeof name);
  return id;
}

}  // namespace gema::timeout_tracker
