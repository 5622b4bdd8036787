#include "tests/sim/stream_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <variant>

#include "common/base/assert.h"
#include "common/base/random.h"
#include "common/stream/codec.h"
#include "common/stream/core/consumer_core.h"
#include "common/stream/core/limits.h"
#include "common/stream/spooled_producer.h"
#include "tests/sim/sim_disk.h"

namespace gema::sim {
namespace {

using namespace gema::stream;

constexpr Duration kStep = 10ms;
constexpr size_t kPendingMax = 400;  // deliveries an application holds before it pauses
constexpr size_t kBusMax = 20'000;   // messages under way; beyond, lost
constexpr Duration kDrainWithin = 600s;
constexpr const char* kStream = "ping";

struct Truth {  // one record as the source made it
  uint8_t producer = 0;
  uint32_t partition = 0;
  uint64_t epoch = 0;
  uint64_t seq = 0;  // of the last part
  uint64_t first_seq = 0;
  uint64_t segment = 0;
  size_t end = 0;  // in the segment file
  MonoTime at{};
  bool cut = false;      // gone with a power cut, not synced yet
  bool excused = false;  // may be announced as lost: dropped at the bound
};

using Message = std::variant<RecordMessage, TipMessage, LostMessage, AckMessage, WantMessage>;
struct OnBus {
  MonoTime at{};
  uint64_t number = 0;
  uint32_t from = 0;
  uint32_t to = 0;
  bool replay = false;
  std::shared_ptr<const Message> message;
  std::shared_ptr<const std::string> bytes;  // instead, when messages travel as bytes

  bool operator<(const OnBus& other) const {  // priority_queue: the soonest on top
    return at != other.at ? at > other.at : number > other.number;
  }
};

struct Producing {
  std::string name;
  SimDisk disk;
  uint64_t boots = 1;
  MonoTime opened_at{};
  std::unique_ptr<SpooledProducer> process;
  MonoTime down_until{};
  bool pressed = false;  // the spool was over half its bound at some time
  uint64_t to_make = 0;
  uint64_t dropped_events = 0;
  std::set<uint64_t> damaged;   // segments in which a bit flipped
  std::deque<size_t> unsynced;  // truths not known to be synced
  MonoTime full_until{};
  uint64_t replayed = 0;
  uint64_t epochs = 0;
};

struct Effect {
  enum Kind : uint8_t { kRecord, kGap } kind = kRecord;
  uint32_t id = 0;  // kRecord
  uint8_t producer = 0;
  uint64_t epoch = 0;
  uint32_t partition = 0;
  SeqRange gap;
};
struct Commit {
  MonoTime at{};
  bool fresh = false;  // of an observer: the first since it started
  std::vector<Effect> effects;
  PositionSet positions;
};

struct Consuming {
  ConsumerOptions options;
  std::vector<Commit> database;  // what is durable, a commit after another
  std::unique_ptr<ConsumerCore> core;
  std::vector<Delivery> pending;  // delivered, not committed
  MonoTime down_until{};
  MonoTime away_until{};  // its database
  MonoTime commit_at{};
  bool fresh = true;
  std::optional<PositionSet> committed;  // but not told to the core yet
  std::set<uint32_t> rolled_back;        // by a fail-over: ids
  std::optional<MonoTime> rolled_back_to;
};

class World {
 public:
  explicit World(const RunOptions& options)
      : options_(options), random_(options.seed * 2 + 1), rates_(draw_rates(options.seed)) {
    result_.rates = rates_;
  }
  RunResult run();

 private:
  // --- turns ---
  void step();
  void faults();
  void produce(size_t index);
  void consume(size_t index);
  void deliver_bus();
  void send(uint32_t from, uint32_t to, Message message, bool replay);
  void open_producer(Producing& producer);
  void kill_producer(Producing& producer, Duration downtime);
  void note_synced(Producing& producer);
  void power_cut(size_t index);
  void flip_bit(size_t index);
  void take_events(size_t index);
  void open_consumer(Consuming& consumer);
  void commit(Consuming& consumer);
  void fail_over(size_t index);
  bool knows_all(const PositionSet& positions) const {
    return std::all_of(producers_.begin(), producers_.end(), [&](const Producing& producer) {
      auto it = positions.first_of(producer.name);
      return it != positions.end() && it->first.producer == producer.name;
    });
  }
  bool once_per(Duration mean) {
    return faults_on_ && mean > Duration{} &&
           random_.below(static_cast<uint64_t>(mean / kStep)) == 0;
  }
  // --- checks ---
  bool drained();
  void check_bounds();
  void check_effects();
  void check_observer(const Consuming& observer);
  void violation(std::string text) {
    if (result_.violations.size() < 20) result_.violations.push_back(std::move(text));
  }
  void trace(uint64_t value) { hash_ = (hash_ ^ value) * 0x100000001b3ULL; }
  template <class... T>
  void say(fmt::format_string<T...> format, T&&... args) {
    if (!options_.verbose) return;
    std::string text = fmt::format(format, std::forward<T>(args)...);
    std::printf("%9.3f %s\n", std::chrono::duration<double>(now_.mono - MonoTime{}).count(),
                text.c_str());
  }
  std::string bytes_of(const OnBus& item, const Message& message) const;
  std::optional<Message> message_of(const OnBus& item) const;
  uint32_t address_of(const std::string& producer) const {
    for (size_t i = 0; i < producers_.size(); ++i) {
      if (producers_[i].name == producer) return static_cast<uint32_t>(i);
    }
    GEMA_ASSERT(false);
  }
  const std::string& name_of(uint32_t producer) const { return producers_[producer].name; }

