#include "services/prober/io/web_transfers.h"

#include <curl/curl.h>
#include <string.h>  // explicit_bzero
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "common/base/assert.h"
#include "common/runtime/clock.h"
#include "services/prober/core/limits.h"

namespace gema::prober {

struct WebTransfers::Transfer {
  uint64_t id = 0;
  WebExchange exchange;
  Done done;
  CURL* easy = nullptr;
  bool added = false;
  WebReply reply;
  bool enough = false;  // what comes is not wanted: the callback that noticed it stopped libcurl
  size_t header_bytes = 0;

  ~Transfer() {
    if (exchange.socket >= 0) ::close(exchange.socket);
    explicit_bzero(exchange.password.data(), exchange.password.size());
  }
};

namespace {

using Transfer = WebTransfers::Transfer;

// The words of libcurl for ours.
ProofOutcome outcome_of(CURLcode code, long os_error) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
      return ProofOutcome::kTimeout;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
      return ProofOutcome::kBadCertificate;
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_SSL_CONNECT_ERROR:
      return os_error == ECONNRESET || os_error == EPIPE ? ProofOutcome::kReset
                                                         : ProofOutcome::kProtocolError;
    case CURLE_OUT_OF_MEMORY:
      return ProofOutcome::kNotTried;
    default:
      return ProofOutcome::kProtocolError;
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

// A number other than the size stops libcurl.
size_t on_header(char* data, size_t, size_t size, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  t.header_bytes += size;
  if (t.header_bytes > kWebHeaderBytesMax) return 0;
  const std::string_view line(data, size);
  constexpr std::string_view kLocation = "location:";
  if (line.size() > kLocation.size() &&
      ::strncasecmp(line.data(), kLocation.data(), kLocation.size()) == 0) {
    t.reply.location = trimmed(line.substr(kLocation.size()));
  }
  if (line != "\r\n" && line != "\n") return size;
  long status = 0;
  curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &status);
  if (status < 200) return size;  // 100 Continue: the answer is still to come
  t.reply.status = static_cast<uint16_t>(status);
  if (t.exchange.head || t.reply.status == t.exchange.body_of_status) return size;
  t.enough = true;
  return 0;
}

size_t on_body(char* data, size_t, size_t size, void* user) {
  auto& t = *static_cast<Transfer*>(user);
  if (t.reply.body.size() + size > kWebBodyBytesMax) {
    t.reply.failure = ProofOutcome::kBodyTooLong;
    return 0;
  }
  t.reply.body.append(data, size);
  return size;
}

// The socket is there already; libcurl must never make one itself.
curl_socket_t on_open(void* user, curlsocktype, curl_sockaddr*) {
  return std::exchange(static_cast<Transfer*>(user)->exchange.socket, CURL_SOCKET_BAD);
}

int on_socket_options(void*, curl_socket_t, curlsocktype) {
  return CURL_SOCKOPT_ALREADY_CONNECTED;
}

}  // namespace

// What libcurl calls with the WebTransfers as its user pointer.
struct WebTransfers::Callbacks {
  static int on_socket(CURL*, curl_socket_t fd, int what, void* user, void* known) {
    auto& self = *static_cast<WebTransfers*>(user);
    if (what == CURL_POLL_REMOVE) {
      self.loop_.remove_fd(fd);
      return 0;
    }
    const runtime::Readiness wanted{.read = (what & CURL_POLL_IN) != 0,
                                    .write = (what & CURL_POLL_OUT) != 0};
    if (known != nullptr) {
      self.loop_.change_fd(fd, wanted);
      return 0;
    }
    self.loop_.watch_fd(fd, wanted, [&self, fd](Now now, runtime::Readiness ready) {
      self.on_ready(fd, ready, now);
    });
    curl_multi_assign(self.multi_, fd, user);  // anything: "known"
    return 0;
  }

  static int on_timer(CURLM*, long ms, void* user) {
    auto& self = *static_cast<WebTransfers*>(user);
    if (ms < 0) {
      self.due_.reset();
    } else {
      self.due_ = self.now_ + std::chrono::milliseconds(ms);
    }
    return 0;
  }
};

void init_curl() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  GEMA_ASSERT(done == CURLE_OK);
}

WebTransfers::WebTransfers(runtime::Loop& loop, std::string ca_file)
    : loop_(loop), ca_file_(std::move(ca_file)) {
  init_curl();
  multi_ = curl_multi_init();
  GEMA_ASSERT(multi_ != nullptr);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &Callbacks::on_socket);
  curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &Callbacks::on_timer);
  curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
  curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
}

WebTransfers::~WebTransfers() {
  while (!transfers_.empty()) abort(transfers_.begin()->first);
  for (void* easy : idle_) curl_easy_cleanup(easy);
  curl_multi_cleanup(multi_);
}

void* WebTransfers::easy_handle() {
  if (idle_.empty()) return curl_easy_init();
  void* easy = idle_.back();
  idle_.pop_back();
  curl_easy_reset(easy);
  return easy;
}

