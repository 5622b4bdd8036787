// Brings the newest catalogue that inventory published to a process: collects its parts, keeps the
// last one on disk for the next start, knows when one is missing and asks for it. Lower versions
// are refused.
// Thread: the loop's. Writes a file of a few MiB at most, without waiting for the disk.
#pragma once

#include <filesystem>
#include <functional>
#include <string_view>

#include "common/base/result.h"
#include "common/bus/calls.h"
#include "common/bus/client.h"
#include "common/codec/device_codec.h"
#include "common/domain/catalogue.h"

namespace gema {

class CatalogueFeed {
 public:
  // Called with each catalogue that is newer than the one before.
  using Take = std::function<void(Catalogue)>;

  CatalogueFeed(std::filesystem::path file, Take take)
      : file_(std::move(file)), take_(std::move(take)) {}

  // From disk. False: there is none that can be read; inventory will publish it.
  bool load();

  void subscribe(bus::BusClient& client) const;
  // True when the message was for us: others need not look at it.
  bool on_message(std::string_view topic, std::string_view payload);
  // Asks inventory when it named a version that did not come. Requires: this outlives `caller`, or
  // no call is under way.
  void tick(bus::Caller& caller, Now now);

  Version version() const { return assembler_.held(); }

 private:
  void on_part(std::string_view payload);
  void on_heartbeat(std::string_view payload);
  Result<bool> on_snapshot(std::string_view bytes);
  Result<bool> take(std::string_view bytes);
  void save(std::string_view bytes) const;

  const std::filesystem::path file_;
  const Take take_;
  SnapshotAssembler assembler_;
  bool have_ = false;
  Version named_;  // by inventory's heartbeat
  bool asking_ = false;
  MonoTime ask_at_{};
  Now now_{};  // of this turn, for the answer to a call
};

}  // namespace gema
