#include "tests/bench/history_reads/http_client.h"

#include <curl/curl.h>

#include <chrono>
#include <utility>

#include "tests/bench/history_reads/report.h"

namespace gema::bench {

struct HttpClient::Impl {
  std::string base;
  CURL* curl = nullptr;
  curl_slist* headers = nullptr;
};

namespace {

size_t take(char* data, size_t size, size_t count, void* to) {
  static_cast<std::string*>(to)->append(data, size * count);
  return size * count;
}

}  // namespace

HttpClient::HttpClient(std::string base, const std::string& token)
    : impl_(std::make_unique<Impl>(Impl{.base = std::move(base)})) {
  impl_->curl = curl_easy_init();
  if (impl_->curl == nullptr) fail("libcurl does not start");
  impl_->headers = curl_slist_append(nullptr, ("X-API-Token: " + token).c_str());
  curl_easy_setopt(impl_->curl, CURLOPT_HTTPHEADER, impl_->headers);
  curl_easy_setopt(impl_->curl, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(impl_->curl, CURLOPT_PROXY, "");
  curl_easy_setopt(impl_->curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(impl_->curl, CURLOPT_TIMEOUT, 60L);
  curl_easy_setopt(impl_->curl, CURLOPT_BUFFERSIZE, 256L * 1024);
}

HttpClient::~HttpClient() {
  curl_easy_cleanup(impl_->curl);
  curl_slist_free_all(impl_->headers);
}

HttpClient::Answer HttpClient::get(const std::string& target) {
  Answer answer;
  const std::string url = impl_->base + target;
  curl_easy_setopt(impl_->curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(impl_->curl, CURLOPT_WRITEDATA, &answer.body);
  const auto begin = std::chrono::steady_clock::now();
  const CURLcode done = curl_easy_perform(impl_->curl);
  answer.ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  if (done == CURLE_OK) curl_easy_getinfo(impl_->curl, CURLINFO_RESPONSE_CODE, &answer.status);
  return answer;
}

}  // namespace gema::bench
