// A result, and a device that times out, as the multi-ping system tells them, in its CSV files and
// REST rows: eleven and ten columns, every value a text ("True", "12.5", "" for nothing), times
// naive local ISO. Pure.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "common/domain/device.h"
#include "common/domain/local_iso.h"
#include "common/domain/ping.h"

namespace gema {

// Which devices time out, beside its daily files.
inline constexpr const char* kTimeoutFile = "timeout_tracking.csv";

inline constexpr std::array<std::string_view, 10> kTimeoutColumns = {
    "ip_address",           "hostname",      "device_id",    "merk",        "os", "kondisi",
    "consecutive_timeouts", "first_timeout", "last_timeout", "last_updated"};

inline constexpr std::array<std::string_view, 11> kPingColumns = {
    "timestamp",     "device_id", "ip_address", "hostname", "ping_success", "response_time_ms",
    "error_message", "merk",      "os",         "kondisi",  "id_lokasi"};

// What one result says, wherever it was kept.
struct PingSample {
  int64_t due_ms = 0;  // the slot, Unix ms
  Verdict verdict = Verdict::kNotMeasured;
  Reason reason = Reason::kNone;
  uint32_t rtt_us = 0;  // mean of what was answered; 0 = no echo was (mean_rtt_us)

  friend bool operator==(const PingSample&, const PingSample&) = default;
};

// A device that times out. Slots, Unix ms.
struct TimeoutSample {
  uint32_t consecutive = 0;
  int64_t first_ms = 0;
  int64_t last_ms = 0;

  friend bool operator==(const TimeoutSample&, const TimeoutSample&) = default;
};

// "" for an answered check.
std::string error_message(Verdict verdict, Reason reason);

// "12.34", "0.0": what Python's str() makes of a float.
std::string python_float(double value);

inline const std::string& shown_name(const Device& device) {
  return device.hostname.empty() ? device.address : device.hostname;
}

// Calls each(text) for every column, in the order of kPingColumns.
template <class Each>
void for_each_cell(const Device& device, const PingSample& sample, const UtcOffset& offset,
                   Each&& each) {
  const bool answered = sample.verdict == Verdict::kAnswered;
  const bool measured = sample.verdict != Verdict::kNotMeasured;
  each(local_iso(sample.due_ms * 1000, offset));
  each(std::to_string(device.id));
  each(device.address);
  each(shown_name(device));
  each(std::string_view(!measured ? "" : answered ? "True" : "False"));
  each(answered && sample.rtt_us > 0 ? python_float(static_cast<double>(sample.rtt_us) / 1000.0)
                                     : std::string());
  each(error_message(sample.verdict, sample.reason));
  each(device.merk);
  each(device.os);
  each(device.kondisi);
  each(device.id_lokasi);
}

// Calls each(text) for every column, in the order of kTimeoutColumns. It changes with each timeout,
// and is gone with an answer: it was updated when it timed out last.
template <class Each>
void for_each_timeout_cell(const Device& device, const TimeoutSample& sample,
                           const UtcOffset& offset, Each&& each) {
  const std::string last = local_iso(sample.last_ms * 1000, offset);
  each(device.address);
  each(shown_name(device));
  each(std::to_string(device.id));
  each(device.merk);
  each(device.os);
  each(device.kondisi);
  each(std::to_string(sample.consecutive));
  each(local_iso(sample.first_ms * 1000, offset));
  each(last);
  each(last);
}

}  // namespace gema
