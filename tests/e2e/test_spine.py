"""The whole stack on 1,000 devices at 1 s of which 50 never answer: what REST says is exactly right,
and stays so when everything is killed in turn while probing goes on.

The stories share one running stack and build on each other, in order of the file.
"""
import datetime
import signal

import lab as lab_module
import pytest
from stack import SERVICES, Stack, now_ms, wait_for, write_devices

DEVICES = 1000
SILENT = range(1, 51)     # ids; never answer
SLEEPER = 60              # answers, falls silent for a while, answers again
PING_ROW = {"timestamp", "device_id", "ip_address", "hostname", "ping_success", "response_time_ms",
            "error_message", "merk", "os", "kondisi", "id_lokasi"}
TIMEOUT_ROW = {"ip_address", "hostname", "device_id", "merk", "os", "kondisi", "consecutive_timeouts",
               "first_timeout", "last_timeout", "last_updated"}
ADDRESSES = lab_module.addresses(DEVICES)


class Spine(Stack):
    """Remembers when what happened, so that a story can say which gaps are true."""
    outages = None      # [(from_ms, to_ms)] in which prober-1 did not run
    sleeps = None       # [(from_ms, to_ms)] in which SLEEPER was silent
    began_ms = 0


def ids(rows):
    return sorted(int(row["device_id"]) for row in rows)


def ms(text):
    return datetime.datetime.fromisoformat(text).timestamp() * 1000


