"""History through what may befall its database: restored to a backup by the steps of docs/RUNBOOK.md,
then on a volume that is full. The stories share one DIR and build on each other, in order of the
file; all along every second of every device is measured, and in the end accounted for."""
import json
import os
import pathlib
import re
import subprocess
import tempfile

import lab as lab_module
import pytest
from stack import ROOT, SERVICES, Stack, now_ms, wait_for, write_devices

DEVICES = 20
ADDRESSES = lab_module.addresses(DEVICES + 1, first=44_000)
SILENT = 20      # its id; never answers again once it is needed
VOLUME_MIB = 160
FULL = "postgres: PostgreSQL: its disk is full: everything waits, and goes on once there is room"


def from_the_runbook(begin, **names):
    """The command that begins so, as docs/RUNBOOK.md has it, with the names it gives replaced."""
    text = " ".join((ROOT / "docs/RUNBOOK.md").read_text(encoding="utf-8").split())
    commands = [command for command in re.findall("`([^`]+)`", text) if command.startswith(begin)]
    assert len(commands) == 1, commands
    for name, value in names.items():
        commands[0] = re.sub(rf"\b{name}\b", str(value), commands[0])
    return commands[0]


class Restored(Stack):
    began_ms = 0
    outages = ()     # [(from_ms, to_ms)] in which no prober ran
    volume = None    # where the database is, if not in DIR

    def up_command(self):
        """On a volume: a small file system that only the processes of the stack see, so that it goes with them."""
        command = super().up_command()
        if not self.volume:
            return command
        move = from_the_runbook("deploy/local/down --data DIR; mv DIR/pg VOLUME", DIR=self.data, VOLUME=self.volume)
        script = f'mount -t tmpfs -o size={VOLUME_MIB}m,mode=0755 none {self.volume}; cd {ROOT}; {move}; exec "$@"'
        return ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", *command]

    def on_volume(self):
        """The volume as we can see it."""
        return pathlib.Path(f"/proc/{self.pid('supervisor')}/root{self.volume}")

    def fill(self):
        with open(self.on_volume() / "ballast", "wb", buffering=0) as ballast:
            try:
                while ballast.write(b"x" * 4096) == 4096:
                    pass
            except OSError as error:
                assert error.strerror == "No space left on device"

    def transitions(self, device):
        return self.sql("SELECT from_status, to_status FROM transitions WHERE device_id = %s ORDER BY counter", device)

    def metric(self, process, name):
        return sum(value for key, value in self.metrics(process).items() if key.split("{")[0] == name)

    def status_of(self, process):
        body = self.try_json("/api/v1/status")
        return body and next((p for p in body["processes"] if p["name"] == process), None)

    def troubles(self):
        """Of the first `counts` event of the live stream, which the page shows."""
        with self.session.get(f"http://127.0.0.1:{self.port}/api/v1/events", stream=True, timeout=30) as events:
            lines = events.iter_lines(decode_unicode=True)
            assert any(line == "event: counts" for line in lines)
            return json.loads(next(lines).removeprefix("data: "))["troubles"]

    def complete(self, to_ms):
        """Waits until history has every slot of every device from the beginning on; returns the reports."""
        last = {}

        def audit():
            reports, last["gaps"] = self.audit(1, DEVICES, self.began_ms, to_ms)
            last["missing"] = {device: (len(report["missing"]), report["missing"][:5])
                               for device, report in reports.items() if report["missing"]}
            return reports if not last["missing"] else None

        try:
            reports = wait_for("history has caught up", audit, 90)
        except AssertionError as error:
            raise AssertionError(f"history has not caught up: {last}\n{self.logs()}") from error
        assert last["gaps"] == 0
        return reports

    def check_everything_is_there_once(self):
        end = now_ms()
        for device, report in self.complete(end).items():
            assert report["found"] == report["expected"] and report["unexpected"] == 0, device
            for at, reason in report["not_measured_slots"]:
                assert reason in ("not running", "late"), (device, at, reason)
                assert any(begin - 2_000 <= at <= back + 1_000 for begin, back in self.outages), (device, at, reason)
            if device != SILENT:
                assert report["failed"] == 0, (device, report["failed_slots"])
        # The reader counts a slot that is there twice once; the table itself must not have it twice.
        wait_for("all in chunks", lambda: self.sql(
            "SELECT min(last) > %s FROM (SELECT max(due_ms) AS last FROM ping_checks WHERE device_id <= %s"
            " GROUP BY device_id) AS newest", end, DEVICES)[0][0], 60)
        count, distinct = self.sql(
            "SELECT count(*), count(DISTINCT (device_id, due_ms)) FROM ping_chunks s CROSS JOIN LATERAL"
            " ping_short_results(s.start_ms, s.step_ms, s.echoes, s.samples, s.extra, s.packed) r"
            " WHERE r.due_ms >= %s AND r.due_ms < %s AND s.device_id <= %s", self.began_ms, end, DEVICES)[0]
        assert count == distinct == sum(r["expected"] for r in self.audit(1, DEVICES, self.began_ms, end)[0].values())


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(file, ADDRESSES[:DEVICES])
    made = Restored(devices=file, config="recorder: {chunk_every_s: 2}\n")
    made.volume_dir = tempfile.mkdtemp(prefix="gema-volume-", dir="/tmp")
    os.chmod(made.volume_dir, 0o755)
    made.outages = []
    try:
        made.start()
        yield made
    finally:
        made.close()
        os.rmdir(made.volume_dir)


