// What the numbers of a chunk cannot hold: notes on echoes, proofs of life, texts (who paused) and
// answers that came after their result had left. Most chunks have none; then there are no bytes at
// all. A device that one router calls unreachable all day costs about 25 bytes a chunk: what
// repeats is written once, as a shape, with how many slots in a row have it.
//
// Bytes, all numbers as unsigned LEB128:
//   version (1)
//   addresses: count, each: length (4 or 16), bytes
//   shapes: count, each:
//     text: length, bytes
//     notes: count, each: echo, kind, ICMP type, ICMP code, errno, count - 1,
//                         address (0 = none, else 1 + its place), 1 if a round trip time follows
//     proofs: count, each: kind, outcome, port, status
//   runs: count, each: slots since the end of the run before, slots - 1, shape, then per slot: the
//     round trip time of each note that has one, the elapsed time of each proof (us)
//   strays: count, each: due_ms less that of the one before (the first: less the chunk's start),
//     echo, kind, round trip time
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/domain/chunk.h"
#include "common/domain/ping.h"

namespace gema {

// Collects the details of one chunk. Reused: take() empties it and keeps the memory.
class DetailsWriter {
 public:
  // Slots by rising number. Nothing is kept of a result that has no details.
  void add(const ResultView& result, uint32_t slot);
  // Requires: by rising due_ms, none before `start_ms` of the chunk.
  void add_stray(const Stray& stray, int64_t start_ms);
  // Appends the bytes; nothing when there are no details.
  void take(std::string& out);

 private:
  struct Run {
    uint32_t slot;
    uint32_t slots;
    uint32_t shape;
    size_t numbers_end;  // in numbers_
  };

  uint32_t address_place(const IpAddress& address);
  uint32_t shape_place();

  std::vector<IpAddress> addresses_;
  std::vector<std::string> shapes_;
  std::vector<Run> runs_;
  std::string numbers_;
  std::string strays_;
  uint64_t stray_count_ = 0;
  int64_t last_stray_ms_ = 0;
  std::string scratch_;
};

// Reads them back, slot by slot. Wrong bytes are noticed, never believed.
class DetailsReader {
 public:
  explicit DetailsReader(std::string_view bytes);

  // Appends what is known of slot `slot` to `out`, as of result `index`, and its text, if it has
  // one, to `texts` (may be null). Call it for each slot with a result, in order. Returns: false
  // when the bytes are wrong; then `out` is as it was.
  bool read(uint32_t slot, uint32_t index, PingResults& out, std::vector<ResultText>* texts);
  // Appends the strays. Returns: false when the bytes are wrong or say more than was read.
  bool finish(DeviceId device, int64_t start_ms, PingResults& out);

 private:
  struct Shape {
    std::string_view text;
    std::vector<EchoNote> notes;  // rtt_us 1: follows in the run
    std::vector<ProofResult> proofs;
  };

  uint64_t number();
  uint32_t number(uint64_t max);
  std::string_view bytes(uint64_t length);
  void read_addresses();
  void read_shapes();
  void next_run();

  std::string_view rest_;
  bool none_ = false;  // no bytes at all
  bool ok_ = true;
  std::vector<IpAddress> addresses_;
  std::vector<Shape> shapes_;
  uint64_t runs_left_ = 0;
  uint64_t slot_ = 0;   // the next one the current run speaks of
  uint64_t slots_ = 0;  // of the current run that are left
  uint32_t shape_ = 0;
};

}  // namespace gema
