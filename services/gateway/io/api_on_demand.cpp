// The routes of pings on demand, and of pause and resume.
#include "services/gateway/core/ping_bodies.h"
#include "services/gateway/io/api.h"
#include "services/gateway/io/on_demand_json.h"
#include "services/gateway/io/responses.h"

namespace gema::gateway {
namespace {

using http::Request;
using http::Response;

constexpr const char* kNotThere = "Multi-ping service not available";

Response refused(const PingRefusal& refusal) {
  Response response = error_response(refusal.status, refusal.error);
  if (refusal.retry_after_s) {
    response.headers.emplace_back("Retry-After", std::to_string(*refusal.retry_after_s));
  }
  return response;
}

Response body_refused(const BodyError& error) {
  return error_response(error.malformed ? 400 : 422, error.message);
}

// Who is counted by the rate limit: the token and the address it is used from.
std::string client_of(const Request& request) {
  return std::string(Auth::kAdminName) + " " + request.client;
}

}  // namespace

Response Api::test_ping(const Request& request) const {
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return error_response(503, kNotThere);
  }
  PingAsk ask;
  ask.target = *request.param("ip");
  ask.timeout_ms = static_cast<uint32_t>(
      std::min<int64_t>(deps_.settings.ping_timeout_s * 1000, kPingTimeoutMsMax));
  auto result = on_demand_.ping(view, ask, client_of(request), deps_.clock());
  if (const auto* refusal = std::get_if<PingRefusal>(&result)) {
    return refused(*refusal);
  }
  return json_response(200, test_ping_body(ask.target, std::get<OnDemand::Done>(result).report));
}

Response Api::v1_ping(const Request& request) const {
  if (!has_json_body(request)) {
    return error_response(415, "the body must be JSON (Content-Type: application/json)");
  }
  const auto parsed = parse_ping(request.body);
  if (parsed.error) {
    return body_refused(*parsed.error);
  }
  const View view = deps_.view();
  if (view.catalogue == nullptr) {
    return error_response(503, "the catalogue is not known yet: waiting for inventory");
  }
  auto result = on_demand_.ping(view, parsed.value, client_of(request), deps_.clock());
  if (const auto* refusal = std::get_if<PingRefusal>(&result)) {
    return refused(*refusal);
  }
  const auto& done = std::get<OnDemand::Done>(result);
  return json_response(200, ping_json(done.report, done.device));
}

Response Api::service_start(const Request&) const {
  const auto now = deps_.change_probing(false, {.actor = Auth::kAdminName});
  return now ? json_response(200, service_changed_body(true)) : error_response(503, kNotThere);
}

Response Api::service_stop(const Request&) const {
  const auto now = deps_.change_probing(true, {.actor = Auth::kAdminName});
  return now ? json_response(200, service_changed_body(false)) : error_response(503, kNotThere);
}

Response Api::v1_probing(const Request&) const {
  const View view = deps_.view();
  if (!view.probing) {
    return error_response(503, "whether probing is paused is not known yet: waiting for inventory");
  }
  return json_response(200, probing_json(view));
}

Response Api::change_probing(const Request& request, bool pause) const {
  if (!request.body.empty() && !has_json_body(request)) {
    return error_response(415, "the body must be JSON (Content-Type: application/json), or empty");
  }
  auto parsed = parse_probing_change(request.body);
  if (parsed.error) {
    return body_refused(*parsed.error);
  }
  parsed.value.actor = Auth::kAdminName;
  const auto now = deps_.change_probing(pause, parsed.value);
  if (!now) {
    switch (now.error().code) {
      case Errc::kBadInput:
        return error_response(422, now.error().message);
      case Errc::kTimeout:
        return error_response(503,
                              "inventory did not answer in time; the change may have taken effect");
      default:
        return error_response(503, "this cannot be changed now: " + now.error().message);
    }
  }
  return json_response(200, probing_json(deps_.view()));
}

Response Api::v1_pause(const Request& request) const {
  return change_probing(request, true);
}

Response Api::v1_resume(const Request& request) const {
  return change_probing(request, false);
}

}  // namespace gema::gateway
