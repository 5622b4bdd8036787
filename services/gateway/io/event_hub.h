// The clients of /api/v1/events. The loop publishes a frame once; each client's own thread writes
// it to its socket. A client that does not keep up is dropped with a notice, never waited for.
//
// Thread-safe.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "services/gateway/core/client_queue.h"

namespace gema::gateway {

class EventClient {
 public:
  explicit EventClient(size_t frames_max, size_t bytes_max) : queue_(frames_max, bytes_max) {}

  // Waits for a frame, at most `patience`. Null: none came, or too_slow().
  std::shared_ptr<const std::string> next(std::chrono::milliseconds patience);
  bool too_slow() const;
  bool push(const Frame& frame);  // false: this frame made it too slow

 private:
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  ClientQueue queue_;
};

struct EventHubOptions {
  size_t clients_max = 64;
  size_t frames_max = kClientFramesMax;
  size_t bytes_max = kClientBytesMax;
};

class EventHub {
 public:
  explicit EventHub(EventHubOptions options) : options_(options) {}

  // Null: as many clients as there may be.
  std::shared_ptr<EventClient> join();
  void leave(const std::shared_ptr<EventClient>& client);

  void publish(Frame::Kind kind, std::string text);

  struct Stats {
    size_t clients = 0;
    uint64_t refused = 0;
    uint64_t dropped = 0;  // too slow
    uint64_t frames = 0;
  };
  Stats stats() const;

 private:
  const EventHubOptions options_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<EventClient>> clients_;  // at most clients_max, then refused
  Stats stats_;
};

}  // namespace gema::gateway
