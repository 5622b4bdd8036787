#include "services/gateway/io/json_body.h"

#include <algorithm>
#include <map>
#include <vector>

#include "services/gateway/core/limits.h"

namespace gema::gateway {
namespace {

using json = nlohmann::json;

// How deep brackets nest, strings left out: the parser recurses.
size_t depth(const std::string& body) {
  size_t deepest = 0;
  size_t open = 0;
  bool in_text = false;
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_text) {
      i += c == '\\' ? 1 : 0;
      in_text = c != '"';
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++open);
    } else if ((c == '}' || c == ']') && open > 0) {
      --open;
    }
  }
  return deepest;
}

Parsed<json> fail(bool malformed, std::string message) {
  Parsed<json> out;
  out.error = BodyError{malformed, std::move(message)};
  return out;
}

}  // namespace

std::string shown(const json& value) {
  std::string out = value.dump(-1, ' ', true, json::error_handler_t::replace);
  return out.size() <= 64 ? out : out.substr(0, 64) + "...";
}

Parsed<json> parse_object(const std::string& body) {
  if (depth(body) > kJsonDepthMax) {
    return fail(true, "the body is nested more than 16 deep");
  }
  // A repeated name would silently win over the first: refuse it.
  std::vector<std::map<std::string, bool>> names;
  std::string repeated;
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) {
      names.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      names.pop_back();
    } else if (event == json::parse_event_t::key &&
               !names.back().emplace(value.get<std::string>(), true).second) {
      repeated = value.get<std::string>();
    }
    return true;
  };
  Parsed<json> out;
  out.value = json::parse(body, watch, false);
  if (out.value.is_discarded()) {
    return fail(true, "the body is no valid JSON");
  }
  if (!out.value.is_object()) {
    return fail(true, "the body must be a JSON object");
  }
  if (!repeated.empty()) {
    return fail(false, "\"" + repeated.substr(0, 64) + "\": given twice");
  }
  return out;
}

}  // namespace gema::gateway
