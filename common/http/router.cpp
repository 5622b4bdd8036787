#include "common/http/router.h"

#include <algorithm>

#include "common/base/assert.h"
#include "common/http/target.h"

namespace gema::http {
namespace {

bool is_variable(const std::string& segment) {
  return segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
}

// How well a pattern fits: -1 not at all, else the number of its literal segments.
int fit(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) {
    return -1;
  }
  int literals = 0;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (is_variable(pattern[i])) {
      continue;
    }
    if (pattern[i] != path[i]) {
      return -1;
    }
    ++literals;
  }
  return literals;
}

}  // namespace

void Router::add(std::string method, std::string pattern, int route) {
  auto parsed = parse_target(pattern);
  GEMA_ASSERT(parsed.has_value());
  for (const Route& known : routes_) {
    GEMA_ASSERT(known.method != method || known.pattern != pattern);
  }
  routes_.push_back({std::move(method), std::move(pattern), std::move(parsed->segments), route});
}

Router::Match Router::match(std::string_view method,
                            const std::vector<std::string>& segments) const {
  Match out;
  int best = -1;
  for (const Route& route : routes_) {
    best = std::max(best, fit(route.segments, segments));
  }
  if (best < 0) {
    return out;
  }
  out.kind = Match::Kind::kNoSuchMethod;
  for (const Route& route : routes_) {
    if (fit(route.segments, segments) != best) {
      continue;
    }
    out.allow += (out.allow.empty() ? "" : ", ") + route.method;
    if (route.method != method) {
      continue;
    }
    out.kind = Match::Kind::kFound;
    out.route = route.route;
    for (size_t i = 0; i < segments.size(); ++i) {
      const std::string& name = route.segments[i];
      if (is_variable(name)) {
        out.params.emplace_back(name.substr(1, name.size() - 2), segments[i]);
      }
    }
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> Router::routes() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Route& route : routes_) {
    out.emplace_back(route.method, route.pattern);
  }
  return out;
}

}  // namespace gema::http
