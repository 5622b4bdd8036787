// One process's connection to the bus: publishes without ever blocking, receives what it subscribed
// to, and keeps itself connected.
//
// In: topics and payloads; `now` by tick(). Out: messages, counters. It will not retry or remember
// a message (common/stream does), interpret payloads, or wait.
//
// A client is a PUSH socket to the broker's ingress and a SUB socket to its role's egress, both
// CURVE with the keys of DIR/keys/<name>.key and DIR/keys/broker.pub. libzmq reconnects by itself;
// what it does not do, tick() does: after a refused handshake, or when the bus has gone silent, the
// keys are read again and both sockets made anew.
//
// Every client subscribes to its own call/<name>/: with it it hears its own echo (limits.h).
//
// Threads: one thread only. All clients of a process share one zmq context.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/base/time.h"

namespace gema::bus {

struct BusOptions {
  std::string ingress;             // e.g. "ipc:///run/gema/bus-ingress.sock", "tcp://host:5555"
  std::string egress;              // that of the process's role: inner, or edge for probers
  std::filesystem::path keys_dir;  // holds <name>.key and broker.pub
  std::string name;                // the instance: "prober-1", "recorder"
};

struct BusStats {
  uint64_t published = 0;
  uint64_t published_bytes = 0;
  uint64_t dropped_full = 0;     // publish() while the queue was full
  uint64_t dropped_invalid = 0;  // publish() of what the bus cannot carry
  uint64_t received = 0;
  uint64_t received_bytes = 0;
  uint64_t received_invalid = 0;    // not `topic NUL payload`, or multipart
  uint64_t echoes = 0;              // of our own, heard; not in `received`
  uint64_t handshakes_refused = 0;  // by key (ZAP), by protocol or by time-out
  uint64_t disconnects = 0;
  uint64_t renewals = 0;  // times the sockets were made anew
};

class BusClient {
 public:
  // Fails with kBadInput when a key file is missing or wrong, or an endpoint cannot be parsed. The
  // broker need not be there yet.
  static Result<std::unique_ptr<BusClient>> open(BusOptions options);
  ~BusClient();
  BusClient(const BusClient&) = delete;
  BusClient& operator=(const BusClient&) = delete;

  // Every topic beginning with `prefix`, from now on and across reconnects. The broker cuts a peer
  // with hundreds of them: subscribe to "live/ping/", not to each producer.
  void subscribe(std::string_view prefix);
  void unsubscribe(std::string_view prefix);

  // False: dropped (and counted), because the queue is full or the bus cannot carry it.
  bool publish(std::string_view topic, std::string_view payload);

  // The next message, or false: nothing now. Replaces both strings (their memory is reused).
  bool receive(std::string& topic, std::string& payload);

  // Readable when receive() or tick() has something to do; stays the same for the client's life.
  // Drain it in every turn: `while (client.receive(topic, payload)) ...`
  int fd() const;

  // Looks after the connection. Call it each turn, at the latest when it says.
  MonoTime tick(Now now);

  // Both sockets have shaken hands with the broker, as far as we know.
  bool connected() const;
  // Why not, for people: "" while connected.
  std::string why_not_connected() const;

  const std::string& name() const;
  const BusStats& stats() const;

 private:
  struct Impl;
  explicit BusClient(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace gema::bus
