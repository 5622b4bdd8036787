"""tools/check_purity catches what a core may not do, and lets pass what it may."""
import subprocess

import pytest

from conftest import ROOT, load

check_purity = load("check_purity")

PLANTED = {
    "reads a clock": [
        "#include <chrono>\nlong f() { return std::chrono::steady_clock::now().time_since_epoch().count(); }",
        "#include <ctime>\nlong f() { return std::time(nullptr); }",
        "#include <time.h>\nlong f() { timespec t; clock_gettime(CLOCK_BOOTTIME, &t); return t.tv_sec; }",
    ],
    "waits": ["#include <unistd.h>\nvoid f() { usleep(5); }"],
    "uses a socket": ["#include <sys/socket.h>\nint f() { return socket(1, 2, 3); }"],
    "uses a file": [
        "#include <fstream>\nvoid f() { std::ofstream(\"x\") << 1; }",
        "#include <fcntl.h>\nint f() { return open(\"x\", O_RDONLY); }",
        "#include <filesystem>\nbool f() { return std::filesystem::exists(\"x\"); }",
    ],
    "reads the environment": ["#include <cstdlib>\nchar* f() { return std::getenv(\"X\"); }"],
    "uses threads or locks": [
        "#include <thread>\nvoid f() { std::thread([] {}).join(); }",
        "#include <mutex>\nstd::mutex m;\nvoid f() { m.lock(); }",
    ],
    "takes chance from outside": [
        "#include <random>\nunsigned f() { return std::random_device{}(); }",
        "#include <cstdlib>\nint f() { return std::rand(); }",
    ],
    "prints": [
        "#include <cstdio>\nvoid f(int x) { std::printf(\"%d\", x); }",
        "#include <iostream>\nvoid f(int x) { std::cerr << x; }",
    ],
    "starts or ends a process": ["#include <cstdlib>\nvoid f() { std::exit(2); }"],
    "knows the log, the metrics or the wire": [
        "namespace prometheus { struct Counter { void Increment(); }; }\n"
        "void f(prometheus::Counter& c) { c.Increment(); }",
        "namespace google::protobuf { struct M { M(); }; }\nvoid f() { google::protobuf::M m; }",
        "namespace spdlog { void info(int); }\nvoid f() { spdlog::info(1); }",
    ],
}

PURE = """
#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>
#include <cstdio>
std::string f(std::map<std::string, int> m, std::chrono::seconds now) {
  static const std::string kSeparator = ", ";
  std::ostringstream out;
  auto shared = std::make_shared<int>(3);
  for (auto& [k, v] : m) out << k << kSeparator << v + *shared << now.count();
  char text[32];
  std::snprintf(text, sizeof text, "%d", static_cast<int>(m.size()));
  return out.str() + text;
}
struct time_table { int time; int open(); };
int time_table::open() { return time; }
int call(time_table& t) { return t.open(); }
"""


def archive(directory, source, name="libplanted.a", member="planted.cpp"):
    (directory / member).write_text(source)
    subprocess.run(["g++", "-std=c++20", "-O1", "-c", member, "-o", member + ".o"],
                   cwd=directory, check=True)
    subprocess.run(["ar", "rcs", name, member + ".o"], cwd=directory, check=True)
    return str(directory / name)


def test_every_kind_of_violation_is_planted_below():
    assert {what for what, _, _ in check_purity.FORBIDDEN} == set(PLANTED)


@pytest.mark.parametrize("what,source", [(w, s) for w, sources in PLANTED.items() for s in sources])
def test_a_planted_violation_is_caught_by_its_kind(tmp_path, what, source):
    found = check_purity.violations(archive(tmp_path, source))
    assert any(f"planted.cpp.o {what}" in sentence for sentence in found), found


def test_what_only_computes_passes(tmp_path):
    assert check_purity.violations(archive(tmp_path, PURE)) == []


def test_the_command_fails_and_names_symbol_and_remedy(tmp_path):
    done = subprocess.run([ROOT / "tools/check_purity", archive(tmp_path, PLANTED["reads a clock"][1])],
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "time; take `now` as a parameter" in done.stderr


def test_the_last_words_of_an_assertion_are_allowed_only_where_they_belong(tmp_path):
    source = '#include <cstdio>\nvoid f(int n) { std::fprintf(stderr, "%d", n); }'
    assert check_purity.violations(archive(tmp_path, source, "libgema_base.a", "assert.cpp")) == []
    assert check_purity.violations(archive(tmp_path, source, "libgema_other.a", "assert.cpp")) != []
