#include "services/gateway/core/client_queue.h"

#include <algorithm>

namespace gema::gateway {

ClientQueue::Pushed ClientQueue::push(Frame frame) {
  if (too_slow_) {
    return Pushed::kTooSlow;
  }
  if (frame.kind == Frame::Kind::kCounts || frame.kind == Frame::Kind::kSilent) {
    const auto older = std::find_if(frames_.begin(), frames_.end(),
                                    [&frame](const Frame& f) { return f.kind == frame.kind; });
    if (older != frames_.end()) {
      bytes_ += frame.text->size() - older->text->size();
      older->text = std::move(frame.text);
      return Pushed::kReplaced;
    }
  }
  if (frames_.size() >= frames_max_ || bytes_ + frame.text->size() > bytes_max_) {
    too_slow_ = true;
    frames_.clear();
    bytes_ = 0;
    return Pushed::kTooSlow;
  }
  bytes_ += frame.text->size();
  frames_.push_back(std::move(frame));
  return Pushed::kQueued;
}

std::shared_ptr<const std::string> ClientQueue::pop() {
  if (frames_.empty()) {
    return nullptr;
  }
  auto text = std::move(frames_.front().text);
  frames_.pop_front();
  bytes_ -= text->size();
  return text;
}

}  // namespace gema::gateway
