#include "services/inventory/io/devices_file_reader.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_dir.h"

namespace gema::inventory {
namespace {

std::string problems(const DevicesFile& file) {
  std::string text;
  for (const FileProblem& problem : file.problems) text += to_text(problem) + "\n";
  return text;
}

TEST(DevicesYaml, HasTheSameKeysAsTheCsv) {
  auto file = read_devices_yaml(
      "devices:\n"
      "  - address: 10.0.0.1\n"
      "    hostname: core\n"
      "    device_id: 50\n"
      "  - ip_address: 10.0.0.2\n"
      "    parent: 50\n"
      "    probe_from: [jakarta, surabaya]\n"
      "    interval_s: 0.5\n"
      "    tcp_ports: [22, 443]\n"
      "    web_insecure: true\n"
      "    rak: B2\n"
      "    tags: {lantai: 3}\n",
      {});
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(problems(*file), "");
  ASSERT_EQ(file->devices.size(), 2u);
  EXPECT_EQ(file->devices[0].device_id, 50u);
  EXPECT_EQ(file->devices[1].line, 5);
  EXPECT_EQ(file->devices[1].parent, "50");
  const Device& device = file->devices[1].device;
  EXPECT_EQ(device.probe_from, (std::vector<std::string>{"jakarta", "surabaya"}));
  EXPECT_EQ(device.interval_ms, 500u);
  EXPECT_EQ(device.tcp_ports, (std::vector<uint32_t>{22, 443}));
  EXPECT_TRUE(device.web_insecure);
  EXPECT_EQ(device.tags, (std::map<std::string, std::string>{{"lantai", "3"}, {"rak", "B2"}}));
}

TEST(DevicesYaml, TakesAcesConfigAsItIs) {
  auto file = read_devices_yaml(
      "monitoring:\n"
      "  interval_seconds: 30\n"
      "  ping_count: 4\n"
      "  timeout_seconds: 2.5\n"
      "\n"
      "hosts:\n"
      "  - name: Google DNS\n"
      "    address: 8.8.8.8\n"
      "  - name: broken\n"
      "    address: 224.0.0.1\n"
      "  - name: Cloudflare DNS\n"
      "    address: 1.1.1.1\n"
      "\n"
      "database:\n"
      "  path: connection_logs.db\n"
      "dashboard:\n"
      "  port: 8501\n",
      {});
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ(file->devices.size(), 2u);
  const Device& device = file->devices[0].device;
  EXPECT_EQ(device.hostname, "Google DNS");
  EXPECT_EQ(device.interval_ms, 30'000u);
  EXPECT_EQ(device.timeout_ms, 2'500u);
  EXPECT_EQ(device.echo_count, 4u);
  EXPECT_EQ(device.min_replies, 1u);
  EXPECT_EQ(problems(*file), "line 9: address: \"224.0.0.1\" is a multicast address\n");
}

TEST(DevicesYaml, AcesDefaultsFillWhatItsConfigLeavesOut) {
  auto file = read_devices_yaml("hosts:\n  - {name: a, address: 10.0.0.1}\n", {});
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->devices.at(0).device.interval_ms, 60'000u);
  EXPECT_EQ(file->devices.at(0).device.echo_count, 5u);
  EXPECT_EQ(file->devices.at(0).device.timeout_ms, 2'000u);
}

TEST(DevicesYaml, NamesABadEntryByItsLine) {
  auto file = read_devices_yaml(
      "devices:\n"
      "  - just text\n"
      "  - address: 10.0.0.1\n"
      "    address: 10.0.0.2\n"
      "  - address: [10.0.0.1]\n"
      "  - address: 10.0.0.3\n"
      "    manufacturer: a\n"
      "    merk: b\n"
      "  - address: 10.0.0.4\n",
      {});
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(problems(*file),
            "line 2: is not a device: keys and values are needed\n"
            "line 3: address: stands twice\n"
            "line 5: address: a single value is needed\n"
            "line 6: merk: stands twice\n");
  EXPECT_EQ(file->devices.size(), 1u);
}

TEST(DevicesYaml, RefusesWhatIsNeither) {
  for (const char* text : {"", "- 1\n", "devices: 5\n", "hosts: x\n", "a: [1\n", "other: {}\n",
                           "monitoring: {interval_seconds: often}\nhosts: []\n",
                           "monitoring: {ping_count: 0}\nhosts: []\n"}) {
    EXPECT_FALSE(read_devices_yaml(text, {})) << text;
  }
}

TEST(DevicesFileReader, GoesByTheNameAndSaysWhatIsWrong) {
  gema::testing::TempDir dir;
  const auto write = [&](const char* name, const std::string& text) {
    std::ofstream(dir / name) << text;
    return dir / name;
  };
  EXPECT_TRUE(read_devices_file(write("a.csv", "ip_address\n10.0.0.1\n"), {}));
  EXPECT_TRUE(read_devices_file(write("a.YAML", "devices: [{address: 10.0.0.1}]\n"), {}));
  auto missing = read_devices_file(dir / "none.csv", {});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("none.csv: no such file"), std::string::npos);
  EXPECT_FALSE(read_devices_file(dir.path(), {})) << "a directory";
  EXPECT_FALSE(read_devices_file(write("empty.csv", ""), {}));
}

}  // namespace
}  // namespace gema::inventory
