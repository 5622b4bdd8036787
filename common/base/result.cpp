#include "common/base/result.h"

namespace gema {

const char* to_string(Errc code) {
  switch (code) {
    case Errc::kRetryable:
      return "retryable";
    case Errc::kPermanent:
      return "permanent";
    case Errc::kTimeout:
      return "timeout";
    case Errc::kBadInput:
      return "bad input";
    case Errc::kUnavailable:
      return "unavailable";
  }
  return "?";
}

}  // namespace gema
