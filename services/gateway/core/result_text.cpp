#include "services/gateway/core/result_text.h"

#include <algorithm>

#include "common/base/rfc3339.h"
#include "common/domain/ip_address.h"
#include "common/domain/multi_ping.h"

namespace gema::gateway {
namespace {

// Things one line names; the rest is in the result itself.
constexpr size_t kThingsMax = 4;

struct IcmpWords {
  uint8_t type;
  uint8_t code;
  const char* words;
};

// RFC 792, 1122, 1812.
constexpr IcmpWords kV4[] = {{3, 0, "network unreachable"},
                             {3, 1, "host unreachable"},
                             {3, 2, "protocol unreachable"},
                             {3, 3, "port unreachable"},
                             {3, 4, "too big to pass without fragments"},
                             {3, 5, "source route failed"},
                             {3, 6, "network unknown"},
                             {3, 7, "host unknown"},
                             {3, 9, "network prohibited by an administrator"},
                             {3, 10, "host prohibited by an administrator"},
                             {3, 13, "prohibited by an administrator"},
                             {11, 0, "time to live exceeded"},
                             {11, 1, "time to reassemble exceeded"},
                             {12, 0, "parameter problem"}};
// RFC 4443.
constexpr IcmpWords kV6[] = {{1, 0, "no route"},
                             {1, 1, "prohibited by an administrator"},
                             {1, 2, "beyond the scope of the source address"},
                             {1, 3, "host unreachable"},
                             {1, 4, "port unreachable"},
                             {1, 5, "source address refused by policy"},
                             {1, 6, "route rejected"},
                             {2, 0, "too big"},
                             {3, 0, "hop limit exceeded"},
                             {3, 1, "time to reassemble exceeded"},
                             {4, 0, "parameter problem"}};

template <size_t n>
const char* words_of(const IcmpWords (&table)[n], const EchoNote& note) {
  for (const IcmpWords& row : table) {
    if (row.type == note.icmp_type && row.code == note.icmp_code) {
      return row.words;
    }
  }
  return nullptr;
}

std::string icmp_text(const EchoNote& note) {
  const bool v6 = note.from.family == 6;
  const char* words = v6 ? words_of(kV6, note) : words_of(kV4, note);
  if (words != nullptr) {
    return words;
  }
  return std::string(v6 ? "ICMPv6" : "ICMP") + " type " + std::to_string(note.icmp_type) +
         " code " + std::to_string(note.icmp_code);
}

// Numbers of Linux; what a prober's kernel may say to a send.
std::string errno_text(uint16_t error) {
  switch (error) {
    case 1:
      return "not permitted";
    case 13:
      return "permission denied";
    case 19:
      return "no such network device";
    case 22:
      return "invalid argument";
    case 90:
      return "message too long";
    case 97:
      return "address family not supported";
    case 99:
      return "the source address is not ours";
    case 100:
      return "the network is down";
    case 101:
      return "no route to the network";
    case 105:
      return "the interface's queue is full";
    case 111:
      return "connection refused";
    case 112:
      return "the host is down";
    case 113:
      return "no route to the host";
    default:
      return "error " + std::to_string(error);
  }
}

std::string ms_text(uint32_t us) {
  return python_float(round2(us / 1000.0)) + " ms";
}

std::string times_more(uint32_t count) {
  return count == 1 ? "once more" : std::to_string(count) + " times more";
}

void add_thing(std::vector<std::string>& things, std::string thing) {
  if (std::find(things.begin(), things.end(), thing) == things.end()) {
    things.push_back(std::move(thing));
  }
}

void write_note(Json& json, const EchoNote& note) {
  json.object()
      .number("echo", note.echo)
      .text("kind", to_string(note.kind))
      .text("text", note_text(note));
  if (note.kind == NoteKind::kIcmpError) {
    json.number("icmp_type", note.icmp_type).number("icmp_code", note.icmp_code);
  }
  if (note.from.known()) {
    json.text(note.kind == NoteKind::kIcmpError ? "said_by" : "from", to_text(note.from));
  }
  if (note.kind == NoteKind::kSendError) {
    json.number("errno", note.error);
  }
  if (note.rtt_us > 0) {
    json.real("rtt_ms", note.rtt_us / 1000.0);
  }
  json.number("count", note.count).end_object();
}

void write_proof(Json& json, const ProofResult& proof, uint32_t web_status) {
  json.object()
      .text("kind", to_string(proof.kind))
      .text("outcome", to_string(proof.outcome))
      .text("text", proof_text(proof, web_status));
  if (proof.port != 0) {
    json.number("port", proof.port);
  }
  if (proof.status != 0) {
    json.number("status", proof.status);
  }
  json.real("elapsed_ms", proof.elapsed_us / 1000.0).end_object();
}

}  // namespace

std::string note_text(const EchoNote& note) {
  switch (note.kind) {
    case NoteKind::kIcmpError:
      return icmp_text(note) + (note.from.known() ? ", said by " + to_text(note.from) : "");
    case NoteKind::kSendError:
      return "not sent: " + errno_text(note.error);
    case NoteKind::kDuplicate:
      return "answered " + times_more(note.count) +
             (note.from.known() ? ", by " + to_text(note.from) : "");
    case NoteKind::kLate:
      return "answered late, after " + ms_text(note.rtt_us);
  }
  return {};
}

std::string late_text(const Stray& stray) {
  return note_text({.kind = stray.kind, .rtt_us = stray.rtt_us});
}

std::string proof_text(const ProofResult& proof, uint32_t web_status) {
  std::string out = proof.kind == ProofKind::kTcp ? "tcp " + std::to_string(proof.port) : "web";
  out += ": ";
  if (proof.outcome == ProofOutcome::kWrongStatus) {
    return out + "status " + std::to_string(proof.status) + " instead of " +
           std::to_string(web_status);
  }
  out += to_string(proof.outcome);
  // A firewall on the way may have sent it.
  return proof.outcome == ProofOutcome::kReset ? out + ", no proof" : out;
}

std::string why_text(Verdict verdict, Reason reason, const ResultDetails* details,
                     uint32_t web_status) {
  std::vector<std::string> things;
  if (details != nullptr) {
    for (const EchoNote& note : details->notes) {
      // What one echo waited, and how often it was answered, is not said of the whole check.
      if (note.kind == NoteKind::kIcmpError || note.kind == NoteKind::kSendError) {
        add_thing(things, note_text(note));
      }
    }
  }
  if (things.empty() && reason != Reason::kNone) {
    std::string thing = to_string(reason);
    if (details != nullptr && !details->text.empty()) {
      thing += " by " + details->text;
    }
    add_thing(things, std::move(thing));
  }
  if (details != nullptr) {
    for (const ProofResult& proof : details->proofs) {
      add_thing(things, proof_text(proof, web_status));
    }
    if (verdict == Verdict::kFailed) {
      for (const EchoNote& note : details->notes) {
        if (note.kind == NoteKind::kLate) {
          add_thing(things, note_text(note));
        }
      }
      for (const Stray& stray : details->strays) {
        add_thing(things, late_text(stray));
      }
    }
  }
  std::string out;
  for (size_t i = 0; i < std::min(things.size(), kThingsMax); ++i) {
    out += (i == 0 ? "" : "; ") + things[i];
  }
  return out;
}

void write_result(Json& json, const DetailedResult& result, uint32_t web_status) {
  const ResultDetails& details = result.details;
  json.object()
      .text("at", format_rfc3339(wall_from_ms(result.due_ms)))
      .number("interval_ms", result.interval_ms)
      .text("location", result.location)
      .text("prober", result.prober)
      .text("verdict", to_string(result.verdict))
      .text("reason", to_string(result.reason))
      .text("why", why_text(result.verdict, result.reason, &details, web_status))
      .key("rtt_ms");
  const bool answered =
      !details.burst_rtt_us.empty() ||
      std::any_of(details.echoes.begin(), details.echoes.end(),
                  [](const EchoFate& echo) { return echo.outcome == EchoOutcome::kReply; });
  if (answered) {
    json.real(result.rtt_us / 1000.0);
  } else {
    json.null();
  }
  json.key("echoes").array();
  for (const EchoFate& echo : details.echoes) {
    json.object().text("outcome", to_string(echo.outcome));
    if (echo.outcome == EchoOutcome::kReply) {
      json.real("rtt_ms", echo.rtt_us / 1000.0);
    }
    json.end_object();
  }
  json.end_array().key("burst").object().number("sent", details.burst_sent).key("rtt_ms").array();
  for (const uint32_t rtt_us : details.burst_rtt_us) {
    json.real(rtt_us / 1000.0);
  }
  json.end_array().end_object().key("notes").array();
  for (const EchoNote& note : details.notes) {
    write_note(json, note);
  }
  for (const Stray& stray : details.strays) {
    write_note(json, {.echo = stray.echo, .kind = stray.kind, .rtt_us = stray.rtt_us});
  }
  json.end_array().key("proofs").array();
  for (const ProofResult& proof : details.proofs) {
    write_proof(json, proof, web_status);
  }
  json.end_array();
  if (!details.text.empty()) {
    json.text("paused_by", details.text);
  }
  json.end_object();
}

}  // namespace gema::gateway
