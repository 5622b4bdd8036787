// GEMA_ASSERT states what only a programming error can break. It aborts in every build: a monitor
// that goes on with a broken invariant lies. What comes from outside is a Result, never an assert.
#pragma once

namespace gema {

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);

}  // namespace gema

#define GEMA_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::gema::assertion_failed(#condition, __FILE__, __LINE__))
