#include "services/cli/core/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "common/base/rfc3339.h"
#include "common/domain/csv_text.h"
#include "common/domain/multi_ping.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/when.h"

namespace gema::cli {
namespace {

Error bad(const std::string& column, std::string_view value, const std::string& rule) {
  constexpr size_t kShown = 80;
  std::string shown(value.substr(0, kShown));
  if (value.size() > kShown) shown += "...";
  return {Errc::kBadInput, fmt::format("{} = \"{}\": {}", column, shown, rule)};
}

template <class Number>
std::optional<Number> parse_number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// "a;b;c"; an empty text is an empty list.
template <class Each>
bool each_item(std::string_view text, Each&& each) {
  while (!text.empty()) {
    const size_t end = text.find(';');
    if (!each(text.substr(0, end))) return false;
    if (end == std::string_view::npos) return true;
    text.remove_prefix(end + 1);
    if (text.empty()) return false;
  }
  return true;
}

std::optional<uint32_t> parse_rtt(std::string_view text) {
  const auto us = parse_number<uint32_t>(text);
  return us && int64_t{*us} <= kRttUsMax ? us : std::nullopt;
}

}  // namespace

Result<void> take_time(const std::string& column, const std::string& text, SourceRow& row) {
  if (const auto local = parse_naive_us(text)) {
    row.local_us = *local;
    return {};
  }
  if (const auto exact = parse_rfc3339(text)) {
    row.utc_us =
        std::chrono::duration_cast<std::chrono::microseconds>(exact->time_since_epoch()).count();
    return {};
  }
  return bad(column, text, "must be a time such as 2025-09-19T10:45:47.075895");
}

Result<void> check_rules(const Check& check) {
  const bool measured = check.verdict != Verdict::kNotMeasured;
  if (check.outcomes.size() > kEchoesMax || check.burst_sent > kEchoesMax ||
      check.burst_rtt_us.size() > check.burst_sent) {
    return Error{Errc::kBadInput, fmt::format("{} echoes, {} of {} of a burst answered: a check has"
                                              " at most {}",
                                              check.outcomes.size(), check.burst_rtt_us.size(),
                                              check.burst_sent, kEchoesMax)};
  }
  // As the enumerators are grouped in common/domain/ping.h.
  const auto reason = static_cast<int>(check.reason);
  const bool fits = check.verdict == Verdict::kAnswered ? reason <= 1 || reason >= 25
                    : measured                          ? reason <= 4
                                                        : reason >= 16 && reason < 25;
  if (!fits) {
    return Error{Errc::kBadInput, fmt::format("reason = \"{}\": does not go with verdict \"{}\"",
                                              to_string(check.reason), to_string(check.verdict))};
  }
  return {};
}

Result<CsvLayout> CsvLayout::of(const std::vector<std::string>& header) {
  CsvLayout layout;
  layout.columns_ = header.size();
  for (size_t i = 0; i < header.size(); ++i) {
    std::string name = header[i];
    if (i == 0 && name.starts_with("\xef\xbb\xbf")) name.erase(0, 3);
    layout.places_.emplace(lower(name), i);
  }
  const auto has = [&](const char* name) { return layout.places_.contains(name); };
  if (has("at") && has("verdict") && has("echoes") && has("address") && has("interval_ms")) {
    layout.kind_ = CsvKind::kExport;
    return layout;
  }
  if (has("timestamp") && has("ip_address") && has("ping_success")) return layout;
  return Error{Errc::kBadInput,
               "the first line names neither the columns of ping_results_YYYYMMDD.csv (timestamp,"
               " ip_address, ping_success, ...) nor those of gema export (at, address, verdict,"
               " ...)"};
}

const std::string& CsvLayout::cell(const std::vector<std::string>& cells,
                                   const char* column) const {
  static const std::string none;
  const auto place = places_.find(column);
  return place == places_.end() ? none : cells[place->second];
}

Result<SourceRow> CsvLayout::parse(const std::vector<std::string>& cells) const {
  if (cells.size() != columns_) {
    return Error{Errc::kBadInput,
                 fmt::format("{} cells: the first line has {}", cells.size(), columns_)};
  }
  std::vector<std::string> plain = cells;
  for (std::string& text : plain) {
    const auto without = without_formula_mark(text);
    if (without.size() != text.size()) text = std::string(without);
  }
  auto row = kind_ == CsvKind::kPing ? parse_ping(plain) : parse_export(plain);
  if (!row || row->unreadable) return row;
  if (auto right = check_rules(row->check); !right) return right.error();
  return row;
}

Result<SourceRow> CsvLayout::parse_ping(const std::vector<std::string>& cells) const {
  SourceRow row;
  row.host = {.address = cell(cells, "ip_address"),
              .name = cell(cells, "hostname"),
              .id = parse_number<uint64_t>(cell(cells, "device_id")),
              .merk = cell(cells, "merk"),
              .os = cell(cells, "os"),
              .kondisi = cell(cells, "kondisi"),
              .id_lokasi = cell(cells, "id_lokasi")};
  if (row.host.address.empty()) return bad("ip_address", "", "must not be empty");
  if (auto time = take_time("timestamp", cell(cells, "timestamp"), row); !time) return time.error();
  const std::string success = lower(cell(cells, "ping_success"));
  const std::string& message = cell(cells, "error_message");
  Check& check = row.check;
  if (success == "true" || success == "1") {
    check.verdict = Verdict::kAnswered;
    check.reason = Reason::kNone;
    const std::string& response = cell(cells, "response_time_ms");
    const std::string& text = response.empty() ? cell(cells, "latency_ms") : response;
    if (!text.empty()) {
      const auto ms = parse_number<double>(text);
      const auto us = ms ? rtt_from_ms(*ms) : Result<uint32_t>(Error{});
      if (!us) return bad("response_time_ms", text, "must be milliseconds, 0 to 1800000");
      check.outcomes = {EchoOutcome::kReply};
      check.rtt_us = {*us};
    }
    return row;
  }
  if (success == "false" || success == "0") {
    check.verdict = Verdict::kFailed;
    check.reason = Reason::kTimeout;
    for (const Reason reason : {Reason::kUnreachable, Reason::kTimeExceeded}) {
      if (message == error_message(Verdict::kFailed, reason)) check.reason = reason;
    }
    check.outcomes = {check.reason == Reason::kUnreachable    ? EchoOutcome::kUnreachable
                      : check.reason == Reason::kTimeExceeded ? EchoOutcome::kTimeExceeded
                                                              : EchoOutcome::kTimeout};
    check.rtt_us = {0};
    return row;
  }
  if (!success.empty()) return bad("ping_success", success, "must be True, False or empty");
  check.verdict = Verdict::kNotMeasured;
  check.reason = Reason::kNotRunning;
  for (int i = 16; i < 25; ++i) {
    if (message == error_message(Verdict::kNotMeasured, static_cast<Reason>(i))) {
      check.reason = static_cast<Reason>(i);
    }
  }
  return row;
}

Result<SourceRow> CsvLayout::parse_export(const std::vector<std::string>& cells) const {
  SourceRow row;
  if (cell(cells, "verdict") == kUnreadableVerdict) {
    row.unreadable = true;
    return row;
  }
  row.host = {.address = cell(cells, "address"),
              .name = cell(cells, "name"),
              .id = parse_number<uint64_t>(cell(cells, "device_id"))};
  row.location = cell(cells, "location");
  row.prober = cell(cells, "prober");
  if (row.host.address.empty()) return bad("address", "", "must not be empty");
  if (auto time = take_time("at", cell(cells, "at"), row); !time) return time.error();
  Check& check = row.check;
  const auto interval = parse_number<uint32_t>(cell(cells, "interval_ms"));
  if (!interval || *interval < kIntervalMsMin || int64_t{*interval} > kIntervalMsMax) {
    return bad("interval_ms", cell(cells, "interval_ms"), "must be 10 to 86400000");
  }
  check.interval_ms = *interval;
  const auto verdict = verdict_of(cell(cells, "verdict"));
  if (!verdict) {
    return bad("verdict", cell(cells, "verdict"), "must be answered, failed or not measured");
  }
  check.verdict = *verdict;
  const auto reason = reason_of(cell(cells, "reason"));
  if (!reason) return bad("reason", cell(cells, "reason"), "is no reason that Gema knows");
  check.reason = *reason;
  const std::string& echoes = cell(cells, "echoes");
  const bool right = each_item(echoes, [&](std::string_view item) {
    const auto rtt = parse_rtt(item);
    const auto outcome = rtt ? std::optional(EchoOutcome::kReply) : outcome_of(item);
    if (!outcome || (!rtt && *outcome == EchoOutcome::kReply)) return false;
    check.outcomes.push_back(*outcome);
    check.rtt_us.push_back(rtt.value_or(0));
    return true;
  });
  if (!right) return bad("echoes", echoes, "must be microseconds or outcomes, \";\" between");
  const std::string& sent = cell(cells, "burst_sent");
  if (!sent.empty()) {
    const auto number = parse_number<uint32_t>(sent);
    if (!number) return bad("burst_sent", sent, "must be a number");
    check.burst_sent = *number;
  }
  const std::string& burst = cell(cells, "burst");
  const bool burst_right = each_item(burst, [&](std::string_view item) {
    const auto rtt = parse_rtt(item);
    if (rtt) check.burst_rtt_us.push_back(*rtt);
    return rtt.has_value();
  });
  if (!burst_right) return bad("burst", burst, "must be microseconds, \";\" between");
  return row;
}

}  // namespace gema::cli
