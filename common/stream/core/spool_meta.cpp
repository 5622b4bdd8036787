#include "common/stream/core/spool_meta.h"

#include "common/base/crc32c.h"
#include "common/stream/core/bytes.h"
#include "common/stream/core/limits.h"

namespace gema::stream {
namespace {

constexpr std::string_view kMagic = "GEMASPL1";

void put_text(std::string& out, const std::string& text) {
  put(out, static_cast<uint32_t>(text.size()));
  out += text;
}

std::string take_text(Reader& in) {
  return std::string(in.take_bytes(in.take<uint32_t>()));
}

}  // namespace

std::string encode_meta(const SpoolMeta& meta) {
  std::string out(kMagic);
  put(out, static_cast<uint8_t>(meta.clean ? 1 : 0));
  put_text(out, meta.boot_id);
  put(out, static_cast<uint32_t>(meta.groups.size()));
  for (const std::string& group : meta.groups) put_text(out, group);
  put(out, static_cast<uint32_t>(meta.epochs.size()));
  for (const EpochMeta& epoch : meta.epochs) {
    put(out, epoch.epoch);
    put(out, epoch.predecessor);
    put(out, static_cast<uint32_t>(epoch.reason));
    for (uint64_t seq : epoch.last) put(out, seq);
    for (uint64_t seq : epoch.dropped_through) put(out, seq);
    put(out, static_cast<uint32_t>(epoch.starts.size()));
    for (const GroupStart& start : epoch.starts) {
      put_text(out, start.group);
      for (uint32_t p = 0; p < kPartitions; ++p) put(out, start.first[p]);
    }
  }
  put(out, crc32c(out));
  return out;
}

std::optional<SpoolMeta> decode_meta(std::string_view bytes) {
  if (bytes.size() < kMagic.size() + 4 || bytes.substr(0, kMagic.size()) != kMagic) {
    return std::nullopt;
  }
  std::string_view body = bytes.substr(0, bytes.size() - 4);
  if (crc32c(body) != get<uint32_t>(bytes, body.size())) return std::nullopt;
  Reader in(body.substr(kMagic.size()));
  SpoolMeta meta;
  meta.clean = in.take<uint8_t>() != 0;
  meta.boot_id = take_text(in);
  uint32_t groups = in.take<uint32_t>();
  for (uint32_t i = 0; i < groups && in.ok(); ++i) meta.groups.push_back(take_text(in));
  uint32_t epochs = in.take<uint32_t>();
  for (uint32_t i = 0; i < epochs && in.ok(); ++i) {
    EpochMeta epoch;
    epoch.epoch = in.take<uint64_t>();
    epoch.predecessor = in.take<uint64_t>();
    epoch.reason = static_cast<EpochReason>(in.take<uint32_t>());
    for (uint64_t& seq : epoch.last) seq = in.take<uint64_t>();
    for (uint64_t& seq : epoch.dropped_through) seq = in.take<uint64_t>();
    uint32_t starts = in.take<uint32_t>();
    for (uint32_t s = 0; s < starts && in.ok(); ++s) {
      GroupStart start;
      start.group = take_text(in);
      for (uint32_t p = 0; p < kPartitions; ++p) start.first.push_back(in.take<uint64_t>());
      epoch.starts.push_back(std::move(start));
    }
    meta.epochs.push_back(std::move(epoch));
  }
  if (!in.ok() || in.left() != 0) return std::nullopt;
  return meta;
}

}  // namespace gema::stream
