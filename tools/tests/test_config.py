"""deploy/config/gema.yaml is complete, and good; the files in tests/config/bad are not.

Each bad file says in its first line who must refuse it and with which words:
    # gema-prober: prober.flush_ms
"""
import os
import subprocess

import pytest

from conftest import ROOT, load

example = load("config_example")

BAD = sorted((ROOT / "tests/config/bad").glob("*.yaml"))

needs_binaries = pytest.mark.skipif(
    not all((example.BIN / f"gema-{service}").exists() for service in example.SERVICES),
    reason="the services are not built")


def check(service, file):
    return subprocess.run([example.BIN / f"gema-{service}", "--check-config", "--config", file, "--data-dir",
                           "/nonexistent"], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)


@needs_binaries
def test_the_example_has_every_key_with_its_default():
    assert example.FILE.read_text() == example.example(), "run tools/config_example --write"


@needs_binaries
@pytest.mark.parametrize("service", example.SERVICES)
def test_every_process_takes_the_example(service):
    done = check(service, example.FILE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.name)
def test_a_bad_file_is_refused_by_name(file):
    program, expected = file.read_text().splitlines()[0].lstrip("# ").split(": ", 1)
    service = program.removeprefix("gema-")
    if not (example.BIN / program).exists():
        pytest.skip(f"{program} is not built")
    done = check(service, file)
    assert done.returncode == 2, done.stdout
    assert expected in done.stderr
    assert "Traceback" not in done.stderr and "terminate" not in done.stderr


def test_there_are_bad_files():
    assert len(BAD) >= 6
