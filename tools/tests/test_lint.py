"""Each rule of tools/lint: what it must catch, and what it must let pass."""
import pytest

from conftest import load

lint = load("lint")

C = "// What it is for.\n#pragma once\n"

# rule: (cases that must be caught, cases that must pass); a case is (path, text)
CASES = {
    "service-includes-service": (
        [("services/prober/app.cpp", '#include "services/recorder/core/x.h"')],
        [("services/prober/app.cpp", '#include "services/prober/core/x.h"'),
         ("tests/sim/x.cpp", '#include "services/prober/core/x.h"')]),
    "common-includes-service": (
        [("common/stream/x.cpp", '#include "services/prober/core/x.h"')],
        [("common/stream/x.cpp", '#include "common/base/time.h"')]),
    "includes-tests": (
        [("services/prober/app.cpp", '#include "tests/support/temp_dir.h"'),
         ("common/base/x.cpp", "#include <gtest/gtest.h>")],
        [("common/base/x_test.cpp", '#include <gtest/gtest.h>\n#include "tests/support/temp_dir.h"')]),
    "core-includes": (
        [("services/prober/core/x.cpp", '#include "common/bus/client.h"'),
         ("services/prober/core/x.cpp", '#include "common/observability/log.h"'),
         ("services/prober/core/x.cpp", "#include <sys/socket.h>"),
         ("services/prober/core/x.cpp", "#include <thread>"),
         ("common/stream/core/x.cpp", '#include "common/bus/client.h"')],
        [("services/prober/core/x.cpp",
          '#include "services/prober/core/y.h"\n#include "common/domain/slot.h"\n#include <vector>\n'
          "#include <fmt/format.h>\n#include <sstream>"),
         ("services/prober/core/x_test.cpp", '#include "common/codec/ping_codec.h"'),
         ("services/prober/app.cpp", '#include "common/bus/client.h"')]),
    "core-unordered-iteration": (
        [("services/prober/core/x.cpp",
          "std::unordered_map<int, int> seen_;\nvoid f() {\n  for (auto& [k, v] : seen_) g(k);\n}")],
        [("services/prober/core/x.cpp",
          "std::unordered_map<int, int> seen_;\nstd::map<int, int> all_;\n"
          "void f() {\n  for (auto& [k, v] : all_) seen_[k] = v;\n}")]),
    "proto-headers": (
        [("services/prober/app.h", C + '#include "gema/v1/ping.pb.h"'),
         ("services/prober/core/x.cpp", '#include "gema/v1/ping.pb.h"'),
         ("common/domain/x.h", C + '#include "gema/v1/ping.pb.h"')],
        [("services/prober/io/x.cpp", '#include "gema/v1/ping.pb.h"'),
         ("common/codec/x.cpp", '#include "gema/v1/ping.pb.h"'),
         ("tests/sim/x.cpp", '#include "gema/v1/ping.pb.h"')]),
    "main-includes": (
        [("services/prober/main.cpp", '#include "common/bus/client.h"')],
        [("services/prober/main.cpp",
          '#include "common/runtime/service_main.h"\n#include "services/prober/app.h"')]),
    "relative-include": (
        [("services/prober/app.cpp", '#include "../recorder/x.h"'),
         ("services/prober/app.cpp", '#include "app.h"')],
        [("services/prober/app.cpp", '#include "services/prober/app.h"\n#include <zmq.hpp>')]),
    "pragma-once": ([("common/base/x.h", "// What.\nint f();")], [("common/base/x.h", C)]),
    "header-comment": ([("common/base/x.h", "#pragma once")], [("common/base/x.h", C)]),
    "real-clock": (
        [("services/prober/app.cpp", "auto t = std::chrono::steady_clock::now();"),
         ("services/prober/app.cpp", "clock_gettime(CLOCK_REALTIME, &t);"),
         ("services/prober/core/x_test.cpp", "auto t = time(nullptr);")],
        [("common/runtime/clock.cpp", "clock_gettime(CLOCK_REALTIME, &t);"),
         ("services/prober/io/icmp.cpp", "clock_gettime(CLOCK_REALTIME, &t);"),
         ("services/prober/app.cpp", "// never std::chrono::steady_clock::now() here"),
         ("services/prober/app.cpp",
          "f(steady_clock::now());  // lint: allow(real-clock) the library wants one")]),
    "disabled-test": (
        [("common/bus/x_test.cpp", "TEST(Bus, DISABLED_Works) {"),
         ("tests/integration/x_test.cpp", "class DISABLED_Bus : public ::testing::Test {")],
        [("common/bus/x_test.cpp", "TEST(Bus, Works) {  // not DISABLED_"),
         ("common/bus/x.cpp", "kDISABLED_ = 1;")]),
    "sleep-in-test": (
        [("common/bus/x_test.cpp", "std::this_thread::sleep_for(1s);"),
         ("tests/sim/x.cpp", "usleep(5);"),
         ("tests/e2e/test_x.py", "    time.sleep(1)")],
        [("tests/support/wait_until.cpp", "std::this_thread::sleep_for(1s);"),
         ("tests/e2e/test_x.py", "    # never time.sleep(1)"),
         ("common/runtime/x.cpp", "std::this_thread::sleep_for(1s);")]),
    "banned-call": (
        [("common/base/x.cpp", text) for text in (
            "strcpy(a, b);", "sprintf(a, b);", "int n = atoi(text);", "int n = std::rand();",
            "auto* t = localtime(&x);", 'std::system("ls");', "assert(x > 0);", "out << std::endl;",
            "using namespace std;", 'std::regex r("x");', "alloca(5);", "setjmp(b);", "t.detach();")],
        [("common/base/x.cpp", text) for text in (
            "snprintf(a, n, b);", "gmtime_r(&t, &out);", "static_assert(sizeof(int) == 4);",
            'log("sprintf(");', "random_.rand();", "GEMA_ASSERT(x > 0);", "std::chrono::system_clock x;",
            "using namespace std::chrono_literals;")]),
    "thread": (
        [("services/gateway/app.cpp", "std::thread worker(run);")],
        [("common/runtime/worker.cpp", "std::thread worker(run);"),
         ("services/gateway/app_test.cpp", "std::thread worker(run);"),
         ("services/gateway/app.cpp", "std::thread::id who;")]),
    "throwing-parse": (
        [("common/config/x.cpp", "int n = std::stoi(text);")],
        [("common/config/x_test.cpp", "int n = std::stoi(text);")]),
    "machine-path": (
        [("README.md", "see /" + "work/main"), ("docs/x.md", "see ../" + "shared/design"),
         ("tools/x", "cd /home/" + "someone")],
        [("README.md", "the network/ directory and services/work/x, $HOME/work/y")]),
    "whitespace": (
        [("tools/x", "abc "), ("common/base/x.cpp", "\tint x;")],
        [("README.md", "a line  "), ("Makefile", "\tcc x.c")]),
    "service-readme": (
        [("services/no-such-service/CMakeLists.txt", "")],
        [("common/base/CMakeLists.txt", "")]),
    "dead-link": (
        [("docs/x.md", "see [this](NO_SUCH.md)"), ("README.md", "[a](tools/lint) and [b](tools/lnit)")],
        [("docs/x.md", "see [this](../README.md#start), [that](https://example.org/x), [here](#words)")]),
    "proto-table": (
        [("proto/README.md", "| `NoSuchMessage` | x.proto | a | b | c |"),
         ("proto/README.md", "")],
        [("README.md", "| `NoSuchMessage` |")]),
}


