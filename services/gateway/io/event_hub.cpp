#include "services/gateway/io/event_hub.h"

#include <algorithm>

namespace gema::gateway {

std::shared_ptr<const std::string> EventClient::next(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, patience, [this] { return queue_.frames() > 0 || queue_.too_slow(); });
  return queue_.pop();
}

bool EventClient::too_slow() const {
  const std::lock_guard lock(mutex_);
  return queue_.too_slow();
}

bool EventClient::push(const Frame& frame) {
  const std::lock_guard lock(mutex_);
  const bool was_slow = queue_.too_slow();
  const bool slow = queue_.push(frame) == ClientQueue::Pushed::kTooSlow;
  arrived_.notify_one();
  return was_slow || !slow;
}

std::shared_ptr<EventClient> EventHub::join() {
  const std::lock_guard lock(mutex_);
  if (clients_.size() >= options_.clients_max) {
    ++stats_.refused;
    return nullptr;
  }
  clients_.push_back(std::make_shared<EventClient>(options_.frames_max, options_.bytes_max));
  return clients_.back();
}

void EventHub::leave(const std::shared_ptr<EventClient>& client) {
  const std::lock_guard lock(mutex_);
  std::erase(clients_, client);
}

void EventHub::publish(Frame::Kind kind, std::string text) {
  const Frame frame{kind, std::make_shared<const std::string>(std::move(text))};
  const std::lock_guard lock(mutex_);
  ++stats_.frames;
  for (const auto& client : clients_) {
    stats_.dropped += client->push(frame) ? 0 : 1;
  }
}

EventHub::Stats EventHub::stats() const {
  const std::lock_guard lock(mutex_);
  Stats out = stats_;
  out.clients = clients_.size();
  return out;
}

}  // namespace gema::gateway
