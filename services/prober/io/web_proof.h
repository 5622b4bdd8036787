// Asks one device's web_url whether the device lives: connects, sends HEAD, then GET if HEAD did
// not give what is expected (or a body is needed), follows redirections that stay on the host.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "common/domain/catalogue.h"
#include "common/domain/ping.h"
#include "services/prober/core/address.h"
#include "services/prober/io/secrets.h"
#include "services/prober/io/tcp_connect.h"
#include "services/prober/io/web_json.h"
#include "services/prober/io/web_transfers.h"
#include "services/prober/io/web_url.h"

namespace gema::prober {

class WebProof {
 public:
  using Done = std::function<void(ProofOutcome, uint16_t status, Now)>;

  WebProof(runtime::Loop& loop, WebTransfers& transfers) : transfers_(transfers), connect_(loop) {}
  ~WebProof();
  WebProof(const WebProof&) = delete;
  WebProof& operator=(const WebProof&) = delete;

  struct Question {
    const ProofSpec* spec = nullptr;  // must outlive the proof
    WebUrl url;
    Address address;  // of the url's host
    Address source;   // unknown: as the route says
    Secret secret;
    MonoTime deadline;
  };
  // Calls `done` once, perhaps before it returns, but not after the destructor. It must not destroy
  // this.
  void begin(Question question, Now now, Done done);

 private:
  void ask(Now now);
  void exchange(Now now);
  void on_reply(WebReply& reply, Now now);
  void redirected(const WebReply& reply, Now now);
  void finish(ProofOutcome outcome, uint16_t status, Now now);

  WebTransfers& transfers_;
  TcpConnect connect_;
  Question question_;
  WebUrl url_;  // where it is now
  bool head_ = true;
  int hops_ = 0;
  uint64_t transfer_ = 0;
  uint16_t status_ = 0;  // the last one
  Done done_;
};

}  // namespace gema::prober