def all_recorded(stack):
    """Waits until what is measured now is in history, of every device."""
    target = now_ms()

    def caught_up():
        reports, _ = stack.audit(1, DEVICES, target - 60_000, now_ms() + 60_000)
        return all((report["last_ms"] or 0) >= target for report in reports.values())

    wait_for("history has caught up", caught_up, 60)


def shell(command):
    done = subprocess.run(["sh", "-ec", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_a_database_restored_by_the_runbook_is_filled_from_the_spools(stack, lab, tmp_path):
    wait_for("all are up", lambda: stack.sql("SELECT count(*) FROM transitions WHERE to_status = 1")[0][0] == DEVICES)
    all_recorded(stack)
    stack.began_ms = now_ms() - 2_000
    backup = tmp_path / "backup"
    shell(from_the_runbook("pg_basebackup", DIR=stack.data, BACKUP=backup))
    backed_up = now_ms()

    # What the backup lacks: results, in chunks as well, a transition, and a device.
    lab.silence([ADDRESSES[SILENT - 1]])
    added = stack.session.post(f"http://127.0.0.1:{stack.port}/api/v1/devices", timeout=30,
                               json={"address": ADDRESSES[DEVICES], "hostname": "later", "interval_ms": 1000})
    assert added.status_code == 201, added.text
    later = added.json()["data"]["id"]
    wait_for("the device that was added is measured", lambda: stack.transitions(later), 60)
    wait_for("the silent one is down", lambda: stack.transitions(SILENT) == [(0, 1), (1, 2)], 60)
    wait_for("ten seconds", lambda: now_ms() > backed_up + 10_000, 60)
    all_recorded(stack)

    stopped = now_ms()
    restore = from_the_runbook("deploy/local/down --data DIR; mv DIR/pg DIR/pg.bad", DIR=stack.data, BACKUP=backup)
    shell(restore)
    bad = (stack.data / "pg.bad").stat()
    for path in (stack.data / "pg", *(stack.data / "pg").rglob("*")):
        os.chown(path, bad.st_uid, bad.st_gid, follow_symlinks=False)
    os.chmod(stack.data / "pg", 0o700)
    stack.start()
    wait_for("measured again", lambda: stack.metric("prober-1", "gema_prober_results_total") > 0, 60)
    stack.outages.append((stopped, now_ms()))

    stack.check_everything_is_there_once()
    assert stack.metric("recorder", "gema_recorder_wanted_total") > 0, "it was asked for"
    assert stack.transitions(SILENT) == [(0, 1), (1, 2)]
    assert stack.sql("SELECT count(*) FROM transitions WHERE device_id <= %s", DEVICES)[0][0] == DEVICES + 1
    # The inventory is the backup's: the device is gone, and its number is given to nobody else.
    wait_for("the device of the backup's future is gone", lambda: stack.get(f"/api/v1/devices/{later}").status_code == 404)
    again = stack.session.post(f"http://127.0.0.1:{stack.port}/api/v1/devices", timeout=30,
                               json={"address": ADDRESSES[DEVICES], "hostname": "later", "interval_ms": 1000})
    assert again.status_code == 201 and again.json()["data"]["id"] > later, again.text


def test_a_full_disk_is_said_and_nothing_is_lost_once_there_is_room(stack, lab):
    lab.answer([ADDRESSES[SILENT - 1]])
    wait_for("all answer", lambda: stack.json("/api/v1/status")["silent"] == 0, 60)
    stopped = now_ms()
    stack.stop()
    stack.volume = stack.volume_dir
    stack.start()
    stack.devices = None
    wait_for("nothing waits or is impaired", lambda: all(
        stack.health(name) == (200, "ready\n") for name in SERVICES), 60)
    all_recorded(stack)
    stack.outages.append((stopped, now_ms()))
    known = stack.transitions(SILENT)
    # The log of PostgreSQL is on that volume, too, and a PostgreSQL that cannot begin the next segment panics (that is
    # history_faults_test's story). So it begins one now, which has room for what comes.
    stack.sql("SELECT pg_switch_wal()")
    stack.sql_do("CHECKPOINT")
    log = stack.data / "log/recorder.log"
    seen = log.stat().st_size

    stack.fill()
    # Where a user looks: its own health, REST, the page, the log, the metrics.
    wait_for("the recorder says it", lambda: stack.health("recorder") == (503, f"waiting for {FULL}\n"), 60)
    said = wait_for("the gateway, too", lambda: (s := stack.status_of("recorder")) and FULL in s["waiting_for"] and s, 30)
    assert said["alive"] and not said["ready"]
    assert {"process": "recorder", "what": FULL} in stack.troubles()
    wait_for("tried again and again", lambda: stack.metric("recorder", "gema_recorder_commit_failures_total") >= 5, 60)
    lines = [line for line in log.read_bytes()[seen:].decode().splitlines() if "disk is full" in line]
    assert 1 <= len([line for line in lines if "waiting for PostgreSQL" in line]) <= 3, lines  # not each second

    # Nothing is acknowledged, and all else goes on: who falls silent is seen.
    held = wait_for("spools hold it", lambda: stack.metric("prober-1", "gema_prober_spool_unacknowledged_records"), 30)
    wait_for("more and more", lambda: stack.metric(
        "prober-1", "gema_prober_spool_unacknowledged_records") > held + 20, 60)
    lab.silence([ADDRESSES[SILENT - 1]])
    wait_for("seen as silent", lambda: stack.json("/api/v1/status")["silent"] == 1, 60)
    assert stack.transitions(SILENT) == known
    assert stack.get("/api/v1/devices/1/results").status_code == 200, "what is recorded is read"

    (stack.on_volume() / "ballast").unlink()
    wait_for("it goes on by itself", lambda: stack.health("recorder") == (200, "ready\n"), 60)
    wait_for("nothing waits in spools", lambda: stack.metric(
        "prober-1", "gema_prober_spool_unacknowledged_records") < 20, 60)
    wait_for("no trouble is left", lambda: stack.troubles() == [], 30)
    stack.check_everything_is_there_once()
    wait_for("the transition", lambda: stack.transitions(SILENT) == [*known, (1, 2)], 30)
