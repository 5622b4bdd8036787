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
  bool http_1_1 = false;              // the client understands chunked encoding
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
// writing. wait_for_room() waits as long for the client to take more: after kRoom a write of
// 16 KiB does not block, so that who may be slow is not lost in the middle of a write.
struct StreamSink {
  enum class Room { kRoom, kNotYet, kGone };
  std::function<bool(std::string_view)> write;
  std::function<bool()> alive;
  std::function<Room()> wait_for_room;
  // Says that the stream is whole; return false next. For streams whose `end_matters`.
  std::function<void()> finish;
};

struct Response {
  int status = 200;
  std::string content_type;  // "" when there is no body
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;

  // Set for a stream of unknown length: called again and again on the request's own thread until
  // it returns false. It must return at least once a second, so that the server can stop.
  std::function<bool(StreamSink&)> stream;
  // The stream leaves in chunks, and only finish() writes the last one: one that broke off (the
  // stream returned false without it, the server stops) is an error to the client's HTTP library.
  // Needs a request with http_1_1; else the stream's end is the connection's, as without it.
  bool end_matters = false;
  // Called once when a stream ended, for whatever reason (also when it never began).
  std::function<void()> stream_closed;
};

// The standard reason phrase: "Not Found" for 404; "Error" for codes this project does not use.
const char* status_text(int status);

}  // namespace gema::http
