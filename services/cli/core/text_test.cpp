// What people and old systems write, and what we write for them.
#include <gtest/gtest.h>

#include "common/base/random.h"
#include "common/base/rfc3339.h"
#include "common/domain/csv_text.h"
#include "services/cli/core/csv_reader.h"
#include "services/cli/core/limits.h"
#include "services/cli/core/sheet.h"
#include "services/cli/core/when.h"

namespace gema::cli {
namespace {

// Central Europe in 2026: summer time from 29 March 01:00 UTC to 25 October 01:00 UTC.
int64_t berlin(int64_t unix_s) {
  return unix_s >= 1'774'746'000 && unix_s < 1'792'890'000 ? 7'200 : 3'600;
}
int64_t utc(int64_t) {
  return 0;
}

int64_t ms_of(const char* text) {
  return unix_ms(*parse_rfc3339(text));
}

int64_t when(const std::string& text, const UtcOffset& offset = berlin) {
  const auto ms = parse_when(text, ms_of("2026-11-20T10:30:00Z"), offset);
  EXPECT_TRUE(ms) << text;
  return ms ? *ms : 0;
}

TEST(When, TakesWhatHelpPromises) {
  EXPECT_EQ(when("now"), ms_of("2026-11-20T10:30:00Z"));
  EXPECT_EQ(when("today"), ms_of("2026-11-19T23:00:00Z"));
  EXPECT_EQ(when("yesterday"), ms_of("2026-11-18T23:00:00Z"));
  EXPECT_EQ(when("24h"), ms_of("2026-11-19T10:30:00Z"));
  EXPECT_EQ(when("-24h"), when("1d"));
  EXPECT_EQ(when("1d12h"), ms_of("2026-11-18T22:30:00Z"));
  EXPECT_EQ(when("2w"), ms_of("2026-11-06T10:30:00Z"));
  EXPECT_EQ(when("90s"), ms_of("2026-11-20T10:28:30Z"));
  EXPECT_EQ(when("2026-11-20"), ms_of("2026-11-19T23:00:00Z"));
  EXPECT_EQ(when("2026-07-20 10:00"), ms_of("2026-07-20T08:00:00Z"));
  EXPECT_EQ(when("2026-07-20T10:00:00"), ms_of("2026-07-20T08:00:00Z"));
  EXPECT_EQ(when("2026-07-20T10:00:00.250+07:00"), ms_of("2026-07-20T03:00:00.250Z"));
}

TEST(When, NamesWhatItDoesNotTake) {
  for (const char* text :
       {"", "soon", "24", "h", "24x", "-", "2026-13-01", "2026-02-30", "2026-1-1",
        "2026-11-20 25:00", "20261120", "999999999999d", "1h-", "2026-11-20 10:00 "}) {
    const auto ms = parse_when(text, 0, utc);
    ASSERT_FALSE(ms) << text;
    EXPECT_NE(ms.error().message.find(text), std::string::npos);
    EXPECT_NE(ms.error().message.find("7d"), std::string::npos);
  }
}

TEST(LocalTime, ATimeThatTheClockShowedTwiceIsTheFirstOne) {
  const auto local = utc_of_local(*parse_naive_us("2026-10-25 02:30:00"), berlin);
  EXPECT_TRUE(local.twice);
  EXPECT_EQ(local.utc_us / 1'000, ms_of("2026-10-25T00:30:00Z"));
  EXPECT_EQ(local.second_us / 1'000, ms_of("2026-10-25T01:30:00Z"));
}

TEST(LocalTime, ATimeThatTheClockSkippedIsMovedOn) {
  const auto local = utc_of_local(*parse_naive_us("2026-03-29 02:30:00"), berlin);
  EXPECT_TRUE(local.skipped);
  EXPECT_EQ(local.utc_us / 1'000, ms_of("2026-03-29T01:30:00Z"));
}

TEST(LocalTime, InTheOrderOfWritingTheSecondPassIsToldFromTheFirst) {
  LocalOrder order;
  std::vector<int64_t> got;
  for (const char* text : {"2026-10-25 01:50:00", "2026-10-25 02:20:00", "2026-10-25 02:50:00",
                           "2026-10-25 02:20:00", "2026-10-25 02:50:00", "2026-10-25 03:20:00"}) {
    got.push_back(order.take(*parse_naive_us(text), berlin) / 1'000);
  }
  for (size_t i = 1; i < got.size(); ++i) EXPECT_EQ(got[i] - got[i - 1], 1'800'000) << i;
  EXPECT_EQ(order.twice(), 4);
}

// --- CSV -------------------------------------------------------------------------------------

std::vector<CsvLine> read(const std::string& text, size_t piece = 1) {
  std::vector<CsvLine> lines;
  CsvReader reader;
  const auto each = [&](const CsvLine& line) { lines.push_back(line); };
  for (size_t at = 0; at < text.size(); at += piece) reader.take(text.substr(at, piece), each);
  reader.finish(each);
  return lines;
}

TEST(Csv, ReadsQuotesLineEndsInCellsAndBlankLines) {
  for (const size_t piece : {1, 2, 3, 1000}) {
    const auto lines = read("a,b\r\n\r\n\"x,\"\"y\"\"\r\nz\",\n,\nlast,1", piece);
    ASSERT_EQ(lines.size(), 4) << piece;
    EXPECT_EQ(lines[0].cells, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(lines[1].cells, (std::vector<std::string>{"x,\"y\"\r\nz", ""}));
    EXPECT_EQ(lines[1].number, 3);
    EXPECT_EQ(lines[2].cells, (std::vector<std::string>{"", ""}));
    EXPECT_EQ(lines[2].number, 5);
    EXPECT_EQ(lines[3].cells, (std::vector<std::string>{"last", "1"}));
    for (const auto& line : lines) EXPECT_EQ(line.broken, nullptr);
  }
}

TEST(Csv, SaysWhatIsBrokenAndGoesOn) {
  const auto lines =
      read("a\n\"x\"y\n" + std::string("z\0z", 3) + "\n" + std::string(kCellBytesMax + 1, 'q') +
           "\n" + std::string(kCellsMax, ',') + "\nb\n\"open\n");
  ASSERT_EQ(lines.size(), 7);
  EXPECT_EQ(lines[0].broken, nullptr);
  EXPECT_STREQ(lines[1].broken, "something stands behind a closing quote");
  EXPECT_STREQ(lines[2].broken, "holds a zero byte");
  EXPECT_STREQ(lines[3].broken, "a cell has more than 64 KiB");
  EXPECT_STREQ(lines[4].broken, "has more than 200 cells");
  EXPECT_EQ(lines[5].broken, nullptr);
  EXPECT_STREQ(lines[6].broken, "a quote is not closed");
}

TEST(Csv, ReadsEveryCellThatWeWrite) {
  Random random(7);
  constexpr std::string_view kChars = "ab,\"\r\n=+-@\t' ;";
  for (int round = 0; round < 2'000; ++round) {
    std::vector<std::string> cells(1 + random.below(5));
    std::string text;
    for (size_t c = 0; c < cells.size(); ++c) {
      for (uint64_t n = random.below(8); n > 0; --n)
        cells[c] += kChars[random.below(kChars.size())];
      if (c > 0) text += ',';
      append_csv_cell(text, cells[c]);
    }
    cells.emplace_back("end");
    const auto lines = read(text + ",end\r\n", 1 + random.below(9));
    ASSERT_EQ(lines.size(), 1) << round << ": " << text;
    ASSERT_EQ(lines[0].cells.size(), cells.size()) << round;
    for (size_t c = 0; c < cells.size(); ++c) {
      // What already began with our mark before a formula loses it: there is no telling it apart.
      if (without_formula_mark(cells[c]).size() != cells[c].size()) continue;
      EXPECT_EQ(without_formula_mark(lines[0].cells[c]), cells[c]) << round;
    }
  }
}

// --- sheets ----------------------------------------------------------------------------------

Sheet sheet() {
  return {
      .columns = {{"at", "time"}, {"name", "device"}, {"rtt_us", "ms"}, {"hidden", ""}},
      .rows = {{{At{1'800'000'000'250}, "a,\"b\"", Micros{1234}, true}, Look::kBad},
               {{At{1'800'000'001'000}, "=cmd\x1b[2J", std::monostate(), Span{90'061'000}}, {}}}};
}

TEST(Sheet, ATableFitsAndCarriesNoControlCharacters) {
  EXPECT_EQ(print(sheet(), {}, utc),
            "time                     device      ms\n"
            "2027-01-15 08:00:00.250  a,\"b\"     1.23\n"
            "2027-01-15 08:00:01      =cmd?[2J     -\n");
  for (const std::string& line : {print(sheet(), {.width = 30}, utc)}) {
    for (size_t at = 0; at < line.size();) {
      const size_t end = line.find('\n', at);
      EXPECT_LE(end - at, 30);
      at = end + 1;
    }
  }
  EXPECT_NE(print(sheet(), {.colour = true}, utc).find("\x1b[31m"), std::string::npos);
}

TEST(Sheet, CsvJsonAndNdjsonHaveEveryColumnAndExactValues) {
  EXPECT_EQ(print(sheet(), {.format = Format::kCsv}, utc),
            "at,name,rtt_us,hidden\r\n2027-01-15T08:00:00.250Z,\"a,\"\"b\"\"\",1234,true\r\n"
            "2027-01-15T08:00:01.000Z,'=cmd\x1b[2J,,90061000\r\n");
  const std::string first =
      R"({"at":"2027-01-15T08:00:00.250Z","name":"a,\"b\"","rtt_us":1234,"hidden":true})";
  const std::string second =
      R"({"at":"2027-01-15T08:00:01.000Z","name":"=cmd\u001b[2J","rtt_us":null,"hidden":90061000})";
  EXPECT_EQ(print(sheet(), {.format = Format::kNdjson}, utc), first + "\n" + second + "\n");
  EXPECT_EQ(print(sheet(), {.format = Format::kJson}, utc),
            "[\n " + first + ",\n " + second + "\n]\n");
  EXPECT_EQ(print({.columns = {{"a", "a"}}}, {.format = Format::kJson}, utc), "[]\n");
}

TEST(Sheet, SpansReadAsPeopleSayThem) {
  EXPECT_EQ(span_text(250), "250ms");
  EXPECT_EQ(span_text(59'999), "59s");
  EXPECT_EQ(span_text(60'000), "1m");
  EXPECT_EQ(span_text(61'000), "1m 1s");
  EXPECT_EQ(span_text(3'660'000), "1h 1m");
  EXPECT_EQ(span_text(90'000'000), "1d 1h");
}

}  // namespace
}  // namespace gema::cli
