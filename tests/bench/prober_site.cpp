// What `tests/run bench prober` cannot do from Python: gives a prober its assignment the way an
// earlier run would have left it, and reads back what the prober wrote into its spool.
//
//   prober_site assign DIR DEVICES INTERVAL_MS     device i is at 198.18.0.0 + i, the ones that do
//                                                  not fit there at 2001:db8:2::, timeout 1 s
//   prober_site read DIR FROM_MS TO_MS [FILE]      what the spool has of the slots in [FROM, TO),
//                                                  as one JSON object; into FILE, one line each:
//                                                  device, slot, round trip in microseconds
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "common/codec/ping_codec.h"
#include "common/runtime/clock.h"
#include "common/stream/producer.h"
#include "services/prober/io/state_files.h"

namespace {

using namespace gema;

constexpr uint32_t kV4Max = 131'000;

std::string address_of(uint32_t n) {
  char text[64];
  if (n <= kV4Max) {
    const uint32_t a = 0xc6120000 + n;
    std::snprintf(text, sizeof text, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
  } else {
    std::snprintf(text, sizeof text, "2001:db8:2::%x:%x", n >> 16, n & 0xffff);
  }
  return text;
}

int fail(const std::string& what) {
  std::cerr << "prober_site: " << what << "\n";
  return 1;
}

int assign(const std::filesystem::path& dir, uint32_t devices, uint32_t interval_ms) {
  Assignment assignment{.version = {1, 1}, .prober = "prober-1", .location = "default"};
  for (uint32_t i = 1; i <= devices; ++i) {
    assignment.devices.push_back(
        {.id = i, .address = address_of(i), .interval_ms = interval_ms, .timeout_ms = 1000});
  }
  prober::KeptAssignment kept{.assignment = std::move(assignment)};
  kept.since_ms.assign(devices, unix_ms(runtime::read_clock().wall));
  const auto done = prober::write_assignment(dir / "state/prober-1/assignment.pb", kept);
  return done ? 0 : fail(done.error().message);
}

struct Counts {
  uint64_t answered = 0, failed = 0, not_measured = 0, lossy = 0;
  std::vector<uint32_t> rtt_us;
};

uint32_t quantile(std::vector<uint32_t>& values, double q) {
  if (values.empty()) return 0;
  const auto at = static_cast<size_t>(q * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

int read(const std::filesystem::path& dir, int64_t from_ms, int64_t to_ms, const char* file) {
  auto producer = stream::Producer::open({.dir = dir / "spool/prober-1",
                                          .stream = "ping",
                                          .name = "prober-1",
                                          .groups = {"recorder", "timeout-tracker"}},
                                         runtime::read_clock());
  if (!producer) return fail(producer.error().message);
  std::ofstream out;
  if (file != nullptr) out.open(file);
  Counts counts;
  PingResults r;
  const auto done = (*producer)->read_after({}, [&](const stream::Spooled& record) {
    if (!decode_ping(record.payload, r)) return false;
    for (size_t i = 0; i < r.size(); ++i) {
      if (r.due_ms[i] < from_ms || r.due_ms[i] >= to_ms) continue;
      if (r.verdict[i] == Verdict::kNotMeasured) {
        ++counts.not_measured;
        continue;
      }
      ++(r.verdict[i] == Verdict::kAnswered ? counts.answered : counts.failed);
      if (r.reason[i] == Reason::kLossy) ++counts.lossy;
      for (uint32_t e = r.echo_begin[i]; e < r.echo_begin[i + 1]; ++e) {
        if (r.echo_outcome[e] != EchoOutcome::kReply) continue;
        counts.rtt_us.push_back(r.echo_rtt_us[e]);
        if (file != nullptr) {
          out << r.device[i] << ' ' << r.due_ms[i] << ' ' << r.echo_rtt_us[e] << '\n';
        }
      }
    }
    return true;
  });
  if (!done) return fail(done.error().message);
  if (file != nullptr && !out.flush()) return fail("cannot write the file");
  std::printf(
      "{\"answered\":%lu,\"failed\":%lu,\"not_measured\":%lu,\"lossy\":%lu,\"rtt_p50_us\":%u,"
      "\"rtt_p99_us\":%u}\n",
      counts.answered, counts.failed, counts.not_measured, counts.lossy,
      quantile(counts.rtt_us, 0.5), quantile(counts.rtt_us, 0.99));
  return 0;
}

template <class Number>
bool parse(const char* text, Number& number) {
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, number);
  return error == std::errc() && at == end;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  uint32_t devices = 0, interval_ms = 0;
  if (verb == "assign" && argc == 5 && parse(argv[3], devices) && parse(argv[4], interval_ms)) {
    return assign(argv[2], devices, interval_ms);
  }
  int64_t from_ms = 0, to_ms = 0;
  if (verb == "read" && argc >= 5 && parse(argv[3], from_ms) && parse(argv[4], to_ms)) {
    return read(argv[2], from_ms, to_ms, argc > 5 ? argv[5] : nullptr);
  }
  return fail("usage: see the head of prober_site.cpp");
}
