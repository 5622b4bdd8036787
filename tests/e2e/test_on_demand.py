"""Pings on demand, and pause and resume, in the whole stack: what is refused, what an echo says, and
that a pause is a pause: nothing leaves, nothing goes down, every slot says who paused, restarts
change nothing.

The stories share one running stack and build on each other, in order of the file.
"""
import datetime
import signal

import lab as lab_module
import pytest
from stack import Stack, now_ms, wait_for, write_devices

DEVICES = 20
SILENT, UNREACHABLE = 2, 3          # ids
# Not those of other files: what is unreachable stays so for the whole session.
ADDRESSES = lab_module.addresses(DEVICES, first=3000)
FREE = lab_module.addresses(3, first=4000)       # no devices; in ping_allow
SPACING_MS = 20
CONFIG = f"""
gateway:
  ping_allow: ["{FREE[0]}", "{FREE[1]}"]
  ping_deny: ["{FREE[1]}"]
  pings_per_minute: 100
"""


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(devices, ADDRESSES)
    lab.silence([ADDRESSES[SILENT - 1]])
    lab.unreachable([ADDRESSES[UNREACHABLE - 1]])
    made = Stack(devices=devices, config=CONFIG)
    try:
        made.start()
        yield made
    finally:
        made.close()
        lab.answer([ADDRESSES[SILENT - 1]])


def post(stack, path, body=None):
    return stack.session.post(f"http://127.0.0.1:{stack.port}{path}", json=body, timeout=70)


