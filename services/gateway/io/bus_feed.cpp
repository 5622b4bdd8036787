#include "services/gateway/io/bus_feed.h"

#include <fstream>
#include <sstream>

#include "common/bus/topics.h"
#include "common/codec/message.h"
#include "common/codec/on_demand_codec.h"
#include "common/codec/ping_codec.h"
#include "common/codec/transition_codec.h"
#include "common/observability/log.h"
#include "gema/v1/inventory.pb.h"
#include "services/gateway/core/v1_bodies.h"

namespace gema::gateway {
namespace {

constexpr const char* kTracker = "timeout-tracker";
constexpr const char* kInventory = "inventory";
// Messages taken in one turn: requests for the loop's thread wait meanwhile.
constexpr int kMessagesPerTurn = 2000;
constexpr Duration kFramesEvery = 1s;
// A catalogue that a heartbeat names may be on its way in parts already.
constexpr Duration kCatalogueGrace = 1s;
constexpr Duration kCatalogueRetry = 2s;  // guess

stream::Consumer observe(const char* name, const std::string& group) {
  stream::ConsumerOptions options;
  options.stream = name;
  options.group = group;
  options.observer = true;
  return stream::Consumer(std::move(options), {});
}

Snapshot from_codec(StateSnapshot snapshot) {
  Snapshot out;
  out.states = std::move(snapshot.states);
  for (auto& p : snapshot.positions) {
    out.positions.push_back({std::move(p.producer), p.epoch, p.partition, p.seq});
  }
  out.timeout_tracking_enabled = snapshot.timeout_tracking_enabled;
  out.critical_threshold = snapshot.critical_threshold;
  out.timeouts_file = std::move(snapshot.timeouts_file);
  return out;
}

RecordId record_id(const stream::RecordKey& key) {
  return {key.producer, key.epoch, key.partition, key.seq};
}

}  // namespace

Result<std::unique_ptr<BusFeed>> BusFeed::open(BusFeedOptions options, SharedView& view,
                                               EventHub& events, obs::Health& health, Now now) {
  auto client = bus::BusClient::open(options.bus);
  if (!client) {
    return client.error();
  }
  return std::unique_ptr<BusFeed>(
      new BusFeed(std::move(options), std::move(*client), view, events, health, now));
}

BusFeed::BusFeed(BusFeedOptions options, std::unique_ptr<bus::BusClient> client, SharedView& view,
                 EventHub& events, obs::Health& health, Now now)
    : options_(std::move(options)),
      client_(std::move(client)),
      view_(view),
      events_(events),
      health_(health),
      caller_(*client_, client_->name()),
      heartbeat_(*client_, "gateway", now,
                 [this](v1::Heartbeat& message) {
                   message.set_ready(health_.ready());
                   for (const auto& what : health_.waiting_for()) {
                     message.add_waiting_for(what);
                   }
                   to_proto(assembler_.held(), *message.mutable_catalogue());
                 }),
      ping_(observe("ping", client_->name())),
      transitions_(observe("transitions", client_->name())) {
  for (const auto* consumer : {&ping_, &transitions_}) {
    for (const auto& prefix : consumer->subscriptions()) {
      client_->subscribe(prefix);
    }
  }
  client_->subscribe(bus::catalogue_topic());
  client_->subscribe(bus::heartbeat_prefix());
  load_catalogue(now);
  say_what_is_waited_for();
}

MonoTime BusFeed::turn(Now now) {
  now_ = now;
  for (int i = 0; i < kMessagesPerTurn && client_->receive(topic_, payload_); ++i) {
    take(topic_, payload_, now);
  }
  ping_.tick(now, deliveries_);
  take_ping(now);
  transitions_.tick(now, deliveries_);
  take_transitions(now);
  MonoTime wakeup = std::min(client_->tick(now), heartbeat_.tick(now));
  if (!have_catalogue_ && !catalogue_due_ && !catalogue_call_open_) {
    catalogue_due_ = now.mono;
  }
  if (catalogue_due_ && *catalogue_due_ <= now.mono) {
    ask_for_catalogue(now);
  }
  ask_for_snapshot(now);
  if (frames_due_ <= now.mono) {
    publish_events(now);
    frames_due_ = now.mono + kFramesEvery;
  }
  say_what_is_waited_for();
  wakeup = std::min(wakeup, frames_due_);
  for (const auto& other :
       {caller_.tick(now), catalogue_due_, ping_.next_wakeup(), transitions_.next_wakeup(),
        view_.with([](LiveView& view) { return view.next_wakeup(); })}) {
    wakeup = std::min(wakeup, other.value_or(wakeup));
  }
  return wakeup;
}

void BusFeed::take(const std::string& topic, const std::string& payload, Now now) {
  if (caller_.on_message(topic, payload, now)) {
    return;
  }
  const auto parsed = bus::parse_topic(topic);
  if (!parsed) {
    return;
  }
  switch (parsed->kind) {
    case bus::TopicKind::kLive:
    case bus::TopicKind::kTip:
      if (parsed->stream == "ping") {
        ping_.on_message(topic, payload, now, deliveries_);
        take_ping(now);
      } else if (parsed->stream == "transitions") {
        transitions_.on_message(topic, payload, now, deliveries_);
        take_transitions(now);
      }
      return;
    case bus::TopicKind::kCatalogue: {
      auto whole = assembler_.add(payload);
      if (!whole) {
        ++stats_.undecodable;
      } else if (*whole) {
        auto catalogue = decode_catalogue((*whole)->bytes);
        if (catalogue) {
          take_catalogue(std::move(*catalogue), true, now);
        } else {
          ++stats_.undecodable;
        }
      }
      return;
    }
    case bus::TopicKind::kHeartbeat:
      take_heartbeat(parsed->process, payload, now);
      return;
    default:
      return;
  }
}

void BusFeed::take_ping(Now now) {
  for (const auto& delivery : deliveries_) {
    switch (delivery.kind) {
      case stream::Delivery::kRecord:
        if (!decode_ping(delivery.payload, results_)) {
          ++stats_.undecodable;
          break;
        }
        view_.with([&](LiveView& view) {
          view.on_results(record_id(delivery.key), results_, delivery.produced_at, now);
        });
        break;
      case stream::Delivery::kGap: {
        RecordId last = record_id(delivery.key);
        last.seq = delivery.gap.last;
        view_.with([&](LiveView& view) { view.on_gap(last, now); });
        break;
      }
      case stream::Delivery::kEpochStarted:
        view_.with([&](LiveView& view) { view.on_stream_began(now); });
        break;
      case stream::Delivery::kEpochClosed:
        break;
    }
  }
  deliveries_.clear();
}

void BusFeed::take_transitions(Now now) {
  for (const auto& delivery : deliveries_) {
    switch (delivery.kind) {
      case stream::Delivery::kRecord: {
        const auto transition = decode_transition(delivery.payload);
        if (!transition) {
          ++stats_.undecodable;
          break;
        }
        view_.with([&](LiveView& view) { view.on_transition(*transition, now); });
        break;
      }
      case stream::Delivery::kGap:
        view_.with([&](LiveView& view) { view.on_gap(std::nullopt, now); });
        break;
      case stream::Delivery::kEpochStarted:
        view_.with([&](LiveView& view) { view.on_stream_began(now); });
        break;
      case stream::Delivery::kEpochClosed:
        break;
    }
  }
  deliveries_.clear();
}

void BusFeed::take_heartbeat(std::string_view process, const std::string& payload, Now now) {
  v1::Heartbeat message;
  if (!message.ParseFromString(payload) || message.process() != process ||
      !is_time_of_ours(message.started_at_us())) {
    ++stats_.undecodable;
    return;
  }
  Process heard{.name = message.process(),
                .kind = message.kind(),
                .location = message.location(),
                .ready = message.ready(),
                .paused = message.paused(),
                .paused_by = message.paused_by(),
                .waiting_for = {message.waiting_for().begin(), message.waiting_for().end()},
                .started_at = wall_from_us(message.started_at_us()),
                .heard_at = now.mono,
                .catalogue = from_proto(message.catalogue()),
                .assignment = from_proto(message.assignment())};
  if (heard.kind == kInventory && heard.catalogue > std::max(wanted_, assembler_.held())) {
    wanted_ = heard.catalogue;
    catalogue_due_ = catalogue_due_.value_or(now.mono + kCatalogueGrace);
  }
  const bool says_probing = heard.kind == kInventory && message.has_probing();
  view_.with([&](LiveView& view) {
    view.on_heartbeat(std::move(heard));
    if (says_probing) view.on_probing(from_proto(message.probing()));
  });
}

void BusFeed::take_catalogue(Catalogue catalogue, bool keep, Now now) {
  assembler_.set_held(std::max(assembler_.held(), catalogue.version));
  if (keep) {
    keep_catalogue(catalogue);
  }
  const size_t devices = catalogue.devices.size();
  if (view_.with([&](LiveView& view) { return view.on_catalogue(std::move(catalogue), now); })) {
    ++stats_.catalogues;
    have_catalogue_ = true;
    obs::log_info("catalogue taken", {{"devices", devices}});
  }
}

std::filesystem::path catalogue_file(const std::filesystem::path& dir) {
  return dir / "catalogue.bin";
}

// The copy on disk only saves waiting at the next start, so it is neither synced nor missed.
void BusFeed::keep_catalogue(const Catalogue& catalogue) {
  const auto file = catalogue_file(options_.state_dir);
  const auto fresh = file.string() + ".new";
  {
    std::ofstream out(fresh, std::ios::binary | std::ios::trunc);
    out << encode_catalogue(catalogue);
    if (!out.flush()) {
      return;
    }
  }
  std::error_code ignored;
  std::filesystem::rename(fresh, file, ignored);
}

void BusFeed::load_catalogue(Now now) {
  std::ifstream in(catalogue_file(options_.state_dir), std::ios::binary);
  std::ostringstream bytes;
  bytes << in.rdbuf();
  if (!in || bytes.str().empty()) {
    return;
  }
  auto catalogue = decode_catalogue(bytes.str());
  if (catalogue) {
    take_catalogue(std::move(*catalogue), false, now);
  } else {
    obs::log_warn("the catalogue kept on disk is of no use", {{"why", catalogue.error().message}});
  }
}

void BusFeed::ask_for_catalogue(Now now) {
  catalogue_due_.reset();
  if (catalogue_call_open_ || (have_catalogue_ && assembler_.held() >= wanted_)) {
    return;
  }
  catalogue_call_open_ = true;
  caller_.call(
      kInventory, "catalogue.snapshot", {}, options_.call_timeout,
      [this](Result<std::string> answer) {
        catalogue_call_open_ = false;
        auto catalogue = answer ? decode_catalogue(*answer) : Result<Catalogue>(answer.error());
        if (catalogue) {
          take_catalogue(std::move(*catalogue), true, now_);
        } else {
          catalogue_due_ = now_.mono + kCatalogueRetry;
        }
      },
      now);
}

void BusFeed::ask_for_snapshot(Now now) {
  if (!view_.with([&](LiveView& view) { return view.take_snapshot_request(now); })) {
    return;
  }
  caller_.call(
      kTracker, "state.snapshot", {}, options_.call_timeout,
      [this](Result<std::string> answer) {
        auto snapshot = answer ? decode_snapshot(*answer) : Result<StateSnapshot>(answer.error());
        if (!snapshot) {
          ++stats_.snapshots_failed;
          view_.with([&](LiveView& view) { view.on_snapshot_failed(now_); });
          return;
        }
        const Snapshot converted = from_codec(std::move(*snapshot));
        view_.with([&](LiveView& view) { view.on_snapshot(converted, now_); });
        have_snapshot_ = true;
      },
      now);
}

void BusFeed::change_device(const std::string& method, const DeviceChange& change, ChangeDone done,
                            Now now) {
  const bool deleted = method == "device.delete";
  caller_.call(
      kInventory, method, encode_device_change(change), options_.call_timeout,
      [this, deleted, id = change.device.id, done = std::move(done)](Result<std::string> answer) {
        if (!answer) {
          done(answer.error());
          return;
        }
        auto device = decode_device_change_reply(*answer);
        if (device) {
          view_.with([&](LiveView& view) {
            if (deleted) {
              view.on_device_deleted(id);
            } else {
              view.on_device_changed(*device);
            }
          });
        }
        done(std::move(device));
      },
      now);
}

void BusFeed::change_probing(bool pause, const ProbingChange& change, ProbingDone done, Now now) {
  caller_.call(
      kInventory, pause ? "probing.pause" : "probing.resume", encode_probing_change(change),
      options_.call_timeout,
      [this, done = std::move(done)](Result<std::string> answer) {
        auto probing = answer ? decode_probing(*answer) : Result<Probing>(answer.error());
        if (probing) view_.with([&](LiveView& view) { view.on_probing(*probing); });
        done(std::move(probing));
      },
      now);
}

void BusFeed::ping(const std::string& prober, const PingOrder& order, Duration deadline,
                   PingDone done, Now now) {
  caller_.call(
      prober, "ping", encode_ping_order(order), deadline,
      [done = std::move(done)](Result<std::string> answer) {
        done(answer ? decode_ping_report(*answer) : Result<PingReport>(answer.error()));
      },
      now);
}

void BusFeed::call(const std::string& process, const std::string& method, std::string body,
                   Duration deadline, bus::Caller::Done done, Now now) {
  caller_.call(process, method, std::move(body), deadline, std::move(done), now);
}

void BusFeed::publish_events(Now now) {
  const auto recent = view_.with([](LiveView& view) { return view.take_recent_results(); });
  const auto transitions = view_.with([](LiveView& view) { return view.take_new_transitions(); });
  const auto addresses = view_.with([](LiveView& view) { return view.take_new_address_changes(); });
  const auto trust = view_.with([now](LiveView& view) { return view.take_new_trust(now); });
  for (const ProberTrust& prober : trust) {
    obs::log_warn(prober.suspicion == Suspicion::kNone ? "a prober trusts itself again"
                                                       : "a prober does not trust itself",
                  {{"prober", prober.name}, {"suspicion", to_string(prober.suspicion)}});
  }
  if (events_.stats().clients == 0) {
    return;
  }
  const View view = view_.copy(now);
  for (const auto& transition : transitions) {
    events_.publish(Frame::Kind::kTransition, transition_frame(view, transition));
  }
  for (const RecentAddressChange& change : addresses) {
    events_.publish(Frame::Kind::kNews, address_frame(view, change));
  }
  for (const ProberTrust& prober : trust) {
    events_.publish(Frame::Kind::kNews, prober_frame(prober));
  }
  events_.publish(Frame::Kind::kCounts, counts_frame(view));
  if (view.catalogue != nullptr) {
    events_.publish(Frame::Kind::kSilent, silent_frame(view));
    if (!recent.empty()) {
      events_.publish(Frame::Kind::kResults, results_frame(view, recent));
    }
  }
}

void BusFeed::say_what_is_waited_for() {
  const auto waiting = [this](bool is, const char* what, const std::string& why) {
    if (is) {
      health_.set_waiting(what, why);
    } else {
      health_.clear_waiting(what);
    }
  };
  waiting(!client_->connected(), "bus", client_->why_not_connected());
  waiting(!have_catalogue_, kInventory, "no catalogue yet");
  waiting(!have_snapshot_, kTracker, "no snapshot of device states yet");
}

}  // namespace gema::gateway
