// HTTP over connected sockets: libcurl's multi interface in the prober's own loop. One exchange, no
// redirection followed, no proxy, no cookies, no credentials but those given; headers and body
// bounded. It resolves no names and opens no sockets: whom to talk to was decided before.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/base/time.h"
#include "common/domain/ping.h"
#include "common/runtime/loop.h"

namespace gema::prober {

// Once, before the first thread.
void init_curl();

struct WebExchange {
  std::string url;
  bool head = false;  // else GET
  bool insecure = false;
  std::string user, password;   // "" = no authentication
  uint16_t body_of_status = 0;  // the body is kept if the status is this; 0 = never
  int socket = -1;              // connected; taken over
  MonoTime deadline;
};

struct WebReply {
  // Not set: a whole answer came, as far as it was wanted.
  std::optional<ProofOutcome> failure;
  uint16_t status = 0;
  std::string location;
  std::string body;
};

class WebTransfers {
 public:
  // May begin and abort exchanges.
  using Done = std::function<void(WebReply&, Now)>;

  // `ca_file`: whom to trust; "" = the system's.
  WebTransfers(runtime::Loop& loop, std::string ca_file);
  ~WebTransfers();
  WebTransfers(const WebTransfers&) = delete;
  WebTransfers& operator=(const WebTransfers&) = delete;

  // `done` is called once, later, unless the exchange is aborted. Returns its name, not 0.
  uint64_t begin(WebExchange exchange, Done done);
  void abort(uint64_t id);

  // Each turn.
  void tick(Now now);
  // A time in the past: at once.
  std::optional<MonoTime> next_wakeup() const {
    return beginning_.empty() ? due_ : std::optional(MonoTime{});
  }

  struct Transfer;
  struct Callbacks;

 private:
  friend struct Callbacks;
  void on_ready(int fd, runtime::Readiness ready, Now now);
  void harvest(Now now);
  void* easy_handle();
  bool set_up(Transfer& transfer, Now now);
  void begin_some(Now now);
  void finish(uint64_t id, WebReply reply, Now now);
  void release(std::unique_ptr<Transfer> transfer);

  runtime::Loop& loop_;
  const std::string ca_file_;
  void* multi_ = nullptr;
  MonoTime now_{};
  std::optional<MonoTime> due_;  // libcurl's own timer
  Duration spent_{};             // in libcurl, in this turn
  std::unordered_map<uint64_t, std::unique_ptr<Transfer>> transfers_;
  std::deque<uint64_t> beginning_;  // some each turn; may name aborted ones
  std::vector<void*> idle_;         // easy handles, at most kIdleTransfersMax
  uint64_t next_id_ = 1;
};

}  // namespace gema::prober
