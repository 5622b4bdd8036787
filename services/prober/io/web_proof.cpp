#include "services/prober/io/web_proof.h"

#include <utility>

#include "services/prober/core/limits.h"

namespace gema::prober {
namespace {

bool is_redirection(uint16_t status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// Credentials go where they were meant for, and from there to the same host's https; never to
// another port and never back to plain text.
bool may_have_credentials(const WebUrl& meant, const WebUrl& now) {
  if (now.host != meant.host) return false;
  return (now.https == meant.https && now.port == meant.port) || (now.https && now.port == 443);
}

}  // namespace

WebProof::~WebProof() {
  if (transfer_ != 0) transfers_.abort(transfer_);
}

void WebProof::begin(Question question, Now now, Done done) {
  question_ = std::move(question);
  url_ = question_.url;
  head_ = question_.spec->web_json.empty();
  done_ = std::move(done);
  ask(now);
}

void WebProof::ask(Now now) {
  connect_.begin(question_.address, url_.port, question_.source, now,
                 [this](ProofOutcome outcome, Now at) {
                   if (outcome == ProofOutcome::kAlive) {
                     exchange(at);
                   } else {
                     finish(outcome, status_, at);
                   }
                 });
}

void WebProof::exchange(Now now) {
  const ProofSpec& spec = *question_.spec;
  WebExchange e{.url = url_.text,
                .head = head_,
                .insecure = spec.web_insecure,
                .body_of_status =
                    spec.web_json.empty() ? uint16_t{0} : static_cast<uint16_t>(spec.web_status),
                .socket = connect_.take(),
                .deadline = question_.deadline};
  // Some servers never answer a HEAD: GET shall have its chance.
  if (head_) e.deadline = now.mono + (question_.deadline - now.mono) / 2;
  if (may_have_credentials(question_.url, url_)) {
    e.user = question_.secret.user();
    e.password = question_.secret.password();
  }
  transfer_ = transfers_.begin(std::move(e), [this](WebReply& reply, Now at) {
    transfer_ = 0;
    on_reply(reply, at);
  });
}

void WebProof::on_reply(WebReply& reply, Now now) {
  if (!done_) return;
  const ProofSpec& spec = *question_.spec;
  const bool again = head_ && reply.failure != ProofOutcome::kBadCertificate &&
                     reply.failure != ProofOutcome::kNotTried;
  if (reply.status != 0) status_ = reply.status;
  if (!reply.failure && reply.status == spec.web_status) {
    const bool right = spec.web_json.empty() || json_matches(reply.body, spec.web_json);
    finish(right ? ProofOutcome::kAlive : ProofOutcome::kWrongBody, status_, now);
  } else if (!reply.failure && is_redirection(reply.status) && !reply.location.empty()) {
    redirected(reply, now);
  } else if (again) {
    head_ = false;
    ask(now);
  } else {
    finish(reply.failure.value_or(ProofOutcome::kWrongStatus), status_, now);
  }
}

void WebProof::redirected(const WebReply& reply, Now now) {
  const auto target = follow_location(url_, reply.location);
  if (!target || hops_ == kWebHopsMax) {
    finish(ProofOutcome::kWrongStatus, status_, now);
  } else if (target->host != question_.url.host) {
    finish(ProofOutcome::kOtherHost, status_, now);
  } else {
    ++hops_;
    url_ = *target;
    ask(now);
  }
}

void WebProof::finish(ProofOutcome outcome, uint16_t status, Now now) {
  if (const Done done = std::exchange(done_, nullptr)) done(outcome, status, now);
}

}  // namespace gema::prober
