#include "services/prober/io/web_json.h"

#include <nlohmann/json.hpp>

namespace gema::prober {

bool json_matches(const std::string& body, const std::string& expected) {
  using json = nlohmann::json;
  const size_t equals = expected.find('=');
  if (equals == std::string::npos) return false;
  const json document = json::parse(body, nullptr, false);
  if (document.is_discarded()) return false;
  const json* value = nullptr;
  try {
    const json::json_pointer pointer(expected.substr(0, equals));
    if (!document.contains(pointer)) return false;
    value = &document.at(pointer);
  } catch (const json::exception&) {
    return false;
  }
  const std::string wanted = expected.substr(equals + 1);
  if (value->is_string()) return value->get_ref<const std::string&>() == wanted;
  if (value->is_structured()) return false;
  return value->dump() == wanted;
}

}  // namespace gema::prober
