"""tests/run counts what really happened: each case, each skip, each program that died."""
import os
import subprocess

import pytest

from conftest import ROOT, load

run = load("runner.py", "tests/support")

GOOD = '<testcase name="A" status="run" result="completed" classname="S"/>'
BAD = '<testcase name="B" status="run" result="completed" classname="S"><failure message="x"/></testcase>'
SKIPPED = '<testcase name="C" status="run" result="skipped" classname="S"><skipped message=""/></testcase>'
NOT_RUN = '<testcase name="D" status="notrun" result="suppressed" classname="S"/>'


@pytest.fixture
def ctest(tmp_path, monkeypatch):
    """A ctest that claims what it is told: {program: (status, gtest report or None)}."""
    def claim(programs):
        monkeypatch.setattr(run, "RESULTS", tmp_path / "results")
        script = ["#!/usr/bin/python3", "import os, sys",
                  f"programs = {programs!r}",
                  "out = sys.argv[sys.argv.index('--output-junit') + 1]",
                  "gtest = os.environ['GTEST_OUTPUT'][4:]",
                  "cases = ''",
                  "for name, (status, report) in programs.items():",
                  "    failure = '<failure/>' if status == 'fail' else ''",
                  "    cases += f'<testcase name=\"{name}\" status=\"{status}\">{failure}</testcase>'",
                  "    if report is not None:",
                  "        open(gtest + name + '.xml', 'w').write(report)",
                  "open(out, 'w').write(f'<testsuite>{cases}</testsuite>')"]
        bin_dir = tmp_path / "bin"
        bin_dir.mkdir(exist_ok=True)
        (bin_dir / "ctest").write_text("\n".join(script))
        (bin_dir / "ctest").chmod(0o755)
        monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
        count = run.Count()
        (tmp_path / "results").mkdir(exist_ok=True)
        run.run_ctest(["unit"], "", count)
        return count
    return claim


def suite(*cases):
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def test_counts_each_case(ctest):
    count = ctest({"one": ("run", suite(GOOD, GOOD, SKIPPED, NOT_RUN)), "two": ("fail", suite(GOOD, BAD))})
    assert (count.passed, count.failed, len(count.skipped)) == (3, ["S.B"], 1)


def test_a_program_that_died_without_a_report_is_one_failure(ctest):
    count = ctest({"crashed": ("fail", None), "plain": ("run", None)})
    assert (count.passed, count.failed) == (1, ["crashed"])


def test_a_program_that_died_after_a_report_without_failures_is_one_failure(ctest):
    count = ctest({"crashed": ("fail", suite(GOOD))})
    assert (count.passed, count.failed) == (1, ["crashed"])


def test_a_torn_report_is_a_failure(ctest):
    assert ctest({"torn": ("fail", "<testsuites><tes")}).failed == ["torn"]


def test_unknown_words_are_refused_before_anything_is_built():
    done = subprocess.run([ROOT / "tests/run", "unti"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "'unti' is none of unit, sim, integration, e2e, bench" in done.stderr


def test_a_part_of_a_measurement_runs_once_or_when_asked_for_by_name(tmp_path):
    for name in ("history", "history_cold", "history_ingest", "prober", "prober_site.cpp"):
        (tmp_path / name).touch(0o644 if name.endswith(".cpp") else 0o755)
    (tmp_path / "history_reads").mkdir()

    def asked(name):
        return [path.name for path in run.bench_programs(tmp_path, name)[0]]
    assert asked("") == ["history", "prober"]
    assert asked("history") == asked("hist") == ["history"]
    assert asked("history_cold") == ["history_cold"]
    assert asked("nothing") == []