  RunOptions options_;
  Random random_;
  Rates rates_;
  RunResult result_;
  uint64_t hash_ = 0xcbf29ce484222325ULL;
  Now now_{MonoTime{} + 1h, WallTime{} + 1'700'000'000s};
  bool faults_on_ = true;
  std::vector<Producing> producers_;
  std::vector<Consuming> consumers_;  // bus addresses follow those of the producers
  std::priority_queue<OnBus> bus_;
  uint64_t bus_numbers_ = 0;
  std::map<std::pair<uint32_t, uint32_t>, MonoTime> partitions_;  // link -> until
  std::vector<Truth> truths_;
};

uint32_t id_of(std::string_view payload) {
  uint32_t id = UINT32_MAX;
  if (payload.size() >= 4) std::memcpy(&id, payload.data(), 4);
  return id;
}

// --- the bus -------------------------------------------------------------------------------------

std::string World::bytes_of(const OnBus& item, const Message& message) const {
  bool from_producer = item.from < producers_.size();
  StreamName name{kStream, name_of(from_producer ? item.from : item.to)};
  if (const auto* record = std::get_if<RecordMessage>(&message)) {
    return item.replay ? encode_replay(name, *record) : encode_record(name, *record);
  }
  if (const auto* lost = std::get_if<LostMessage>(&message)) return encode_replay(name, *lost);
  if (const auto* tip = std::get_if<TipMessage>(&message)) return encode_tip(name, *tip);
  if (const auto* ack = std::get_if<AckMessage>(&message)) return encode_ack(name, *ack);
  return encode_want(name, std::get<WantMessage>(message));
}

template <class T>
std::optional<Message> lift(Decoded<T> decoded) {
  if (T* good = std::get_if<T>(&decoded)) return Message(std::move(*good));
  return std::nullopt;
}

std::optional<Message> World::message_of(const OnBus& item) const {
  if (!item.bytes) return *item.message;
  bool from_producer = item.from < producers_.size();
  StreamName name{kStream, name_of(from_producer ? item.from : item.to)};
  if (item.replay) {
    auto either = decode_replay(name, *item.bytes);
    if (std::holds_alternative<Refused>(either)) return std::nullopt;
    auto& good = std::get<0>(either);
    if (auto* record = std::get_if<RecordMessage>(&good)) return Message(std::move(*record));
    return Message(std::move(std::get<LostMessage>(good)));
  }
  if (std::holds_alternative<TipMessage>(*item.message)) return lift(decode_tip(name, *item.bytes));
  if (std::holds_alternative<RecordMessage>(*item.message)) {
    return lift(decode_record_message(name, *item.bytes));
  }
  const std::string& group = consumers_[item.from - producers_.size()].options.group;
  if (std::holds_alternative<AckMessage>(*item.message)) {
    return lift(decode_ack(name, group, *item.bytes));
  }
  return lift(decode_want(name, group, *item.bytes));
}

void World::send(uint32_t from, uint32_t to, Message message, bool replay) {
  trace(from * 131 + to * 17 + message.index());
  if (bus_.size() >= kBusMax) return;
  if (faults_on_) {
    auto cut = partitions_.find({from, to});
    if (cut != partitions_.end() && now_.mono < cut->second) return;
    if (random_.chance(rates_.loss_per_mille)) return;
  }
  OnBus item{now_.mono + 1ms, ++bus_numbers_, from, to, replay, nullptr, nullptr};
  if (rates_.through_codec) item.bytes = std::make_shared<std::string>(bytes_of(item, message));
  item.message = std::make_shared<Message>(std::move(message));
  if (faults_on_ && rates_.delay_max > Duration{}) {
    // Mostly prompt, sometimes very late.
    auto most = static_cast<uint64_t>(rates_.delay_max.count());
    item.at += Duration(random_.below(random_.chance(50) ? most : most / 20 + 1));
    if (random_.chance(rates_.duplicate_per_mille)) {
      OnBus twin = item;
      twin.at += Duration(random_.below(most));
      twin.number = ++bus_numbers_;
      bus_.push(std::move(twin));
    }
  }
  bus_.push(std::move(item));
}

void World::deliver_bus() {
  while (!bus_.empty() && bus_.top().at <= now_.mono) {
    OnBus item = bus_.top();
    bus_.pop();
    std::optional<Message> message = message_of(item);
    if (!message) {
      violation("a message that we encoded could not be decoded");
      continue;
    }
    if (item.to < producers_.size()) {
      Producing& producer = producers_[item.to];
      if (!producer.process) continue;
      if (auto* ack = std::get_if<AckMessage>(&*message)) producer.process->on_ack(*ack);
      if (auto* want = std::get_if<WantMessage>(&*message)) producer.process->on_want(*want);
      continue;
    }
    Consuming& consumer = consumers_[item.to - producers_.size()];
    if (!consumer.core) continue;
    const std::string& from = name_of(item.from);
    if (auto* record = std::get_if<RecordMessage>(&*message)) {
      consumer.core->on_record(from, std::move(*record), now_, consumer.pending);
    } else if (auto* tip = std::get_if<TipMessage>(&*message)) {
      consumer.core->on_tip(from, *tip, now_, consumer.pending);
    } else if (auto* lost = std::get_if<LostMessage>(&*message)) {
      consumer.core->on_lost(from, *lost, now_, consumer.pending);
    }
    if (options_.plant == Plant::kSilentDrop) {
      if (consumer.pending.size() > kPendingMax) consumer.pending.resize(kPendingMax);
    } else {
      consumer.core->set_paused(consumer.pending.size() >= kPendingMax);
    }
  }
}

// --- producers -----------------------------------------------------------------------------------

void World::open_producer(Producing& producer) {
  SpooledProducer::Options options;
  options.core.groups = {"recorder", "tracker"};
  options.core.bytes_max = rates_.bytes_max;
  options.core.segment_bytes = rates_.segment_bytes;
  options.core.hold_acknowledged = rates_.hold;
  options.name = producer.name;
  // Planted: the machine does not tell that it booted.
  options.boot_id = options_.plant == Plant::kReuseSeqs ? "boot" : std::to_string(producer.boots);
  options.new_epoch = [this] { return random_.next() | 1; };
  auto opened = SpooledProducer::open(std::move(options),
                                      std::make_unique<SimStore>(producer.disk, random_), now_);
  if (!opened) {
    producer.down_until = now_.mono + 1s;
    return;
  }
  producer.process = std::move(*opened);
  producer.opened_at = now_.mono;
  say("{} opens, epoch {:x}", producer.name, producer.process->core().current_epoch());
}

void World::kill_producer(Producing& producer, Duration downtime) {
  if (producer.process) {
    take_events(static_cast<size_t>(&producer - producers_.data()));
    ProducerStats stats = producer.process->stats();
    producer.replayed += stats.replayed;
    producer.epochs += stats.epochs_begun;
  }
  producer.process.reset();
  producer.down_until = now_.mono + downtime;
}

// Which truths are on the platter now.
void World::note_synced(Producing& producer) {
  while (!producer.unsynced.empty()) {
    const Truth& truth = truths_[producer.unsynced.front()];
    auto it = producer.disk.files.find(truth.segment);
    bool gone = it == producer.disk.files.end();
    if (!gone && (it->second.synced < truth.end || !it->second.name_synced)) break;
    producer.unsynced.pop_front();
  }
}

void World::power_cut(size_t index) {
  Producing& producer = producers_[index];
  say("{}: power cut", producer.name);
  note_synced(producer);
  bool alive = producer.process != nullptr;
  kill_producer(producer, Duration(random_.below(5'000'000'000)));
  for (size_t i : producer.unsynced) {
    Truth& truth = truths_[i];
    auto it = producer.disk.files.find(truth.segment);
    if (it != producer.disk.files.end() && it->second.synced >= truth.end &&
        it->second.name_synced) {
      continue;
    }
    truth.cut = true;
    // At most the fsync window, unless an fdatasync failed or nobody was alive to call it.
    Duration age = now_.mono - std::max(truth.at, producer.opened_at);
    bool damaged = producer.damaged.count(truth.segment) > 0;  // cut off for that, when it opened
    if (alive && !damaged && producer.disk.sync_failures == 0 && age > 200ms) {
      violation(fmt::format("{}: a power cut took a record {} ms old", producer.name, age / 1ms));
    }
  }
  producer.unsynced.clear();
  producer.disk.power_cut(random_);
  ++producer.boots;
  ++result_.power_cuts;
}

void World::flip_bit(size_t index) {
  Producing& producer = producers_[index];
  std::optional<uint64_t> segment = producer.disk.flip_bit(random_);
  if (!segment) return;
  say("{}: a bit of segment {} flips", producer.name, *segment);
  producer.damaged.insert(*segment);
}

void World::take_events(size_t index) {
  for (const ProducerEvent& event : producers_[index].process->take_events()) {
    say("{}: {} [{}..{}]", producers_[index].name, event.text, event.range.first, event.range.last);
    trace(static_cast<uint64_t>(event.kind) * 7 + event.range.last);
    if (event.kind != ProducerEvent::Kind::kDropped) continue;
    ++producers_[index].dropped_events;
    for (Truth& truth : truths_) {
      if (truth.producer == index && truth.epoch == event.epoch &&
          truth.partition == event.partition && truth.first_seq <= event.range.last &&
          truth.seq >= event.range.first) {
        truth.excused = true;
      }
    }
  }
}

void World::produce(size_t index) {
  Producing& producer = producers_[index];
  if (!producer.process) {
    if (now_.mono < producer.down_until) return;
    open_producer(producer);
    if (!producer.process) return;
  }
  SpooledProducer& process = *producer.process;
  uint64_t chance = rates_.records_per_second * static_cast<uint64_t>(kStep / 1ms);  // per 1000
  for (uint64_t n = chance / 1000 + (random_.chance(chance % 1000) ? 1 : 0);
       n > 0 && producer.to_make > 0; --n) {
    auto id = static_cast<uint32_t>(truths_.size());
    bool thing = rates_.things && random_.below(2'000) == 0;
    std::string payload(thing ? 3 * kPartBytes - random_.below(kPartBytes)
                              : 4 + random_.below(random_.chance(30) ? 600 : 60),
                        static_cast<char>(id));
    std::memcpy(payload.data(), &id, 4);
    auto partition = static_cast<uint32_t>(random_.below(kPartitions));
    if (faults_on_ && random_.below(3'000) == 0) producer.disk.die_in_write = random_.below(1000);
    Result<uint64_t> seq = thing ? process.append_large(partition, payload, now_)
                                 : process.append(partition, payload, now_);
    if (producer.disk.died_in_write) {
      producer.disk.died_in_write = false;
      say("{}: killed within a write", producer.name);
      kill_producer(producer, Duration(random_.below(2'000'000'000)));
      ++result_.kills;
      return;
    }
    producer.disk.die_in_write.reset();
    if (!seq) break;  // the disk is full; the source makes the record later
    --producer.to_make;
    Truth truth;
    truth.producer = static_cast<uint8_t>(index);
    truth.partition = partition;
    truth.epoch = process.core().current_epoch();
    truth.seq = *seq;
    truth.first_seq = *seq - (thing ? 2 : 0);
    truth.segment = process.core().active_segment();
    truth.end = producer.disk.files.at(truth.segment).bytes.size();
    truth.at = now_.mono;
    producer.unsynced.push_back(truths_.size());
    truths_.push_back(truth);
    trace(truth.epoch ^ (truth.seq << 8) ^ partition);
  }
  // A crash right here loses what was appended but not sent.
  if (faults_on_ && random_.below(20'000) == 0) {
    kill_producer(producer, Duration(random_.below(1'000'000'000)));
    ++result_.kills;
    return;
  }
  // Before the producer can do something about it.
  producer.pressed = producer.pressed || process.core().bytes() > rates_.bytes_max / 2;
  process.tick(now_);
  note_synced(producer);
  std::vector<StreamMessage> messages;
  process.take_messages(now_, messages);
  take_events(index);
  auto from = static_cast<uint32_t>(index);
  auto first = static_cast<uint32_t>(producers_.size());
  for (StreamMessage& message : messages) {
    bool replay =
        message.kind == StreamMessage::Kind::kReplay || message.kind == StreamMessage::Kind::kLost;
    Message body = std::visit([](auto& b) { return Message(std::move(b)); }, message.body);
    uint32_t last_to = 0;
    for (uint32_t c = 0; c < consumers_.size(); ++c) {
      if (replay && consumers_[c].options.group != message.group) continue;
      last_to = first + c;
      if (c + 1 < consumers_.size() && !replay) send(from, last_to, body, replay);
    }
    send(from, last_to, std::move(body), replay);
  }
}

// --- consumers -----------------------------------------------------------------------------------

void World::open_consumer(Consuming& consumer) {
  // Observers keep nothing: they begin with what they find.
  bool begins = consumer.database.empty() || consumer.options.observer;
  consumer.core = std::make_unique<ConsumerCore>(
      consumer.options, begins ? PositionSet{} : consumer.database.back().positions);
  consumer.fresh = true;
  consumer.pending.clear();
  consumer.committed.reset();
  consumer.commit_at = now_.mono + 100ms;
}

void World::commit(Consuming& consumer) {
  Commit commit;
  commit.at = now_.mono;
  commit.fresh = std::exchange(consumer.fresh, false);
  commit.positions = consumer.core->positions();
  for (const Delivery& delivery : consumer.pending) {
    Effect effect;
    effect.producer = static_cast<uint8_t>(address_of(delivery.key.producer));
    effect.epoch = delivery.key.epoch;
    effect.partition = delivery.key.partition;
    if (delivery.kind == Delivery::kRecord) {
      effect.kind = Effect::kRecord;
      effect.id = id_of(delivery.payload);
    } else if (delivery.kind == Delivery::kGap) {
      effect.kind = Effect::kGap;
      effect.gap = delivery.gap;
      say("{}: gap of {} partition {} epoch {:x}: {}-{} ({})", consumer.options.group,
          delivery.key.producer, delivery.key.partition, delivery.key.epoch, delivery.gap.first,
          delivery.gap.last, to_string(delivery.gap_reason));
    } else {
      continue;
    }
    trace((uint64_t{effect.id} << 8) + effect.kind + effect.gap.last);
    commit.effects.push_back(effect);
  }
  consumer.pending.clear();
  consumer.committed = commit.positions;
  consumer.database.push_back(std::move(commit));
}

void World::consume(size_t index) {
  Consuming& consumer = consumers_[index];
  if (!consumer.core) {
    if (now_.mono < consumer.down_until) return;
    open_consumer(consumer);
  }
  if (consumer.committed) {
    consumer.core->mark_durable(*consumer.committed);
    consumer.committed.reset();
  }
  bool away = now_.mono < consumer.away_until;
  if (!away && now_.mono >= consumer.commit_at) {
    commit(consumer);
    consumer.core->set_paused(false);
    consumer.commit_at = now_.mono + Duration(random_.below(400'000'000));
    // A crash between the commit and the acknowledgement.
    if (faults_on_ && random_.below(300) == 0) {
      consumer.core.reset();
      consumer.down_until = now_.mono + Duration(random_.below(2'000'000'000));
      ++result_.kills;
      return;
    }
  }
  if (options_.plant == Plant::kAckBeforeDurable) {
    consumer.core->mark_durable(consumer.core->positions());
  }
  for (ConsumerCore::Out& out : consumer.core->take_outgoing(now_)) {
    Message body = std::visit([](auto& b) { return Message(std::move(b)); }, out.message);
    send(static_cast<uint32_t>(producers_.size() + index), address_of(out.producer),
         std::move(body), false);
  }
}

// The database comes back as it was some time ago.
void World::fail_over(size_t index) {
  Consuming& consumer = consumers_[index];
  // Not to before it knew the producers: that would be a new group, which is owed nothing old.
  size_t knew = 0;
  while (knew < consumer.database.size() && !knows_all(consumer.database[knew].positions)) ++knew;
  if (knew + 1 >= consumer.database.size()) return;
  size_t most = std::min<size_t>(consumer.database.size() - 1 - knew, 30);
  size_t back = 1 + random_.below(most);
  say("{}: the database goes back by {} commits", consumer.options.group, back);
  for (; back > 0; --back) {
    for (const Effect& effect : consumer.database.back().effects) {
      if (effect.kind == Effect::kRecord) consumer.rolled_back.insert(effect.id);
    }
    consumer.rolled_back_to = consumer.database.back().at;
    consumer.database.pop_back();
  }
  ++result_.failovers;
  if (consumer.core && random_.chance(500)) {  // the process lives and is told
    consumer.core->restore(consumer.database.back().positions);
    consumer.pending.clear();
    consumer.committed.reset();
    return;
  }
  consumer.core.reset();
  consumer.down_until = now_.mono + Duration(random_.below(1'000'000'000));
}

// --- faults --------------------------------------------------------------------------------------

void World::faults() {
  for (size_t i = 0; i < producers_.size(); ++i) {
    Producing& producer = producers_[i];
    if (producer.process && once_per(rates_.kill_every)) {
      say("{}: kill -9", producer.name);
      kill_producer(producer, Duration(random_.below(3'000'000'000)));
      ++result_.kills;
    }
    if (once_per(rates_.power_cut_every)) power_cut(i);
    if (producer.process && once_per(rates_.kill_every * 3)) {
      say("{}: stops cleanly{}", producer.name, "");
      bool clean = producer.process->close_cleanly(now_).has_value();
      kill_producer(producer, 500ms);
      if (clean && random_.chance(500)) ++producer.boots;  // and the machine boots
      note_synced(producer);
    }
    if (producer.process && once_per(rates_.clock_step_every)) {
      Result<void> stepped = producer.process->begin_epoch(EpochReason::kClockStep, now_);
      trace(stepped ? 1 : 2);
    }
    if (once_per(rates_.bit_flip_every)) flip_bit(i);
    if (once_per(rates_.disk_full_every)) {
      producer.full_until = now_.mono + Duration(random_.below(4'000'000'000));
    }
    producer.disk.full = faults_on_ && now_.mono < producer.full_until;
    producer.disk.sync_fails_per_mille = faults_on_ ? rates_.sync_fails_per_mille : 0;
  }
  for (size_t i = 0; i < consumers_.size(); ++i) {
    Consuming& consumer = consumers_[i];
    if (consumer.core && once_per(rates_.kill_every)) {
      say("{}: kill -9", consumer.options.group);
      consumer.core.reset();
      consumer.down_until = now_.mono + Duration(random_.below(3'000'000'000));
      ++result_.kills;
    }
    if (once_per(rates_.database_away_every)) {
      consumer.away_until = now_.mono + Duration(random_.below(5'000'000'000));
    }
    if (!consumer.options.observer && once_per(rates_.failover_every)) fail_over(i);
  }
  auto actors = static_cast<uint32_t>(producers_.size() + consumers_.size());
  if (once_per(rates_.partition_every)) {
    auto a = static_cast<uint32_t>(random_.below(actors));
    auto b = static_cast<uint32_t>(random_.below(actors));
    MonoTime until =
        now_.mono + Duration(random_.below(static_cast<uint64_t>(rates_.partition_max.count())));
    partitions_[{a, b}] = until;
    if (random_.chance(500)) partitions_[{b, a}] = until;
  }
}

void World::step() {
  now_.mono += kStep;
  now_.wall += kStep;
  faults();
  deliver_bus();
  for (size_t i = 0; i < producers_.size(); ++i) produce(i);
  for (size_t i = 0; i < consumers_.size(); ++i) consume(i);
}

// --- checks --------------------------------------------------------------------------------------

void World::check_bounds() {
  for (const Producing& producer : producers_) {
    uint64_t bytes = 0;
    for (const auto& [number, file] : producer.disk.files) bytes += file.bytes.size();
    // Files that came back after a power cut may exceed the bound until the next append.
    if (producer.process && producer.process->stats().spool_bytes > rates_.bytes_max &&
        result_.power_cuts == 0) {
      violation(
          fmt::format("{}: spool of {} bytes, bound {}", producer.name, bytes, rates_.bytes_max));
    }
    if (producer.process && producer.process->core().epochs().size() > kEpochsMax) {
      violation(producer.name + ": more epochs than the bound");
    }
  }
  for (const Consuming& consumer : consumers_) {
    if (!consumer.core) continue;
    ConsumerStats stats = consumer.core->stats();
    uint64_t things = rates_.things ? producers_.size() * kPartitions * kThingBytesMax : 0;
    if (stats.stash_bytes > consumer.options.stash_bytes + things) {
      violation(fmt::format("{}: stash of {} bytes", consumer.options.group, stats.stash_bytes));
    }
    // One message may set free what a whole stash held back.
    size_t pending_max = kPendingMax + (kPartitions + 1) * consumer.options.window_records;
    if (consumer.pending.size() > pending_max) {
      violation(fmt::format("{}: {} deliveries pending", consumer.options.group,
                            consumer.pending.size()));
    }
  }
}

bool World::drained() {
  for (const Producing& producer : producers_) {
    if (!producer.process || producer.to_make > 0) return false;
    if (producer.process->stats().unacknowledged > 0) return false;
  }
  for (const Consuming& consumer : consumers_) {
    if (consumer.options.observer) continue;
    if (!consumer.core || !consumer.pending.empty() || consumer.committed) return false;
    if (consumer.core->stats().outstanding > 0) return false;
    for (const Producing& producer : producers_) {
      if (!consumer.core->outstanding(producer.name, now_)) return false;
    }
  }
  return true;
}

// An observer promises less: what it is shown since it started comes in order and once, and what it
// missed in between is said.
void World::check_observer(const Consuming& observer) {
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> latest;
  std::map<std::tuple<uint32_t, uint64_t, uint32_t>, uint64_t> next;
  for (const Commit& commit : observer.database) {
    if (commit.fresh) {
      latest.clear();
      next.clear();
    }
    for (const Effect& effect : commit.effects) {
      uint64_t& expected = next[{effect.producer, effect.epoch, effect.partition}];
      if (effect.kind == Effect::kGap) {
        if (expected != 0 && effect.gap.first != expected) violation("observer: gap out of place");
        expected = effect.gap.last + 1;
        continue;
      }
      const Truth& truth = truths_.at(effect.id);
      if (expected != 0 && truth.first_seq != expected) {
        violation(fmt::format("observer: record {} has seq {}, {} was next", effect.id, truth.seq,
                              expected));
      }
      expected = truth.seq + 1;
      uint32_t& last = latest[{effect.producer, effect.partition}];
      if (effect.id + 1 <= last) violation("observer: records out of order");
      last = effect.id + 1;
    }
  }
}

void World::check_effects() {
  for (const Consuming& consumer : consumers_) {
    if (consumer.options.observer) {
      check_observer(consumer);
      continue;
    }
    const std::string& group = consumer.options.group;
    std::vector<uint32_t> count(truths_.size(), 0);
    std::map<std::tuple<uint32_t, uint64_t, uint32_t>, SeqSet> gaps;
    std::map<std::pair<uint32_t, uint32_t>, uint32_t> latest;  // in order: last id + 1
    for (const Commit& commit : consumer.database) {
      for (const Effect& effect : commit.effects) {
        if (effect.kind == Effect::kGap) {
          uint64_t before = effect.gap.size();
          uint64_t fresh = gaps[{effect.producer, effect.epoch, effect.partition}].add(effect.gap);
          if (fresh != before) violation(group + ": a seq was announced as lost twice");
          continue;
        }
        if (effect.id >= truths_.size()) {
          violation(group + ": an effect of a record that nobody made");
          continue;
        }
        ++count[effect.id];
        ++result_.effects;
        uint32_t& last = latest[{effect.producer, effect.partition}];
        if (consumer.options.order == Order::kInOrder && effect.id + 1 <= last) {
          violation(fmt::format("{}: record {} after {}", group, effect.id, last - 1));
        }
        last = std::max(last, effect.id + 1);
      }
    }
    for (size_t i = 0; i < truths_.size(); ++i) {
      const Truth& truth = truths_[i];
      auto it = gaps.find({truth.producer, truth.epoch, truth.partition});
      // A segment whose bits flip may take the knowledge of its last seqs with it.
      bool destroyed = producers_[truth.producer].damaged.count(truth.segment) > 0;
      bool lost = it != gaps.end() && it->second.contains(truth.seq);
      std::string name =
          fmt::format("{}: record {} ({} epoch {:x} partition {} seq {})", group, i,
                      name_of(truth.producer), truth.epoch, truth.partition, truth.seq);
      if (count[i] > 1) violation(name + " took effect twice");
      if (count[i] == 1 && lost && !truth.cut) violation(name + " took effect and is lost");
      // Restored to before it, after it was let go.
      bool went_back = consumer.rolled_back.count(static_cast<uint32_t>(i)) > 0;
      bool long_ago = went_back && rates_.hold < 1min;
      bool let_go = long_ago || (went_back && producers_[truth.producer].pressed);
      if (count[i] == 0 && !lost && !truth.cut && !destroyed && !long_ago) {
        violation(name + " vanished");
      }
      if (lost) ++result_.announced_lost;
      if (count[i] == 0 && truth.cut) ++result_.power_cut_lost;
      if (count[i] == 0 && lost && !truth.cut && !truth.excused && !destroyed) {
        if (!let_go) violation(name + " is announced as lost without a cause");
      }
    }
  }
}

RunResult World::run() {
  for (int i = 0; i < 2; ++i) {
    Producing& producer = producers_.emplace_back();
    producer.name = "prober-" + std::to_string(i + 1);
    producer.to_make = options_.records / 2;
  }
  consumers_.resize(3);
  consumers_[0].options.group = "recorder";
  consumers_[1].options.group = "tracker";
  consumers_[1].options.order = Order::kInOrder;
  consumers_[2].options.group = "gateway";
  consumers_[2].options.observer = true;
  for (Consuming& consumer : consumers_) {
    consumer.options.stream = kStream;
    consumer.options.window_records = 256;
    consumer.options.holes_max = 64;
    consumer.options.stash_bytes = rates_.things ? 1U << 20 : 64U << 10;
  }
  consumers_[random_.below(2)].down_until = now_.mono + rates_.consumer_absent;

  uint64_t steps = 0;
  while (std::any_of(producers_.begin(), producers_.end(),
                     [](const Producing& p) { return p.to_make > 0; })) {
    step();
    if (++steps % 64 == 0) check_bounds();
    if (steps > 1'000'000) {
      violation("the source cannot append");
      break;
    }
  }
  // The faults stop; what is made from here on must bring everything home.
  faults_on_ = false;
  partitions_.clear();
  for (Consuming& consumer : consumers_) {
    consumer.away_until = {};
    consumer.down_until = std::min(consumer.down_until, now_.mono);
  }
  MonoTime end = now_.mono + kDrainWithin;
  while (!drained() && now_.mono < end) {
    step();
    if (++steps % 64 == 0) check_bounds();
  }
  if (!drained()) {
    for (const Consuming& consumer : consumers_) {
      violation(fmt::format("not drained: {} outstanding at {}",
                            consumer.core ? consumer.core->stats().outstanding : 0,
                            consumer.options.group));
    }
    for (const Producing& producer : producers_) {
      violation(fmt::format("not drained: {} unacknowledged at {}",
                            producer.process ? producer.process->stats().unacknowledged : 0,
                            producer.name));
    }
  }
  check_effects();
  for (Producing& producer : producers_) {
    kill_producer(producer, Duration{});
    result_.replayed += producer.replayed;
    result_.epochs += producer.epochs;
  }
  result_.records = truths_.size();
  result_.virtual_time = now_.mono - (MonoTime{} + 1h);
  result_.trace_hash = hash_;
  return result_;
}

}  // namespace

std::string Rates::text() const {
  auto s = [](Duration d) { return std::chrono::duration<double>(d).count(); };
  return fmt::format(
      "loss {}%o dup {}%o delay<={:.3f}s partition/{:.0f}s<={:.0f}s kill/{:.0f}s "
      "power-cut/{:.0f}s sync-fail {}%o disk-full/{:.0f}s bit-flip/{:.0f}s clock-step/{:.0f}s "
      "db-away/{:.0f}s failover/{:.0f}s absent {:.0f}s hold {:.0f}s spool {} segment {} "
      "{}/s{}{}",
      loss_per_mille, duplicate_per_mille, s(delay_max), s(partition_every), s(partition_max),
      s(kill_every), s(power_cut_every), sync_fails_per_mille, s(disk_full_every),
      s(bit_flip_every), s(clock_step_every), s(database_away_every), s(failover_every),
      s(consumer_absent), s(hold), bytes_max, segment_bytes, records_per_second,
      through_codec ? " codec" : "", things ? " things" : "");
}

Rates draw_rates(uint64_t seed) {
  Random random(seed * 0xd1342543de82ef95ULL + 7);  // not SplitMix's own step: runs would shift
  auto maybe = [&](uint32_t per_mille, uint64_t low_s, uint64_t high_s) {
    uint64_t value = low_s + random.below(high_s - low_s + 1);
    return random.chance(per_mille) ? Duration(std::chrono::seconds(value)) : Duration{};
  };
  Rates rates;
  rates.loss_per_mille = random.chance(800) ? static_cast<uint32_t>(random.below(200)) : 0;
  rates.duplicate_per_mille = random.chance(500) ? static_cast<uint32_t>(random.below(100)) : 0;
  rates.delay_max =
      random.chance(700) ? Duration(std::chrono::milliseconds(random.below(3000))) : Duration{};
  rates.partition_every = maybe(500, 5, 40);
  rates.partition_max = std::chrono::seconds(1 + random.below(15));
  rates.kill_every = maybe(600, 5, 40);
  rates.power_cut_every = maybe(400, 10, 60);
  rates.sync_fails_per_mille = random.chance(200) ? static_cast<uint32_t>(random.below(30)) : 0;
  rates.disk_full_every = maybe(200, 10, 60);
  rates.bit_flip_every = maybe(200, 10, 60);
  rates.clock_step_every = maybe(300, 5, 60);
  rates.database_away_every = maybe(400, 5, 40);
  rates.failover_every = maybe(300, 10, 40);
  rates.consumer_absent = maybe(200, 5, 60);
  rates.hold = random.chance(600)   ? Duration(15min)
               : random.chance(500) ? Duration(5s)
                                    : Duration{};
  rates.things = random.chance(100);
  bool small = !rates.things && random.chance(400);
  rates.segment_bytes = small ? 4'096 + random.below(8'192) : 32'768 + random.below(65'536);
  rates.bytes_max = rates.segment_bytes * (8 + random.below(small ? 8 : 400));
  if (rates.things) rates.bytes_max = 32U << 20;
  rates.records_per_second = static_cast<uint32_t>(50 + random.below(400));
  rates.through_codec = seed % 8 == 0;
  return rates;
}

RunResult run_world(const RunOptions& options) {
  return World(options).run();
}

}  // namespace gema::sim
