#include "common/domain/multi_ping.h"

#include <charconv>

namespace gema {

std::string error_message(Verdict verdict, Reason reason) {
  switch (verdict) {
    case Verdict::kAnswered:
      return "";
    case Verdict::kNotMeasured:
      return std::string("Not measured: ") + to_string(reason);
    case Verdict::kFailed:
      break;
  }
  return reason == Reason::kTimeout ? "No response (timeout)"
                                    : std::string("Ping error: ") + to_string(reason);
}

std::string python_float(double value) {
  std::array<char, 32> digits{};
  const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  std::string out(digits.data(), error == std::errc() ? end : digits.data());
  if (out.find_first_of(".en") == std::string::npos) out += ".0";
  return out;
}

}  // namespace gema
