"""deploy/local/up and down: what they refuse, what they leave behind, how they come back."""
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time

import pytest
from stack import ROOT, SERVICES, STORES, Stack, free_port, wait_for

UP = str(ROOT / "deploy/local/up")
DOWN = str(ROOT / "deploy/local/down")


@pytest.fixture
def directory():
    """A short path that does not exist yet."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="gema-up-", dir="/tmp"))
    base.chmod(0o755)
    yield base / "d"
    subprocess.run([DOWN, "--data", str(base / "d")], capture_output=True, check=False, timeout=120)
    shutil.rmtree(base, ignore_errors=True)


def up(*arguments, **options):
    return subprocess.run([UP, "--no-install", "--detach", *map(str, arguments)], capture_output=True, text=True,
                          timeout=300, check=False, **options)


def refused(done, *words):
    """One clear line, exit status 2, no traceback."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in lines[-1], lines
    return lines


# --- what is refused ---------------------------------------------------------------------------------

def test_help_says_how():
    done = up("--help")
    assert done.returncode == 0
    assert "Ctrl-C stops everything" in done.stdout and "--second-stage" not in done.stdout


@pytest.mark.parametrize("arguments,word", [
    (["--port", "70000"], "--port 70000: must be 0 to 65535"),
    (["--probers", "0"], "--probers 0: must be 1 to 64"),
    (["--data", "/tmp/" + "x" * 90], "its path is too long by"),
    (["--data", "/tmp/a b"], "its path may contain only"),
    (["--data", "/etc/passwd"], "this is a file"),
    (["--devices", "/no/such.csv"], "--devices /no/such.csv: no such file"),
    (["--devices", "/etc/passwd"], "must be a .csv or a .yaml file"),
    (["--devices", "/tmp/../tmp/.csv"], "--devices"),
])
def test_bad_arguments_are_refused_before_anything_is_done(arguments, word, directory):
    data = [] if "--data" in arguments else ["--data", directory]
    refused(up(*arguments, *data), word)
    assert not directory.exists()


def test_a_path_of_just_the_longest_length_is_taken(directory):
    # One byte more is refused; the length itself is what the longest socket leaves.
    longest = 107 - len("/run/timeout-tracker.http.sock")
    path = "/tmp/" + "y" * (longest - len("/tmp/") + 1)
    refused(up("--data", path), "too long by 1 bytes")


