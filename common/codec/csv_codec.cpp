#include "common/codec/csv_codec.h"

#include "common/codec/message.h"
#include "gema/v1/csv.pb.h"

namespace gema {
std::string encode_csv_rebuild(std::string_view day) {
  v1::CsvRebuildRequest message;
  message.set_day(std::string(day));
  return message.SerializeAsString();
}

Result<std::string> decode_csv_rebuild(std::string_view bytes) {
  v1::CsvRebuildRequest message;
  if (!parse(bytes, message)) return bad_message("csv.rebuild", "bytes are no CsvRebuildRequest");
  return message.day();
}

std::string encode_csv_rebuilt(const CsvRebuilt& rebuilt) {
  v1::CsvRebuildReply message;
  message.set_outcome(static_cast<uint32_t>(rebuilt.outcome));
  message.set_device_count(rebuilt.device_count);
  message.set_error(rebuilt.error);
  return message.SerializeAsString();
}

Result<CsvRebuilt> decode_csv_rebuilt(std::string_view bytes) {
  v1::CsvRebuildReply message;
  if (!parse(bytes, message)) return bad_message("csv.rebuild", "bytes are no CsvRebuildReply");
  if (message.outcome() > kCsvRebuildOutcomeMax)
    return bad_message("csv.rebuild", "unknown outcome");
  return CsvRebuilt{.outcome = static_cast<CsvRebuildOutcome>(message.outcome()),
                    .device_count = message.device_count(),
                    .error = message.error()};
}

std::string encode_csv_files(const std::vector<CsvFile>& files) {
  v1::CsvFileList message;
  for (const CsvFile& file : files) {
    auto* entry = message.add_files();
    entry->set_name(file.name);
    entry->set_date(file.date);
    entry->set_size_bytes(file.size_bytes);
    entry->set_rows(file.rows);
    entry->set_modified_at_us(unix_us(file.modified_at));
  }
  return message.SerializeAsString();
}

Result<std::vector<CsvFile>> decode_csv_files(std::string_view bytes) {
  v1::CsvFileList message;
  if (!parse(bytes, message)) return bad_message("csv.files", "bytes are no CsvFileList");
  std::vector<CsvFile> files;
  files.reserve(static_cast<size_t>(message.files_size()));
  for (const auto& entry : message.files()) {
    const int64_t at_us = entry.modified_at_us();
    if (!is_time_of_ours(at_us)) return bad_message("csv.files", "a time is out of range");
    files.push_back({.name = entry.name(),
                     .date = entry.date(),
                     .size_bytes = entry.size_bytes(),
                     .rows = entry.rows(),
                     .modified_at = wall_from_us(at_us)});
  }
  return files;
}

}  // namespace gema
