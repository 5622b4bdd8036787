#include "services/gateway/core/result_text.h"

#include <gtest/gtest.h>

namespace gema::gateway {
namespace {

IpAddress v4(uint8_t last) {
  return {.bytes = {192, 0, 2, last}, .family = 4};
}

IpAddress v6() {
  return {.bytes = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, .family = 6};
}

EchoNote icmp(uint8_t type, uint8_t code, IpAddress from) {
  return {.kind = NoteKind::kIcmpError, .icmp_type = type, .icmp_code = code, .from = from};
}

TEST(ResultText, SaysWhatARouterSaidAndWhichOne) {
  EXPECT_EQ(note_text(icmp(3, 1, v4(2))), "host unreachable, said by 192.0.2.2");
  EXPECT_EQ(note_text(icmp(3, 13, v4(2))), "prohibited by an administrator, said by 192.0.2.2");
  EXPECT_EQ(note_text(icmp(11, 0, v4(2))), "time to live exceeded, said by 192.0.2.2");
  EXPECT_EQ(note_text(icmp(3, 0, {})), "network unreachable");
  EXPECT_EQ(note_text(icmp(1, 0, v6())), "no route, said by 2001:db8::1");
  EXPECT_EQ(note_text(icmp(3, 0, v6())), "hop limit exceeded, said by 2001:db8::1");
  EXPECT_EQ(note_text(icmp(3, 99, v4(2))), "ICMP type 3 code 99, said by 192.0.2.2");
  EXPECT_EQ(note_text(icmp(200, 9, v6())), "ICMPv6 type 200 code 9, said by 2001:db8::1");
}

TEST(ResultText, SaysWhatBefellAnEcho) {
  EXPECT_EQ(note_text({.kind = NoteKind::kSendError, .error = 101}),
            "not sent: no route to the network");
  EXPECT_EQ(note_text({.kind = NoteKind::kSendError, .error = 4711}), "not sent: error 4711");
  EXPECT_EQ(note_text({.kind = NoteKind::kLate, .rtt_us = 3'100'000}),
            "answered late, after 3100.0 ms");
  EXPECT_EQ(note_text({.kind = NoteKind::kDuplicate, .count = 1}), "answered once more");
  EXPECT_EQ(note_text({.kind = NoteKind::kDuplicate, .count = 3, .from = v4(9)}),
            "answered 3 times more, by 192.0.2.9");
  EXPECT_EQ(late_text({.kind = NoteKind::kLate, .rtt_us = 5'000}), "answered late, after 5.0 ms");
}

TEST(ResultText, SaysWhatAProofGave) {
  EXPECT_EQ(
      proof_text({.kind = ProofKind::kWeb, .outcome = ProofOutcome::kWrongStatus, .status = 503}),
      "web: status 503 instead of 200");
  EXPECT_EQ(
      proof_text({.kind = ProofKind::kWeb, .outcome = ProofOutcome::kWrongStatus, .status = 200},
                 204),
      "web: status 200 instead of 204");
  EXPECT_EQ(proof_text({.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 22}),
            "tcp 22: connection reset, no proof");
  EXPECT_EQ(proof_text({.kind = ProofKind::kTcp, .outcome = ProofOutcome::kAlive, .port = 443}),
            "tcp 443: alive");
}

TEST(ResultText, WhySaysEachThingOnce) {
  ResultDetails d;
  EXPECT_EQ(why_text(Verdict::kFailed, Reason::kTimeout, nullptr), "timeout");
  EXPECT_EQ(why_text(Verdict::kFailed, Reason::kTimeout, &d), "timeout");
  EXPECT_EQ(why_text(Verdict::kAnswered, Reason::kNone, &d), "");
  d.notes = {icmp(3, 1, v4(2)), icmp(3, 1, v4(2))};
  d.proofs = {{.kind = ProofKind::kWeb, .outcome = ProofOutcome::kWrongStatus, .status = 503},
              {.kind = ProofKind::kTcp, .outcome = ProofOutcome::kReset, .port = 22}};
  EXPECT_EQ(why_text(Verdict::kFailed, Reason::kUnreachable, &d),
            "host unreachable, said by 192.0.2.2; web: status 503 instead of 200; "
            "tcp 22: connection reset, no proof");
  ResultDetails late;
  late.strays = {{.rtt_us = 3'200'000}};
  EXPECT_EQ(why_text(Verdict::kFailed, Reason::kTimeout, &late),
            "timeout; answered late, after 3200.0 ms");
  ResultDetails paused;
  paused.text = "Siti";
  EXPECT_EQ(why_text(Verdict::kNotMeasured, Reason::kPaused, &paused), "paused by Siti");
}

TEST(ResultText, WritesAResultWithAllThatIsKnown) {
  DetailedResult r{.due_ms = 1'758'246'347'075,
                   .interval_ms = 5000,
                   .verdict = Verdict::kFailed,
                   .reason = Reason::kUnreachable,
                   .location = "default",
                   .prober = "prober-1",
                   .details = {}};
  r.details.echoes = {{EchoOutcome::kHostUnreachable, 0}, {EchoOutcome::kReply, 1500}};
  r.details.burst_sent = 4;
  r.details.notes = {icmp(3, 1, v4(2))};
  r.details.proofs = {{.kind = ProofKind::kWeb,
                       .outcome = ProofOutcome::kWrongStatus,
                       .status = 503,
                       .elapsed_us = 20'000}};
  r.details.strays = {{.echo = 0, .rtt_us = 3'200'000}};
  r.rtt_us = 1500;
  Json json;
  write_result(json, r);
  EXPECT_EQ(json.take(),
            R"({"at":"2025-09-19T01:45:47.075000Z","interval_ms":5000,"location":"default",)"
            R"("prober":"prober-1","verdict":"failed","reason":"unreachable",)"
            R"("why":"host unreachable, said by 192.0.2.2; web: status 503 instead of 200; )"
            R"(answered late, after 3200.0 ms","rtt_ms":1.5,)"
            R"("echoes":[{"outcome":"host unreachable"},{"outcome":"reply","rtt_ms":1.5}],)"
            R"("burst":{"sent":4,"rtt_ms":[]},"notes":[{"echo":0,"kind":"icmp error",)"
            R"("text":"host unreachable, said by 192.0.2.2","icmp_type":3,"icmp_code":1,)"
            R"("said_by":"192.0.2.2","count":1},{"echo":0,"kind":"late",)"
            R"("text":"answered late, after 3200.0 ms","rtt_ms":3200.0,"count":1}],)"
            R"("proofs":[{"kind":"web","outcome":"wrong status",)"
            R"("text":"web: status 503 instead of 200","status":503,"elapsed_ms":20.0}]})");
}

}  // namespace
}  // namespace gema::gateway
