// Bodies of our own routes under /api/v1 and the frames of /api/v1/events. Times are RFC 3339 in
// UTC. In: a View. Out: JSON text. Pure.
#pragma once

#include <string>
#include <vector>

#include "services/gateway/core/json.h"
#include "services/gateway/core/live_view.h"
#include "services/gateway/core/result_text.h"

namespace gema::gateway {

void write_device(Json& json, const Device& device);
std::string device_json(const Device& device);

// The device with what is known of it now: status, last measured result, newest slot.
std::string device_live_json(const View& view, size_t index);
// Results of one device, newest first. `device`: null when the catalogue does not name it.
// "next_before": when older ones exist, what `before` must be to get them.
std::string results_json(DeviceId id, const Device* device,
                         const std::vector<DetailedResult>& results, bool truncated);

// A change of the address that a device's name stands for. Texts; "" = none.
struct AddressRow {
  int64_t at_ms = 0;
  std::string location;
  std::string prober;
  std::string was;
  std::string becomes;
};
// In this order.
std::string addresses_json(DeviceId id, const std::vector<AddressRow>& rows);

// Devices with ids above `after`, at most `limit`; "next_after" names the last one when more
// follow.
std::string devices_page(const View& view, DeviceId after, size_t limit);

std::string status_json(const View& view);

// Frames of the event stream: "event: NAME\ndata: JSON\n\n".
std::string counts_frame(const View& view);
// The latest measured results of these devices, in this order.
std::string results_frame(const View& view, const std::vector<DeviceId>& devices);
// Devices that do not answer, most consecutive timeouts first, at most kSilentRowsMax.
std::string silent_frame(const View& view);
std::string transition_frame(const View& view, const RecentTransition& transition);

std::string address_frame(const View& view, const RecentAddressChange& change);
std::string prober_frame(const ProberTrust& prober);

// One text exposition of several processes: a "process" label on every sample, one HELP and TYPE
// per family. Lines that are no sample are dropped.
std::string merge_metrics(const std::vector<std::pair<std::string, std::string>>& by_process);

}  // namespace gema::gateway
