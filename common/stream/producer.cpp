#include "common/stream/producer.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "common/bus/topics.h"
#include "common/stream/codec.h"
#include "common/stream/core/limits.h"
#include "common/stream/posix_store.h"
#include "common/stream/spooled_producer.h"

namespace gema::stream {
namespace {

constexpr uint64_t kSegmentBytesMin = 4096;

std::optional<Error> check(ProducerOptions& options) {
  auto bad = [](const std::string& what) {
    return Error{Errc::kBadInput, "stream producer: " + what};
  };
  if (!bus::is_valid_name(options.stream)) return bad("stream name '" + options.stream + "'");
  if (!bus::is_valid_name(options.name)) return bad("producer name '" + options.name + "'");
  for (const std::string& group : options.groups) {
    if (!bus::is_valid_name(group)) return bad("group name '" + group + "'");
  }
  std::set<std::string> distinct(options.groups.begin(), options.groups.end());
  if (distinct.size() != options.groups.size() || distinct.size() > kGroupsMax) {
    return bad("groups must be distinct, at most " + std::to_string(kGroupsMax));
  }
  options.segment_bytes = std::min(options.segment_bytes, options.bytes_max / 8);
  if (options.segment_bytes < kSegmentBytesMin) {
    return bad("bytes_max " + std::to_string(options.bytes_max) + ": at least " +
               std::to_string(8 * kSegmentBytesMin));
  }
  if (options.replay_records_per_second == 0 || options.replay_bytes_per_second == 0) {
    return bad("replay rates must be above 0");
  }
  return std::nullopt;
}

}  // namespace

Producer::Producer(std::unique_ptr<SpooledProducer> engine, std::string stream, std::string name)
    : engine_(std::move(engine)), stream_(std::move(stream)), name_(std::move(name)) {}
Producer::~Producer() = default;

Result<std::unique_ptr<Producer>> Producer::open(ProducerOptions options, Now now) {
  if (std::optional<Error> error = check(options)) return *error;
  Result<std::unique_ptr<SegmentStore>> store = open_posix_store(options.dir);
  if (!store) return store.error();
  return open_on(std::move(options), std::move(*store), machine_boot_id(), random_epoch, now);
}

Result<std::unique_ptr<Producer>> Producer::open_on(ProducerOptions options,
                                                    std::unique_ptr<SegmentStore> store,
                                                    std::string boot_id,
                                                    std::function<uint64_t()> new_epoch, Now now) {
  if (std::optional<Error> error = check(options)) return *error;
  SpooledProducer::Options inner;
  inner.core.groups = options.groups;
  inner.core.release_by_owner = options.release_by_owner;
  inner.core.bytes_max = options.bytes_max;
  inner.core.segment_bytes = options.segment_bytes;
  inner.core.sync_every = options.sync_every;
  inner.core.hold_acknowledged = options.hold_acknowledged;
  inner.core.replay_records_per_second = options.replay_records_per_second;
  inner.core.replay_bytes_per_second = options.replay_bytes_per_second;
  inner.name = options.name;
  inner.boot_id = std::move(boot_id);
  inner.new_epoch = std::move(new_epoch);
  Result<std::unique_ptr<SpooledProducer>> engine =
      SpooledProducer::open(std::move(inner), std::move(store), now);
  if (!engine) return engine.error();
  return std::unique_ptr<Producer>(
      new Producer(std::move(*engine), std::move(options.stream), std::move(options.name)));
}

Result<uint64_t> Producer::append(uint32_t partition, std::string_view payload, Now now) {
  return engine_->append(partition, payload, now);
}

Result<uint64_t> Producer::append_large(uint32_t partition, std::string_view payload, Now now) {
  return engine_->append_large(partition, payload, now);
}

Result<void> Producer::clock_stepped(Now now) {
  return engine_->begin_epoch(EpochReason::kClockStep, now);
}

void Producer::on_message(std::string_view topic, std::string_view payload, Now) {
  std::optional<bus::ParsedTopic> parsed = bus::parse_topic(topic);
  if (!parsed || parsed->stream != stream_ || parsed->producer != name_) return;  // not for us
  StreamName name{stream_, name_};
  if (parsed->kind == bus::TopicKind::kAck) {
    Decoded<AckMessage> ack = decode_ack(name, parsed->group, payload);
    if (const AckMessage* good = std::get_if<AckMessage>(&ack)) return engine_->on_ack(*good);
    engine_->count_refused_message();
  } else if (parsed->kind == bus::TopicKind::kWant) {
    Decoded<WantMessage> want = decode_want(name, parsed->group, payload);
    if (const WantMessage* good = std::get_if<WantMessage>(&want)) return engine_->on_want(*good);
    engine_->count_refused_message();
  }
}

std::vector<Outgoing> Producer::take_outgoing(Now now) {
  std::vector<StreamMessage> messages;
  engine_->take_messages(now, messages);
  std::vector<Outgoing> out;
  out.reserve(messages.size());
  StreamName name{stream_, name_};
  for (const StreamMessage& message : messages) {
    switch (message.kind) {
      case StreamMessage::Kind::kLive:
        out.push_back({bus::live_topic(stream_, name_),
                       encode_record(name, std::get<RecordMessage>(message.body))});
        break;
      case StreamMessage::Kind::kTip:
        out.push_back(
            {bus::tip_topic(stream_, name_), encode_tip(name, std::get<TipMessage>(message.body))});
        break;
      case StreamMessage::Kind::kReplay:
        out.push_back({bus::replay_topic(stream_, message.group, name_),
                       encode_replay(name, std::get<RecordMessage>(message.body))});
        break;
      case StreamMessage::Kind::kLost:
        out.push_back({bus::replay_topic(stream_, message.group, name_),
                       encode_replay(name, std::get<LostMessage>(message.body))});
        break;
    }
  }
  return out;
}

std::optional<MonoTime> Producer::next_wakeup() const {
  return engine_->next_wakeup();
}
void Producer::tick(Now now) {
  engine_->tick(now);
}
Result<void> Producer::close_cleanly(Now now) {
  return engine_->close_cleanly(now);
}

std::vector<std::string> Producer::subscriptions() const {
  std::vector<std::string> topics;
  for (const std::string& group : engine_->groups()) {
    topics.push_back(bus::ack_topic(stream_, group, name_));
    topics.push_back(bus::want_topic(stream_, group, name_));
  }
  return topics;
}

PositionSet Producer::own_positions() const {
  return engine_->own_positions();
}
void Producer::release(const PositionSet& covered, Now) {
  engine_->release(covered);
}
bool Producer::synced(const PositionSet& covered) const {
  return engine_->synced(covered);
}

Result<void> Producer::read_after(const PositionSet& covered,
                                  const std::function<bool(const Spooled&)>& each) {
  return engine_->read_after(covered, each);
}
Result<void> Producer::read_back(uint32_t partition,
                                 const std::function<bool(const Spooled&)>& each) {
  return engine_->read_back(partition, each);
}

ProducerStats Producer::stats() const {
  return engine_->stats();
}
std::vector<ProducerEvent> Producer::take_events() {
  return engine_->take_events();
}

}  // namespace gema::stream
