#include "services/gateway/io/responses.h"

#include <algorithm>

#include "services/gateway/core/multi_ping.h"

namespace gema::gateway {

http::Response json_response(int status, std::string body) {
  http::Response response;
  response.status = status;
  response.content_type = "application/json";
  response.body = std::move(body);
  response.headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
  return response;
}

http::Response error_response(int status, std::string_view error) {
  return json_response(status, error_body(error));
}

http::Response history_away(const Error& error) {
  // What PostgreSQL said belongs in the log, not to callers.
  const bool said_by_us =
      error.code == Errc::kTimeout || error.message.rfind("history is busy", 0) == 0;
  return error_response(503, "History is not available: " +
                                 (said_by_us ? error.message : "the database cannot be reached"));
}

bool has_json_body(const http::Request& request) {
  const std::string* type = request.header("content-type");
  if (type == nullptr) {
    return false;
  }
  std::string plain = type->substr(0, type->find(';'));
  while (!plain.empty() && plain.back() == ' ') {
    plain.pop_back();
  }
  std::transform(plain.begin(), plain.end(), plain.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return plain == "application/json" || plain == "application/merge-patch+json";
}

}  // namespace gema::gateway
