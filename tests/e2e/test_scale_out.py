"""Several probers share the devices of a location. Probers join, are stopped, and die; what is not
measured meanwhile stays within its bounds, and no slot is recorded twice or missing.

The stories share one running stack and build on each other, in order of the file.
"""
import os
import signal
import subprocess
import sys

import lab as lab_module
import pytest
from stack import BUILD, ROOT, Stack, now_ms, wait_for

sys.path.insert(0, str(ROOT / "deploy/local"))
from gema_local.layout import Layout  # noqa: E402
from gema_local.supervisor import Supervisor  # noqa: E402

DEVICES = 400
INTERVAL_MS = 1000
SHARED = range(1, 301)        # checked from the default location only
BOTH = range(301, 351)        # from the default one and from "east"
NEVER = range(351, 401)       # default; silent, so that failed checks are shared as well
SILENCE_MS = 5_000            # how long inventory waits for a prober's heartbeat
# Of inventory's heartbeat intervals, its decision, and the message to the new owner.
SLACK_MS = 1_500
STOP_MS = SILENCE_MS + INTERVAL_MS + SLACK_MS
ADDRESSES = lab_module.addresses(DEVICES)


def write_shared_devices(file):
    with open(file, "w", encoding="utf-8") as out:
        out.write("ip_address,hostname,interval_s,timeout_ms,probe_from\n")
        for device, address in enumerate(ADDRESSES, 1):
            places = "default;east" if device in BOTH else ""
            out.write(f"{address},host-{device},1,500,{places}\n")


