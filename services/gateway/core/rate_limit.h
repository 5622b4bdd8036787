// How many of something each client, and all together, may ask for: one bucket of tokens each. A
// bucket holds a minute's worth at most, and fills evenly. Pure; one thread (the shell locks).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/base/time.h"

namespace gema::gateway {

struct RateLimits {
  uint32_t per_minute = 60;         // of one client
  uint32_t per_minute_total = 300;  // of all
};

class RateLimit {
 public:
  // Clients beyond kRateClientsMax share one bucket.
  explicit RateLimit(RateLimits limits) : limits_(limits) {}

  struct Decision {
    enum class Why { kAllowed, kClient, kTotal } why = Why::kAllowed;
    Duration retry_after{};  // from when on it is allowed, if nobody else asks meanwhile
  };
  // Takes one token when it is allowed, none otherwise.
  Decision take(const std::string& client, Now now);

  size_t clients() const { return clients_.size(); }

 private:
  struct Bucket {
    double tokens = 0;
    MonoTime at{};
  };
  static void fill(Bucket& bucket, uint32_t per_minute, MonoTime now);
  Bucket& bucket_of(const std::string& client, MonoTime now);

  const RateLimits limits_;
  std::map<std::string, Bucket> clients_;
  std::optional<Bucket> total_;
};

}  // namespace gema::gateway
