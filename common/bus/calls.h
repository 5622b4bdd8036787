// Calls: request and reply over the bus, which may lose either.
//
// A Caller sends a request with a random id to call/<process>/ and repeats it until the reply is
// whole or the deadline has passed. A CallServer does each id once and answers a repeated one from
// its memory of recent replies. So a call takes effect at most once, unless the callee restarts in
// between: methods that change something must bear that (create twice = "exists").
//
// No answer by the deadline is kTimeout when the bus was there (it may have taken effect), and
// kUnavailable when it was not. Large replies travel in parts; bounds stand in limits.h.
//
// Threads: that of the BusClient. Callbacks are called from on_message() and tick(), never from
// call() or handle(); they may make further calls.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"
#include "common/bus/client.h"

namespace gema::bus {

// How calls reach the bus; tests put their own in.
struct CallTransport {
  std::function<bool(std::string_view topic, std::string_view payload)> publish;
  std::function<bool()> connected;
};

struct CallerStats {
  uint64_t started = 0;
  uint64_t answered = 0;
  uint64_t failed = 0;     // answered with an error
  uint64_t timed_out = 0;  // no answer, or none whole
  uint64_t repeated = 0;
  uint64_t refused = 0;     // at a bound
  uint64_t unexpected = 0;  // replies that nobody waits for, or that contradict themselves
};

class Caller {
 public:
  using Done = std::function<void(Result<std::string>)>;

  // Subscribes the client to reply/<name>/. Requires: name is the client's own.
  Caller(BusClient& client, std::string name);
  Caller(CallTransport transport, std::string name);
  ~Caller();

  // `done` is called exactly once, with the reply's body or an error; not at all if the Caller is
  // destroyed first. Requires: 0 < deadline <= 60 s.
  void call(std::string_view process, std::string_view method, std::string body, Duration deadline,
            Done done, Now now);

  // True when the message was a reply to us (whatever it said): others need not look at it.
  bool on_message(std::string_view topic, std::string_view payload, Now now);

  // Repeats and times out. Returns when to call again; nullopt: nothing is open.
  std::optional<MonoTime> tick(Now now);

  size_t open_calls() const;
  const CallerStats& stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct CallServerStats {
  uint64_t requests = 0;
  uint64_t repeats = 0;  // answered from memory, or still being worked on
  uint64_t replies = 0;
  uint64_t expired = 0;  // came after their deadline
  uint64_t refused = 0;  // at a bound, unknown method, undecodable
};

// Answers one request, now or later, from the server's thread. Copies answer the same request; the
// first answer counts. Outliving the CallServer is harmless.
class Responder {
 public:
  void reply(std::string body) const;
  void fail(const Error& error) const;
  void answer(Result<std::string> result) const;  // one of the two

  const std::string& caller() const;  // as the request says; the broker does not vouch for it

 private:
  friend class CallServer;
  struct Request;
  std::shared_ptr<Request> request_;
};

class CallServer {
 public:
  using Handler = std::function<void(std::string body, Responder responder)>;

  // Subscribes the client to call/<name>/. Requires: name is the client's own.
  CallServer(BusClient& client, std::string name);
  CallServer(CallTransport transport, std::string name);
  ~CallServer();

  // Requires: no handler for `method` yet.
  void handle(std::string method, Handler handler);

  // True when the message was a call to us: others need not look at it.
  bool on_message(std::string_view topic, std::string_view payload, Now now);

  // Forgets old replies. Returns when to call again; nullopt: nothing is remembered.
  std::optional<MonoTime> tick(Now now);

  const CallServerStats& stats() const;

 private:
  friend class Responder;
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace gema::bus
