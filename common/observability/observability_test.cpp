#include <curl/curl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <unistd.h>

#include <filesystem>

#include "common/observability/health.h"
#include "common/observability/http.h"
#include "common/observability/log.h"
#include "common/observability/metrics.h"
#include "common/runtime/clock.h"

namespace gema::obs {
namespace {

using testing::HasSubstr;

size_t append(char* data, size_t size, size_t n, void* target) {
  static_cast<std::string*>(target)->append(data, size * n);
  return size * n;
}

struct Answer {
  long status = 0;
  std::string body;
};

Answer get(const std::string& socket, const std::string& path) {
  Answer answer;
  CURL* curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  curl_easy_setopt(curl, CURLOPT_URL, ("http://localhost" + path).c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer.body);
  EXPECT_EQ(curl_easy_perform(curl), CURLE_OK);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_easy_cleanup(curl);
  return answer;
}

TEST(Log, QuotesWhatWouldForgeALine) {
  EXPECT_EQ(format_line("recorder", "spool replayed", {{"records", 5}, {"from", "prober-1"}}),
            "recorder \"spool replayed\" records=5 from=prober-1");
  EXPECT_EQ(format_line("x", "t", {{"name", "a\nINFO \"b\" \x1b[31m"}}),
            "x t name=\"a\\nINFO \\\"b\\\" \\x1b[31m\"");
  EXPECT_EQ(format_line("x", "t", {{"empty", ""}}), "x t empty=\"\"");
}

TEST(Metrics, ArePrefixedAndTheSameNameIsTheSameMetric) {
  Metrics metrics("timeout-tracker");
  metrics.counter("late_total", "Late slots.", {{"location", "a"}}).Increment(2);
  metrics.counter("late_total", "Late slots.", {{"location", "a"}}).Increment();
  const std::string text = metrics.serialise();
  EXPECT_THAT(text, HasSubstr("gema_timeout_tracker_late_total{location=\"a\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("gema_timeout_tracker_process_resident_memory_bytes "));
}

TEST(HealthServer, TellsAliveReadyAndMetrics) {
  const auto path =
      std::filesystem::temp_directory_path() / ("gema-health-" + std::to_string(getpid()));
  Health health;
  Metrics metrics("recorder");
  metrics.counter("rows_total", "Rows.").Increment(7);
  auto server = HealthServer::start(path.string(), health, metrics);
  ASSERT_TRUE(server.has_value()) << server.error().message;
  EXPECT_EQ(get(path, "/healthz").status, 200);
  EXPECT_EQ(get(path, "/readyz").status, 200);
  health.set_waiting("postgres", "connection refused");
  EXPECT_EQ(get(path, "/readyz").status, 503);
  EXPECT_EQ(get(path, "/readyz").body, "waiting for postgres: connection refused\n");
  health.clear_waiting("postgres");
  EXPECT_EQ(get(path, "/readyz").body, "ready\n");
  health.set_impaired("csv", "disk full");
  EXPECT_EQ(get(path, "/readyz").status, 200);
  EXPECT_EQ(get(path, "/readyz").body, "ready\nimpaired: csv: disk full\n");
  health.clear_impaired("csv");
  EXPECT_EQ(get(path, "/readyz").body, "ready\n");
  EXPECT_THAT(get(path, "/metrics").body, HasSubstr("gema_recorder_rows_total 7\n"));
  EXPECT_EQ(get(path, "/nowhere").status, 404);
  const MonoTime now = runtime::read_clock().mono;
  (*server)->beat(now - 11s);
  EXPECT_EQ(get(path, "/healthz").status, 503);
  (*server)->beat(now);
  EXPECT_EQ(get(path, "/healthz").status, 200);
}

TEST(HealthServer, RefusesAPathThatDoesNotFit) {
  Health health;
  Metrics metrics("recorder");
  auto server = HealthServer::start("/tmp/" + std::string(120, 'x'), health, metrics);
  ASSERT_FALSE(server.has_value());
  EXPECT_THAT(server.error().message, HasSubstr("107 bytes"));
}

}  // namespace
}  // namespace gema::obs
