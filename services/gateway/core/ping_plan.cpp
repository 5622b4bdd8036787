#include "services/gateway/core/ping_plan.h"

#include <algorithm>

#include "services/gateway/core/limits.h"

namespace gema::gateway {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool same_name(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string shown(const std::string& text) {
  return "\"" + text.substr(0, 64) + (text.size() > 64 ? "...\"" : "\"");
}

// Indices of the devices that fit, at most `most`.
template <class Fits>
std::vector<size_t> find_devices(const View& view, size_t most, const Fits& fits) {
  std::vector<size_t> out;
  const auto& devices = view.catalogue->devices;
  for (size_t i = 0; i < devices.size() && out.size() < most; ++i) {
    if (fits(devices[i])) out.push_back(i);
  }
  return out;
}

struct Target {
  IpAddress address;             // none: a device that is given by name
  std::optional<size_t> device;  // index
};

std::variant<Target, PingRefusal> find_target(const View& view, const PingAsk& ask) {
  if (ask.device != 0) {
    const auto index = view.find(ask.device);
    if (!index) return PingRefusal{404, "no device " + std::to_string(ask.device), {}};
    const auto address = parse_ip(view.catalogue->devices[*index].address);
    return Target{address.value_or(IpAddress{}), index};
  }
  if (const auto address = parse_ip(ask.target)) {
    const std::string text = to_text(*address);
    const auto found =
        find_devices(view, 1, [&text](const Device& d) { return d.address == text; });
    return Target{*address, found.empty() ? std::nullopt : std::optional(found.front())};
  }
  const auto found = find_devices(view, 2, [&ask](const Device& d) {
    return same_name(d.hostname, ask.target) || same_name(d.address, ask.target);
  });
  if (found.empty() || ask.target.empty()) {
    return PingRefusal{400,
                       shown(ask.target) +
                           " is no IP address, and no device is called or addressed so (other "
                           "names are not resolved)",
                       {}};
  }
  if (found.size() > 1) {
    return PingRefusal{
        400, "several devices are called " + shown(ask.target) + ": ask by address or by id", {}};
  }
  const auto address = parse_ip(view.catalogue->devices[found.front()].address);
  return Target{address.value_or(IpAddress{}), found.front()};
}

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out.empty() ? "none" : out;
}

// Why nobody fits: nobody of that name was ever heard, or all who were are away.
PingRefusal nobody(const View& view, const PingAsk& ask) {
  std::vector<std::string> locations, probers;
  for (const Process& p : view.processes) {
    if (p.kind != "prober") continue;
    probers.push_back(p.name);
    if (std::find(locations.begin(), locations.end(), p.location) == locations.end()) {
      locations.push_back(p.location);
    }
  }
  const auto heard = [](const auto& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (!ask.prober.empty() && !heard(probers, ask.prober)) {
    return {422,
            "prober = " + shown(ask.prober) + ": no such prober; there are: " + listed(probers),
            {}};
  }
  if (!ask.location.empty() && !heard(locations, ask.location)) {
    return {422,
            "location = " + shown(ask.location) +
                ": no prober is there; there are: " + listed(locations),
            {}};
  }
  return {503, "no prober can be reached now", {}};
}

std::vector<std::string> choose_probers(const View& view, const PingAsk& ask,
                                        std::optional<size_t> device, uint64_t turn) {
  std::string owner;  // who measured the device last
  std::string home;   // where it is checked from
  if (device) {
    const DeviceLive& live = view.live[*device];
    owner = view.names[live.prober];
    home = view.names[live.location];
    const auto& from = view.catalogue->devices[*device].probe_from;
    if (home.empty() && !from.empty()) home = from.front();
  }
  std::vector<const Process*> fit;
  for (const Process& p : view.processes) {
    if (p.kind == "prober" && p.alive(view.at) && (ask.prober.empty() || p.name == ask.prober) &&
        (ask.location.empty() || p.location == ask.location)) {
      fit.push_back(&p);
    }
  }
  if (fit.empty()) return {};
  std::rotate(fit.begin(), fit.begin() + static_cast<std::ptrdiff_t>(turn % fit.size()), fit.end());
  const auto rank = [&](const Process* p) {
    return p->name == owner ? 0 : p->location == home ? 1 : 2;
  };
  std::stable_sort(fit.begin(), fit.end(),
                   [&](const Process* a, const Process* b) { return rank(a) < rank(b); });
  std::vector<std::string> out;
  for (size_t i = 0; i < std::min(fit.size(), kProbersAsked); ++i) out.push_back(fit[i]->name);
  return out;
}

}  // namespace

std::variant<PingPlan, PingRefusal> plan_ping(const View& view, const PingAsk& ask,
                                              const AddressPolicy& policy, uint64_t turn) {
  auto found = find_target(view, ask);
  if (auto* refusal = std::get_if<PingRefusal>(&found)) return std::move(*refusal);
  const Target target = std::get<Target>(found);
  PingPlan plan{.order = {.address = target.address,
                          .count = ask.count,
                          .timeout_ms = ask.timeout_ms,
                          .spacing_ms = ask.spacing_ms}};
  if (target.device) plan.order.device = view.catalogue->devices[*target.device].id;
  if (const auto rule = broken_rule(plan.order)) return PingRefusal{422, *rule, {}};
  if (target.address.known()) {
    const AddressVerdict verdict = judge(policy, target.address, target.device.has_value());
    if (verdict != AddressVerdict::kAllowed) {
      return PingRefusal{
          403, to_text(target.address) + " is not pinged: " + to_string(verdict), {}};
    }
  }
  plan.probers = choose_probers(view, ask, target.device, turn);
  if (plan.probers.empty()) return nobody(view, ask);
  return plan;
}

}  // namespace gema::gateway
