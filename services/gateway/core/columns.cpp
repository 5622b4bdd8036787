#include "services/gateway/core/columns.h"

#include <cmath>

#include "common/base/assert.h"

namespace gema::gateway {

void NumberArray::fixed(double value, int decimals) {
  constexpr int64_t kPowers[] = {1, 10, 100, 1'000, 10'000, 100'000, 1'000'000};
  GEMA_ASSERT(decimals >= 0 && decimals <= 6 && std::isfinite(value));
  int64_t scale = kPowers[decimals];
  int64_t scaled = std::llround(value * static_cast<double>(scale));
  while (scale > 1 && scaled % 10 == 0) {
    scaled /= 10;
    scale /= 10;
  }
  make_room();
  if (scaled < 0) {
    buffer_[at_++] = '-';
    scaled = -scaled;
  }
  const auto write = [this](int64_t part) {
    at_ = static_cast<size_t>(std::to_chars(buffer_ + at_, buffer_ + kSize, part).ptr - buffer_);
  };
  write(scaled / scale);
  if (scale > 1) {
    buffer_[at_++] = '.';
    const int64_t rest = scaled % scale;
    for (int64_t digit = scale / 10; digit > rest && digit > 1; digit /= 10) buffer_[at_++] = '0';
    write(rest);
  }
  buffer_[at_++] = ',';
}

void NumberArray::end() {
  make_room();
  // What stands before is a comma, or the opening bracket. A flush may have taken it away.
  if (at_ == 0) {
    if (out_.back() == ',') out_.pop_back();
  } else if (buffer_[at_ - 1] == ',') {
    --at_;
  }
  buffer_[at_++] = ']';
  flush();
}

}  // namespace gema::gateway
