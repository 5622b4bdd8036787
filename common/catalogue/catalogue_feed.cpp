#include "common/catalogue/catalogue_feed.h"

#include <fstream>
#include <iterator>
#include <string>

#include "common/base/crc32c.h"
#include "common/bus/topics.h"
#include "common/observability/log.h"
#include "gema/v1/inventory.pb.h"
#include "proto/parse.h"

namespace gema {
namespace {

constexpr const char* kInventory = "inventory";
constexpr Duration kDeadline = 10s;  // of the call for a snapshot
constexpr Duration kAgain = 2s;      // its parts may be on their way; guess

// The file: four bytes of CRC32C (little-endian), then the serialised Catalogue.
std::string checksum_of(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  std::string text;
  for (int i = 0; i < 4; ++i) text += static_cast<char>(crc >> (8 * i));
  return text;
}

void refused(const Error& error) {
  obs::log_warn("catalogue refused", {{"error", error.message}});
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

void CatalogueFeed::subscribe(bus::BusClient& client) const {
  client.subscribe(bus::catalogue_topic());
  client.subscribe(bus::heartbeat_topic(kInventory));
}

bool CatalogueFeed::on_message(std::string_view topic, std::string_view payload) {
  const auto parsed = bus::parse_topic(topic);
  if (!parsed) return false;
  if (parsed->kind == bus::TopicKind::kCatalogue) {
    on_part(payload);
    return true;
  }
  if (parsed->kind != bus::TopicKind::kHeartbeat) return false;
  if (parsed->process == kInventory) on_heartbeat(payload);
  return true;
}

// What is published may be lost; inventory's heartbeat tells, and a call brings it.
void CatalogueFeed::tick(bus::Caller& caller, Now now) {
  now_ = now;
  if (named_ <= assembler_.held()) {
    ask_at_ = now.mono + kAgain;
    return;
  }
  if (asking_ || now.mono < ask_at_) return;
  asking_ = true;
  caller.call(
      kInventory, "catalogue.snapshot", "", kDeadline,
      [this](Result<std::string> reply) {
        asking_ = false;
        ask_at_ = now_.mono + kAgain;
        const auto taken = reply ? on_snapshot(*reply) : Result<bool>(reply.error());
        if (!taken) refused(taken.error());
      },
      now);
}

Result<bool> CatalogueFeed::take(std::string_view bytes) {
  auto catalogue = decode_catalogue(bytes);
  if (!catalogue) return catalogue.error();
  if (have_ && catalogue->version <= assembler_.held()) return false;
  have_ = true;
  assembler_.set_held(catalogue->version);
  obs::log_info("catalogue", {{"generation", catalogue->version.generation},
                              {"number", catalogue->version.number},
                              {"devices", catalogue->devices.size()}});
  take_(std::move(*catalogue));
  return true;
}

void CatalogueFeed::on_part(std::string_view payload) {
  const Version before = assembler_.held();
  auto whole = assembler_.add(payload);
  if (!whole) return refused(whole.error());
  if (!*whole) return;
  assembler_.set_held(before);  // what add() noted before we could read it
  if (const auto taken = on_snapshot((**whole).bytes); !taken) refused(taken.error());
}

Result<bool> CatalogueFeed::on_snapshot(std::string_view bytes) {
  auto taken = take(bytes);
  if (taken && *taken) save(bytes);
  return taken;
}

void CatalogueFeed::on_heartbeat(std::string_view payload) {
  v1::Heartbeat heartbeat;
  if (!parse(payload, heartbeat)) return;
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

}  // namespace gema
