// The half of App that has to do with the database: loading, changing, losing it.
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "common/base/utf8.h"
#include "common/codec/device_codec.h"
#include "common/observability/log.h"
#include "services/inventory/app.h"
#include "services/inventory/io/devices_file_reader.h"
#include "services/inventory/io/messages.h"

namespace gema::inventory {
namespace {

constexpr Duration kRetryEvery = 1s;     // while the database is away
constexpr Duration kLookEvery = 5s;      // while it is there: is it still?
constexpr size_t kTrimFrom = 1'000;      // changes at once that leave memory worth giving back
constexpr Duration kProbersEvery = 60s;  // last_seen_at in the table probers

bool is_away(Errc code) {
  return code == Errc::kUnavailable || code == Errc::kTimeout || code == Errc::kRetryable;
}

void log_file(const std::string& path, const Plan& plan) {
  for (size_t i = 0; i < std::min(plan.problems.size(), kProblemsShown); ++i) {
    obs::log_warn("bad line in the devices file",
                  {{"file", path}, {"problem", to_text(plan.problems[i])}});
  }
  obs::log_info("devices file read", {{"file", path},
                                      {"devices", plan.devices},
                                      {"created", plan.count(Action::kCreated)},
                                      {"updated", plan.count(Action::kUpdated)},
                                      {"removed", plan.count(Action::kRemoved)},
                                      {"restored", plan.count(Action::kRestored)},
                                      {"bad_lines", plan.problems.size()},
                                      {"removals_withheld", plan.withheld}});
}

}  // namespace

Result<void> App::restore_from_disk(Now now) {
  auto catalogue = files_.read_catalogue();
  if (!catalogue) {
    // It is a copy: the database has the truth, and its generation passes this one's.
    obs::log_error("the catalogue on disk cannot be used", {{"error", catalogue.error().message}});
  } else if (*catalogue) {
    inventory_ = inventory_of(**catalogue);
    inventory_.version = {inventory_.version.generation + 1, 1};
    have_inventory_ = true;
  }
  auto owners = files_.read_owners();
  if (!owners) {
    obs::log_error("the owners on disk cannot be used", {{"error", owners.error().message}});
  } else if (*owners) {
    assigner_.restore(**owners, now);
  }
  return {};
}

Store::Known App::known() const {
  Store::Known known{.generation_above = generation_above_, .next_id = inventory_.next_id};
  if (ever_loaded_) {
    known.ours = inventory_.version;
  } else {
    // From disk, one above what it said; given to anybody only once it was published.
    const uint64_t given =
        inventory_.version.generation - (published_at_ || !have_inventory_ ? 0 : 1);
    known.generation_above = std::max(generation_above_, given);
  }
  return known;
}

void App::load(Now now) {
  const bool submitted = database_->try_submit([this, known = known()]() -> Continuation {
    // std::function wants what it holds to be copyable.
    auto result = std::make_shared<Result<Inventory>>(store_.load(known));
    return [this, result](Now at) {
      database_busy_ = false;
      loaded(std::move(*result), at);
    };
  });
  if (submitted) database_busy_ = true;
  next_try_ = now.mono + kRetryEvery;
}

void App::loaded(Result<Inventory> inventory, Now now) {
  if (!inventory) {
    if (!is_away(inventory.error().code)) {
      // As at the start: nothing good can come of going on (a newer schema, missing rights).
      std::cerr << "gema-inventory: " << inventory.error().message << '\n';
      ::_exit(2);
    }
    database_lost(inventory.error(), now);
    if (have_inventory_ && published_at_ == std::nullopt) inventory_changed(now);
    return;
  }
  const bool same = ever_loaded_ && inventory->version == inventory_.version;
  database_ready_ = true;
  next_try_ = now.mono + kLookEvery;
  env_.health.clear_waiting("postgres");
  if (ever_loaded_ && inventory->version.generation != inventory_.version.generation) {
    obs::log_warn("a new generation begins", {{"before", inventory_.version.generation},
                                              {"now", inventory->version.generation}});
  }
  ever_loaded_ = have_inventory_ = true;
  generation_above_ = 0;
  if (!same) {
    inventory_ = std::move(*inventory);
    inventory_changed(now);
    trim_due_ = true;
  }
  obs::log_info("inventory loaded", {{"devices", inventory_.devices.size()},
                                     {"generation", inventory_.version.generation},
                                     {"number", inventory_.version.number}});
  if (reload_wanted_) accept_reload(std::nullopt);
}

void App::database_lost(const Error& error, Now now) {
  if (database_ready_) obs::log_warn("PostgreSQL is away", {{"error", error.message}});
  database_ready_ = false;
  next_try_ = now.mono + kRetryEvery;
  env_.health.set_waiting("postgres", error.message);
}

void App::look_after_database(Now now) {
  // A generation to begin is the load's business.
  const bool new_generation = have_inventory_ && generation_above_ >= inventory_.version.generation;
  if (database_busy_ || (now.mono < next_try_ && !(new_generation && database_ready_))) return;
  if (!database_ready_ || new_generation) {
    if (new_generation && !database_ready_) {
      inventory_.version = {generation_above_ + 1, 1};
      inventory_changed(now);
    }
    load(now);
    return;
  }
  const bool write_probers =
      !probers_heard_.empty() &&
      (probers_heard_ != probers_written_ || now.mono - probers_written_at_ >= kProbersEvery);
  std::vector<ProberRow> rows;
  if (write_probers) {
    for (const auto& [name, location] : probers_heard_) {
      if (assigner_.alive(name)) rows.push_back({name, location});
    }
    probers_written_ = probers_heard_;
    probers_written_at_ = now.mono;
  }
  next_try_ = now.mono + kLookEvery;
  database_busy_ = database_->try_submit([this, rows, wall = now.wall]() -> Continuation {
    const Result<void> done = rows.empty() ? store_.ping() : store_.write_probers(rows, wall);
    return [this, done](Now at) {
      database_busy_ = false;
      if (!done) database_lost(done.error(), at);
    };
  });
}

void App::accept(Request request) {
  if (!database_ready_ || waiting_.size() >= kChangesQueued) {
    gauges_.count("changes_refused_total", "Changes answered with unavailable.");
    request.done(Error{Errc::kUnavailable, database_ready_
                                               ? "too many changes are waiting"
                                               : "PostgreSQL is away: nothing can be changed"});
    return;
  }
  waiting_.push_back(std::move(request));
}

void App::accept_call(const char* method, const std::string& body,
                      const bus::Responder& responder) {
  auto change = decode_device_change(body);
  if (!change) {
    responder.fail(change.error());
    return;
  }
  const std::string_view what(method);
  const CallRules rules = config_.call_rules();
  Request request{.actor = change->actor.empty() ? responder.caller() : change->actor};
  if (!is_clean_text(request.actor) || request.actor.size() > kTextMax) {
    responder.fail({Errc::kBadInput, "actor: is too long or not text"});
    return;
  }
  if (what == "device.create") {
    // On the wire this number has no 0 that could ask for the default.
    const auto& given = change->fields;
    if (std::find(given.begin(), given.end(), "echo_spacing_ms") == given.end()) {
      change->device.echo_spacing_ms = 0;
    }
    request.plan = [rules, device = std::move(change->device)](const Inventory& inventory) {
      return plan_create(inventory, device, rules);
    };
  } else if (what == "device.update") {
    request.plan = [rules, asked = std::move(*change)](const Inventory& inventory) {
      return plan_update(inventory, asked.device, asked.fields, rules);
    };
  } else {
    request.plan = [id = change->device.id](const Inventory& inventory) {
      return plan_delete(inventory, id);
    };
  }
  request.done = [this, responder, method](Result<Planned> result) {
    gauges_.count("changes_total", "Changes by call.",
                  {{"method", method}, {"result", result ? "ok" : to_string(result.error().code)}});
    if (result) {
      responder.reply(encode_device_change_reply(result->device));
    } else {
      responder.fail(result.error());
    }
  };
  accept(std::move(request));
}

void App::accept_reload(std::optional<bus::Responder> responder) {
  if (config_.devices_file.empty()) {
    if (responder) responder->fail({Errc::kPermanent, "no devices_file is configured"});
    return;
  }
  if (!database_ready_) {
    reload_wanted_ = true;  // as soon as it is there
    if (responder)
      responder->fail({Errc::kUnavailable, "PostgreSQL is away: nothing can be changed"});
    return;
  }
  reload_wanted_ = false;
  Request request{.actor = "file"};
  request.plan = [path = config_.devices_file,
                  defaults = config_.defaults()](const Inventory& inventory) -> Result<Planned> {
    auto file = read_devices_file(path, defaults);
    if (!file) return file.error();
    auto plan = plan_file(inventory, *file);
    if (!plan) {
      std::string text = path + ": " + plan.error().message;
      for (size_t i = 0; i < std::min<size_t>(file->problems.size(), 3); ++i) {
        text += "; " + to_text(file->problems[i]);
      }
      return Error{plan.error().code, text};
    }
    return Planned{.plan = std::move(*plan)};
  };
  request.done = [this, responder](Result<Planned> result) {
    gauges_.set("file_good", "1 when the devices file could be read at the last attempt.",
                result ? 1 : 0);
    trim_due_ = true;
    if (result) {
      gauges_.show_file(result->plan);
      log_file(config_.devices_file, result->plan);
      if (responder) responder->reply(encode_reload_reply(result->plan));
      return;
    }
    if (is_away(result.error().code)) reload_wanted_ = true;
    obs::log_error("the devices file was not taken", {{"error", result.error().message}});
    if (responder) responder->fail(result.error());
  };
  accept(std::move(request));
}

void App::pump(Now now) {
  if (waiting_.empty() || database_busy_) return;
  if (!database_ready_) {
    for (Request& request : std::exchange(waiting_, {})) {
      request.done(Error{Errc::kUnavailable, "PostgreSQL is away: nothing can be changed"});
    }
    return;
  }
  Request request = std::move(waiting_.front());
  waiting_.pop_front();
  run_change(std::move(request), now);
}

void App::run_change(Request request, Now now) {
  const Version before = inventory_.version;
  const Version after{before.generation, before.number + 1};
  // The worker reads inventory_ while the loop does not change it: database_busy_ sees to that.
  const auto work = std::make_shared<Request>(std::move(request));
  database_busy_ = database_->try_submit([this, work, before, after,
                                          wall = now.wall]() -> Continuation {
    auto planned = std::make_shared<Result<Planned>>(work->plan(inventory_));
    Result<void> written;
    const bool changes = *planned && !(**planned).plan.changes.empty();
    if (changes) written = store_.write((**planned).plan, before, after, work->actor, wall);
    return [this, work, planned, written, changes, after](Now at) {
      database_busy_ = false;
      if (!written) {
        // In doubt or away: what is true now, the next load tells.
        database_lost(written.error(), at);
        next_try_ = at.mono;
        work->done(Error{is_away(written.error().code) ? Errc::kUnavailable : written.error().code,
                         written.error().message});
        return;
      }
      if (changes) {
        apply(inventory_, (**planned).plan, after);
        inventory_changed(at);
        trim_due_ = trim_due_ || (**planned).plan.changes.size() >= kTrimFrom;
      }
      work->done(std::move(*planned));
    };
  });
  if (!database_busy_) {
    work->done(Error{Errc::kUnavailable, "too many changes are waiting"});
  }
}

void App::inventory_changed(Now now) {
  const Catalogue catalogue = catalogue_of(inventory_);
  catalogue_bytes_ = encode_catalogue(catalogue);
  publish_due_ = catalogue_to_disk_ = true;
  gauges_.show(inventory_, catalogue.devices.size());
  if (inventory_.version.generation > assigner_.generation()) {
    perform(assigner_.set_generation(inventory_.version.generation));
  }
  perform(assigner_.on_catalogue(catalogue.devices, now));
}

}  // namespace gema::inventory
