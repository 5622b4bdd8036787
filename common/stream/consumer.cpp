#include "common/stream/consumer.h"

#include <utility>
#include <variant>

#include "common/bus/topics.h"
#include "common/stream/codec.h"
#include "common/stream/core/consumer_core.h"

namespace gema::stream {

Consumer::Consumer(ConsumerOptions options, PositionSet restored)
    : core_(std::make_unique<ConsumerCore>(std::move(options), std::move(restored))) {}
Consumer::~Consumer() = default;
Consumer::Consumer(Consumer&&) noexcept = default;
Consumer& Consumer::operator=(Consumer&&) noexcept = default;

namespace {

void count(Refused refused, ConsumerStats& counters) {
  ++(refused == Refused::kForeign ? counters.foreign : counters.malformed);
}

}  // namespace

void Consumer::on_message(std::string_view topic, std::string_view payload, Now now,
                          std::vector<Delivery>& out) {
  std::optional<bus::ParsedTopic> parsed = bus::parse_topic(topic);
  const ConsumerOptions& options = core_->options();
  if (!parsed || parsed->stream != options.stream) return;  // not for us
  StreamName name{parsed->stream, parsed->producer};
  std::string producer(parsed->producer);
  if (parsed->kind == bus::TopicKind::kLive) {
    if (core_->paused()) return;
    Decoded<RecordMessage> record = decode_record_message(name, payload);
    if (const Refused* refused = std::get_if<Refused>(&record)) {
      return count(*refused, core_->counters());
    }
    core_->on_record(producer, std::move(std::get<RecordMessage>(record)), now, out);
  } else if (parsed->kind == bus::TopicKind::kTip) {
    Decoded<TipMessage> tip = decode_tip(name, payload);
    if (const Refused* refused = std::get_if<Refused>(&tip)) {
      return count(*refused, core_->counters());
    }
    core_->on_tip(producer, std::get<TipMessage>(tip), now, out);
  } else if (parsed->kind == bus::TopicKind::kReplay && parsed->group == options.group &&
             !options.observer) {
    if (core_->paused()) return;
    auto replay = decode_replay(name, payload);
    if (const Refused* refused = std::get_if<Refused>(&replay)) {
      return count(*refused, core_->counters());
    }
    auto& either = std::get<0>(replay);
    if (RecordMessage* record = std::get_if<RecordMessage>(&either)) {
      core_->on_record(producer, std::move(*record), now, out);
    } else {
      core_->on_lost(producer, std::get<LostMessage>(either), now, out);
    }
  }
}

void Consumer::tick(Now, std::vector<Delivery>&) {}  // tips are its clock

std::optional<MonoTime> Consumer::next_wakeup() const {
  return core_->next_wakeup();
}

std::vector<Outgoing> Consumer::take_outgoing(Now now) {
  std::vector<Outgoing> out;
  const std::string& stream = core_->options().stream;
  for (const ConsumerCore::Out& item : core_->take_outgoing(now)) {
    StreamName name{stream, item.producer};
    if (const AckMessage* ack = std::get_if<AckMessage>(&item.message)) {
      out.push_back({bus::ack_topic(stream, ack->group, item.producer), encode_ack(name, *ack)});
    } else {
      const WantMessage& want = std::get<WantMessage>(item.message);
      out.push_back({bus::want_topic(stream, want.group, item.producer), encode_want(name, want)});
    }
  }
  return out;
}

void Consumer::set_paused(bool paused) {
  core_->set_paused(paused);
}
PositionSet Consumer::positions() const {
  return core_->positions();
}
void Consumer::mark_durable(const PositionSet& positions) {
  core_->mark_durable(positions);
}
void Consumer::restore(PositionSet positions) {
  core_->restore(std::move(positions));
}
void Consumer::note_quarantined(uint64_t records) {
  core_->counters().quarantined += records;
}

std::optional<Outstanding> Consumer::outstanding(const std::string& producer, Now now) const {
  return core_->outstanding(producer, now);
}

std::vector<std::string> Consumer::subscriptions() const {
  const ConsumerOptions& options = core_->options();
  std::vector<std::string> prefixes{bus::live_prefix(options.stream),
                                    bus::tip_prefix(options.stream)};
  if (!options.observer) prefixes.push_back(bus::replay_prefix(options.stream, options.group));
  return prefixes;
}

ConsumerStats Consumer::stats() const {
  return core_->stats();
}

}  // namespace gema::stream
