// gema-inventory --check-devices FILE: says everything that is wrong with a devices file, without a
// database and without changing anything.
#pragma once

namespace gema::inventory {

// One line on stderr for each problem, a summary on stdout. Returns: 0 when there is a good line
// (bad ones are left out by inventory, too), 2 when the file cannot be read or has none.
int check_devices(int argc, char** argv);

}  // namespace gema::inventory
