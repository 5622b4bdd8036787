// A request's body as a JSON object. Only io/*_json.cpp include it: nlohmann's types stay there.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "services/gateway/io/parsed.h"

namespace gema::gateway {

// Refuses what is nested deeper than kJsonDepthMax, and names that are given twice.
Parsed<nlohmann::json> parse_object(const std::string& body);

// A value as an error shows it: at most 64 characters.
std::string shown(const nlohmann::json& value);

}  // namespace gema::gateway
