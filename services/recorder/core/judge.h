// What becomes of one record of results: recorded, set aside, discarded or quarantined. Never
// decided by the catalogue: a new device's results may come before its catalogue entry.
//
// Pure. Values in, a decision with its reason out.
#pragma once

#include <cstdint>

#include "common/base/time.h"
#include "common/domain/ping.h"

namespace gema::recorder {

enum class Fate {
  kRecord,
  kSetAside,    // some slot is more than kFutureMax ahead; whole, until it no longer is
  kDiscard,     // every slot is past raw retention
  kQuarantine,  // can never be right
};

struct Judgement {
  Fate fate = Fate::kRecord;
  const char* reason = "";  // of kQuarantine: the rule it breaks
  int64_t oldest_ms = 0;    // slots of the record
  int64_t newest_ms = 0;    // those of late answers included

  friend bool operator==(const Judgement&, const Judgement&) = default;
};

// `partition`: of the stream the record came in; every device in it must belong there.
Judgement judge(const PingResults& results, uint32_t partition, WallTime now, Duration retention);

// The least of it, for what was judged when it was recorded and has been stored since: null, or
// what no chunk can hold, or must (slots of a time to come, which nothing would ever compact).
const char* unfit_for_chunks(const PingResults& results, WallTime now);

}  // namespace gema::recorder