bool WebTransfers::set_up(Transfer& t, Now now) {
  CURL* easy = t.easy;
  bool good = true;
  const auto set = [&](CURLoption option, auto value) {
    good = curl_easy_setopt(easy, option, value) == CURLE_OK && good;
  };
  const WebExchange& e = t.exchange;
  const auto left = std::max<int64_t>(1, (e.deadline - now.mono) / 1ms);
  set(CURLOPT_URL, e.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_USERAGENT, "gema-prober");
  set(CURLOPT_BUFFERSIZE, 4096L);
  set(CURLOPT_FRESH_CONNECT, 1L);
  set(CURLOPT_FORBID_REUSE, 1L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(left));
  set(CURLOPT_NOBODY, e.head ? 1L : 0L);
  set(CURLOPT_HEADERFUNCTION, &on_header);
  set(CURLOPT_HEADERDATA, &t);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_WRITEDATA, &t);
  // Never used but to satisfy libcurl, which resolves before it asks for the socket.
  set(CURLOPT_IPRESOLVE, static_cast<long>(CURL_IPRESOLVE_V4));
  static const curl_slist kNowhere{.data = const_cast<char*>("::127.0.0.1:"), .next = nullptr};
  set(CURLOPT_CONNECT_TO, &kNowhere);
  set(CURLOPT_OPENSOCKETFUNCTION, &on_open);
  set(CURLOPT_OPENSOCKETDATA, &t);
  set(CURLOPT_SOCKOPTFUNCTION, &on_socket_options);
  set(CURLOPT_SSL_VERIFYPEER, e.insecure ? 0L : 1L);
  set(CURLOPT_SSL_VERIFYHOST, e.insecure ? 0L : 2L);
  // The parsed store is kept over exchanges, but not if there is a directory, too.
  set(CURLOPT_CAPATH, static_cast<const char*>(nullptr));
  if (!ca_file_.empty()) set(CURLOPT_CAINFO, ca_file_.c_str());
  // Who does not look at certificates does not mind old ciphers either: old devices have no others.
  if (e.insecure) {
    set(CURLOPT_SSL_CIPHER_LIST, "DEFAULT@SECLEVEL=0");
    set(CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_0));
  }
  if (!e.user.empty()) {
    set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    set(CURLOPT_USERNAME, e.user.c_str());
    set(CURLOPT_PASSWORD, e.password.c_str());
  }
  return good;
}

uint64_t WebTransfers::begin(WebExchange exchange, Done done) {
  const uint64_t id = next_id_++;
  auto transfer = std::make_unique<Transfer>();
  transfer->id = id;
  transfer->exchange = std::move(exchange);
  transfer->done = std::move(done);
  transfers_.emplace(id, std::move(transfer));
  beginning_.push_back(id);
  return id;
}

void WebTransfers::begin_some(Now now) {
  for (size_t i = 0; i < kWebBeginsPerTurn && !beginning_.empty(); ++i) {
    const uint64_t id = beginning_.front();
    beginning_.pop_front();
    const auto found = transfers_.find(id);
    if (found == transfers_.end()) continue;  // aborted
    Transfer& t = *found->second;
    t.easy = easy_handle();
    t.added = t.easy != nullptr && set_up(t, now) &&
              curl_easy_setopt(t.easy, CURLOPT_PRIVATE, &t) == CURLE_OK &&
              curl_multi_add_handle(multi_, t.easy) == CURLM_OK;
    if (!t.added) finish(id, {.failure = ProofOutcome::kNotTried}, now);
  }
}

void WebTransfers::release(std::unique_ptr<Transfer> t) {
  if (t->added) curl_multi_remove_handle(multi_, t->easy);
  if (t->easy == nullptr) return;
  if (idle_.size() < kIdleTransfersMax) {
    curl_easy_reset(t->easy);  // forgets pointers and credentials
    idle_.push_back(t->easy);
  } else {
    curl_easy_cleanup(t->easy);
  }
}

void WebTransfers::abort(uint64_t id) {
  const auto found = transfers_.find(id);
  if (found == transfers_.end()) return;
  std::unique_ptr<Transfer> t = std::move(found->second);
  transfers_.erase(found);
  release(std::move(t));
}

void WebTransfers::on_ready(int fd, runtime::Readiness ready, Now now) {
  // A TLS handshake takes a millisecond, and echoes must leave on time: the rest waits for the next
  // turn, in which the socket is still ready.
  if (spent_ > kWebTurnBudget) return;
  now_ = now.mono;
  const MonoTime begun = runtime::read_clock().mono;
  int running = 0;
  curl_multi_socket_action(
      multi_, fd, (ready.read ? CURL_CSELECT_IN : 0) | (ready.write ? CURL_CSELECT_OUT : 0),
      &running);
  harvest(now);
  spent_ += runtime::read_clock().mono - begun;
}

void WebTransfers::tick(Now now) {
  spent_ = {};
  now_ = now.mono;
  begin_some(now);
  if (!due_ || *due_ > now.mono) return;
  due_.reset();
  int running = 0;
  curl_multi_socket_action(multi_, CURL_SOCKET_TIMEOUT, 0, &running);
  harvest(now);
}

void WebTransfers::finish(uint64_t id, WebReply reply, Now now) {
  const auto found = transfers_.find(id);
  std::unique_ptr<Transfer> t = std::move(found->second);
  transfers_.erase(found);
  const Done done = std::move(t->done);
  release(std::move(t));
  done(reply, now);
}

void WebTransfers::harvest(Now now) {
  int left = 0;
  while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    char* user = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);
    auto& t = *reinterpret_cast<Transfer*>(user);
    GEMA_ASSERT(transfers_.contains(t.id));
    WebReply reply = std::move(t.reply);
    if (!reply.failure && code != CURLE_OK && !t.enough) {
      long os_error = 0;
      curl_easy_getinfo(t.easy, CURLINFO_OS_ERRNO, &os_error);
      reply.failure = outcome_of(code, os_error);
    } else if (!reply.failure && reply.status == 0) {
      reply.failure = ProofOutcome::kProtocolError;
    }
    finish(t.id, std::move(reply), now);
  }
}

}  // namespace gema::prober