def test_a_port_in_use_is_refused_and_nothing_is_written(directory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(up("--data", directory, "--port", port), f"--port {port}: is in use on 127.0.0.1")
    assert not directory.exists()


def test_a_directory_with_other_things_is_refused_and_left_alone(directory):
    directory.mkdir()
    (directory / "thesis.txt").write_text("x")
    refused(up("--data", directory, "--port", 0), "holds other things already (thesis.txt)")
    assert os.listdir(directory) == ["thesis.txt"]


def test_a_directory_of_another_postgresql_is_refused(directory):
    (directory / "pg").mkdir(parents=True)
    (directory / ".gema").write_text("{}")
    (directory / "pg/PG_VERSION").write_text("9\n")
    refused(up("--data", directory, "--port", 0), "was made by PostgreSQL 9, and this machine has")


@pytest.mark.parametrize("text,word", [
    ("ip_address,hostname\n", "the file has no good line"),
    ("hostname,os\na,b\n", "ip_address"),
    ("\0\1\2", "not text"),
])
def test_a_devices_file_without_a_good_line_is_refused(directory, tmp_path, text, word):
    file = tmp_path / "hosts.csv"
    file.write_text(text)
    refused(up("--data", directory, "--port", 0, "--devices", file), f"--devices {file}", word)
    assert not (directory / "pg").exists()


def test_all_wrong_settings_are_shown_at_once_and_nothing_starts(directory):
    directory.mkdir()
    (directory / "gema.yaml").write_text("prober:\n  no_such_key: 1\nlog:\n  level: chatty\nbrokre:\n  x: 1\n")
    done = up("--data", directory, "--port", 0)
    lines = refused(done, "nothing was started")
    text = "\n".join(lines)
    assert "prober.no_such_key" in text and "log.level" in text and "brokre" in text
    assert text.count("log.level") == 1  # every process sees it, one line says it
    assert not (directory / "pg").exists()


def test_down_where_nothing_runs(directory):
    done = subprocess.run([DOWN, "--data", str(directory)], capture_output=True, text=True, check=False)
    assert (done.returncode, "no such directory" in done.stderr) == (2, True)
    directory.mkdir()
    done = subprocess.run([DOWN, "--data", str(directory)], capture_output=True, text=True, check=False)
    assert (done.returncode, "nothing runs" in done.stdout) == (0, True)


# --- one running stack -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def stack():
    made = Stack(probers=2)
    made.devices = None
    try:
        made.first = made.start()
        yield made
    finally:
        made.close()


ALL = [*SERVICES, "prober-2", *STORES, "nginx"]


def status_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_what_a_first_start_leaves(stack):
    token = (stack.data / "admin.token").read_text().strip()
    assert re.fullmatch(r"gema_[A-Za-z0-9_-]{43}", token)
    assert stat.S_IMODE((stack.data / "admin.token").stat().st_mode) == 0o600
    assert stat.S_IMODE(stack.data.stat().st_mode) == 0o700
    assert (stack.data / "url").read_text() == f"http://127.0.0.1:{stack.port}\n"
    assert token in stack.first.stdout
    assert "\033" not in stack.first.stdout  # no colours where there is no terminal
    for name in ALL:
        assert stack.pid(name), name
        assert (stack.data / "log" / f"{name}.log").exists()
        assert os.path.exists(f"/proc/{stack.pid(name)}")
    for key in (stack.data / "keys").glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_only_the_probers_keep_a_right_and_nobody_runs_as_root(stack):
    for name in ALL:
        status = status_of(stack.pid(name))
        allowed = 1 << 13 if name.startswith("prober-") else 0  # CAP_NET_RAW; it may drop that, too
        assert int(status["CapPrm"], 16) & ~allowed == 0, name
        if os.geteuid() == 0 and stack.data.stat().st_uid != 0:
            assert status["Uid"].split() == [str(stack.data.stat().st_uid)] * 4
    if os.geteuid() == 0 and stack.data.stat().st_uid != 0:
        with pytest.raises(KeyError):
            pwd.getpwuid(stack.data.stat().st_uid)


def test_without_devices_it_watches_loopback(stack):
    def latest():
        body = stack.try_json("/api/ping/latest")
        rows = {row["ip_address"]: row for row in body["data"]} if body else {}
        return rows if "127.0.0.1" in rows else None
    rows = wait_for("a result of loopback", latest, 30)
    assert rows["127.0.0.1"]["ping_success"] == "True"


def test_a_second_start_in_the_same_directory_is_refused(stack):
    refused(up("--data", stack.data, "--port", free_port()), "is in use by a running Gema")
    assert stack.get("/readyz").status_code == 200


@pytest.mark.parametrize("name", ALL)
def test_a_killed_process_is_back(stack, name):
    # It must have lived for a second: a process that dies at once waits before the next start.
    old = stack.pid(name)
    wait_for("a second of life", lambda: time.time() - pathlib.Path(f"/proc/{old}").stat().st_mtime > 1, 5)
    stack.kill(name)
    wait_for(f"a new {name}", lambda: stack.pid(name) not in (None, old), 5)
    wait_for("everything ready", lambda: stack.try_json("/api/health") and stack.get("/readyz").status_code == 200, 60)


def test_what_the_proxy_refuses_by_itself_has_the_form_of_the_api(stack):
    answer = stack.session.post(f"http://127.0.0.1:{stack.port}/api/v1/devices", data=b"x" * 2_000_000, timeout=10)
    assert answer.status_code == 413
    assert answer.json() == {"success": False, "error": "The request body is over 1 MiB"}


def test_the_second_start_is_ready_in_5_seconds_with_history(stack):
    before = wait_for("history", lambda: count_history(stack), 30)
    stop = subprocess.run([DOWN, "--data", str(stack.data)], capture_output=True, text=True, timeout=120, check=False)
    assert (stop.returncode, stop.stdout) == (0, "stopped\n")
    assert not list((stack.data / "run").glob("*.pid"))
    token = (stack.data / "admin.token").read_text()
    done = stack.start()
    seconds = float(re.search(r"ready after ([\d.]+) s", done.stdout).group(1))
    assert seconds < 5, done.stdout
    assert (stack.data / "admin.token").read_text() == token
    assert count_history(stack) >= before


def count_history(stack):
    done = subprocess.run(["psql", "-h", str(stack.data / "run"), "-U", "gema", "gema", "-Atc",
                           "SELECT count(*) FROM ping_checks"], capture_output=True, text=True, check=False)
    return int(done.stdout or 0) if done.returncode == 0 else 0


def test_ctrl_c_stops_everything_in_order(directory):
    child = subprocess.Popen([UP, "--no-install", "--data", str(directory), "--port", "0"], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)
    wait_for("DIR/url", lambda: (directory / "url").exists(), 120)
    pids = [int(file.read_text()) for file in (directory / "run").glob("*.pid")]
    assert len(pids) >= 9
    os.killpg(child.pid, signal.SIGINT)
    output, _ = child.communicate(timeout=120)
    assert child.returncode == 0, output
    assert output.rstrip().endswith("stopped")
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe") and os.access(f"/proc/{pid}/exe", os.F_OK)
                and "gema" in pathlib.Path(f"/proc/{pid}/cmdline").read_text()]
    log = (directory / "log/supervisor.log").read_text()
    order = [name for name in re.findall(r"stopped: ([\w-]+)", log)]
    assert order.index("prober-1") < order.index("recorder") < order.index("broker") < order.index("postgres")


