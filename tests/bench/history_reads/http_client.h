// One caller with one connection that it keeps, as a browser or a script would.
#pragma once

#include <memory>
#include <string>

namespace gema::bench {

class HttpClient {
 public:
  // `base`: "http://127.0.0.1:PORT".
  HttpClient(std::string base, const std::string& token);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  struct Answer {
    long status = 0;  // 0: none came
    double ms = 0;    // from the request to the last byte of the body
    std::string body;
  };
  Answer get(const std::string& target);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace gema::bench
