// What a device's web server says: where it redirects to, and a body that may be JSON.
#include <array>
#include <string>

#include "services/prober/io/web_json.h"
#include "services/prober/io/web_url.h"
#include "tests/fuzz/targets.h"

namespace gema::fuzz {
namespace {

using prober::WebUrl;

void check(const WebUrl& url) {
  FUZZ_CHECK(!url.host.empty() && url.port != 0);
  FUZZ_CHECK(url.text.starts_with(url.https ? "https://" : "http://"));
  // What is checked is what is connected to: read again, it is the same place.
  const auto same = prober::parse_web_url(url.text);
  FUZZ_CHECK(same && same->host == url.host && same->port == url.port && same->https == url.https);
}

}  // namespace

void web_reply(Bytes bytes) {
  const std::string text(text_of(bytes));
  std::array<std::string, 3> parts;  // what is expected, Location, body
  size_t begin = 0;
  for (size_t i = 0; i < parts.size() && begin <= text.size(); ++i) {
    const size_t end = i + 1 < parts.size() ? text.find('\0', begin) : std::string::npos;
    parts[i] = text.substr(begin, end - begin);
    begin = end == std::string::npos ? text.size() + 1 : end + 1;
  }
  prober::json_matches(parts[2], parts[0]);
  FUZZ_CHECK(!prober::json_matches(parts[2], ""));
  if (const auto url = prober::parse_web_url(parts[1])) check(*url);
  const auto from = prober::parse_web_url("http://192.0.2.1:8080/health");
  FUZZ_CHECK(from.has_value());
  if (const auto url = prober::follow_location(*from, parts[1])) check(*url);
}

}  // namespace gema::fuzz
