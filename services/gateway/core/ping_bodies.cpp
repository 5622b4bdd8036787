#include "services/gateway/core/ping_bodies.h"

#include <algorithm>

#include "common/base/rfc3339.h"
#include "services/gateway/core/multi_ping.h"
#include "services/gateway/core/result_text.h"

namespace gema::gateway {
namespace {

constexpr const char* kServiceType = "Multi-Ping Service";

double ms(uint32_t us) {
  return us / 1000.0;
}

// What an echo that was not answered has to say: "host unreachable, said by 10.0.0.1".
std::string why(const PingReport& report, size_t echo) {
  for (const EchoNote& note : report.notes) {
    const bool says = note.kind == NoteKind::kIcmpError || note.kind == NoteKind::kSendError;
    if (note.echo == echo && says) return note_text(note);
  }
  return to_string(report.outcome[echo]);
}

// Of the first echo that failed; only when none was answered.
std::string failure(const PingReport& report) {
  const bool all_silent = std::all_of(report.outcome.begin(), report.outcome.end(),
                                      [](auto o) { return o == EchoOutcome::kTimeout; });
  if (all_silent) return "No response (timeout)";
  size_t telling = 0;
  while (report.outcome[telling] == EchoOutcome::kTimeout) ++telling;
  return "Ping error: " + why(report, telling);
}

void write_note(Json& json, const EchoNote& note) {
  json.object().text("kind", to_string(note.kind));
  switch (note.kind) {
    case NoteKind::kIcmpError:
      json.number("icmp_type", note.icmp_type).number("icmp_code", note.icmp_code);
      break;
    case NoteKind::kSendError:
      json.number("errno", note.error);
      break;
    case NoteKind::kDuplicate:
      json.number("count", note.count);
      break;
    case NoteKind::kLate:
      json.real("rtt_ms", ms(note.rtt_us));
      break;
  }
  if (note.from.known()) json.text("from", to_text(note.from));
  json.end_object();
}

void write_echoes(Json& json, const PingReport& report) {
  json.key("echoes").array();
  for (size_t i = 0; i < report.outcome.size(); ++i) {
    json.object().number("echo", i).text("outcome", to_string(report.outcome[i])).key("rtt_ms");
    if (report.outcome[i] == EchoOutcome::kReply) {
      json.real(ms(report.rtt_us[i]));
    } else {
      json.null();
    }
    json.key("notes").array();
    for (const EchoNote& note : report.notes) {
      if (note.echo == i) write_note(json, note);
    }
    json.end_array().end_object();
  }
  json.end_array();
}

void text_or_null(Json& json, const char* key, const std::string& text) {
  if (text.empty()) {
    json.null(key);
  } else {
    json.text(key, text);
  }
}

}  // namespace

std::string test_ping_body(const std::string& target, const PingReport& report) {
  const PingSummary summary = summary_of(report);
  // An address as it was asked for, as the source system does; a name is no address.
  const bool by_name = !parse_ip(target);
  Json json;
  json.object()
      .boolean("success", true)
      .text("ip_address", by_name ? to_text(report.address) : target)
      .key("ping_result")
      .object()
      .boolean("success", summary.received > 0);
  if (summary.received > 0) {
    json.real("response_time_ms", ms(summary.median_us)).null("error_message");
  } else {
    json.null("response_time_ms").text("error_message", failure(report));
  }
  json.end_object()
      .text("service_type", "Multi-Ping")
      .text("prober", report.prober)
      .text("location", report.location)
      .end_object();
  return json.take();
}

std::string service_changed_body(bool running) {
  Json json;
  json.object()
      .boolean("success", true)
      .text("message", running ? "Multi-Ping Service started" : "Multi-Ping Service stopped")
      .text("service_type", kServiceType)
      .end_object();
  return json.take();
}

void write_pause(Json& json, const View& view, const UtcOffset& offset) {
  const bool paused = view.probing && view.probing->paused;
  text_or_null(json, "paused_by", paused ? view.probing->by : "");
  text_or_null(json, "paused_since", paused ? local_iso(unix_us(view.probing->since), offset) : "");
  text_or_null(json, "pause_reason", paused ? view.probing->reason : "");
}

bool is_probing(const View& view) {
  return std::any_of(view.processes.begin(), view.processes.end(), [&view](const Process& p) {
    const bool paused = view.probing ? view.probing->paused : p.paused;
    return p.kind == "prober" && !paused && p.alive(view.at);
  });
}

std::string ping_json(const PingReport& report, DeviceId device) {
  const PingSummary summary = summary_of(report);
  const auto count = static_cast<double>(report.outcome.size());
  Json json;
  json.object().boolean("success", true).key("data").object();
  json.text("address", to_text(report.address)).key("device_id");
  if (device == 0) {
    json.null();
  } else {
    json.number(device);
  }
  json.text("prober", report.prober)
      .text("location", report.location)
      .text("started_at", format_rfc3339(report.started_at))
      .boolean("answered", summary.received > 0)
      .number("count", report.outcome.size())
      .number("sent", summary.sent)
      .number("received", summary.received)
      // Of those asked for: an echo that could not be sent is not answered either, and says so.
      .real("loss_percent", round2(100.0 * (count - summary.received) / count))
      .key("rtt_ms");
  if (summary.received == 0) {
    json.null();
  } else {
    json.object()
        .real("min", ms(summary.min_us))
        .real("median", ms(summary.median_us))
        .real("max", ms(summary.max_us))
        .end_object();
  }
  json.key("error");
  if (summary.received > 0) {
    json.null();
  } else {
    json.text(failure(report));
  }
  write_echoes(json, report);
  json.end_object().end_object();
  return json.take();
}

void write_probing(Json& json, const View& view) {
  if (!view.probing) {
    json.null("probing");
    return;
  }
  json.key("probing").object().boolean("paused", view.probing->paused);
  text_or_null(json, "by", view.probing->by);
  text_or_null(json, "reason", view.probing->reason);
  const bool ever = view.probing->since != WallTime{};
  text_or_null(json, "since", ever ? format_rfc3339(view.probing->since) : "");
  json.end_object();
}

std::string probing_json(const View& view) {
  Json json;
  json.object().boolean("success", true);
  write_probing(json, view);
  json.key("probers").array();
  for (const Process& p : view.processes) {
    if (p.kind != "prober") continue;
    json.object()
        .text("name", p.name)
        .text("location", p.location)
        .boolean("alive", p.alive(view.at))
        .boolean("paused", p.paused);
    text_or_null(json, "paused_by", p.paused_by);
    json.end_object();
  }
  json.end_array().end_object();
  return json.take();
}

}  // namespace gema::gateway
