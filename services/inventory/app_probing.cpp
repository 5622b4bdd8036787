// The part of App that pauses and resumes probing. A change is on disk before it is true: then it
// goes into every assignment (and so to probers that join later), into our heartbeat, and into the
// audit once PostgreSQL takes it.
#include "common/codec/on_demand_codec.h"
#include "common/observability/log.h"
#include "services/inventory/app.h"

namespace gema::inventory {

void App::restore_probing(Now now) {
  auto kept = files_.read_probing();
  if (!kept) {
    // Not paused: probing what should rest is the smaller harm than silence nobody asked for.
    obs::log_error("whether probing is paused cannot be read from disk; it is not",
                   {{"error", kept.error().message}});
  } else if (*kept) {
    probing_ = std::move(**kept);
  }
  perform(assigner_.set_paused_by(probing_.state.by, now));
  if (probing_.state.paused) obs::log_warn("probing is paused", {{"by", probing_.state.by}});
}

void App::serve_probing_calls() {
  calls_->handle("probing.get", [this](const std::string&, const bus::Responder& responder) {
    responder.reply(encode_probing(probing_.state));
  });
  calls_->handle("probing.pause", [this](const std::string& body, const bus::Responder& responder) {
    accept_probing(ProbingAction::kPause, body, responder);
  });
  calls_->handle("probing.resume",
                 [this](const std::string& body, const bus::Responder& responder) {
                   accept_probing(ProbingAction::kResume, body, responder);
                 });
}

void App::accept_probing(ProbingAction action, const std::string& body,
                         const bus::Responder& responder) {
  auto change = decode_probing_change(body);
  if (!change) {
    responder.fail(change.error());
    return;
  }
  if (change->actor.empty()) change->actor = responder.caller();
  if (probing_waiting_.size() >= kProbingChangesQueued) {
    gauges_.count("changes_refused_total", "Changes answered with unavailable.");
    responder.fail({Errc::kUnavailable, "too many changes are waiting"});
    return;
  }
  probing_waiting_.push_back({action, std::move(*change), responder});
}

void App::pump_probing(Now now) {
  gauges_.set("probing_paused", "1 while probing is paused.", probing_.state.paused ? 1 : 0);
  while (!probing_waiting_.empty() && !disk_busy_) {
    const ProbingRequest request = std::move(probing_waiting_.front());
    probing_waiting_.pop_front();
    auto planned = plan_probing(probing_, request.action, request.change, now.wall);
    if (!planned) {
      request.responder.fail(planned.error());
      continue;
    }
    if (!planned->changes) {
      request.responder.reply(encode_probing(probing_.state));
      continue;
    }
    const auto plan = std::make_shared<ProbingPlan>(std::move(*planned));
    disk_busy_ = disk_->try_submit([this, plan, request]() -> Continuation {
      const Result<void> written = files_.write_probing(plan->after);
      return [this, plan, request, written](Now at) {
        disk_busy_ = false;
        if (!written) {
          gauges_.count("disk_errors_total", "State files that could not be written.");
          request.responder.fail(
              {Errc::kUnavailable, "it cannot be kept on disk: " + written.error().message});
          return;
        }
        probing_ = std::move(plan->after);
        for (uint32_t i = 0; i < plan->forgotten; ++i) {
          gauges_.count("audit_rows_forgotten_total",
                        "Audit rows dropped because too many waited for PostgreSQL.");
        }
        const Probing& state = probing_.state;
        obs::log_warn(state.paused ? "probing is paused" : "probing is resumed",
                      {{"by", probing_.unwritten.back().by},
                       {"actor", request.change.actor},
                       {"reason", request.change.reason}});
        perform(assigner_.set_paused_by(state.by, at));
        request.responder.reply(encode_probing(state));
      };
    });
    if (!disk_busy_) request.responder.fail({Errc::kUnavailable, "too many changes are waiting"});
  }
}

void App::write_probing_audit(Now) {
  if (probing_.unwritten.empty() || !database_ready_ || database_busy_) return;
  database_busy_ = database_->try_submit([this, events = probing_.unwritten]() -> Continuation {
    const Result<void> written = store_.write_probing(events);
    return [this, count = events.size(), newest = events.back(), written](Now at) {
      database_busy_ = false;
      if (!written) {
        database_lost(written.error(), at);
        return;
      }
      // Rows may have gone at the bound meanwhile: those up to the newest written one are done.
      auto& rows = probing_.unwritten;
      for (size_t i = std::min(count, rows.size()); i > 0; --i) {
        if (rows[i - 1] == newest) {
          rows.erase(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(i));
          break;
        }
      }
      probing_to_disk_ = true;
    };
  });
}

}  // namespace gema::inventory
