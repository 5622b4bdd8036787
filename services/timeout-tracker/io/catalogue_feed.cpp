#include "services/timeout-tracker/io/catalogue_feed.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "common/base/crc32c.h"
#include "common/observability/log.h"
#include "gema/v1/inventory.pb.h"

namespace gema::timeout_tracker {
namespace {

// The file: four bytes of CRC32C (little-endian), then the serialised Catalogue.
std::string checksum_of(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  std::string text;
  for (int i = 0; i < 4; ++i) text += static_cast<char>(crc >> (8 * i));
  return text;
}

}  // namespace

bool CatalogueFeed::load() {
  std::ifstream file(file_, std::ios::binary);
  if (!file) return false;
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (text.size() < 4) return false;
  const std::string_view bytes = std::string_view(text).substr(4);
  auto taken = checksum_of(bytes) == text.substr(0, 4)
                   ? take(bytes)
                   : Result<bool>(Error{Errc::kBadInput, "checksum is wrong"});
  if (taken) return *taken;
  obs::log_warn("the catalogue on disk is unreadable; waiting for inventory",
                {{"file", file_.string()}, {"error", taken.error().message}});
  return false;
}

Result<bool> CatalogueFeed::take(std::string_view bytes) {
  auto catalogue = decode_catalogue(bytes);
  if (!catalogue) return catalogue.error();
  const bool first = assembler_.held() == Version{} && devices_.empty();
  if (!first && catalogue->version <= assembler_.held()) return false;
  assembler_.set_held(catalogue->version);
  devices_.clear();
  for (const Device& device : catalogue->devices) devices_.push_back(device.id);
  std::sort(devices_.begin(), devices_.end());
  return true;
}

Result<bool> CatalogueFeed::on_part(std::string_view payload) {
  const Version before = assembler_.held();
  auto whole = assembler_.add(payload);
  if (!whole) return whole.error();
  if (!*whole) return false;
  assembler_.set_held(before);  // what add() noted before we could read it
  return on_snapshot((**whole).bytes);
}

Result<bool> CatalogueFeed::on_snapshot(std::string_view catalogue) {
  auto taken = take(catalogue);
  if (taken && *taken) save(catalogue);
  return taken;
}

void CatalogueFeed::on_heartbeat(std::string_view process, std::string_view payload) {
  if (process != "inventory") return;
  v1::Heartbeat heartbeat;
  if (!heartbeat.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return;
  if (heartbeat.has_catalogue()) named_ = from_proto(heartbeat.catalogue());
}

void CatalogueFeed::save(std::string_view bytes) const {
  const std::filesystem::path next = file_.string() + ".new";
  std::ofstream file(next, std::ios::binary | std::ios::trunc);
  file << checksum_of(bytes) << bytes;
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(next, file_, error);
  if (!file || error) {
    obs::log_warn("cannot keep the catalogue on disk; the next start waits for inventory",
                  {{"file", file_.string()}});
  }
}

}  // namespace gema::timeout_tracker
