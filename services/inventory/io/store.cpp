#include "services/inventory/io/store.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "common/base/rfc3339.h"
#include "common/codec/device_codec.h"
#include "common/postgres/migrate.h"

namespace gema::inventory {
namespace {

using Json = nlohmann::json;
using postgres::Transaction;

// Rows of one statement: large enough to make round trips cheap, small enough for one parameter.
constexpr size_t kRowsPerStatement = 2'000;

constexpr const char* kSelectDevices =
    "SELECT id, address, hostname, merk, os, kondisi, supplier, type, post_code, web_url, "
    "id_lokasi,"
    " to_json(probe_from)::text, parent, interval_ms, timeout_ms, echo_count, min_replies, "
    "tags::text,"
    " source, source_id, encode(source_record, 'hex'), removed_at IS NOT NULL, echo_spacing_ms,"
    " web_status, web_insecure, web_auth, web_json, to_json(tcp_ports)::text"
    " FROM devices ORDER BY id";

constexpr const char* kUpsertDevices =
    "INSERT INTO devices (id, address, hostname, merk, os, kondisi, supplier, type, post_code, "
    "web_url,"
    " id_lokasi, probe_from, parent, interval_ms, timeout_ms, echo_count, min_replies, tags, "
    "source,"
    " source_id, source_record, created_at, updated_at, removed_at, echo_spacing_ms, web_status,"
    " web_insecure, web_auth, web_json, tcp_ports)"
    " SELECT id, address, hostname, merk, os, kondisi, supplier, type, post_code, web_url, "
    "id_lokasi,"
    " probe_from, parent, interval_ms, timeout_ms, echo_count, min_replies, tags, source, "
    "source_id,"
    " decode(source_record, 'hex'), $2::timestamptz, $2::timestamptz,"
    " CASE WHEN removed THEN $2::timestamptz END, echo_spacing_ms, web_status, web_insecure,"
    " web_auth, web_json, tcp_ports"
    " FROM jsonb_to_recordset($1::jsonb) AS r(id bigint, address text, hostname text, merk text,"
    " os text, kondisi text, supplier text, type text, post_code text, web_url text, id_lokasi "
    "text,"
    " probe_from text[], parent bigint, interval_ms integer, timeout_ms integer, echo_count "
    "integer,"
    " min_replies integer, tags jsonb, source text, source_id text, source_record text,"
    " removed boolean, echo_spacing_ms integer, web_status integer, web_insecure boolean,"
    " web_auth text, web_json text, tcp_ports integer[])"
    " ON CONFLICT (id) DO UPDATE SET address = excluded.address, hostname = excluded.hostname,"
    " merk = excluded.merk, os = excluded.os, kondisi = excluded.kondisi,"
    " supplier = excluded.supplier, type = excluded.type, post_code = excluded.post_code,"
    " web_url = excluded.web_url, id_lokasi = excluded.id_lokasi, probe_from = excluded.probe_from,"
    " parent = excluded.parent, interval_ms = excluded.interval_ms, timeout_ms = "
    "excluded.timeout_ms,"
    " echo_count = excluded.echo_count, min_replies = excluded.min_replies, tags = excluded.tags,"
    " source = excluded.source, source_id = excluded.source_id,"
    " source_record = excluded.source_record, updated_at = excluded.updated_at,"
    " echo_spacing_ms = excluded.echo_spacing_ms, web_status = excluded.web_status,"
    " web_insecure = excluded.web_insecure, web_auth = excluded.web_auth,"
    " web_json = excluded.web_json, tcp_ports = excluded.tcp_ports,"
    " removed_at = CASE WHEN excluded.removed_at IS NULL THEN NULL"
    " ELSE coalesce(devices.removed_at, excluded.removed_at) END";

constexpr const char* kInsertSchedules =
    "INSERT INTO schedules (device_id, from_at, interval_ms, timeout_ms, echo_count, min_replies,"
    " probe_from)"
    " SELECT id, $2::timestamptz, scheduled_ms, timeout_ms, echo_count, min_replies, probe_from"
    " FROM jsonb_to_recordset($1::jsonb) AS r(id bigint, scheduled_ms integer, timeout_ms integer,"
    " echo_count integer, min_replies integer, probe_from text[])"
    " ON CONFLICT (device_id, from_at) DO UPDATE SET interval_ms = excluded.interval_ms,"
    " timeout_ms = excluded.timeout_ms, echo_count = excluded.echo_count,"
    " min_replies = excluded.min_replies, probe_from = excluded.probe_from";

constexpr const char* kInsertAudit =
    "INSERT INTO audit (at, actor, action, device_id, changes)"
    " SELECT $2::timestamptz, $3, action, id, changes"
    " FROM jsonb_to_recordset($1::jsonb) AS r(id bigint, action text, changes jsonb)"
    " ORDER BY id";

std::string to_hex(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string from_hex(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(digit(text[i]) * 16 + digit(text[i + 1]));
  }
  return bytes;
}

Json row_of(const Change& change) {
  const Device& d = change.after.device;
  Json row = {{"id", d.id},
              {"address", d.address},
              {"hostname", d.hostname},
              {"merk", d.merk},
              {"os", d.os},
              {"kondisi", d.kondisi},
              {"supplier", d.supplier},
              {"type", d.type},
              {"post_code", d.post_code},
              {"web_url", d.web_url},
              {"id_lokasi", d.id_lokasi},
              {"probe_from", d.probe_from},
              {"parent", d.parent},
              {"interval_ms", d.interval_ms},
              {"timeout_ms", d.timeout_ms},
              {"echo_count", d.echo_count},
              {"min_replies", d.min_replies},
              {"echo_spacing_ms", d.echo_spacing_ms},
              {"web_status", d.web_status},
              {"web_insecure", d.web_insecure},
              {"web_auth", d.web_auth},
              {"web_json", d.web_json},
              {"tcp_ports", d.tcp_ports},
              {"tags", d.tags},
              {"source", d.source},
              {"source_id", d.source_id},
              {"removed", change.after.removed}};
  if (change.after.source_record)
    row["source_record"] = to_hex(encode_device(*change.after.source_record));
  return row;
}

Json schedule_of(const Change& change) {
  const Device& d = change.after.device;
  return {{"id", d.id},
          {"scheduled_ms", scheduled_interval_ms(change.after)},
          {"timeout_ms", d.timeout_ms},
          {"echo_count", d.echo_count},
          {"min_replies", d.min_replies},
          {"probe_from", d.probe_from}};
}

Json audit_of(const Change& change) {
  Json changes = Json::object();
  for (const FieldChange& field : change.fields) changes[field.field] = {field.before, field.after};
  return {{"id", change.after.device.id},
          {"action", to_string(change.action)},
          {"changes", std::move(changes)}};
}

StoredDevice device_of(const pqxx::row& row) {
  StoredDevice stored;
  Device& d = stored.device;
  d.id = static_cast<DeviceId>(row[0].as<int64_t>());
  std::string* const texts[] = {&d.address,  &d.hostname, &d.merk,      &d.os,      &d.kondisi,
                                &d.supplier, &d.type,     &d.post_code, &d.web_url, &d.id_lokasi};
  int column = 1;
  for (std::string* text : texts) *text = row[column++].as<std::string>();
  d.probe_from = Json::parse(row[11].as<std::string>()).get<std::vector<std::string>>();
  d.parent = static_cast<DeviceId>(row[12].as<int64_t>());
  d.interval_ms = row[13].as<uint32_t>();
  d.timeout_ms = row[14].as<uint32_t>();
  d.echo_count = row[15].as<uint32_t>();
  d.min_replies = row[16].as<uint32_t>();
  d.tags = Json::parse(row[17].as<std::string>()).get<std::map<std::string, std::string>>();
  d.source = row[18].as<std::string>();
  d.source_id = row[19].as<std::string>();
  if (!row[20].is_null()) {
    // One that cannot be read (an older form) is none: the file's next line is then taken whole.
    auto record = decode_device(from_hex(row[20].as<std::string>()));
    if (record) stored.source_record = std::move(*record);
  }
  stored.removed = row[21].as<bool>();
  d.echo_spacing_ms = row[22].as<uint32_t>();
  d.web_status = row[23].as<uint32_t>();
  d.web_insecure = row[24].as<bool>();
  d.web_auth = row[25].as<std::string>();
  d.web_json = row[26].as<std::string>();
  d.tcp_ports = Json::parse(row[27].as<std::string>()).get<std::vector<uint32_t>>();
  return stored;
}

Version read_version(Transaction& tx, DeviceId& next_id) {
  const auto rows =
      tx.exec("SELECT generation, number, next_device_id FROM inventory_state FOR UPDATE");
  next_id = static_cast<DeviceId>(rows[0][2].as<int64_t>());
  return {static_cast<uint64_t>(rows[0][0].as<int64_t>()),
          static_cast<uint64_t>(rows[0][1].as<int64_t>())};
}

void write_version(Transaction& tx, Version version, DeviceId next_id) {
  tx.exec(
      "UPDATE inventory_state SET generation = $1, number = $2,"
      " next_device_id = greatest(next_device_id, $3), changed_at = now()",
      static_cast<int64_t>(version.generation), static_cast<int64_t>(version.number),
      static_cast<int64_t>(next_id));
}

}  // namespace

Result<void> Store::connect() {
  if (connection_ && connection_->usable()) return {};
  connection_.reset();
  auto opened = postgres::Connection::open(options_);
  if (!opened) return opened.error();
  connection_ = std::move(*opened);
  return {};
}

Result<Inventory> Store::load(const Known& known) {
  if (auto connected = connect(); !connected) return connected.error();
  if (auto migrated = postgres::migrate(*connection_); !migrated) return migrated.error();
  return connection_->transact([&](Transaction& tx) {
    Inventory inventory;
    inventory.version = read_version(tx, inventory.next_id);
    for (const auto& row : tx.exec(kSelectDevices)) {
      StoredDevice stored = device_of(row);
      inventory.devices.emplace(stored.device.id, std::move(stored));
    }
    const Version found = inventory.version;
    const bool continues = known.ours && found.generation == known.ours->generation &&
                           found.number >= known.ours->number &&
                           found.generation > known.generation_above;
    inventory.next_id = std::max(inventory.next_id, known.next_id);
    if (continues) return inventory;
    uint64_t highest = std::max(found.generation, known.generation_above);
    if (known.ours) highest = std::max(highest, known.ours->generation);
    inventory.version = {highest + 1, 1};
    write_version(tx, inventory.version, inventory.next_id);
    return inventory;
  });
}

Result<void> Store::write(const Plan& plan, Version before, Version after, const std::string& actor,
                          WallTime now) {
  if (auto connected = connect(); !connected) return connected.error();
  const std::string at = format_rfc3339(now);
  return connection_->transact([&](Transaction& tx) -> Result<void> {
    DeviceId next_id = 0;
    if (read_version(tx, next_id) != before) {
      return Error{Errc::kRetryable, "the inventory was changed by somebody else meanwhile"};
    }
    for (size_t begin = 0; begin < plan.changes.size(); begin += kRowsPerStatement) {
      const size_t end = std::min(begin + kRowsPerStatement, plan.changes.size());
      Json rows = Json::array(), schedules = Json::array(), audit = Json::array();
      for (size_t i = begin; i < end; ++i) {
        const Change& change = plan.changes[i];
        rows.push_back(row_of(change));
        if (change.schedule_changed) schedules.push_back(schedule_of(change));
        if (change.action != Action::kNoted) audit.push_back(audit_of(change));
      }
      tx.exec(kUpsertDevices, rows.dump(), at);
      if (!schedules.empty()) tx.exec(kInsertSchedules, schedules.dump(), at);
      if (!audit.empty()) tx.exec(kInsertAudit, audit.dump(), at, actor);
    }
    write_version(tx, after, plan.next_id);
    return {};
  });
}

Result<void> Store::write_probers(const std::vector<ProberRow>& probers, WallTime now) {
  if (auto connected = connect(); !connected) return connected.error();
  const std::string at = format_rfc3339(now);
  return connection_->transact([&](Transaction& tx) {
    for (const ProberRow& prober : probers) {
      tx.exec(
          "INSERT INTO probers (name, location, first_seen_at, last_seen_at)"
          " VALUES ($1, $2, $3::timestamptz, $3::timestamptz)"
          " ON CONFLICT (name) DO UPDATE SET location = excluded.location,"
          " last_seen_at = excluded.last_seen_at",
          prober.name, prober.location, at);
    }
  });
}

Result<void> Store::write_probing(const std::vector<ProbingEvent>& events) {
  if (auto connected = connect(); !connected) return connected.error();
  return connection_->transact([&](Transaction& tx) {
    for (const ProbingEvent& event : events) {
      const Json changes = {{"by", event.by}, {"reason", event.reason}};
      tx.exec(
          "INSERT INTO audit (at, actor, action, device_id, changes)"
          " SELECT $1::timestamptz, $2, $3, 0, $4::jsonb WHERE NOT EXISTS"
          " (SELECT FROM audit WHERE device_id = 0 AND at = $1::timestamptz AND action = $3)",
          format_rfc3339(event.at), event.actor,
          std::string(event.paused ? "probing.paused" : "probing.resumed"), changes.dump());
    }
  });
}

Result<void> Store::ping() {
  if (auto connected = connect(); !connected) return connected.error();
  return connection_->transact([](Transaction& tx) { tx.exec("SELECT 1"); });
}

}  // namespace gema::inventory
