#include "services/gateway/io/metrics_collector.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "services/gateway/core/limits.h"
#include "services/gateway/core/v1_bodies.h"

namespace gema::gateway {
namespace {

constexpr std::string_view kSuffix = ".http.sock";
constexpr size_t kSocketsMax = 256;

size_t append(char* bytes, size_t size, size_t count, void* to) {
  auto& text = *static_cast<std::string*>(to);
  if (text.size() + size * count > kMetricsBytesMax) {
    return 0;  // curl then fails the transfer
  }
  text.append(bytes, size * count);
  return size * count;
}

bool scrape(const std::string& socket, std::string& text) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (curl == nullptr) {
    return false;
  }
  curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_URL, "http://localhost/metrics");
  curl_easy_setopt(curl.get(), CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_0));
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, 1000L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &text);
  return curl_easy_perform(curl.get()) == CURLE_OK;
}

}  // namespace

std::string collect_metrics(const std::filesystem::path& run_dir) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(run_dir, error)) {
    const std::string file = entry.path().filename().string();
    if (file.size() > kSuffix.size() && file.ends_with(kSuffix) && names.size() < kSocketsMax) {
      names.push_back(file.substr(0, file.size() - kSuffix.size()));
    }
  }
  std::sort(names.begin(), names.end());
  std::vector<std::pair<std::string, std::string>> texts;
  for (const std::string& name : names) {
    std::string text;
    const bool answered =
        initialised == CURLE_OK && scrape((run_dir / (name + std::string(kSuffix))).string(), text);
    if (!answered) {
      text.clear();
    }
    text +=
        "# HELP gema_gateway_process_scraped Whether the process gave its metrics.\n"
        "# TYPE gema_gateway_process_scraped gauge\ngema_gateway_process_scraped " +
        std::string(answered ? "1" : "0") + "\n";
    texts.emplace_back(name, std::move(text));
  }
  return merge_metrics(texts);
}

}  // namespace gema::gateway
