// What waits for one client of the event stream. Frames that say the whole state of something
// replace an older one of their kind that still waits (a slow client then skips, and loses
// nothing); beyond the bounds the client is dropped. Pure; the shell guards it.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "services/gateway/core/limits.h"

namespace gema::gateway {

struct Frame {
  enum class Kind {
    kCounts,      // whole: replaces the one before
    kSilent,      // whole
    kResults,     // each counts
    kTransition,  // each counts
    kNews,        // each counts: an address changed, a prober does not trust itself
  };
  Kind kind = Kind::kResults;
  std::shared_ptr<const std::string> text;
};

class ClientQueue {
 public:
  explicit ClientQueue(size_t frames_max = kClientFramesMax, size_t bytes_max = kClientBytesMax)
      : frames_max_(frames_max), bytes_max_(bytes_max) {}

  enum class Pushed { kQueued, kReplaced, kTooSlow };
  // kTooSlow: at a bound; the queue is emptied and takes nothing more.
  Pushed push(Frame frame);

  // The oldest frame, or null.
  std::shared_ptr<const std::string> pop();

  bool too_slow() const { return too_slow_; }
  size_t frames() const { return frames_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  const size_t frames_max_;
  const size_t bytes_max_;
  std::deque<Frame> frames_;  // at most frames_max_ and bytes_max_, then the client is dropped
  size_t bytes_ = 0;
  bool too_slow_ = false;
};

}  // namespace gema::gateway
