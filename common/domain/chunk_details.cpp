#include "common/domain/chunk_details.h"

#include <algorithm>

#include "common/base/assert.h"

namespace gema {
namespace {

constexpr uint32_t kVersion = 1;
// Shapes compared with before a new one is written: routers take turns, but few of them.
constexpr size_t kShapesLookedAt = 16;

void put(uint64_t value, std::string& out) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<char>(value));
}

}  // namespace

// --- writing ---------------------------------------------------------------------------------

uint32_t DetailsWriter::address_place(const IpAddress& address) {
  if (!address.known()) return 0;
  const auto found = std::find(addresses_.begin(), addresses_.end(), address);
  const auto place = static_cast<uint32_t>(found - addresses_.begin()) + 1;
  if (found == addresses_.end()) addresses_.push_back(address);
  return place;
}

uint32_t DetailsWriter::shape_place() {
  const size_t oldest = shapes_.size() - std::min(shapes_.size(), kShapesLookedAt);
  for (size_t i = shapes_.size(); i > oldest; --i) {
    if (shapes_[i - 1] == scratch_) return static_cast<uint32_t>(i - 1);
  }
  shapes_.push_back(scratch_);
  return static_cast<uint32_t>(shapes_.size() - 1);
}

void DetailsWriter::add(const ResultView& result, uint32_t slot) {
  if (result.notes.empty() && result.proofs.empty() && result.text.empty()) return;
  scratch_.clear();
  put(result.text.size(), scratch_);
  scratch_ += result.text;
  put(result.notes.size(), scratch_);
  for (const EchoNote& note : result.notes) {
    put(note.echo, scratch_);
    put(static_cast<uint32_t>(note.kind), scratch_);
    put(note.icmp_type, scratch_);
    put(note.icmp_code, scratch_);
    put(note.error, scratch_);
    put(note.count - 1, scratch_);
    put(address_place(note.from), scratch_);
    put(note.rtt_us != 0 ? 1 : 0, scratch_);
    if (note.rtt_us != 0) put(note.rtt_us, numbers_);
  }
  put(result.proofs.size(), scratch_);
  for (const ProofResult& proof : result.proofs) {
    put(static_cast<uint32_t>(proof.kind), scratch_);
    put(static_cast<uint32_t>(proof.outcome), scratch_);
    put(proof.port, scratch_);
    put(proof.status, scratch_);
    put(proof.elapsed_us, numbers_);
  }
  const uint32_t shape = shape_place();
  if (!runs_.empty() && runs_.back().shape == shape &&
      runs_.back().slot + runs_.back().slots == slot) {
    ++runs_.back().slots;
    runs_.back().numbers_end = numbers_.size();
    return;
  }
  GEMA_ASSERT(runs_.empty() || slot >= runs_.back().slot + runs_.back().slots);
  runs_.push_back({slot, 1, shape, numbers_.size()});
}

void DetailsWriter::add_stray(const Stray& stray, int64_t start_ms) {
  const int64_t before = stray_count_ == 0 ? start_ms : last_stray_ms_;
  GEMA_ASSERT(stray.due_ms >= before);
  put(static_cast<uint64_t>(stray.due_ms - before), strays_);
  put(stray.echo, strays_);
  put(static_cast<uint32_t>(stray.kind), strays_);
  put(stray.rtt_us, strays_);
  last_stray_ms_ = stray.due_ms;
  ++stray_count_;
}

void DetailsWriter::take(std::string& out) {
  if (runs_.empty() && stray_count_ == 0) return;
  put(kVersion, out);
  put(addresses_.size(), out);
  for (const IpAddress& address : addresses_) {
    put(bytes_of(address).size(), out);
    out += bytes_of(address);
  }
  put(shapes_.size(), out);
  for (const std::string& shape : shapes_) out += shape;
  put(runs_.size(), out);
  uint32_t end = 0;
  size_t numbers = 0;
  for (const Run& run : runs_) {
    put(run.slot - end, out);
    put(run.slots - 1, out);
    put(run.shape, out);
    out.append(numbers_, numbers, run.numbers_end - numbers);
    numbers = run.numbers_end;
    end = run.slot + run.slots;
  }
  put(stray_count_, out);
  out += strays_;
  addresses_.clear();
  shapes_.clear();
  runs_.clear();
  numbers_.clear();
  strays_.clear();
  stray_count_ = 0;
}

// --- reading ---------------------------------------------------------------------------------

DetailsReader::DetailsReader(std::string_view bytes) : rest_(bytes), none_(bytes.empty()) {
  if (none_) return;
  if (number() != kVersion) {
    ok_ = false;
    return;
  }
  read_addresses();
  read_shapes();
  runs_left_ = number();
  next_run();
}