class Scaled(Stack):
    began_ms = 0

    def set_probers(self, count):
        done = subprocess.run([str(ROOT / "deploy/local/up"), "--data", str(self.data), "--probers", str(count)],
                              capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stdout + done.stderr + self.logs()
        return done.stdout

    def supervisor(self):
        return Supervisor(Layout(str(self.data))).proxy.supervisor

    def kill_for_good(self, name):
        """kill -9, and the supervisor does not start it again: stopped, it cannot obey the supervisor's request
        to stop cleanly, and dies first."""
        pid = self.kill(name, signal.SIGSTOP)
        self.supervisor().stopProcess(name, False)
        os.kill(pid, signal.SIGKILL)

    def make_key(self, name):
        done = subprocess.run([str(BUILD / "bin/gema-broker"), "--make-keys", str(self.data), "--client", name],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def shares(self, names):
        """{prober: how many devices it checks}."""
        return {name: int(self.metrics(name).get("gema_prober_devices", -1)) if self.ready(name) else -1
                for name in names}

    def settled(self, names, total):
        """The shares once they add up: nobody holds what another one was given, nobody waits."""
        shares = self.shares(names)
        moving = self.metrics("inventory").get("gema_inventory_moving", 0)
        return shares if sum(shares.values()) == total and not moving and min(shares.values()) > 0 else None


def probers(count):
    return [f"prober-{i}" for i in range(1, count + 1)]


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_shared_devices(devices)
    lab.silence(ADDRESSES[i - 1] for i in NEVER)
    stack = Scaled(devices=devices, probers=3)
    try:
        stack.start()
        stack.began_ms = now_ms() + 5_000
        wait_for("five seconds of slots", lambda: now_ms() > stack.began_ms, 30)
        yield stack
    finally:
        stack.close()
        lab.answer(ADDRESSES[i - 1] for i in NEVER)


def complete(stack, from_ms, to_ms, first=1, last=DEVICES):
    """The audit once history has caught up; after two minutes as it is."""
    def audit():
        reports, gaps = stack.audit(first, last, from_ms, to_ms)
        return None if any(report["missing"] for report in reports.values()) else (reports, gaps)

    try:
        return wait_for("history has caught up", audit, 60)
    except AssertionError:
        return stack.audit(first, last, from_ms, to_ms)


def unmeasured(report):
    """Instants without a measurement: told as such, or with no record at all."""
    return sorted({at for at, _ in report["not_measured_slots"]} | set(report["missing"]))


def check_no_doubles(reports):
    for device, report in reports.items():
        places = 2 if device in BOTH else 1
        assert report["unexpected"] == 0, (device, report)
        assert report["found"] + len(report["missing"]) <= places * report["expected"], (device, report)
        if device in NEVER:
            assert report["answered"] == 0, (device, report)
        else:
            assert report["failed"] == 0, (device, report["failed_slots"])


def test_three_probers_share_the_devices_and_leave_no_slot_out(stack):
    shares = wait_for("all devices given out", lambda: stack.settled(probers(3), DEVICES), 60)
    # Rendezvous hashing: about a third each (a fifth would be eight standard deviations off).
    assert all(DEVICES / 5 < n < DEVICES / 2 for n in shares.values()), shares
    begin = now_ms()
    wait_for("five slots", lambda: now_ms() > begin + 5_000, 30)
    reports, gaps = complete(stack, begin, begin + 5_000)
    assert gaps == 0
    check_no_doubles(reports)
    assert not any(unmeasured(report) for report in reports.values())


def test_one_more_takes_its_share_and_nothing_is_unmeasured(stack):
    begin = now_ms()
    said = stack.set_probers(4)
    assert "started prober-4" in said and "4 probers now" in said
    shares = wait_for("a share for the fourth", lambda: stack.settled(probers(4), DEVICES), 60)
    assert all(DEVICES / 8 < n < DEVICES / 2.5 for n in shares.values()), shares
    end = now_ms()
    wait_for("a slot more", lambda: now_ms() > end + 2 * INTERVAL_MS, 30)
    reports, gaps = complete(stack, begin, end)
    assert gaps == 0
    check_no_doubles(reports)
    holes = {device: unmeasured(report) for device, report in reports.items() if unmeasured(report)}
    assert not holes, holes


def bounded(stack, begin, end, most_ms, which):
    """No device is unmeasured for longer than `most_ms`; how many were at all."""
    reports, gaps = complete(stack, begin - 3_000, end)
    assert gaps == 0
    check_no_doubles(reports)
    touched = 0
    for device, report in reports.items():
        holes = unmeasured(report)
        if not holes:
            continue
        touched += 1
        assert all(begin - INTERVAL_MS <= at <= begin + most_ms for at in holes), (which, device, begin, report)
        assert holes[-1] - holes[0] <= most_ms, (which, device, holes)
    return touched


def test_one_that_dies_costs_its_devices_five_seconds_and_an_interval(stack):
    share = stack.shares(["prober-2"])["prober-2"]
    begin = now_ms()
    stack.kill_for_good("prober-2")
    rest = ["prober-1", "prober-3", "prober-4"]
    wait_for("the others have its devices", lambda: stack.settled(rest, DEVICES), 60)
    took = now_ms() - begin
    end = now_ms()
    wait_for("two slots more", lambda: now_ms() > end + 2 * INTERVAL_MS, 30)
    touched = bounded(stack, begin, end, SILENCE_MS + INTERVAL_MS + SLACK_MS, "death")
    assert 0 < touched <= share
    print(f"{share} devices had new owners after {took} ms; {touched} had unmeasured slots")


def test_it_comes_back_and_takes_its_share_again(stack):
    begin = now_ms()
    stack.supervisor().startProcess("prober-2")
    wait_for("its share is back", lambda: stack.settled(probers(4), DEVICES), 60)
    end = now_ms()
    wait_for("two slots more", lambda: now_ms() > end + 2 * INTERVAL_MS, 30)
    reports, gaps = complete(stack, begin + INTERVAL_MS, end)
    assert gaps == 0
    check_no_doubles(reports)
    assert not any(unmeasured(report) for report in reports.values())


def test_one_that_is_stopped_hands_its_devices_over(stack):
    share = stack.shares(["prober-4"])["prober-4"]
    begin = now_ms()
    said = stack.set_probers(3)
    assert "stopped prober-4" in said and "3 probers now" in said
    wait_for("the others have its devices", lambda: stack.settled(probers(3), DEVICES), 60)
    end = now_ms()
    wait_for("two slots more", lambda: now_ms() > end + 2 * INTERVAL_MS, 30)
    touched = bounded(stack, begin, end, STOP_MS, "stop")
    assert touched <= share
    print(f"{touched} of {share} devices had unmeasured slots")




def test_a_device_of_two_locations_is_measured_from_both(stack):
    """A prober elsewhere: started by hand, as on another machine."""
    stack.make_key("prober-9")
    environment = dict(os.environ, GEMA_PROBER__LOCATION="east")
    with open(stack.data / "log/prober-9.log", "wb") as log:
        east = subprocess.Popen([str(BUILD / "bin/gema-prober"), "--data-dir", str(stack.data), "--instance",
                                 "prober-9"], env=environment, stdout=log, stderr=log)
    try:
        wait_for("east has its devices", lambda: stack.shares(["prober-9"])["prober-9"] == len(BOTH), 60)
        begin = now_ms()
        wait_for("five slots", lambda: now_ms() > begin + 6_000, 30)

        def both():
            reports, _ = stack.audit(BOTH[0], BOTH[-1], begin, begin + 5_000)
            return reports if all(r["answered"] >= 10 for r in reports.values()) else None

        reports = wait_for("both locations in history", both, 60)
        for device, report in reports.items():
            assert report["answered"] == 10 and report["failed"] == 0, (device, report)
        # The others are checked from one only.
        reports, _ = stack.audit(1, 20, begin, begin + 5_000)
        assert all(report["answered"] == 5 for report in reports.values())
    finally:
        east.send_signal(signal.SIGTERM)
        assert east.wait(30) == 0


def test_afterwards_no_slot_is_there_twice(stack):
    reports, gaps = complete(stack, stack.began_ms, now_ms() - 5_000)
    assert gaps == 0
    check_no_doubles(reports)
