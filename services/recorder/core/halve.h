// Does with all of n things what fails only because of some: tries all at once, then halves of what
// failed, and so on. k culprits cost at most 2 k log2(n) tries, and never more than 2 n.
//
// Pure. What failed for another reason than the things themselves (not kBadInput) ends it at once.
#pragma once

#include <cstddef>

#include "common/base/result.h"

namespace gema::recorder {

// attempt(from, to) -> Result<void>: does it with things [from, to), or leaves no trace.
// refuse(i, error) -> Result<void>: thing i alone fails with `error`; sets it aside.
// In order: everything before i was done or refused when i is.
template <class Attempt, class Refuse>
Result<void> halve(size_t from, size_t to, const Attempt& attempt, const Refuse& refuse) {
  if (from == to) return {};
  Result<void> done = attempt(from, to);
  if (done || done.error().code != Errc::kBadInput) return done;
  if (to - from == 1) return refuse(from, done.error());
  const size_t middle = from + (to - from) / 2;
  if (Result<void> first = halve(from, middle, attempt, refuse); !first) return first;
  return halve(middle, to, attempt, refuse);
}

}  // namespace gema::recorder