uint64_t DetailsReader::number() {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  ok_ = false;
  return 0;
}

uint32_t DetailsReader::number(uint64_t max) {
  const uint64_t value = number();
  if (value <= max) return static_cast<uint32_t>(value);
  ok_ = false;
  return 0;
}

std::string_view DetailsReader::bytes(uint64_t length) {
  if (length > rest_.size()) {
    ok_ = false;
    return {};
  }
  const std::string_view out = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return out;
}

void DetailsReader::read_addresses() {
  for (uint64_t left = number(); ok_ && left > 0; --left) {
    const auto address = ip_from_bytes(bytes(number(16)));
    if (!address || !address->known()) {
      ok_ = false;
      return;
    }
    addresses_.push_back(*address);
  }
}

void DetailsReader::read_shapes() {
  for (uint64_t left = number(); ok_ && left > 0; --left) {
    Shape shape;
    shape.text = bytes(number());
    for (uint64_t notes = number(); ok_ && notes > 0; --notes) {
      EchoNote note;
      note.echo = number(UINT32_MAX);
      note.kind = static_cast<NoteKind>(number(kNoteKindMax));
      note.icmp_type = static_cast<uint8_t>(number(255));
      note.icmp_code = static_cast<uint8_t>(number(255));
      note.error = static_cast<uint16_t>(number(65535));
      note.count = number(UINT32_MAX - 1) + 1;
      const uint32_t from = number(addresses_.size());
      if (ok_ && from > 0) note.from = addresses_[from - 1];
      note.rtt_us = number(1);
      if (!shape.notes.empty() && note.echo < shape.notes.back().echo) ok_ = false;
      shape.notes.push_back(note);
    }
    for (uint64_t proofs = number(); ok_ && proofs > 0; --proofs) {
      ProofResult proof;
      proof.kind = static_cast<ProofKind>(number(kProofKindMax));
      proof.outcome = static_cast<ProofOutcome>(number(kProofOutcomeMax));
      proof.port = static_cast<uint16_t>(number(65535));
      proof.status = static_cast<uint16_t>(number(65535));
      shape.proofs.push_back(proof);
    }
    shapes_.push_back(std::move(shape));
  }
}

// Requires: the run before is read.
void DetailsReader::next_run() {
  if (!ok_ || runs_left_ == 0) return;
  --runs_left_;
  slot_ += number(UINT32_MAX);
  slots_ = uint64_t{number(UINT32_MAX)} + 1;
  shape_ = number(UINT32_MAX);
  if (shape_ >= shapes_.size()) ok_ = false;
}

bool DetailsReader::read(uint32_t slot, uint32_t index, PingResults& out,
                         std::vector<ResultText>* texts) {
  if (none_) return true;
  if (!ok_) return false;
  if (slots_ == 0 || slot < slot_) return true;
  if (slot > slot_) return false;  // it spoke of a slot that has no result
  const Shape& shape = shapes_[shape_];
  const size_t notes = out.notes.size();
  const size_t proofs = out.proofs.size();
  for (EchoNote note : shape.notes) {
    note.index = index;
    if (note.rtt_us != 0) note.rtt_us = number(UINT32_MAX);
    out.notes.push_back(note);
  }
  for (ProofResult proof : shape.proofs) {
    proof.index = index;
    proof.elapsed_us = number(UINT32_MAX);
    out.proofs.push_back(proof);
  }
  ++slot_;
  const std::string_view text = shape.text;
  if (--slots_ == 0) next_run();
  if (!ok_) {
    out.notes.resize(notes);
    out.proofs.resize(proofs);
    return false;
  }
  if (texts != nullptr && !text.empty()) texts->push_back({index, std::string(text)});
  return true;
}

bool DetailsReader::finish(DeviceId device, int64_t start_ms, PingResults& out) {
  if (none_) return true;
  if (!ok_ || slots_ > 0) return false;
  int64_t due_ms = start_ms;
  for (uint64_t left = number(); ok_ && left > 0; --left) {
    due_ms += number(kChunkSpanMs);
    Stray stray{.device = device, .due_ms = due_ms, .echo = number(UINT32_MAX)};
    stray.kind = static_cast<NoteKind>(number(kNoteKindMax));
    stray.rtt_us = number(UINT32_MAX);
    if (stray.kind != NoteKind::kLate && stray.kind != NoteKind::kDuplicate) ok_ = false;
    if (due_ms - start_ms > kChunkSpanMs) ok_ = false;
    if (ok_) out.strays.push_back(stray);
  }
  return ok_ && rest_.empty();
}

}  // namespace gema
