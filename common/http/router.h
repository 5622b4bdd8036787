// Finds the route of a path. A route is a method and a pattern of segments: "/api/ping/device/{id}"
// matches any one segment at {id}. A literal segment wins over {name}. No regular expressions: the
// time to match is the number of routes times the number of segments.
//
// Pure; built once, then read by any number of threads.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gema::http {

class Router {
 public:
  // Requires: the pattern begins with "/"; (method, pattern) not added before.
  void add(std::string method, std::string pattern, int route);

  struct Match {
    enum class Kind { kFound, kNoSuchPath, kNoSuchMethod } kind = Kind::kNoSuchPath;
    int route = -1;
    std::vector<std::pair<std::string, std::string>> params;
    std::string allow;  // every method of the path, "GET, POST", when it exists
  };
  Match match(std::string_view method, const std::vector<std::string>& segments) const;

  // (method, pattern), in the order they were added: what the API description must list.
  std::vector<std::pair<std::string, std::string>> routes() const;

 private:
  struct Route {
    std::string method;
    std::string pattern;
    std::vector<std::string> segments;
    int route = -1;
  };
  std::vector<Route> routes_;
};

}  // namespace gema::http
