#include "common/http/target.h"

#include <optional>

namespace gema::http {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  if (c >= 'a' && c <= 'f') {
    return c - 'a' + 10;
  }
  if (c >= 'A' && c <= 'F') {
    return c - 'A' + 10;
  }
  return -1;
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) == 0x7f;
}

enum class Plus { kLiteral, kSpace };

std::optional<std::string> decode(std::string_view text, Plus plus) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size() || hex_digit(text[i + 1]) < 0 || hex_digit(text[i + 2]) < 0) {
        return std::nullopt;
      }
      c = static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else if (c == '+' && plus == Plus::kSpace) {
      c = ' ';
    }
    if (is_control(c)) {
      return std::nullopt;
    }
    out.push_back(c);
  }
  return out;
}

Error bad(std::string message) {
  return Error{Errc::kBadInput, std::move(message)};
}

Result<std::vector<std::string>> parse_path(std::string_view path) {
  std::vector<std::string> segments;
  size_t begin = 1;
  while (begin <= path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) {
      end = path.size();
    }
    if (end > begin) {
      auto segment = decode(path.substr(begin, end - begin), Plus::kLiteral);
      if (!segment) {
        return bad("the path holds a broken percent escape or a control character");
      }
      if (*segment == "." || *segment == "..") {
        return bad("the path holds a \".\" or \"..\" segment");
      }
      if (segments.size() == kSegmentsMax) {
        return bad("the path has more than 32 segments");
      }
      segments.push_back(std::move(*segment));
    }
    begin = end + 1;
  }
  return segments;
}

}  // namespace

Result<Target> parse_target(std::string_view target) {
  if (target.size() > kTargetBytesMax) {
    return bad("the request target is longer than 8192 bytes");
  }
  if (target.empty() || target.front() != '/') {
    return bad("the request target does not begin with \"/\"");
  }
  target = target.substr(0, target.find('#'));
  const size_t question = target.find('?');
  auto segments = parse_path(target.substr(0, question));
  if (!segments) {
    return segments.error();
  }
  Target out{.segments = std::move(*segments), .query = {}};
  if (question == std::string_view::npos) {
    return out;
  }
  std::string_view rest = target.substr(question + 1);
  while (!rest.empty()) {
    const size_t end = rest.find('&');
    const std::string_view pair = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (pair.empty()) {
      continue;
    }
    const size_t equals = pair.find('=');
    auto name = decode(pair.substr(0, equals), Plus::kSpace);
    auto value =
        decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1),
               Plus::kSpace);
    if (!name || !value) {
      return bad("the query holds a broken percent escape or a control character");
    }
    if (out.query.size() == kQueryPairsMax) {
      return bad("the query has more than 64 parameters");
    }
    out.query.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

}  // namespace gema::http