def ping(stack, **body):
    answer = post(stack, "/api/v1/ping", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def probing(stack):
    body = stack.try_json("/api/v1/probing")
    return body and body["probing"]


def prober_paused(stack, paused):
    body = stack.json("/api/v1/probing")
    alive = [p for p in body["probers"] if p["alive"]]
    return alive and all(p["paused"] == paused for p in alive) and body


def recorded(stack, from_ms, to_ms):
    """The audit of all devices over a span, once history has all of it."""
    def complete():
        reports, _ = stack.audit(1, DEVICES, from_ms, to_ms)
        return None if any(report["missing"] for report in reports.values()) else reports

    return wait_for("history has caught up", complete, 120)


def results(stack, device, from_ms, to_ms):
    """What history says of each slot in the span, by slot."""
    rows = {}
    for row in stack.json(f"/api/v1/devices/{device}/results", hours=1, limit=1000)["data"]:
        due_ms = datetime.datetime.fromisoformat(row["at"].replace("Z", "+00:00")).timestamp() * 1000
        if from_ms <= due_ms < to_ms:
            rows[due_ms] = row
    return rows


# --- pings on demand

def test_an_address_that_answers_is_answered_within_its_timeout(stack):
    wait_for("the prober has results", lambda: stack.json("/api/v1/status")["answered"] == DEVICES - 2)
    body = post(stack, f"/api/ping/test/{ADDRESSES[0]}").json()
    assert body["success"] is True and body["ip_address"] == ADDRESSES[0]
    assert body["service_type"] == "Multi-Ping" and body["prober"] == "prober-1"
    assert body["ping_result"]["success"] is True and body["ping_result"]["error_message"] is None
    assert 0 < body["ping_result"]["response_time_ms"] < 1000

    data = ping(stack, device=1, count=5, timeout_ms=500, spacing_ms=SPACING_MS)
    assert data["address"] == ADDRESSES[0] and data["device_id"] == 1
    assert data["prober"] == "prober-1" and data["location"] == "default"
    assert data["sent"] == data["received"] == 5 and data["loss_percent"] == 0
    assert [echo["outcome"] for echo in data["echoes"]] == ["reply"] * 5
    times = sorted(echo["rtt_ms"] for echo in data["echoes"])
    assert data["rtt_ms"] == {"min": times[0], "median": times[2], "max": times[-1]}
    assert ping(stack, address="host-1")["device_id"] == 1, "a device's host name"
    assert ping(stack, address=FREE[0])["device_id"] is None, "in ping_allow, and no device"


def test_an_address_that_does_not_answer_fails_with_the_reason_and_who_said_it(stack):
    body = post(stack, f"/api/ping/test/{ADDRESSES[SILENT - 1]}").json()
    assert body["success"] is True
    assert body["ping_result"] == {"success": False, "response_time_ms": None,
                                   "error_message": "No response (timeout)"}
    data = ping(stack, device=UNREACHABLE, count=2, timeout_ms=700, spacing_ms=SPACING_MS)
    assert data["answered"] is False and data["rtt_ms"] is None and data["loss_percent"] == 100
    assert data["sent"] == 2 and data["received"] == 0
    for echo in data["echoes"]:
        assert echo["outcome"] == "host unreachable"
        [note] = echo["notes"]
        # The lab's far side rejects in the name of the address that was asked.
        assert note["icmp_type"] == 3 and note["icmp_code"] == 1 and note["from"]
    assert data["error"].startswith("Ping error: host unreachable, said by "), data["error"]


def test_what_may_not_be_pinged_is_refused_and_says_why(stack):
    before = stack.metrics("prober-1")["gema_prober_pings_total"]
    refused = {
        "not-an-ip": (400, "is no IP address"), "198.18.0.300": (400, "is no IP address"),
        FREE[2]: (403, "no device's address"), "8.8.8.8": (403, "no device's address"),
        FREE[1]: (403, "ping_deny"), "255.255.255.255": (403, "broadcast"),
        "224.0.0.1": (403, "multicast"), "ff02::1": (403, "multicast"),
        "0.0.0.0": (403, "unspecified"), "169.254.169.254": (403, "metadata"),
        "127.0.0.1": (403, "loopback"), "::ffff:127.0.0.1": (403, "loopback"),
    }
    for address, (status, why) in refused.items():
        answer = post(stack, f"/api/ping/test/{address}")
        assert answer.status_code == status, (address, answer.text)
        assert answer.json()["success"] is False and why in answer.json()["error"], answer.text
    for body, status in [({"device": 999}, 404), ({"device": 1, "count": 101}, 422),
                         ({"device": 1, "timeout_ms": 50_000, "count": 100, "spacing_ms": 100}, 422),
                         ({"device": 1, "location": "mars"}, 422), ({}, 422)]:
        assert post(stack, "/api/v1/ping", body).status_code == status, body
    assert stack.metrics("prober-1")["gema_prober_pings_total"] == before, "none reached the prober"
    bare = stack.session.post(f"http://127.0.0.1:{stack.port}/api/ping/test/{ADDRESSES[0]}",
                              headers={"Authorization": ""}, timeout=10)
    assert bare.status_code == 401


def test_pings_never_enter_history(stack):
    begin = now_ms()
    for _ in range(2):
        ping(stack, device=5, count=16, spacing_ms=130)
    report = recorded(stack, begin, now_ms())[5]
    assert report["unexpected"] == 0 and report["found"] == report["expected"] >= 3, report


# --- pause and resume

class Pause:
    began_ms = disturbed_ms = ended_ms = 0


def test_a_pause_stops_every_echo_and_is_shown_with_its_author(stack):
    wait_for("the silent one is down", lambda: stack.json("/api/v1/status")["silent"] == 2, 60)
    answer = post(stack, "/api/v1/probing/pause", {"by": "Siti", "reason": "work on the ring"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["probing"]["paused"] is True and answer.json()["probing"]["by"] == "Siti"
    Pause.began_ms = now_ms()
    wait_for("the prober is paused", lambda: prober_paused(stack, True), 5)

    # What was under way ends (timeout 0.5 s, bursts); the metrics follow within a second. Then none.
    state = {"last": None, "same_since": now_ms()}

    def still():
        sent = stack.metrics("prober-1")["gema_prober_echoes_sent_total"]
        if sent != state["last"]:
            state.update(last=sent, same_since=now_ms())
        return now_ms() - state["same_since"] > 6_000

    wait_for("no echo leaves for six intervals", still, 30)
    timeouts = stack.json("/api/ping/timeout/devices", min_consecutive=1)
    assert stack.json("/api/v1/status")["silent"] == 2, "nothing goes down by a pause"
    assert sorted(int(row["device_id"]) for row in timeouts["data"]) == [SILENT, UNREACHABLE]
    status = stack.json("/api/v1/status")
    assert status["probing"]["paused"] is True and status["probing"]["by"] == "Siti"
    assert status["probing"]["reason"] == "work on the ring"
    assert status["not_measured"] == DEVICES
    service = stack.json("/api/ping/service/status")
    assert service["service_running"] is False and service["paused_by"] == "Siti"
    assert service["paused_since"] and service["pause_reason"] == "work on the ring"


def test_repeating_a_pause_changes_nothing_and_a_ping_on_demand_still_works(stack):
    before = probing(stack)
    body = post(stack, "/api/ping/service/stop").json()
    assert body == {"success": True, "message": "Multi-Ping Service stopped",
                    "service_type": "Multi-Ping Service"}
    assert probing(stack) == before, "the first who paused stays named"
    assert ping(stack, device=1)["answered"] is True


@pytest.mark.parametrize("name", ["inventory", "prober-1", "broker", "gateway"])
def test_a_restart_while_paused_stays_paused(stack, name):
    counts = stack.json("/api/ping/timeout/devices", min_consecutive=1)["data"]
    Pause.disturbed_ms = Pause.disturbed_ms or now_ms()
    old = stack.kill(name, signal.SIGKILL)
    stack.wait_replaced(name, old)
    wait_for("still paused", lambda: (probing(stack) or {}).get("by") == "Siti", 30)
    wait_for("and at the prober", lambda: prober_paused(stack, True), 30)

    def as_before():
        body = stack.try_json("/api/ping/timeout/devices", min_consecutive=1)
        return body and [(r["device_id"], r["consecutive_timeouts"]) for r in body["data"]] == \
            [(r["device_id"], r["consecutive_timeouts"]) for r in counts]

    wait_for("the counts of timeouts are what they were", as_before, 30)


def test_a_pause_and_a_resumption_need_no_postgresql(stack):
    old = stack.kill("postgres", signal.SIGSTOP)
    try:
        assert post(stack, "/api/v1/probing/resume").status_code == 200
        wait_for("resumed", lambda: prober_paused(stack, False), 5)
        assert post(stack, "/api/v1/probing/pause", {"by": "Siti"}).status_code == 200
        wait_for("paused again", lambda: prober_paused(stack, True), 5)
    finally:
        stack.kill("postgres", signal.SIGCONT)
        assert stack.pid("postgres") == old


def test_after_a_resumption_the_first_slots_are_measured_and_nobody_was_down(stack):
    transitions = stack.sql("SELECT count(*) FROM transitions WHERE to_status = 2")[0][0]
    answer = post(stack, "/api/ping/service/start")
    assert answer.json() == {"success": True, "message": "Multi-Ping Service started",
                             "service_type": "Multi-Ping Service"}
    Pause.ended_ms = now_ms()
    wait_for("the prober probes", lambda: prober_paused(stack, False), 5)
    assert stack.json("/api/ping/service/status")["service_running"] is True
    wait_for("all but two answer", lambda: stack.json("/api/v1/status")["answered"] == DEVICES - 2, 10)
    recorded(stack, Pause.ended_ms, now_ms())
    assert stack.sql("SELECT count(*) FROM transitions WHERE to_status = 2")[0][0] == transitions


def test_history_has_every_slot_of_the_pause_with_the_name(stack):
    # Undisturbed: every slot, no other reason.
    begin, end = Pause.began_ms + 2000, Pause.disturbed_ms
    reports = recorded(stack, begin, end)
    for device, report in reports.items():
        assert report["unexpected"] == 0, (device, report)
        assert report["reasons"] == {"paused": report["expected"]}, (device, report)
        assert report["expected"] >= 4
        if device in (1, SILENT):
            rows = results(stack, device, begin, end)
            assert len(rows) == report["expected"]
            assert {(row["reason"], row["paused_by"]) for row in rows.values()} == {("paused", "Siti")}
    # With kills and a short resumption: no slot lacks a true reason, and none is a timeout of the
    # pause's making.
    reports = recorded(stack, Pause.disturbed_ms, Pause.ended_ms)
    for device, report in reports.items():
        assert report["unexpected"] == 0, (device, report)
        unmeasured = {reason for _, reason in report["not_measured_slots"]}
        assert unmeasured <= {"paused", "not running", "late"}, (device, report)
        assert device in (SILENT, UNREACHABLE) or report["failed"] == 0, (device, report)
    rows = wait_for("the audit is written", lambda: len(audit := stack.sql(
        "SELECT actor, action, changes->>'by' FROM audit WHERE device_id = 0 ORDER BY id")) >= 4
        and audit, 30)
    assert rows == [("admin", "probing.paused", "Siti"), ("admin", "probing.resumed", "admin"),
                    ("admin", "probing.paused", "Siti"), ("admin", "probing.resumed", "admin")]


# --- the rate, last: it uses up the minute

def test_too_many_pings_are_told_when_to_come_back(stack):
    answer = None
    for _ in range(250):
        answer = post(stack, f"/api/ping/test/{ADDRESSES[0]}")
        if answer.status_code != 200:
            break
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["Retry-After"]) >= 1
    assert "more than 100 pings a minute by this client" in answer.json()["error"]
    assert stack.json("/api/ping/latest")["count"] > 0, "other routes go on"
