#include "services/gateway/core/rate_limit.h"

#include <algorithm>

#include "services/gateway/core/limits.h"

namespace gema::gateway {
namespace {

// Who comes back when told to is not sent away for a rounding error.
constexpr double kOne = 1 - 1e-6;

Duration time_for(double tokens, uint32_t per_minute) {
  const double ns = tokens * 60e9 / per_minute;
  return Duration(static_cast<int64_t>(std::max(ns, 0.0)));
}

}  // namespace

void RateLimit::fill(Bucket& bucket, uint32_t per_minute, MonoTime now) {
  const double minutes = std::chrono::duration<double>(now - bucket.at).count() / 60.0;
  bucket.tokens = std::min<double>(per_minute, bucket.tokens + std::max(minutes, 0.0) * per_minute);
  bucket.at = std::max(bucket.at, now);
}

RateLimit::Bucket& RateLimit::bucket_of(const std::string& client, MonoTime now) {
  if (!clients_.contains(client) && clients_.size() >= kRateClientsMax) {
    // A minute without asking has filled a bucket: as if it had never been there.
    std::erase_if(clients_, [now](const auto& entry) { return now - entry.second.at >= 1min; });
  }
  const bool room = clients_.contains(client) || clients_.size() < kRateClientsMax;
  const Bucket fresh{.tokens = static_cast<double>(limits_.per_minute), .at = now};
  return clients_.emplace(room ? client : std::string(), fresh).first->second;
}

RateLimit::Decision RateLimit::take(const std::string& client, Now now) {
  Bucket& own = bucket_of(client, now.mono);
  if (!total_) total_ = {.tokens = static_cast<double>(limits_.per_minute_total), .at = now.mono};
  fill(own, limits_.per_minute, now.mono);
  fill(*total_, limits_.per_minute_total, now.mono);
  if (own.tokens < kOne) {
    return {Decision::Why::kClient, time_for(1 - own.tokens, limits_.per_minute)};
  }
  if (total_->tokens < kOne) {
    return {Decision::Why::kTotal, time_for(1 - total_->tokens, limits_.per_minute_total)};
  }
  own.tokens -= 1;
  total_->tokens -= 1;
  return {};
}

}  // namespace gema::gateway
