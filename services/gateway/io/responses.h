// What handlers of routes share: responses in the form of the API's.
#pragma once

#include <string>
#include <string_view>

#include "common/base/result.h"
#include "common/http/message.h"

namespace gema::gateway {

http::Response json_response(int status, std::string body);
// {"success":false,"error":...}
http::Response error_response(int status, std::string_view error);
// Why history did not answer, as a 503.
http::Response history_away(const Error& error);
// By Content-Type.
bool has_json_body(const http::Request& request);

}  // namespace gema::gateway
