// Devices: as messages of the bus, and as the file that somebody wrote.
#include "common/codec/device_codec.h"
#include "services/inventory/core/csv.h"
#include "services/inventory/core/devices_file.h"
#include "tests/fuzz/targets.h"

namespace gema::fuzz {
void device_message(Bytes bytes) {
  const uint8_t choice = take_byte(bytes);
  const std::string_view text = text_of(bytes);
  switch (choice % 6) {
    case 0:
      return round_trip(text, decode_device, encode_device);
    case 1:
      return round_trip(text, decode_catalogue, encode_catalogue);
    case 2:
      return round_trip(text, decode_assignment, encode_assignment);
    case 3:
      return round_trip(text, decode_device_change, encode_device_change);
    case 4:
      return round_trip(text, decode_assignment_request, encode_assignment_request);
    default: {
      SnapshotAssembler assembler;
      const auto whole = assembler.add(text);
      if (whole && *whole) FUZZ_CHECK(assembler.held() == (*whole)->version);
    }
  }
}

void devices_csv(Bytes bytes) {
  const std::string_view text = text_of(bytes);
  int line = 0;
  for (const inventory::CsvRow& row : inventory::parse_csv(text)) {
    FUZZ_CHECK(row.line > line);
    line = row.line;
  }
  const auto file = inventory::read_devices_csv(text, {});
  if (!file) return;
  for (const inventory::FileDevice& device : file->devices) {
    FUZZ_CHECK(device.line > 1 && !device.device.address.empty());
    FUZZ_CHECK(device.device.interval_ms > 0 && device.device.timeout_ms > 0);
    FUZZ_CHECK(device.device.min_replies >= 1 &&
               device.device.min_replies <= device.device.echo_count);
  }
  for (const inventory::FileProblem& problem : file->problems) {
    FUZZ_CHECK(!problem.reason.empty());
  }
}

}  // namespace gema::fuzz
