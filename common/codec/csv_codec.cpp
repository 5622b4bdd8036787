#include "common/codec/csv_codec.h"

#include "gema/v1/csv.pb.h"

namespace gema {
namespace {

template <class Message>
bool parse(std::string_view bytes, Message& message) {
  return bytes.size() <= INT32_MAX &&
         message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

Error bad(const char* what) {
  return Error{Errc::kBadInput, what};
}

}  // namespace

std::string encode_csv_rebuild(std::string_view day) {
  v1::CsvRebuildRequest message;
  message.set_day(std::string(day));
  return message.SerializeAsString();
}

Result<std::string> decode_csv_rebuild(std::string_view bytes) {
  v1::CsvRebuildRequest message;
  if (!parse(bytes, message)) return bad("csv.rebuild: bytes are no CsvRebuildRequest");
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
  if (!parse(bytes, message)) return bad("csv.rebuild: bytes are no CsvRebuildReply");
  if (message.outcome() > kCsvRebuildOutcomeMax) return bad("csv.rebuild: unknown outcome");
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
  if (!parse(bytes, message)) return bad("csv.files: bytes are no CsvFileList");
  std::vector<CsvFile> files;
  files.reserve(static_cast<size_t>(message.files_size()));
  // Nanoseconds in 64 bits end in the year 2262; what is beyond the year 2200 is no time of ours.
  constexpr int64_t kMostUs = 7'258'118'400'000'000;
  for (const auto& entry : message.files()) {
    const int64_t at_us = entry.modified_at_us();
    if (at_us < 0 || at_us > kMostUs) return bad("csv.files: a time is out of range");
    files.push_back({.name = entry.name(),
                     .date = entry.date(),
                     .size_bytes = entry.size_bytes(),
                     .rows = entry.rows(),
                     .modified_at = wall_from_us(at_us)});
  }
  return files;
}

}  // namespace gema
