#include "services/gateway/io/cleanup_json.h"

#include "services/gateway/io/json_body.h"

namespace gema::gateway {

Parsed<CleanupOrder> parse_cleanup(const std::string& body) {
  Parsed<CleanupOrder> out;
  const auto parsed = parse_object(body);
  const auto fail = [&out](std::string message) {
    out.error = BodyError{false, std::move(message)};
    return out;
  };
  if (parsed.error) {
    out.error = parsed.error;
    return out;
  }
  for (const auto& [name, value] : parsed.value.items()) {
    if (name == "older_than_days") {
      if (!value.is_number_unsigned() || value.get<uint64_t>() < 1 ||
          value.get<uint64_t>() > kCleanupDaysMax) {
        return fail(name + " = " + shown(value) + ": must be a whole number from 1 to " +
                    std::to_string(kCleanupDaysMax));
      }
      out.value.older_than_days = value.get<uint32_t>();
    } else if (name == "dry_run") {
      if (!value.is_boolean()) {
        return fail(name + " = " + shown(value) + ": must be true or false");
      }
      out.value.dry_run = value.get<bool>();
    } else {
      return fail("\"" + name.substr(0, 64) + "\": no such field");
    }
  }
  if (out.value.older_than_days == 0) {
    return fail("older_than_days is required: days, from 1");
  }
  return out;
}

}  // namespace gema::gateway
