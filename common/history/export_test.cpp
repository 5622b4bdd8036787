#include "common/history/export.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace gema::history {
namespace {

const ExportDevice kDevice{.id = 7, .address = "192.0.2.7", .name = "gate"};

// One result with everything that a result can have.
Results rich() {
  Results r;
  r.names = {"default", "prober-1"};
  r.echoes = {{EchoOutcome::kReply, 312},
              {EchoOutcome::kTimeout, 0},
              {EchoOutcome::kHostUnreachable, 0},
              {EchoOutcome::kReply, 500}};
  EchoNote note{.echo = 2, .kind = NoteKind::kIcmpError, .icmp_type = 3, .icmp_code = 1};
  note.from = *parse_ip("198.18.0.1");
  r.details.push_back({.notes = {note},
                       .proofs = {{.kind = ProofKind::kTcp,
                                   .outcome = ProofOutcome::kReset,
                                   .port = 443,
                                   .elapsed_us = 9}},
                       .strays = {{.device = 7, .echo = 1, .kind = NoteKind::kLate, .rtt_us = 77}},
                       .text = "Si\"ti\n\xff"});
  r.rows.push_back({.due_ms = 1'763'632'561'250,
                    .interval_ms = 5000,
                    .verdict = Verdict::kAnswered,
                    .reason = Reason::kLossy,
                    .location = 0,
                    .producer = 1,
                    .echo_begin = 0,
                    .echo_count = 3,
                    .burst_sent = 4,
                    .burst_answered = 1,
                    .rtt_us = 406,
                    .details = 0});
  return r;
}

std::string line(ExportFormat format, const Results& r, const ExportDevice& device = kDevice) {
  std::string out;
  append_export_row(out, format, device, r, r.rows[0]);
  return out;
}

TEST(ExportRow, CsvHasOneCellForEachColumnOfTheHeader) {
  const std::string text = line(ExportFormat::kCsv, rich());
  EXPECT_EQ(
      text,
      "2025-11-20T09:56:01.250Z,7,192.0.2.7,gate,default,prober-1,5000,answered,lossy,7,2,312,"
      "406,500,312;timeout;host unreachable,4,500\r\n");
  const std::string_view header = export_csv_header();
  EXPECT_EQ(std::count(header.begin(), header.end(), ','),
            std::count(text.begin(), text.end(), ','));
}

TEST(ExportRow, CsvLeavesRoundTripTimesEmptyWhereNothingAnswered) {
  Results r = rich();
  r.rows[0].echo_count = 0;
  r.rows[0].burst_sent = r.rows[0].burst_answered = 0;
  r.rows[0].verdict = Verdict::kNotMeasured;
  r.rows[0].reason = Reason::kPaused;
  r.rows[0].rtt_us = 0;
  EXPECT_EQ(line(ExportFormat::kCsv, r),
            "2025-11-20T09:56:01.250Z,7,192.0.2.7,gate,default,prober-1,5000,not measured,paused,0,"
            "0,,,,,0,\r\n");
}

TEST(ExportRow, ACellThatWouldBeAFormulaIsOneNoMore) {
  const std::string text =
      line(ExportFormat::kCsv, rich(), {.id = 1, .address = "a,b", .name = "=1+1"});
  EXPECT_NE(text.find(",1,\"a,b\",'=1+1,default,"), std::string::npos) << text;
}

TEST(ExportRow, NdjsonTellsEverything) {
  EXPECT_EQ(line(ExportFormat::kNdjson, rich()),
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
  const std::string text = line(ExportFormat::kNdjson, rich(), {.id = 7, .address = "::1"});
  EXPECT_NE(text.find(R"("address":"::1","name":"::1")"), std::string::npos) << text;
}

}  // namespace
}  // namespace gema::history
