// GET /metrics of every process with a health socket in one directory, merged into one text.
#pragma once

#include <filesystem>
#include <string>

namespace gema::gateway {

// Asks DIR/*.http.sock one after the other, each at most a second; a process that does not answer
// is missing in the text and shows as gema_gateway_process_scraped{process="..."} 0.
// Blocks; any thread.
std::string collect_metrics(const std::filesystem::path& run_dir);

}  // namespace gema::gateway
