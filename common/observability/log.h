// Structured logs: one logfmt line per event on stderr, where the supervisor collects them.
//   2026-11-20T09:56:01.250000Z INFO recorder "spool replayed" producer=prober-1 records=512
// Thread-safe. Values are quoted when they need it; control characters are escaped, so a hostile
// host name cannot forge a line. Never pass a secret.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

namespace gema::obs {

struct Field {
  const char* key;
  std::string value;

  Field(const char* k, std::string_view v) : key(k), value(v) {}
  Field(const char* k, const char* v) : key(k), value(v) {}
  Field(const char* k, const std::string& v) : key(k), value(v) {}
  Field(const char* k, bool v) : key(k), value(v ? "true" : "false") {}
  template <class Number>
  requires(std::integral<Number> || std::floating_point<Number>) Field(const char* k, Number v)
      : key(k), value(std::to_string(v)) {}
};
using Fields = std::initializer_list<Field>;

// Names the process in every line and sets the least level that is written: debug, info, warn or
// error. Call once, before the first thread starts.
void log_setup(const std::string& instance, const std::string& level);

void log_debug(std::string_view text, Fields fields = {});
void log_info(std::string_view text, Fields fields = {});
void log_warn(std::string_view text, Fields fields = {});
void log_error(std::string_view text, Fields fields = {});

// The line without time and level, for tests: instance "text" key=value ...
std::string format_line(std::string_view instance, std::string_view text, Fields fields);

}  // namespace gema::obs
