// Gives up what the prober needs only to open its sockets.
#pragma once

#include "common/base/result.h"

namespace gema::prober {

// Drops every capability for good (root keeps those to its files), and forbids gaining any by
// executing something. Call before any thread starts: capabilities belong to threads.
Result<void> drop_capabilities();

}  // namespace gema::prober
