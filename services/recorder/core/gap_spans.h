// Which slots a gap may concern: remembers, per (producer, epoch, partition), which slots recent
// records held, and answers with those of the records on either side of the lost ones.
//
// Pure. Bounded by kSpansMax and kSpanKeysMax: beyond, a span is unknown on that side.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>

namespace gema::recorder {

struct Span {
  std::optional<int64_t> from_ms;  // nullopt = unknown
  std::optional<int64_t> to_ms;

  friend bool operator==(const Span&, const Span&) = default;
};

class GapSpans {
 public:
  void note(const std::string& producer, uint64_t epoch, uint32_t partition, uint64_t seq,
            int64_t oldest_ms, int64_t newest_ms);
  // From the newest slot of the last record known before first_seq to the oldest slot of the first
  // one known after last_seq.
  Span around(const std::string& producer, uint64_t epoch, uint32_t partition, uint64_t first_seq,
              uint64_t last_seq) const;
  void forget(const std::string& producer, uint64_t epoch, uint32_t partition);

 private:
  using Key = std::tuple<std::string, uint64_t, uint32_t>;
  struct Slots {
    int64_t oldest_ms;
    int64_t newest_ms;
  };
  std::map<Key, std::map<uint64_t, Slots>> known_;
};

}  // namespace gema::recorder
