"""Installs what is missing, builds, and runs the tests.

    tests/run [unit] [sim] [integration] [e2e]      no word: all four
    tests/run bench [NAME]                          the measurements tests/bench/NAME*

  unit         pure decisions, codecs, configuration, and the tools themselves: seconds
  sim          all state machines on a virtual clock under seeded faults
  integration  one shell each against the real PostgreSQL, Redis, libzmq, kernel
  e2e          deploy/local/up starts the stack; stories over REST

Options: --no-install (never call apt), --no-build, -k WORD (only tests whose name has it).
The last line says "N passed, N failed"; the exit status is 1 when one failed. Reports in
build/release/test-results. How to run a single test or replay a seed: docs/TESTING.md.

A measurement prints one JSON object a line:
{"bench":NAME,"metric":...,"value":...,"reference":...,"ratio":...}
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/release"
RESULTS = BUILD / "test-results"
KINDS = ["unit", "sim", "integration", "e2e"]
# Where the Python tests of each kind are.
PYTEST = {"unit": ["tools/tests", "tests/deploy"], "integration": ["tests/lab", "tests/fuzz"], "e2e": ["tests/e2e"]}


def say(text):
    print(text, file=sys.stderr, flush=True)


class Count:
    """What ran: names of failures, and how many passed or were skipped."""

    def __init__(self):
        self.passed = 0
        self.skipped = []
        self.failed = []

    def add_junit(self, file):
        """Adds one JUnit report. Returns the number of failures in it."""
        before = len(self.failed)
        for case in ElementTree.parse(file).getroot().iter("testcase"):
            name = f"{case.get('classname')}.{case.get('name')}"
            skipped = case.find("skipped") is not None or case.get("result") == "skipped"
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.append(name)
            elif skipped:
                self.skipped.append(name)
            elif case.get("status") != "notrun":
                self.passed += 1
        return len(self.failed) - before


def run_ctest(kinds, word, count):
    """Runs the C++ tests. Counts each gtest case, and a program that died as one failure."""
    reports = RESULTS / "gtest"
    shutil.rmtree(reports, ignore_errors=True)
    reports.mkdir(parents=True)
    junit = RESULTS / "ctest.xml"
    junit.unlink(missing_ok=True)
    command = ["ctest", "--test-dir", str(BUILD), "-L", f"^({'|'.join(kinds)})$", "--output-on-failure",
               "--parallel", str(os.cpu_count() or 2), "--output-junit", str(junit),
               "--no-tests=ignore"]
    environment = dict(os.environ, GTEST_OUTPUT=f"xml:{reports}/", GTEST_BRIEF="1")
    if word:
        environment["GTEST_FILTER"] = f"*{word}*"
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if not junit.exists():
        return
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("name")
        # A test that runs one program several times, with other arguments, leaves a report each
        # (name.xml, name_1.xml); they are all counted below.
        report = reports / f"{name}.xml"
        failed = case.get("status") == "fail" or case.find("failure") is not None
        if not report.exists():
            (count.failed.append(name) if failed else None)
            count.passed += 0 if failed or case.get("status") in ("disabled", "notrun") else 1
    for report in sorted(reports.glob("*.xml")):
        try:
            count.add_junit(report)
        except ElementTree.ParseError:
            count.failed.append(report.stem)
    # Died after its report, or was killed at its time limit with a report of an earlier run.
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        name = case.get("name")
        if case.get("status") != "fail" or name in count.failed:
            continue
        report = reports / f"{name}.xml"
        if report.exists() and not has_failures(report):
            count.failed.append(name)


def has_failures(report):
    try:
        return any(c.find("failure") is not None
                   for c in ElementTree.parse(report).getroot().iter("testcase"))
    except ElementTree.ParseError:
        return True


def run_pytest(kind, word, count):
    places = [place for place in PYTEST.get(kind, []) if (ROOT / place).is_dir()]
    if not places:
        return
    junit = RESULTS / f"pytest-{kind}.xml"
    junit.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-ra", f"--junit-xml={junit}", *places]
    if word:
        command += ["-k", word]
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    counted = count.add_junit(junit) if junit.exists() else 0
    # 5: no test was selected. Anything else that is not a counted failure is one (a broken file).
    if done.returncode not in (0, 5) and counted == 0:
        count.failed.append(f"pytest {' '.join(places)} (exit {done.returncode})")


def run_tests(kinds, word):
    RESULTS.mkdir(parents=True, exist_ok=True)
    count = Count()
    started = time.monotonic()
    cpp = [kind for kind in KINDS if kind in kinds]
    run_ctest(cpp, word, count)
    for kind in kinds:
        run_pytest(kind, word, count)
    sys.stdout.flush()
    for name in count.skipped:
        print(f"skipped: {name}")
    for name in count.failed:
        print(f"failed: {name}")
    if count.passed + len(count.failed) == 0:
        say("tests/run: nothing ran")
        count.failed.append("nothing ran")
    say(f"{', '.join(kinds)} in {time.monotonic() - started:.0f} s")
    print(f"{count.passed} passed, {len(count.failed)} failed", flush=True)
    return 1 if count.failed else 0


def bench_programs(folder, name):
    """(those that NAME asks for, all): executable files NAME*. NAME_PART is a part of NAME, which runs
    it itself: on its own only when asked for by its whole name."""
    everything = sorted(path for path in folder.glob("*") if path.is_file() and os.access(path, os.X_OK))

    def is_part(path):
        return any(path.name.startswith(f"{whole.name}_") for whole in everything)
    return [path for path in everything
            if path.name == name or (path.name.startswith(name) and not is_part(path))], everything


def run_bench(name):
    """Runs the measurements that NAME asks for; lines that are no JSON go to stderr."""
    programs, everything = bench_programs(ROOT / "tests/bench", name)
    if not programs:
        have = [path.name for path in everything]
        say(f"tests/run: no measurement {name}* in tests/bench; there are: {', '.join(have) or 'none'}")
        return 2
    status = 0
    environment = dict(os.environ, GEMA_BUILD=str(BUILD))
    for program in programs:
        say(f"bench {program.name}")
        child = subprocess.Popen([str(program)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            try:
                json.loads(line)
                print(line.rstrip("\n"), flush=True)
            except ValueError:
                sys.stderr.write(line)
        if child.wait() != 0:
            say(f"bench {program.name} failed with {child.returncode}")
            status = 1
    return status


def main():
    parser = argparse.ArgumentParser(prog="tests/run", description=__doc__, add_help=True,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     usage="tests/run [unit|sim|integration|e2e]... | bench [NAME]")
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--no-install", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--no-build", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-k", dest="word", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    bench = options.what[:1] == ["bench"]
    if bench and len(options.what) > 2:
        parser.error("bench takes one NAME")
    unknown = [] if bench else [word for word in options.what if word not in KINDS]
    if unknown:
        parser.error(f"'{unknown[0]}' is none of {', '.join(KINDS)}, bench")

    # Progress goes to stderr; stdout is for results.
    install = [str(ROOT / "tools/install")] + (["--no-install"] if options.no_install else [])
    if subprocess.run([*install, "build", "run", "test"], stdout=sys.stderr, check=False).returncode != 0:
        return 2
    if not options.no_build:
        if subprocess.run([str(ROOT / "tools/build")], stdout=sys.stderr, check=False).returncode != 0:
            if not bench:
                print("0 passed, 1 failed")
            return 1
    if bench:
        return run_bench(options.what[1] if len(options.what) > 1 else "")
    return run_tests([kind for kind in KINDS if kind in options.what] or KINDS, options.word)


if __name__ == "__main__":
    sys.exit(main())
