// Where a process' configuration comes from: gema.yaml, DIR/.env, the environment.
#pragma once

#include <string>
#include <vector>

#include "common/config/common.h"
#include "common/config/spec.h"

namespace gema::runtime {

// Fills the fields behind `specs` (those of `common` among them; common.data_dir is set before).
// `config_file`: "" = DIR/gema.yaml, if there is one. Prints every problem on stderr, after
// `program`; returns true when there was none.
bool load_config(const std::string& program, const std::string& config_file,
                 const config::Common& common, const std::vector<config::Spec>& specs);

}  // namespace gema::runtime
