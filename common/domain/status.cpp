#include "common/domain/status.h"

namespace gema {

const char* to_string(DeviceStatus status) {
  switch (status) {
    case DeviceStatus::kNew:
      return "new";
    case DeviceStatus::kUp:
      return "up";
    case DeviceStatus::kDown:
      return "down";
    case DeviceStatus::kUnknown:
      return "unknown";
  }
  return "?";
}

const char* to_string(TransitionReason reason) {
  switch (reason) {
    case TransitionReason::kFirstAnswer:
      return "first answer";
    case TransitionReason::kFailuresInARow:
      return "failures in a row";
    case TransitionReason::kAnsweredAgain:
      return "answered again";
    case TransitionReason::kNeverAnswered:
      return "never answered";
    case TransitionReason::kTimeoutCount:
      return "timeout count";
    case TransitionReason::kReset:
      return "reset";
  }
  return "?";
}

}  // namespace gema
