// The command line of gema: what it takes and what its help says.
#pragma once

namespace gema::cli {

// Exit codes: 0, 1 it failed, 2 the command line or the configuration is wrong.
int run(int argc, char** argv);

}  // namespace gema::cli
