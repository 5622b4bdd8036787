// Notes on echoes in a message that has `notes` and `said_by` (v1::PingBatch, v1::PingReply).
// For codecs only: it sees their messages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/ping.h"

namespace gema {

// Appends to `out`. Returns the rule the message breaks, or nullptr. Requires: `n` results in it.
template <class Message>
const char* read_echo_notes(const Message& message, size_t n, std::vector<EchoNote>& out) {
  std::vector<IpAddress> said_by;
  for (const std::string& bytes : message.said_by()) {
    const auto address = ip_from_bytes(bytes);
    if (!address || !address->known()) return "said_by holds no address";
    said_by.push_back(*address);
  }
  uint64_t before = 0;
  for (const auto& note : message.notes()) {
    if (note.index() >= n) return "note index out of range";
    const uint64_t place = uint64_t{note.index()} << 32 | note.echo();
    if (place < before) return "notes are not in order";
    before = place;
    if (note.kind() > static_cast<uint32_t>(kNoteKindMax)) return "note kind out of range";
    if (note.icmp_type() > 255 || note.icmp_code() > 255) return "ICMP type or code over 255";
    if (note.error() > 65535) return "note error out of range";
    if (note.more() == UINT32_MAX) return "note count out of range";
    if (note.from() > said_by.size()) return "note names an address that is not there";
    out.push_back({.index = note.index(),
                   .echo = note.echo(),
                   .kind = static_cast<NoteKind>(note.kind()),
                   .icmp_type = static_cast<uint8_t>(note.icmp_type()),
                   .icmp_code = static_cast<uint8_t>(note.icmp_code()),
                   .error = static_cast<uint16_t>(note.error()),
                   .rtt_us = note.rtt_us(),
                   .count = note.more() + 1,
                   .from = note.from() == 0 ? IpAddress{} : said_by[note.from() - 1]});
  }
  return nullptr;
}

template <class Message>
void write_echo_notes(const std::vector<EchoNote>& notes, Message& message) {
  for (const EchoNote& note : notes) {
    auto* out = message.add_notes();
    out->set_index(note.index);
    out->set_echo(note.echo);
    out->set_kind(static_cast<uint32_t>(note.kind));
    out->set_icmp_type(note.icmp_type);
    out->set_icmp_code(note.icmp_code);
    out->set_error(note.error);
    out->set_rtt_us(note.rtt_us);
    out->set_more(note.count - 1);
    if (!note.from.known()) continue;
    // Few say anything, and mostly the same ones: the last few are enough to look among.
    const std::string_view from = bytes_of(note.from);
    const int known = message.said_by_size();
    int at = known - 1;
    while (at >= std::max(known - 8, 0) && message.said_by(at) != from) --at;
    if (at < std::max(known - 8, 0)) {
      message.add_said_by(from.data(), from.size());
      at = known;
    }
    out->set_from(static_cast<uint32_t>(at) + 1);
  }
}

}  // namespace gema
