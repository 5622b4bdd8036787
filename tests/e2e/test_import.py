"""Users of the old systems keep their past: `gema import` into a running stack, asked by CLI and REST."""
import datetime
import json
import os
import sqlite3
import subprocess

import lab as lab_module
import pytest
from stack import BUILD, Stack, wait_for, write_devices

ADDRESSES = lab_module.addresses(3)
UTC = datetime.timezone.utc
DAYS = 5
DOWN = range(3000, 3030)  # minutes in which the first host was down


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(devices, ADDRESSES[:2])
    made = Stack(devices=devices, config="general: {timezone: Asia/Jakarta}\n")
    try:
        made.start()
        yield made
    finally:
        made.close()


def gema(stack, *words, code=0):
    done = subprocess.run([str(BUILD / "bin/gema"), "--data", str(stack.data), *map(str, words)], text=True,
                          capture_output=True, timeout=300, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def ask(stack, *words):
    return json.loads(gema(stack, *words, "--format", "json").stdout)


def online(stack):
    return ((stack.try_json("/api/ping/status") or {}).get("data") or {}).get("status_breakdown", {}).get("online")


def begin():
    """Midnight in UTC, five days before yesterday's."""
    today = datetime.datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - datetime.timedelta(days=DAYS + 1)


def make_ace(path, hosts):
    """A database as ace-connection-logger writes it, in local time."""
    zone = datetime.timezone(datetime.timedelta(hours=7))
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE ping_results (id INTEGER PRIMARY KEY AUTOINCREMENT, host_name TEXT NOT NULL,"
                   " host_address TEXT NOT NULL, timestamp DATETIME NOT NULL, success_count INTEGER NOT NULL,"
                   " failure_count INTEGER NOT NULL, success_rate REAL NOT NULL, min_latency REAL, max_latency REAL,"
                   " avg_latency REAL, UNIQUE(host_address, timestamp))")
        for minute in range(DAYS * 1440):
            for n, host in enumerate(hosts):
                at = begin() + datetime.timedelta(minutes=minute, milliseconds=7 * (minute % 13) + n)
                text = at.astimezone(zone).replace(tzinfo=None).isoformat(" ")
                row = (0, 5, 0.0, None, None, None) if n == 0 and minute in DOWN else (5, 0, 100.0, 1.5, 9.0, 4.0)
                db.execute("INSERT INTO ping_results (host_name, host_address, timestamp, success_count, failure_count,"
                           " success_rate, min_latency, max_latency, avg_latency) VALUES (?,?,?,?,?,?,?,?,?)",
                           (f"host-{n + 1}", host, text, *row))


def test_the_past_of_ace_connection_logger(stack, tmp_path):
    wait_for("both are up", lambda: online(stack) == 2)
    # A host that the inventory lacks: named, written, nothing imported.
    file = tmp_path / "connection_logs.db"
    make_ace(file, ADDRESSES)
    refused = gema(stack, "import", file, "--write-devices", tmp_path / "missing.csv", code=1)
    assert ADDRESSES[2] in refused.stderr
    assert (tmp_path / "missing.csv").read_text().splitlines()[1].startswith(ADDRESSES[2])
    assert gema(stack, "import", file, "--skip-unknown", "--dry-run").stdout.startswith("Would import: 14,400 checks")
    assert stack.sql("SELECT count(*) FROM history_names WHERE name = 'import:ace'") == [(0,)]

    gema(stack, "import", file, "--skip-unknown")

    window = ("--from", begin().isoformat().replace("+00:00", "Z"), "--to",
              (begin() + datetime.timedelta(days=DAYS)).isoformat().replace("+00:00", "Z"))
    results = ask(stack, "results", 1, *window, "--limit", 100000)
    assert len(results) == DAYS * 1440
    assert {r["prober"] for r in results} == {"import:ace"}
    assert results[0]["at"].startswith(begin().strftime("%Y-%m-%dT00:00:00"))
    assert results[0]["rtt_mean_us"] == 4000 and results[0]["rtt_min_us"] == 1500
    statistics = ask(stack, "statistics", "all", *window)
    assert [(s["checks"], s["failed"]) for s in statistics] == [(7200, len(DOWN)), (7200, 0)]
    outages = ask(stack, "outages", "all", *window)
    assert len(outages) == 1 and outages[0]["ended_by"] == "answered again", outages
    assert abs(outages[0]["duration_ms"] - len(DOWN) * 60000) < 2000
    availability = ask(stack, "availability", "host-1", *window)
    assert abs(availability[0]["down_ms"] - len(DOWN) * 60000) < 2000
    assert len(ask(stack, "series", "host-1", *window, "--points", 100)) > 10

    # By REST, too, and what is measured now goes on beside it.
    rest = stack.json("/api/v1/devices/1/outages", **{"from": window[1], "to": window[3]})
    assert "answered again" in json.dumps(rest), rest
    wait_for("what is measured now is in history", lambda: ask(stack, "statistics", 1, "--from", "10m"))
    live = ask(stack, "statistics", 1, "--from", "10m")
    assert live[0]["failed"] == 0 and live[0]["checks"] > 0
    assert online(stack) == 2

    # Again: nothing changes, whoever rolls up days meanwhile.
    assert "nothing changed" in gema(stack, "import", file, "--skip-unknown").stdout
    assert ask(stack, "statistics", "all", *window) == statistics


def test_an_export_goes_elsewhere_and_comes_back_equal(stack, tmp_path):
    gema(stack, "export", "all", "--from", "20d", "--format", "ndjson", "-o", tmp_path / "all.ndjson")
    lines = [json.loads(line) for line in (tmp_path / "all.ndjson").read_text().splitlines()]
    assert lines and lines == sorted(lines, key=lambda line: (line["device_id"], line["at"]))
    probers = {line["prober"] for line in lines}
    assert "prober-1" in probers

    devices = tmp_path / "devices.csv"
    write_devices(devices, list(reversed(ADDRESSES[:2])))  # other ids, other names
    other = Stack(devices=devices)
    try:
        other.start()
        gema(other, "import", tmp_path / "all.ndjson")
        last = max(line["at"] for line in lines)
        gema(other, "export", "all", "--from", "20d", "--to", last, "--format", "ndjson", "-o", tmp_path / "back.ndjson")
    finally:
        other.close()

    def key(line):
        del line["device_id"], line["name"]
        return json.dumps(line, sort_keys=True)

    back = [json.loads(line) for line in (tmp_path / "back.ndjson").read_text().splitlines()]
    # The other stack has measured for itself, and all of it carries its own prober's times.
    theirs = {key(line) for line in back}
    assert {key(line) for line in lines if line["at"] < last} <= theirs


def test_nothing_can_be_asked_while_postgres_is_away(stack):
    pid = stack.pid("postgres")
    os.kill(pid, 19)
    try:
        done = subprocess.run([str(BUILD / "bin/gema"), "--data", str(stack.data / "nowhere"), "results", "all"], text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 1 and "deploy/local/up --data" in done.stderr
    finally:
        os.kill(pid, 18)
