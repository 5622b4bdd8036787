// gema-broker --make-keys: pairs of keys and the allow-list, made once and left alone after.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/result.h"

namespace gema::broker {

struct KeyRequest {
  std::string name;
  std::string kind;
};

// The broker's pair, and a pair and an entry in clients.yaml for each request. Existing keys stay;
// an entry of a known kind gets its kind's rights of today, one of kind "custom" is left as it is.
// Names in `remove` lose entry and files. One process at a time (a lock); readers see the old list
// or the new.
Result<void> make_keys(const std::filesystem::path& keys_dir,
                       const std::vector<KeyRequest>& requests,
                       const std::vector<std::string>& remove);

// Is "--make-keys" among the arguments? Then this is the whole program.
bool wants_make_keys(int argc, char** argv);
int make_keys_main(int argc, char** argv);

}  // namespace gema::broker
