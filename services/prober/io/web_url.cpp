#include "services/prober/io/web_url.h"

#include <curl/curl.h>

#include <charconv>
#include <memory>

namespace gema::prober {
namespace {

using UrlHandle = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::optional<std::string> part(CURLU* url, CURLUPart what, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, what, &text, flags) != CURLUE_OK || text == nullptr) return std::nullopt;
  std::string out(text);
  curl_free(text);
  return out;
}

std::optional<WebUrl> take_apart(CURLU* url) {
  WebUrl out;
  const auto text = part(url, CURLUPART_URL);
  const auto scheme = part(url, CURLUPART_SCHEME);
  const auto host = part(url, CURLUPART_HOST);
  const auto port = part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  if (!text || !scheme || !host || !port || part(url, CURLUPART_USER)) return std::nullopt;
  if (*scheme != "http" && *scheme != "https") return std::nullopt;
  out.text = *text;
  out.https = *scheme == "https";
  out.host = *host;
  if (out.host.starts_with('[') && out.host.ends_with(']')) {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.host.size() > 1 && out.host.ends_with('.')) out.host.pop_back();
  for (char& c : out.host) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  const auto [end, error] = std::from_chars(port->data(), port->data() + port->size(), out.port);
  if (error != std::errc() || end != port->data() + port->size() || out.port == 0) {
    return std::nullopt;
  }
  return out.host.empty() ? std::nullopt : std::optional(out);
}

}  // namespace

std::optional<WebUrl> parse_web_url(const std::string& text) {
  const UrlHandle url(curl_url(), &curl_url_cleanup);
  if (!url || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return std::nullopt;
  }
  return take_apart(url.get());
}

std::optional<WebUrl> follow_location(const WebUrl& from, const std::string& location) {
  const UrlHandle url(curl_url(), &curl_url_cleanup);
  if (!url || curl_url_set(url.get(), CURLUPART_URL, from.text.c_str(), 0) != CURLUE_OK ||
      curl_url_set(url.get(), CURLUPART_URL, location.c_str(), CURLU_URLENCODE) != CURLUE_OK) {
    return std::nullopt;
  }
  return take_apart(url.get());
}

}  // namespace gema::prober