@pytest.fixture(scope="module")
def spine(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(devices, ADDRESSES)
    lab.silence(ADDRESSES[i - 1] for i in SILENT)
    stack = Spine(devices=devices)
    stack.outages, stack.sleeps = [], []
    try:
        stack.start()
        yield stack
    finally:
        stack.close()


def settled(stack):
    """The summary once every silent device and only those are known as such."""
    body = stack.try_json("/api/ping/timeout/devices", min_consecutive=5)
    return body if body and ids(body["data"]) == list(SILENT) else None


def complete(stack, from_ms, to_ms):
    """The audit of all devices over a span, once history has caught up with it; after two minutes as
    it is, for the caller to say what is missing."""
    def audit():
        reports, gaps = stack.audit(1, DEVICES, from_ms, to_ms)
        return None if any(report["missing"] for report in reports.values()) else (reports, gaps)

    try:
        return wait_for("history has caught up", audit, 120)
    except AssertionError:
        return stack.audit(1, DEVICES, from_ms, to_ms)


def drained(stack):
    """Waits until what was measured up to the call is recorded."""
    target = now_ms()

    def caught_up():
        reports, _ = stack.audit(DEVICES, DEVICES, target - 60_000, now_ms() + 60_000)
        return reports[DEVICES]["last_ms"] >= target

    wait_for("history has caught up", caught_up, 120)


def test_status_latest_and_timeouts_are_exactly_right(spine):
    timeouts = wait_for("50 silent devices", lambda: settled(spine), 60)
    spine.began_ms = now_ms()
    for row in timeouts["data"]:
        assert set(row) >= TIMEOUT_ROW and all(isinstance(value, str) for value in row.values())
        # One interval a timeout: the count follows from the first and the last of them.
        slots = (ms(row["last_timeout"]) - ms(row["first_timeout"])) / 1000 + 1
        assert int(row["consecutive_timeouts"]) == slots, row
    counts = [int(row["consecutive_timeouts"]) for row in timeouts["data"]]
    assert counts == sorted(counts, reverse=True)
    assert timeouts["count"] == len(SILENT) and timeouts["min_consecutive_filter"] == 5

    status = spine.json("/api/ping/status")["data"]
    assert status["status_breakdown"] == {"online": 950, "offline": 50, "total": 1000}

    latest = spine.json("/api/ping/latest", limit=1000)
    assert latest["count"] == DEVICES and ids(latest["data"]) == list(range(1, DEVICES + 1))
    for row in latest["data"]:
        assert set(row) >= PING_ROW and all(isinstance(value, str) for value in row.values()), row
        silent = int(row["device_id"]) in SILENT
        assert row["ping_success"] == ("False" if silent else "True"), row
        assert (row["response_time_ms"] == "") == silent, row
        assert row["ip_address"] == ADDRESSES[int(row["device_id"]) - 1]

    summary = spine.json("/api/ping/timeout/summary")["data"]
    assert summary["total_timeout_devices"] == len(SILENT)
    assert summary["max_consecutive_timeouts"] >= max(counts)
    critical = spine.json("/api/ping/timeout/critical", threshold=5)
    assert ids(critical["data"]) == list(SILENT) and critical["threshold"] == 5
    statistics = spine.json("/api/ping/statistics")["statistics"]
    assert statistics["total_devices"] == DEVICES
    assert spine.json("/api/ping/service/status")["active_devices_count"] == DEVICES


def test_history_over_rest_has_one_row_a_second_newest_first(spine):
    wait_for("five slots", lambda: now_ms() > spine.began_ms + 5_000, 30)
    drained(spine)
    for device, success in ((7, "False"), (DEVICES, "True")):
        body = spine.json(f"/api/ping/device/{device}", hours=1)
        times = [ms(row["timestamp"]) for row in body["data"]
                 if row["ping_success"] == success and ms(row["timestamp"]) >= spine.began_ms]
        assert len(times) >= 3
        assert all(newer - older == 1000 for newer, older in zip(times, times[1:])), times[:5]
        assert body["count"] == len(body["data"]) and body["device_id"] == device
    limited = spine.json("/api/ping/device/7", hours=1, limit=3)["data"]
    assert len(limited) == 3


def test_a_device_that_falls_silent_is_seen_and_seen_again_when_it_answers(spine, lab):
    def is_timing_out():
        rows = spine.json("/api/ping/timeout/devices", min_consecutive=3)["data"]
        return SLEEPER in ids(rows)

    begin = now_ms()
    lab.silence([ADDRESSES[SLEEPER - 1]])
    wait_for("the sleeper times out", is_timing_out, 30)
    lab.answer([ADDRESSES[SLEEPER - 1]])
    wait_for("the sleeper is back", lambda: not is_timing_out(), 30)
    spine.sleeps.append((begin, now_ms()))

    def transitions():
        rows = spine.sql("SELECT from_status, to_status FROM transitions WHERE device_id = %s "
                          "ORDER BY counter", SLEEPER)
        return len(rows) >= 3 and rows

    # New -> Up, Up -> Down, Down -> Up: each once.
    assert wait_for("transitions recorded", transitions) == [(0, 1), (1, 2), (2, 1)]


@pytest.mark.parametrize("name", [*SERVICES, "postgres", "redis", "nginx"])
def test_it_survives_kill_9_of(spine, name):
    begin = now_ms()
    old = spine.kill(name)
    spine.wait_replaced(name, old)
    if name == "prober-1":
        spine.outages.append((begin, now_ms()))
    wait_for(f"50 silent devices after kill -9 of {name}", lambda: settled(spine), 60)
    wait_for("all ready", lambda: all(spine.ready(service) for service in SERVICES), 60)
    drained(spine)


def test_it_survives_an_emptied_redis(spine):
    spine.redis().flushall()
    wait_for("a new checkpoint", lambda: spine.redis().dbsize() > 0, 60)
    old = spine.kill("timeout-tracker")
    spine.wait_replaced("timeout-tracker", old)
    wait_for("50 silent devices", lambda: settled(spine), 60)

    # And once more with nothing in Redis when the tracker starts.
    spine.kill("timeout-tracker", signal.SIGSTOP)
    spine.redis().flushall()
    old = spine.kill("timeout-tracker")
    spine.wait_replaced("timeout-tracker", old)
    wait_for("50 silent devices", lambda: settled(spine), 60)


def test_it_survives_a_broker_stopped_for_30_seconds(spine):
    begin = now_ms()
    spine.kill("broker", signal.SIGSTOP)
    wait_for("30 s are over", lambda: now_ms() - begin >= 30_000, 60)
    spine.kill("broker", signal.SIGCONT)
    wait_for("50 silent devices", lambda: settled(spine), 60)
    wait_for("all ready", lambda: all(spine.ready(service) for service in SERVICES), 60)


def test_afterwards_every_slot_is_in_history_exactly_once(spine):
    end = now_ms()
    reports, gaps = complete(spine, spine.began_ms, end)
    assert gaps == 0
    # A prober that was killed measured nothing from its death until it was back; checks in flight
    # at its death had not been written yet.
    true_gaps = [(begin - 2_000, back + 1_000) for begin, back in spine.outages]
    silent_spans = [(begin - 1_000, back + 1_000) for begin, back in spine.sleeps]

    def within(at, spans):
        return any(begin <= at <= end_ for begin, end_ in spans)

    unmeasured = 0
    for device, report in reports.items():
        assert report["missing"] == [], (device, report["missing"][:10])
        assert report["found"] == report["expected"] and report["unexpected"] == 0, device
        for at, reason in report["not_measured_slots"]:
            assert reason in ("not running", "late") and within(at, true_gaps), (device, at, reason)
        unmeasured += report["not_measured"]
        if device in SILENT:
            assert report["answered"] == 0, device
        elif device == SLEEPER:
            assert all(within(at, silent_spans) for at in report["failed_slots"]), device
        else:
            assert report["failed"] == 0, (device, report["failed_slots"])
    print(f"{sum(r['found'] for r in reports.values())} slots, {unmeasured} not measured")


def test_afterwards_every_transition_is_there_exactly_once(spine):
    rows = spine.sql("SELECT device_id, array_agg(ARRAY[from_status, to_status] ORDER BY counter), "
                      "count(DISTINCT counter) = count(*) FROM transitions GROUP BY device_id")
    assert len(rows) == DEVICES
    for device, steps, distinct in rows:
        expected = [[0, 3]] if device in SILENT else [[0, 1]]
        if device == SLEEPER:
            expected = [[0, 1], [1, 2], [2, 1]]
        assert steps == expected and distinct, (device, steps)


def test_plain_row_views_agree_with_the_reader(spine):
    # Chunks follow hot rows within a minute or few; take a span that must be there already.
    begin, end = spine.began_ms, spine.began_ms + 10_000

    def chunked():
        return spine.sql("SELECT max(due_ms) > %s FROM ping_checks WHERE device_id = 100", end)[0][0]

    wait_for("minutes chunked", chunked, 180)
    count, distinct = spine.sql("SELECT count(*), count(DISTINCT at) FROM ping_checks "
                                 "WHERE device_id = 100 AND due_ms >= %s AND due_ms < %s", begin, end)[0]
    reports, _ = spine.audit(100, 100, begin, end)
    assert count == distinct == reports[100]["found"] == 10
    rows = spine.sql("SELECT success_count, failure_count, success_rate, min_latency > 0 FROM "
                      "ping_results WHERE host_address = %s AND timestamp >= to_timestamp(%s) "
                      "AND timestamp < to_timestamp(%s)", ADDRESSES[99], begin / 1000, end / 1000)
    assert rows == [(1, 0, 100.0, True)] * 10


def test_the_next_start_goes_on_where_it_stopped(spine):
    stopped = now_ms()
    spine.stop()
    assert spine.try_json("/api/health") is None
    spine.start()
    spine.outages.append((stopped, now_ms()))
    wait_for("50 silent devices", lambda: settled(spine), 60)
    reports, gaps = complete(spine, stopped - 5_000, now_ms())
    assert gaps == 0
    for device, report in reports.items():
        assert report["missing"] == [] and report["unexpected"] == 0, (device, report["missing"])
        assert set(report["reasons"]) <= {"not running", "late"}, (device, report["reasons"])
    # The pause may be shorter than an interval for some devices, not for all: a slot may be sent up to
    # half an interval late.
    assert sum(report["not_measured"] for report in reports.values()) > 0
