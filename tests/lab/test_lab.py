"""The lab itself: what it promises to the tests that stand on it."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import lab as lab_module  # noqa: E402

WHY_NOT = lab_module.possible()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
TOOL = str(pathlib.Path(__file__).parent / "lab")


def ping(lab, address):
    """The summary and messages of one ping from the near side."""
    return subprocess.run(["ip", "netns", "exec", lab.near, "ping", "-c1", "-W1", address],
                          capture_output=True, text=True).stdout


def test_every_address_of_the_range_answers_until_it_is_silenced():
    with lab_module.Lab(seconds=60, name=f"gema-test-{os.getpid()}") as lab:
        first, last = "198.18.0.1", "198.19.255.254"
        assert " 0% packet loss" in ping(lab, first)
        assert " 0% packet loss" in ping(lab, last)
        lab.silence([first])
        assert "100% packet loss" in ping(lab, first)
        assert " 0% packet loss" in ping(lab, last)
        lab.answer([first])
        assert " 0% packet loss" in ping(lab, first)
        lab.unreachable([last])
        assert "Destination Host Unreachable" in ping(lab, last)
        lab.mute([first])
        lab.answer_all()
        assert " 0% packet loss" in ping(lab, first)
        assert " 0% packet loss" in ping(lab, last)


def test_a_mute_address_answers_no_echo_but_serves_pages(tmp_path):
    with lab_module.Lab(seconds=60, name=f"gema-test-{os.getpid()}") as lab:
        lab.mute(["198.18.0.7"])
        assert "100% packet loss" in ping(lab, "198.18.0.7")
        assert " 0% packet loss" in ping(lab, "198.18.0.8")
        server = lab.serve("198.18.0.7", 8080, tmp_path)
        fetch = ["ip", "netns", "exec", lab.near, sys.executable, "-c", "import urllib.request as u; "
                 "print(u.build_opener(u.ProxyHandler({})).open('http://198.18.0.7:8080/').status)"]
        assert subprocess.run(fetch, capture_output=True, text=True).stdout == "200\n"
        server.kill()
        server.wait()


def test_an_address_may_answer_late_and_more_than_once():
    with lab_module.Lab(seconds=60, name=f"gema-test-{os.getpid()}") as lab:
        answering = lab.answer_late(["198.18.0.7"], 0.3, copies=2)
        command = ["ip", "netns", "exec", lab.near, "ping", "-c", "2", "-i", "0.2", "-W", "5", "198.18.0.7"]
        said = subprocess.run(command, capture_output=True, text=True).stdout
        answering.kill()
        answering.wait()
        assert "DUP!" in said and " 0% packet loss" in said
        least_ms = float(said.split("min/avg/max/mdev = ")[1].split("/")[0])
        assert least_ms >= 300


def test_nothing_is_left_behind():
    with lab_module.Lab(seconds=60, name=f"gema-test-{os.getpid()}") as lab:
        names = [lab.near, lab.far]
        watchdog = lab.watchdog.pid
        assert all(os.path.exists(f"/run/netns/{name}") for name in names)
    assert not any(os.path.exists(f"/run/netns/{name}") for name in names)
    assert not os.path.exists(f"/proc/{watchdog}")


def test_a_command_runs_inside_and_its_exit_code_comes_out():
    done = subprocess.run([TOOL, "run", "--seconds", "60", "--", "sh", "-c",
                           "ip -o addr show dev veth0 | grep -q 192.0.2.1 && exit 7"])
    assert done.returncode == 7


def test_addresses_stay_inside_the_range():
    many = lab_module.addresses(100_000)
    assert len(set(many)) == 100_000 and many[0] == "198.18.0.1"
    with pytest.raises(lab_module.LabError):
        lab_module.addresses(131_072)
