#include "common/stream/core/types.h"

namespace gema::stream {

const char* to_string(EpochReason reason) {
  switch (reason) {
    case EpochReason::kUnspecified:
      return "unspecified";
    case EpochReason::kNewSpool:
      return "new spool";
    case EpochReason::kUncleanBoot:
      return "machine boot without clean stop";
    case EpochReason::kSyncFailed:
      return "fdatasync failed";
    case EpochReason::kAckBeyondLast:
      return "acknowledgement beyond the last seq";
    case EpochReason::kClockStep:
      return "clock step";
    case EpochReason::kSpoolDamaged:
      return "spool damaged";
  }
  return "unspecified";
}

}  // namespace gema::stream