@pytest.mark.skipif(os.geteuid() != 0, reason="what root does where others may not enter")
def test_a_directory_that_is_closed_to_all_but_root(directory):
    directory.parent.chmod(0o700)
    directory.mkdir()
    stack = Stack(data=directory)
    stack.start()
    for name in ["broker", "recorder", "gateway", *STORES, "nginx"]:
        fields = status_of(stack.pid(name))
        assert fields["Uid"].split() == ["0"] * 4
        assert int(fields["CapPrm"], 16) == 0, name
    for name in ("nginx", "postgres"):
        wait_for("a second of life", lambda: time.time() - pathlib.Path(f"/proc/{stack.pid(name)}").stat().st_mtime > 1, 5)
        old = stack.kill(name)
        wait_for(f"a new {name}", lambda: stack.pid(name) not in (None, old), 10)
    wait_for("everything ready", lambda: all(map(stack.ready, SERVICES)) and stack.try_json("/api/health"), 60)
    wait_for("an answer", lambda: (stack.try_json("/api/v1/status") or {}).get("answered"), 30)


def test_nobody_needs_to_read_what_it_prints(directory):
    child = subprocess.Popen([UP, "--no-install", "--detach", "--data", str(directory), "--port", "0"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    child.stdout.close()
    assert (child.wait(timeout=120), child.stderr.read()) == (0, "")
    assert (directory / "run/prober-1.pid").exists()


def test_a_device_file_is_read_at_the_next_start_with_it(directory, tmp_path):
    devices = tmp_path / "d.csv"
    devices.write_text("ip_address,hostname,interval_s\n127.0.0.1,one,1\n300.0.0.1,bad,1\n")
    directory.mkdir()
    stack = Stack(devices=devices, data=directory)
    try:
        assert f"left out: {devices}: line 3: address" in stack.start().stderr
        names = lambda: sorted(d["hostname"] for d in (stack.try_json("/api/v1/devices") or {}).get("data", []))
        wait_for("one device", lambda: names() == ["one"], 20)
        stack.stop()
        devices.write_text("ip_address,hostname,interval_s\n127.0.0.1,one,1\n127.0.0.2,two,1\n")
        stack.start()
        wait_for("two devices", lambda: names() == ["one", "two"], 20)
        stack.stop()
        stack.devices = None
        stack.start()
        wait_for("still two", lambda: names() == ["one", "two"], 20)
        assert json.loads((stack.data / ".gema").read_text())["devices_read"] is True
    finally:
        stack.stop()
