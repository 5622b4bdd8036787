#include "common/history/export.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace gema::history {
namespace {

const ExportDevice kDevice{.id = 7, .address = "192.0.2.7", .name = "gate"};

// One result with everything that a result can have.
struct Rich {
  Rich() {
    notes[0].from = *parse_ip("198.18.0.1");
    row = {.due_ms = 1'763'632'561'250,
           .interval_ms = 5000,
           .location = "default",
           .prober = "prober-1",
           .result = {.verdict = Verdict::kAnswered,
                      .reason = Reason::kLossy,
                      .outcomes = outcomes,
                      .rtt_us = rtt_us,
                      .burst_sent = 4,
                      .burst_rtt_us = burst_rtt_us,
                      .notes = notes,
                      .proofs = proofs,
                      .text = "Si\"ti\n\xff"},
           .late_answers = late};
  }

  std::vector<EchoOutcome> outcomes = {EchoOutcome::kReply, EchoOutcome::kTimeout,
                                       EchoOutcome::kHostUnreachable};
  std::vector<uint32_t> rtt_us = {312, 0, 0};
  std::vector<uint32_t> burst_rtt_us = {500};
  std::vector<EchoNote> notes = {
      {.echo = 2, .kind = NoteKind::kIcmpError, .icmp_type = 3, .icmp_code = 1}};
  std::vector<ProofResult> proofs = {
      {.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 443, .elapsed_us = 9}};
  std::vector<Stray> late = {{.device = 7, .echo = 1, .kind = NoteKind::kLate, .rtt_us = 77}};
  ExportRow row;
};

std::string line(ExportFormat format, const Rich& r, const ExportDevice& device = kDevice) {
  std::string out;
  append_export_row(out, format, device, r.row);
  return out;
}

TEST(ExportRow, CsvHasOneCellForEachColumnOfTheHeader) {
  const std::string text = line(ExportFormat::kCsv, Rich());
  EXPECT_EQ(
      text,
      "2025-11-20T09:56:01.250Z,7,192.0.2.7,gate,default,prober-1,5000,answered,lossy,7,2,312,"
      "406,500,312;timeout;host unreachable,4,500\r\n");
  const std::string_view header = export_csv_header();
  EXPECT_EQ(std::count(header.begin(), header.end(), ','),
            std::count(text.begin(), text.end(), ','));
}

TEST(ExportRow, CsvLeavesRoundTripTimesEmptyWhereNothingAnswered) {
  Rich r;
  r.row.result = {.verdict = Verdict::kNotMeasured, .reason = Reason::kPaused};
  EXPECT_EQ(line(ExportFormat::kCsv, r),
            "2025-11-20T09:56:01.250Z,7,192.0.2.7,gate,default,prober-1,5000,not measured,paused,0,"
            "0,,,,,0,\r\n");
}

TEST(ExportRow, ACellThatWouldBeAFormulaIsOneNoMore) {
  const std::string text =
      line(ExportFormat::kCsv, Rich(), {.id = 1, .address = "a,b", .name = "=1+1"});
  EXPECT_NE(text.find(",1,\"a,b\",'=1+1,default,"), std::string::npos) << text;
}

TEST(ExportRow, NdjsonTellsEverything) {
  EXPECT_EQ(line(ExportFormat::kNdjson, Rich()),
            R"({"at":"2025-11-20T09:56:01.250Z","device_id":7,"address":"192.0.2.7","name":"gate",)"
            R"("location":"default","prober":"prober-1","interval_ms":5000,"verdict":"answered",)"
            R"("reason":"lossy","echoes_sent":7,"echoes_answered":2,"rtt_min_us":312,)"
            R"("rtt_mean_us":406,"rtt_max_us":500,"echoes":[312,"timeout","host unreachable"],)"
            R"("burst_sent":4,"burst":[500],"notes":[{"echo":2,"kind":"icmp error","icmp_type":3,)"
            R"("icmp_code":1,"from":"198.18.0.1"}],"proofs":[{"port":443,"kind":"tcp",)"
            R"("outcome":"connection reset","elapsed_us":9}],"late_answers":[{"echo":1,)"
            R"("kind":"late","rtt_us":77}],"text":"Si\"ti\u000a\ufffd"})"
            "\n");
}

TEST(ExportRow, ADeviceWithoutANameIsCalledByItsAddress) {
  const std::string text = line(ExportFormat::kNdjson, Rich(), {.id = 7, .address = "::1"});
  EXPECT_NE(text.find(R"("address":"::1","name":"::1")"), std::string::npos) << text;
}

TEST(ExportRow, ARowThatDoesNotDecodeIsALineOfItsOwn) {
  const BrokenRow row{
      .table = "ping_packed", .device = 7, .start_ms = 1'763'632'561'250, .part = 3};
  std::string text;
  append_unreadable_row(text, ExportFormat::kCsv, &kDevice, row);
  append_unreadable_row(text, ExportFormat::kCsv, nullptr, {.table = "ping_hot", .part = 12});
  EXPECT_EQ(text,
            "2025-11-20T09:56:01.250Z,7,192.0.2.7,gate,,,,unreadable,ping_packed part 3,,,,,,,,\r\n"
            ",,,,,,,unreadable,ping_hot part 12,,,,,,,,\r\n");
  const std::string_view header = export_csv_header();
  EXPECT_EQ(std::count(text.begin(), text.end(), ','),
            2 * std::count(header.begin(), header.end(), ','));
  text.clear();
  append_unreadable_row(text, ExportFormat::kNdjson, &kDevice, row);
  append_unreadable_row(text, ExportFormat::kNdjson, nullptr, {.table = "ping_hot", .part = 12});
  EXPECT_EQ(text,
            R"({"at":"2025-11-20T09:56:01.250Z","device_id":7,"address":"192.0.2.7","name":"gate",)"
            R"("verdict":"unreadable","reason":"ping_packed part 3"})"
            "\n"
            R"({"verdict":"unreadable","reason":"ping_hot part 12"})"
            "\n");
}

}  // namespace
}  // namespace gema::history
