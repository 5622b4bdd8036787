// An HTTP request and response as values: what handlers of any process take and give. No sockets,
// no library types, so handlers are tested without a server.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gema::http {

struct Request {
  std::string method;  // "GET"; a HEAD request arrives as "GET" with head = true
  bool head = false;
  std::string target;                 // as sent, for the log
  std::vector<std::string> segments;  // of the path, percent-decoded one by one; "/" has none
  std::vector<std::pair<std::string, std::string>> query;    // decoded, in order
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::vector<std::pair<std::string, std::string>> params;   // filled by the router: {id}
  std::string body;
  std::string client;  // address from X-Real-IP (set by nginx, the only peer), else ""

  // The first value of that name, or nullptr.
  const std::string* query_value(std::string_view name) const;
  const std::string* header(std::string_view lower_case_name) const;
  const std::string* param(std::string_view name) const;
};

// Where a streaming response writes. write() blocks for at most the server's write timeout and
// returns false when the client is gone or did not take the bytes in time; alive() asks without
// writing.
struct StreamSink {
  std::function<bool(std::string_view)> write;
  std::function<bool()> alive;
};

struct Response {
  int status = 200;
  std::string content_type;  // "" when there is no body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;

  // Set for a stream of unknown length: called again and again on the request's own thread until
  // it returns false. It must return at least once a second, so that the server can stop.
  std::function<bool(StreamSink&)> stream;
  // Called once when a stream ended, for whatever reason (also when it never began).
  std::function<void()> stream_closed;
};

// The standard reason phrase: "Not Found" for 404; "Error" for codes this project does not use.
const char* status_text(int status);

}  // namespace gema::http
