#include "services/inventory/core/devices_file.h"

#include <gtest/gtest.h>

#include "common/base/random.h"
#include "services/inventory/core/csv.h"

namespace gema::inventory {
namespace {

DevicesFile read(std::string_view text, DeviceDefaults defaults = {}) {
  auto file = read_devices_csv(text, defaults);
  EXPECT_TRUE(file) << file.error().message;
  return file ? *file : DevicesFile{};
}

std::string problems(const DevicesFile& file) {
  std::string text;
  for (const FileProblem& problem : file.problems) text += to_text(problem) + "\n";
  return text;
}

struct BadRow {
  const char* line;
  const char* reason;
};

TEST(Csv, ReadsWhatRfc4180Writes) {
  const auto rows = parse_csv(
      "\xef\xbb\xbf"
      "a,b\r\n\"x, y\",\"say \"\"hi\"\"\"\r\n\r\n\"two\nlines\",3\n,\n4,5");
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows[0].fields, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(rows[1].fields, (std::vector<std::string>{"x, y", "say \"hi\""}));
  EXPECT_EQ(rows[2].fields, (std::vector<std::string>{"two\nlines", "3"}));
  EXPECT_EQ(rows[2].line, 4);
  EXPECT_EQ(rows[3].fields, (std::vector<std::string>{"", ""}));
  EXPECT_EQ(rows[3].line, 6);
  EXPECT_EQ(rows[4].fields, (std::vector<std::string>{"4", "5"}));
  EXPECT_EQ(rows[4].line, 7);
}

TEST(Csv, ABrokenRecordCostsOnlyItself) {
  const auto rows = parse_csv("a,b\n1,\"open\n2,3\n4,x\"y\n5,\"q\"z\n6,7\n");
  ASSERT_EQ(rows.size(), 6u);
  EXPECT_NE(rows[1].problem.find("after a closing quote"), std::string::npos);
  EXPECT_EQ(rows[1].line, 2);
  EXPECT_EQ(rows[2].fields, (std::vector<std::string>{"2", "3"}));
  EXPECT_NE(rows[3].problem.find("unquoted"), std::string::npos);
  EXPECT_NE(rows[4].problem.find("after a closing quote"), std::string::npos);
  EXPECT_EQ(rows[5].fields, (std::vector<std::string>{"6", "7"}));
  EXPECT_EQ(rows[5].line, 6);

  const auto open = parse_csv("a,b\n1,\"open\n2,3\n");
  ASSERT_EQ(open.size(), 3u);
  EXPECT_NE(open[1].problem.find("never closed"), std::string::npos);
  EXPECT_EQ(open[2].fields, (std::vector<std::string>{"2", "3"}));
}

TEST(Csv, EndsOnAnyBytes) {
  const uint64_t seed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  Random random(seed);
  const std::string alphabet = "\",\r\nab;";
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (uint64_t k = random.below(30); k > 0; --k) text += alphabet[random.below(alphabet.size())];
    (void)parse_csv(text);
    (void)read_devices_csv("ip_address,x\n" + text, {});
  }
}

TEST(DevicesFile, ReadsEveryColumnByName) {
  const DevicesFile file = read(
      "hostname,ip_address,device_id,merk,os,kondisi,supplier,type,post_code,web_url,probe_from,"
      "parent,interval_s,timeout_ms,echo_count,min_replies,echo_spacing_ms,web_status,web_insecure,"
      "web_auth,web_json,tcp_ports,id_lokasi,Rak\n"
      "gudang,192.0.2.7,77,Mikrotik,RouterOS,BAIK,PT Satu,router,10110,192.0.2.7/ui,surabaya; "
      "jakarta,"
      "192.0.2.1,0.5,900,3,2,20,401,yes,router-1.admin,/a/0/b=up=1,443; 22;443,12,B2\n");
  ASSERT_EQ(problems(file), "");
  ASSERT_EQ(file.devices.size(), 1u);
  const FileDevice& line = file.devices[0];
  EXPECT_EQ(line.line, 2);
  EXPECT_EQ(line.device_id, 77u);
  EXPECT_EQ(line.parent, "192.0.2.1");
  const Device expected{.address = "192.0.2.7",
                        .hostname = "gudang",
                        .merk = "Mikrotik",
                        .os = "RouterOS",
                        .kondisi = "baik",
                        .supplier = "PT Satu",
                        .type = "router",
                        .post_code = "10110",
                        .web_url = "http://192.0.2.7/ui",
                        .id_lokasi = "12",
                        .probe_from = {"jakarta", "surabaya"},
                        .interval_ms = 500,
                        .timeout_ms = 900,
                        .echo_count = 3,
                        .min_replies = 2,
                        .echo_spacing_ms = 20,
                        .web_status = 401,
                        .web_insecure = true,
                        .web_auth = "router-1.admin",
                        .web_json = "/a/0/b=up=1",
                        .tcp_ports = {22, 443},
                        .tags = {{"rak", "B2"}},
                        .source = "file"};
  EXPECT_EQ(line.device, expected);
}

TEST(DevicesFile, AcceptsTheAliasesAndFillsInDefaults) {
  const DevicesFile file =
      read("Address,Manufacturer\r\n2001:DB8::1,Draytek\r\n", {.interval_ms = 1000,
                                                               .timeout_ms = 700,
                                                               .echo_count = 4,
                                                               .min_replies = 2,
                                                               .echo_spacing_ms = 50});
  ASSERT_EQ(problems(file), "");
  ASSERT_EQ(file.devices.size(), 1u);
  const Device& device = file.devices[0].device;
  EXPECT_EQ(device.address, "2001:db8::1");
  EXPECT_EQ(device.merk, "Draytek");
  EXPECT_EQ(device.kondisi, "baik");
  EXPECT_EQ(device.interval_ms, 1000u);
  EXPECT_EQ(device.timeout_ms, 700u);
  EXPECT_EQ(device.echo_count, 4u);
  EXPECT_EQ(device.min_replies, 2u);
  EXPECT_EQ(device.echo_spacing_ms, 50u);
  EXPECT_EQ(device.web_status, 200u);
  EXPECT_FALSE(device.web_insecure);
}

TEST(DevicesFile, ATrainMayFillItsIntervalAndNoMore) {
  const std::string header = "ip_address,interval_s,echo_count,echo_spacing_ms\n";
  EXPECT_EQ(problems(read(header + "10.0.0.1,1,101,10\n")),
            "line 2: echo_count: 101 is not within 1 to 100\n");
  EXPECT_EQ(problems(read(header + "10.0.0.1,1,100,10\n")), "") << "990 ms";
  EXPECT_EQ(problems(read(header + "10.0.0.1,60,20,3000\n")), "") << "57 s, as SmokePing does";
  EXPECT_EQ(problems(read(header + "10.0.0.1,1,5,250\n")), "") << "1000 ms of 1000";
  EXPECT_EQ(problems(read(header + "10.0.0.1,1,5,251\n")),
            "line 2: echo_count: 5 echoes, 251 ms apart, take 1004 ms, longer than the interval of "
            "1000 ms\n");
}

TEST(DevicesFile, NamesWhatIsWrongWithAProofOfLife) {
  const BadRow rows[] = {
      {"web_status,99", "web_status: 99 is not within 100 to 599"},
      {"web_status,600", "web_status: 600 is not within"},
      {"web_status,ok", "web_status: \"ok\" is not a whole number"},
      {"web_insecure,maybe", "web_insecure: \"maybe\" is neither true nor false"},
      {"web_auth,../passwd", "web_auth: is not the name of a secret"},
      {"web_auth,.hidden", "web_auth: is not the name of a secret"},
      {"web_auth,user:password", "web_auth: is not the name of a secret"},
      {"web_json,status=up", "web_json: is not of the form"},
      {"web_json,/status", "web_json: is not of the form"},
      {"web_json,/a~2=1", "web_json: holds a \"~\""},
      {"web_json,/a~=1", "web_json: holds a \"~\""},
      {"tcp_ports,0", "tcp_ports: \"0\" is not a port"},
      {"tcp_ports,65536", "tcp_ports: \"65536\" is not a port"},
      {"tcp_ports,22;ssh", "tcp_ports: \"ssh\" is not a port"},
      {"tcp_ports,1;2;3;4;5;6;7;8;9", "tcp_ports: are more than 8"},
      {"echo_spacing_ms,9", "echo_spacing_ms: 9 is not within 10 to 10000"},
      {"echo_spacing_ms,10001", "echo_spacing_ms: 10001 is not within"},
      {"web_url,http://", "web_url: has no host"},
      {"web_url,https:///path", "web_url: has no host"},
      {"web_url,ftp://10.0.0.1/", "web_url: is not an http or https address"},
      {"web_url,file:///etc/passwd", "web_url: is not an http or https address"},
      {"web_url,mailto:x@y", "web_url: is not an http or https address"},
      {"web_url,http://admin:secret@10.0.0.1/", "web_url: holds a user name or password"},
      {"web_url,http://10.0.0.1:0/", "web_url: port \"0\" is not within"},
      {"web_url,http://10.0.0.1:70000/", "web_url: port \"70000\" is not within"},
      {"web_url,http://10.0.0.1:/", "web_url: port \"\" is not within"},
      {"web_url,http://a b/", "web_url: holds a space"},
      {"web_url,http://224.0.0.1/", "web_url: its host \"224.0.0.1\" is a multicast"},
      {"web_url,http://169.254.169.254/latest/",
       "web_url: its host \"169.254.169.254\" is a cloud"},
      {"web_url,http://2130706433/", "web_url: its host \"2130706433\" is neither"},
      {"web_url,http://[::1/", "web_url: has no host"},
      {"web_url,http://[10.0.0.1]/", "web_url: has no host"},
      {"web_url,http://[::]/", "web_url: its host \"::\" is the unspecified"},
      {"web_url,http://[2001:db8::1]x/", "web_url: has no host"},
  };
  for (const BadRow& row : rows) {
    const std::string_view text(row.line);
    const size_t comma = text.find(',');
    const DevicesFile file = read("ip_address," + std::string(text.substr(0, comma)) +
                                  "\n10.0.0.9," + std::string(text.substr(comma + 1)) + "\n");
    EXPECT_NE(problems(file).find(row.reason), std::string::npos) << row.line << problems(file);
    EXPECT_EQ(problems(file).empty(), std::string_view(row.reason).empty()) << row.line;
  }
}

TEST(DevicesFile, TakesWebAddressesInTheirCommonForms) {
  const std::pair<const char*, const char*> rows[] = {
      {"192.0.2.7", "http://192.0.2.7"},
      {"192.0.2.7:8080/x", "http://192.0.2.7:8080/x"},
      {"[2001:db8::1]:8443/x", "http://[2001:db8::1]:8443/x"},
      {"https://203.0.113.10:4433/", "https://203.0.113.10:4433/"},
      {"HTTPS://Router.example/?a=1#b", "HTTPS://Router.example/?a=1#b"},
      {"http://127.0.0.1:9/", "http://127.0.0.1:9/"},
  };
  for (const auto& [written, taken] : rows) {
    const DevicesFile file = read(std::string("ip_address,web_url\n10.0.0.9,") + written + "\n");
    EXPECT_EQ(problems(file), "") << written;
    ASSERT_EQ(file.devices.size(), 1u);
    EXPECT_EQ(file.devices[0].device.web_url, taken);
  }
}

TEST(DevicesFile, NamesABadLineAndTakesTheGoodOnes) {
  const BadRow rows[] = {
      {"not an address,,,,,,,", "line 2: address: \"not an address\" is neither"},
      {",,,,,,,", "line 2: address: is missing"},
      {"224.0.0.1,,,,,,,", "multicast"},
      {"10.0.0.9,0,,,,,,", "device_id: \"0\" is not a positive"},
      {"10.0.0.9,-1,,,,,,", "device_id: \"-1\" is not"},
      {"10.0.0.9,x,,,,,,", "device_id: \"x\" is not"},
      {"10.0.0.9,99999999999999999999,,,,,,", "device_id"},
      {"10.0.0.9,,0.05,,,,,", "interval_ms: 50 is not within 100"},
      {"10.0.0.9,,90000,,,,,", "interval_ms: 90000000 is not within"},
      {"10.0.0.9,,five,,,,,", "interval_s: \"five\" is not"},
      {"10.0.0.9,,,0,,,,", "timeout_ms: 0 is not within"},
      {"10.0.0.9,,,70000,,,,", "timeout_ms: 70000 is not within"},
      {"10.0.0.9,,,-5,,,,", "timeout_ms: \"-5\" is not a whole number"},
      {"10.0.0.9,,,,0,,,", "echo_count: 0 is not within"},
      {"10.0.0.9,,,,101,,,", "echo_count: 101 is not within"},
      {"10.0.0.9,,,,2,3,,", "min_replies: 3 is more than echo_count 2"},
      {"10.0.0.9,,1,,12,,,", "take 1100 ms, longer than the interval of 1000 ms"},
      {"10.0.0.9,,,,,,javascript:alert(1),", "web_url: is not an http"},
      {"10.0.0.9,,,,,,,\"line\nbreak\"", "tags: \"rak\""},
      {"10.0.0.9,,,,,,,\xff", "tags: \"rak\""},
      {"10.0.0.9,,,", "has 4 fields, the header has 8"},
      {"10.0.0.1,,,,,,,", "stands already on line 1"},  // see below: a second good line
  };
  for (const BadRow& row : rows) {
    const std::string header =
        "ip_address,device_id,interval_s,timeout_ms,echo_count,min_replies,web_url,rak\n";
    const bool twice = std::string(row.line).starts_with("10.0.0.1,");
    const std::string text = twice ? header + "10.0.0.1,,,,,,,\n" + row.line + "\n10.0.0.2,,,,,,,\n"
                                   : header + row.line + "\n10.0.0.2,,,,,,,\n";
    const DevicesFile file = read(text);
    ASSERT_EQ(file.problems.size(), 1u) << row.line << "\n" << problems(file);
    EXPECT_EQ(file.bad.size(), 1u);
    const std::string expected =
        twice ? "line 3: address: 10.0.0.1 stands already on line 2" : row.reason;
    EXPECT_NE(to_text(file.problems[0]).find(expected), std::string::npos)
        << to_text(file.problems[0]);
    EXPECT_EQ(file.devices.size(), twice ? 2u : 1u) << row.line;
    EXPECT_EQ(file.devices.back().device.address, "10.0.0.2");
  }
}

TEST(DevicesFile, TellsEverythingThatIsWrongWithALineAtOnce) {
  const DevicesFile file = read("ip_address,interval_s,timeout_ms\n0.0.0.0,x,0\n10.0.0.1,1,1\n");
  ASSERT_EQ(file.problems.size(), 1u);
  const std::string text = to_text(file.problems[0]);
  for (const char* piece : {"interval_s:", "address:", "timeout_ms:"}) {
    EXPECT_NE(text.find(piece), std::string::npos) << text;
  }
}

TEST(DevicesFile, SpellingsOfOneAddressAreOneAddress) {
  const DevicesFile file = read(
      "ip_address,device_id\n2001:db8::1,5\n2001:DB8:0::1,6\nRouter.example,7\nrouter.example.,"
      "8\n10.0.0.1,5\n");
  EXPECT_EQ(file.devices.size(), 2u);
  EXPECT_EQ(problems(file),
            "line 3: address: 2001:db8::1 stands already on line 2\n"
            "line 5: address: router.example stands already on line 4\n"
            "line 6: device_id: 5 stands already on line 2\n");
}

TEST(DevicesFile, AFileThatCannotBeReadIsRefusedWhole) {
  const BadRow rows[] = {
      {"", "empty"},
      {"\n\n", "empty"},
      {"hostname\nx\n", "no column \"ip_address\""},
      {"ip_address,address\n1.1.1.1,1.1.1.1\n", "mean the same"},
      {"ip_address,merk,manufacturer\n", "mean the same"},
      {"ip_address,\n", "a column has no name"},
      {"\"ip_address\n10.0.0.1\n", "never closed"},
      {"\x7f"
       "ELF\x02\n",
       "not text"},
  };
  for (const BadRow& row : rows) {
    auto file = read_devices_csv(row.line, {});
    ASSERT_FALSE(file) << row.line;
    EXPECT_NE(file.error().message.find(row.reason), std::string::npos) << file.error().message;
  }
}

}  // namespace
}  // namespace gema::inventory