def found(path, text, name):
    return [s for s in lint.check(path, text) if f": {name}: " in s]


def test_every_rule_has_its_cases():
    assert set(CASES) == set(lint.RULES)


@pytest.mark.parametrize("name,case", [(n, c) for n, (bad, _) in CASES.items() for c in bad])
def test_catches(name, case):
    path, text = case
    assert found(path, text, name), f"{name} misses {case}"


@pytest.mark.parametrize("name,case", [(n, c) for n, (_, good) in CASES.items() for c in good])
def test_lets_pass(name, case):
    path, text = case
    assert found(path, text, name) == []


def test_an_exception_needs_its_reason():
    line = "auto t = std::chrono::steady_clock::now();  // lint: allow(real-clock)"
    assert "without a reason" in found("services/x/app.cpp", line, "real-clock")[0]


def test_a_table_that_names_every_message_passes(root):
    rows = [f"| `{m}` | {f} | a | b | c |" for m, f in lint.proto_messages(root).items()]
    assert found("proto/README.md", "\n".join(rows), "proto-table") == []
    assert found("proto/README.md", "\n".join(rows[1:]), "proto-table")


def test_the_line_number_is_right():
    assert lint.check("common/base/x.cpp", "int a;\n\nstrcpy(a, b);\n")[0].startswith("common/base/x.cpp:3:")
