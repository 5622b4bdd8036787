#include "services/inventory/core/probing.h"

#include <fmt/format.h>

#include "common/base/utf8.h"
#include "services/inventory/core/device_rules.h"
#include "services/inventory/core/limits.h"

namespace gema::inventory {
namespace {

Result<void> check_text(const char* field, const std::string& text) {
  if (text.size() > kTextMax || !is_clean_text(text)) {
    return Error{Errc::kBadInput, fmt::format("{}: is too long or not text", field)};
  }
  return {};
}

}  // namespace

Result<ProbingPlan> plan_probing(const KeptProbing& before, ProbingAction action,
                                 const ProbingChange& change, WallTime now) {
  for (const auto& [field, text] :
       {std::pair("by", &change.by), std::pair("reason", &change.reason),
        std::pair("actor", &change.actor)}) {
    if (auto good = check_text(field, *text); !good) return good.error();
  }
  const bool pause = action == ProbingAction::kPause;
  ProbingPlan plan{.after = before};
  if (before.state.paused == pause) return plan;
  const std::string& by = !change.by.empty() ? change.by : change.actor;
  // An assignment without a name would not be paused.
  const std::string name = by.empty() ? "somebody" : by;
  plan.changes = true;
  plan.after.state =
      pause ? Probing{.paused = true, .by = name, .reason = change.reason} : Probing{};
  plan.after.state.since = now;
  plan.after.unwritten.push_back(
      {.at = now, .paused = pause, .actor = change.actor, .by = name, .reason = change.reason});
  while (plan.after.unwritten.size() > kProbingEventsMax) {
    plan.after.unwritten.erase(plan.after.unwritten.begin());
    ++plan.forgotten;
  }
  return plan;
}

}  // namespace gema::inventory
