// The calls about the daily CSV files, to bytes and back.
//
// Decoding never trusts its input: it fails with kBadInput, naming the rule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/result.h"
#include "common/domain/csv_files.h"

namespace gema {

// "": today. The day is not judged here.
std::string encode_csv_rebuild(std::string_view day);
Result<std::string> decode_csv_rebuild(std::string_view bytes);

std::string encode_csv_rebuilt(const CsvRebuilt& rebuilt);
Result<CsvRebuilt> decode_csv_rebuilt(std::string_view bytes);

std::string encode_csv_files(const std::vector<CsvFile>& files);
Result<std::vector<CsvFile>> decode_csv_files(std::string_view bytes);

}  // namespace gema
