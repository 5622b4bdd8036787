#include "common/observability/log.h"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace gema::obs {
namespace {

std::string g_instance = "gema";  // written once by log_setup, before threads

bool needs_quotes(std::string_view text) {
  return text.empty() || std::any_of(text.begin(), text.end(), [](char c) {
           return c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f;
         });
}

void append_value(std::string& line, std::string_view text) {
  if (!needs_quotes(text)) {
    line += text;
    return;
  }
  line += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      line += c;
    }
  }
  line += '"';
}

void write(spdlog::level::level_enum level, std::string_view text, Fields fields) {
  if (!spdlog::should_log(level)) return;
  spdlog::default_logger_raw()->log(level, format_line(g_instance, text, fields));
}

}  // namespace

std::string format_line(std::string_view instance, std::string_view text, Fields fields) {
  std::string line(instance);
  line += ' ';
  append_value(line, text);
  for (const Field& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.value);
  }
  return line;
}

void log_setup(const std::string& instance, const std::string& level) {
  g_instance = instance;
  auto logger = spdlog::stderr_logger_mt(instance);
  logger->set_formatter(std::make_unique<spdlog::pattern_formatter>(
      "%Y-%m-%dT%H:%M:%S.%fZ %^%l%$ %v", spdlog::pattern_time_type::utc));
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void log_debug(std::string_view text, Fields fields) {
  write(spdlog::level::debug, text, fields);
}
void log_info(std::string_view text, Fields fields) {
  write(spdlog::level::info, text, fields);
}
void log_warn(std::string_view text, Fields fields) {
  write(spdlog::level::warn, text, fields);
}
void log_error(std::string_view text, Fields fields) {
  write(spdlog::level::err, text, fields);
}

}  // namespace gema::obs
