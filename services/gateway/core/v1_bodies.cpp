#include "services/gateway/core/v1_bodies.h"

#include <algorithm>
#include <map>

#include "common/base/rfc3339.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/ping_bodies.h"

namespace gema::gateway {
namespace {

std::string rfc3339_ms(int64_t ms) {
  return format_rfc3339(wall_from_ms(ms));
}

void write_counts(Json& json, const View& view) {
  const Counts counts = view.counts();
  json.number("devices", counts.devices)
      .number("answered", counts.answered)
      .number("failed", counts.failed)
      .number("not_measured", counts.not_measured)
      .number("silent", counts.silent)
      .number("timeouts", counts.timeouts)
      .number("online", counts.online)
      .number("offline", counts.offline)
      .real("results_per_second", round2(view.rates.results_per_second))
      .real("worst_lag_ms", round2(view.rates.lag_max_us / 1000.0));
  const RoundTrips rtt = view.round_trips();
  json.real("rtt_min_ms", rtt.min_us / 1000.0)
      .real("rtt_median_ms", rtt.median_us / 1000.0)
      .real("rtt_max_ms", rtt.max_us / 1000.0);
}

void write_name(Json& json, const Device& device) {
  json.number("device_id", device.id)
      .text("hostname", device.hostname.empty() ? device.address : device.hostname)
      .text("address", device.address);
}

std::string frame(const char* event, Json& json) {
  return std::string("event: ") + event + "\ndata: " + json.take() + "\n\n";
}

std::string why_of(const View& view, size_t index) {
  const DeviceLive& live = view.live[index];
  return why_text(live.verdict, live.reason, live.details.get(),
                  view.catalogue->devices[index].web_status);
}

void write_address(Json& json, std::string_view key, std::string_view address) {
  json.key(key);
  if (address.empty()) {
    json.null();
  } else {
    json.text(address);
  }
}

// What a prober says of itself: whether its results can be trusted, and why not.
void write_trust(Json& json, const ProberTrust& prober) {
  json.text("suspicion", to_string(prober.suspicion)).key("suspicion_since");
  if (prober.since == WallTime{}) {
    json.null();
  } else {
    json.text(format_rfc3339(prober.since));
  }
  json.real("lag_ms", prober.health.lag_max_us / 1000.0)
      .number("send_errors", prober.health.send_errors)
      .number("socket_drops", prober.health.socket_drops)
      .number("missed_slots", prober.health.missed_slots)
      .number("canaries_answered", prober.health.canaries_answered)
      .number("canaries_failed", prober.health.canaries_failed);
}

void write_probers(Json& json, const View& view) {
  json.key("probers").array();
  for (const ProberTrust& prober : view.probers) {
    json.object().text("name", prober.name).text("location", prober.location);
    write_trust(json, prober);
    json.end_object();
  }
  json.end_array();
}

void write_process(Json& json, const Process& process, Now now) {
  const auto silent_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(now.mono - process.heard_at).count();
  json.object()
      .text("name", process.name)
      .text("kind", process.kind)
      .text("location", process.location)
      .boolean("alive", process.alive(now))
      .boolean("ready", process.ready && process.alive(now))
      .boolean("paused", process.paused)
      .text("paused_by", process.paused_by)
      .number("heard_ms_ago", silent_ms)
      .text("started_at", format_rfc3339(process.started_at));
  json.key("waiting_for").array();
  for (const auto& what : process.waiting_for) {
    json.text(what);
  }
  json.end_array().end_object();
}

// What keeps a process from its work, or impairs it. A prober that is gone was perhaps taken away;
// what that means for its devices is in their results.
void write_troubles(Json& json, const View& view) {
  json.key("troubles").array();
  for (const Process& process : view.processes) {
    if (process.alive(view.at)) {
      for (const auto& what : process.waiting_for) {
        json.object().text("process", process.name).text("what", what).end_object();
      }
    } else if (process.kind != "prober") {
      json.object().text("process", process.name).text("what", "does not answer").end_object();
    }
  }
  json.end_array();
}

// The name of a sample line's family as its HELP and TYPE lines have it is not always the sample's
// (histograms add _bucket, _sum, _count); the exposition names the family first, so the last TYPE
// or HELP line says which family samples belong to.
struct Family {
  std::string help;
  std::string type;
  std::string samples;
};

std::string label_value(const std::string& text) {
  std::string out;
  for (char c : text) {
    if (c == '\\' || c == '"') {
      out += '\\';
    }
    out += c;
  }
  return out;
}

void add_sample(Family& family, std::string_view line, const std::string& process) {
  const size_t name_end = line.find_first_of("{ ");
  if (name_end == std::string_view::npos) {
    return;
  }
  const std::string label = "process=\"" + label_value(process) + "\"";
  family.samples += line.substr(0, name_end);
  if (line[name_end] == '{') {
    const bool empty = name_end + 1 < line.size() && line[name_end + 1] == '}';
    family.samples += '{' + label + (empty ? "" : ",");
    family.samples += line.substr(name_end + 1);
  } else {
    family.samples += '{' + label + '}';
    family.samples += line.substr(name_end);
  }
  family.samples += '\n';
}

}  // namespace

void write_device(Json& json, const Device& device) {
  json.object()
      .number("id", device.id)
      .text("address", device.address)
      .text("hostname", device.hostname)
      .text("merk", device.merk)
      .text("os", device.os)
      .text("kondisi", device.kondisi)
      .text("supplier", device.supplier)
      .text("type", device.type)
      .text("post_code", device.post_code)
      .text("web_url", device.web_url)
      .text("id_lokasi", device.id_lokasi);
  json.key("probe_from").array();
  for (const auto& location : device.probe_from) {
    json.text(location);
  }
  json.end_array().key("parent");
  if (device.parent == 0) {
    json.null();
  } else {
    json.number(device.parent);
  }
  json.number("interval_ms", device.interval_ms)
      .number("timeout_ms", device.timeout_ms)
      .number("echo_count", device.echo_count)
      .number("min_replies", device.min_replies)
      .number("echo_spacing_ms", device.echo_spacing_ms)
      .number("web_status", device.web_status)
      .boolean("web_insecure", device.web_insecure)
      .text("web_auth", device.web_auth)
      .text("web_json", device.web_json);
  json.key("tcp_ports").array();
  for (const uint32_t port : device.tcp_ports) {
    json.number(port);
  }
  json.end_array();
  json.key("tags").object();
  for (const auto& [name, value] : device.tags) {
    // Names of tags come from outside: written as text, followed by the colon.
    Json key;
    key.text(name);
    const std::string quoted = key.take();
    json.key(std::string_view(quoted).substr(1, quoted.size() - 2)).text(value);
  }
  json.end_object().text("source", device.source).text("source_id", device.source_id).end_object();
}

std::string device_json(const Device& device) {
  Json json;
  json.object().boolean("success", true).key("data");
  write_device(json, device);
  json.end_object();
  return json.take();
}

std::string device_live_json(const View& view, size_t index) {
  const Device& device = view.catalogue->devices[index];
  const DeviceLive& live = view.live[index];
  auto moment = [](Json& json, std::string_view key, int64_t ms) {
    json.key(key);
    if (ms == 0) {
      json.null();
    } else {
      json.text(rfc3339_ms(ms));
    }
  };
  Json json;
  json.object().boolean("success", true).key("data");
  write_device(json, device);
  json.key("live").object().text("status", to_string(live.status));
  moment(json, "since", live.since_ms);
  json.number("consecutive_timeouts", live.consecutive_timeouts);
  moment(json, "last_success", live.last_success_ms);
  json.key("result");
  if (live.measured()) {
    DetailedResult result{.due_ms = live.slot_ms,
                          .interval_ms = live.interval_ms,
                          .verdict = live.verdict,
                          .reason = live.reason,
                          .rtt_us = live.rtt_us,
                          .location = view.names[live.location],
                          .prober = view.names[live.prober],
                          .details = {}};
    if (live.details != nullptr) {
      result.details = *live.details;
    } else if (live.verdict == Verdict::kAnswered) {
      result.details.echoes = {{EchoOutcome::kReply, live.rtt_us}};
    }
    write_result(json, result, device.web_status);
  } else {
    json.null();
  }
  json.key("newest");
  if (live.newest_ms == 0) {
    json.null();
  } else {
    json.object()
        .text("at", rfc3339_ms(live.newest_ms))
        .text("verdict", to_string(live.newest_verdict))
        .text("reason", to_string(live.newest_reason));
    if (live.newest_text != 0) {
      json.text("paused_by", view.names[live.newest_text]);
    }
    json.end_object();
  }
  json.end_object().end_object();
  return json.take();
}

std::string results_json(DeviceId id, const Device* device,
                         const std::vector<DetailedResult>& results, bool truncated) {
  Json json(results.size() * 300 + 100);
  json.object().boolean("success", true).number("device_id", id).key("data").array();
  for (const DetailedResult& result : results) {
    write_result(json, result, device == nullptr ? 200 : device->web_status);
  }
  json.end_array()
      .number("count", results.size())
      .boolean("truncated", truncated)
      .key("next_before");
  if (truncated && !results.empty()) {
    json.text(rfc3339_ms(results.back().due_ms));
  } else {
    json.null();
  }
  json.end_object();
  return json.take();
}

std::string addresses_json(DeviceId id, const std::vector<AddressRow>& rows) {
  Json json;
  json.object().boolean("success", true).number("device_id", id).key("data").array();
  for (const AddressRow& row : rows) {
    json.object()
        .text("at", rfc3339_ms(row.at_ms))
        .text("location", row.location)
        .text("prober", row.prober);
    write_address(json, "was", row.was);
    write_address(json, "becomes", row.becomes);
    json.end_object();
  }
  json.end_array().number("count", rows.size()).end_object();
  return json.take();
}

std::string devices_page(const View& view, DeviceId after, size_t limit) {
  const auto& devices = view.catalogue->devices;
  auto it = std::upper_bound(devices.begin(), devices.end(), after,
                             [](DeviceId id, const Device& d) { return id < d.id; });
  Json json(limit * 400);
  json.object().boolean("success", true).key("data").array();
  size_t count = 0;
  DeviceId last = after;
  for (; it != devices.end() && count < limit; ++it, ++count) {
    write_device(json, *it);
    last = it->id;
  }
  json.end_array()
      .number("count", count)
      .number("total", devices.size())
      .number("limit", limit)
      .key("next_after");
  if (it == devices.end()) {
    json.null();
  } else {
    json.number(last);
  }
  json.end_object();
  return json.take();
}

std::string status_json(const View& view) {
  Json json;
  json.object().boolean("success", true).text("at", format_rfc3339(view.at.wall));
  write_counts(json, view);
  json.boolean("tracker_loaded", view.tracker_loaded);
  json.boolean("timeout_tracking", view.tracking_enabled);
  write_probing(json, view);
  json.key("newest_result_age_ms");
  if (view.newest_record_at) {
    json.number(std::max<int64_t>(0, unix_ms(view.at.wall) - unix_ms(*view.newest_record_at)));
  } else {
    json.null();
  }
  json.key("catalogue");
  if (view.catalogue == nullptr) {
    json.null();
  } else {
    json.object()
        .number("generation", view.catalogue->version.generation)
        .number("number", view.catalogue->version.number)
        .end_object();
  }
  json.key("processes").array();
  for (const Process& process : view.processes) {
    write_process(json, process, view.at);
  }
  json.end_array();
  write_probers(json, view);
  json.end_object();
  return json.take();
}

std::string counts_frame(const View& view) {
  Json json;
  json.object().text("at", format_rfc3339(view.at.wall));
  write_counts(json, view);
  json.boolean("tracker_loaded", view.tracker_loaded);
  write_probing(json, view);
  write_troubles(json, view);
  json.end_object();
  return frame("counts", json);
}

std::string results_frame(const View& view, const std::vector<DeviceId>& devices) {
  Json json;
  json.object().key("results").array();
  for (DeviceId id : devices) {
    const auto index = view.find(id);
    if (!index || !view.live[*index].measured()) {
      continue;
    }
    const DeviceLive& live = view.live[*index];
    json.object();
    write_name(json, view.catalogue->devices[*index]);
    json.text("at", rfc3339_ms(live.slot_ms))
        .text("status", to_string(live.status))
        .text("verdict", to_string(live.verdict))
        .text("reason", to_string(live.reason))
        .text("why", why_of(view, *index))
        .key("rtt_ms");
    if (live.verdict == Verdict::kAnswered && live.rtt_us > 0) {
      json.real(live.rtt_us / 1000.0);
    } else {
      json.null();
    }
    json.text("location", view.names[live.location]).end_object();
  }
  json.end_array().end_object();
  return frame("results", json);
}

std::string silent_frame(const View& view) {
  const auto rows = timeout_devices(view, 1);
  Json json;
  json.object().number("total", rows.size()).key("devices").array();
  for (size_t r = 0; r < std::min(rows.size(), kSilentRowsMax); ++r) {
    const DeviceLive& live = view.live[rows[r]];
    json.object();
    write_name(json, view.catalogue->devices[rows[r]]);
    json.text("status", to_string(live.status))
        .number("consecutive_timeouts", live.consecutive_timeouts)
        .text("since", rfc3339_ms(live.first_timeout_ms))
        .text("reason", to_string(live.reason))
        .text("why", why_of(view, rows[r]))
        .key("last_success");
    if (live.last_success_ms == 0) {
      json.null();
    } else {
      json.text(rfc3339_ms(live.last_success_ms));
    }
    json.end_object();
  }
  json.end_array().end_object();
  return frame("silent", json);
}

std::string transition_frame(const View& view, const RecentTransition& transition) {
  Json json;
  json.object();
  if (const auto index = view.find(transition.device)) {
    write_name(json, view.catalogue->devices[*index]);
  } else {
    json.number("device_id", transition.device);
  }
  json.text("from", to_string(transition.from))
      .text("to", to_string(transition.to))
      .text("reason", to_string(transition.reason))
      .text("slot", rfc3339_ms(transition.slot_ms))
      .text("decided_at", format_rfc3339(transition.decided_at))
      .number("consecutive_timeouts", transition.consecutive_timeouts)
      .end_object();
  return frame("transition", json);
}

std::string address_frame(const View& view, const RecentAddressChange& recent) {
  Json json;
  json.object();
  if (const auto index = view.find(recent.change.device)) {
    write_name(json, view.catalogue->devices[*index]);
  } else {
    json.number("device_id", recent.change.device);
  }
  json.text("at", rfc3339_ms(recent.change.at_ms))
      .text("location", recent.location)
      .text("prober", recent.prober);
  write_address(json, "was", to_text(recent.change.from));
  write_address(json, "becomes", to_text(recent.change.to));
  json.end_object();
  return frame("address", json);
}

std::string prober_frame(const ProberTrust& prober) {
  Json json;
  json.object().text("name", prober.name).text("location", prober.location);
  write_trust(json, prober);
  json.end_object();
  return frame("prober", json);
}

std::string merge_metrics(const std::vector<std::pair<std::string, std::string>>& by_process) {
  std::map<std::string, Family> families;
  for (const auto& [process, text] : by_process) {
    std::string current;
    std::string_view rest = text;
    while (!rest.empty()) {
      const size_t end = rest.find('\n');
      const std::string_view line = rest.substr(0, end);
      rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
      const bool help = line.substr(0, 7) == "# HELP ";
      if (help || line.substr(0, 7) == "# TYPE ") {
        const std::string_view after = line.substr(7);
        current = std::string(after.substr(0, after.find(' ')));
        (help ? families[current].help : families[current].type) = std::string(line);
      } else if (!line.empty() && line.front() != '#' && !current.empty()) {
        add_sample(families[current], line, process);
      }
    }
  }
  std::string out;
  for (const auto& [name, family] : families) {
    out += family.help + (family.help.empty() ? "" : "\n");
    out += family.type + (family.type.empty() ? "" : "\n");
    out += family.samples;
  }
  return out;
}

}  // namespace gema::gateway
