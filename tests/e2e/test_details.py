"""What is known of a check beyond its round trip time: seen live, kept in history, told by REST. The
stories share one running stack and build on each other, in order of the file."""
import lab as lab_module
import pytest
from stack import Stack, wait_for, write_devices

FINE, CUT, LATE, TWICE = lab_module.addresses(4, first=41_000)
FINE_ID, CUT_ID, LATE_ID, TWICE_ID = 1, 2, 3, 4


@pytest.fixture(scope="module")
def answering(lab):
    running = [lab.answer_late([LATE], 0.7), lab.answer_late([TWICE], 0, copies=2)]
    yield
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def stack(lab, answering, tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(file, [FINE, CUT, LATE, TWICE])
    lab.unreachable([CUT])
    made = Stack(devices=file, config="recorder:\n  chunk_every_s: 2\n")
    try:
        made.start()
        yield made
    finally:
        made.close()


def results(stack, device, limit=1000):
    body = stack.try_json(f"/api/v1/devices/{device}/results", limit=limit)
    return body["data"] if body else []


def why(stack, device):
    body = stack.try_json(f"/api/v1/devices/{device}")
    return body and body["live"]["result"] and body["live"]["result"]["why"]


def failed(stack):
    return [r for r in results(stack, CUT_ID) if r["verdict"] == "failed"]


def test_the_live_view_says_who_said_unreachable(stack):
    text = wait_for("why", lambda: why(stack, CUT_ID))
    assert text.startswith("host unreachable, said by ")
    live = stack.json(f"/api/v1/devices/{CUT_ID}")["live"]["result"]
    assert live["echoes"][0] == {"outcome": "host unreachable"}
    note = live["notes"][0]
    assert (note["kind"], note["icmp_type"], note["icmp_code"]) == ("icmp error", 3, 1)
    assert note["said_by"] in (CUT, "192.0.2.2")
    assert wait_for("an answer", lambda: why(stack, FINE_ID) == "" or None) is True


def test_history_says_the_same_before_and_after_chunks(stack):
    first = wait_for("a failed check in history", lambda: failed(stack))[-1]
    assert first["why"].startswith("host unreachable, said by ") and first["notes"]
    # SQL reads chunks only.
    wait_for("it is in a chunk", lambda: stack.sql(
        "SELECT 1 FROM ping_checks WHERE device_id = %s AND reason = 'unreachable' AND at = %s",
        CUT_ID, first["at"]))
    assert first in failed(stack)
    assert stack.sql("SELECT count(*) FROM ping_chunks WHERE details IS NOT NULL AND device_id = %s",
                     CUT_ID)[0][0] > 0
    assert stack.sql("SELECT count(*) FROM ping_chunks WHERE details IS NOT NULL AND device_id = %s",
                     FINE_ID)[0][0] == 0, "nothing is kept of checks of which there is nothing to say"


def of_kind(stack, device, kind):
    """(result, note) of the device's results that have such a note, newest first."""
    return [(r, n) for r in results(stack, device) for n in r["notes"] if n["kind"] == kind]


def test_a_late_answer_is_told_beside_the_timeout_it_was_too_late_for(stack):
    result, note = wait_for("a late answer in history", lambda: of_kind(stack, LATE_ID, "late"))[-1]
    assert result["verdict"] == "failed" and result["reason"] == "timeout"
    assert {echo["outcome"] for echo in result["echoes"]} == {"timeout"}
    assert note["rtt_ms"] > 600 and "answered late, after " in result["why"]
    wait_for("it is in a chunk", lambda: stack.sql(
        "SELECT 1 FROM ping_checks WHERE device_id = %s AND reason = 'timeout' AND at = %s", LATE_ID,
        result["at"]))
    assert note in [n for r in results(stack, LATE_ID) if r["at"] == result["at"] for n in r["notes"]]
    assert not [r for r in results(stack, LATE_ID) if r["verdict"] == "answered"]


def test_a_second_answer_is_told_and_changes_nothing(stack):
    result, note = wait_for("a duplicate in history", lambda: of_kind(stack, TWICE_ID, "duplicate"))[0]
    assert result["verdict"] == "answered" and note["count"] >= 1
    assert {echo["outcome"] for echo in result["echoes"]} == {"reply"}


def test_a_prober_that_trusts_itself_says_so(stack):
    probers = stack.json("/api/v1/status")["probers"]
    assert [(p["name"], p["suspicion"]) for p in probers] == [("prober-1", "none")]


def test_history_keeps_who_paused(stack):
    answer = stack.session.post(f"http://127.0.0.1:{stack.port}/api/ping/service/stop", timeout=30)
    assert answer.status_code == 200

    def paused():
        return [r for r in results(stack, FINE_ID) if r["reason"] == "paused"]

    by = wait_for("a paused slot in history", paused)[-1]
    assert by["verdict"] == "not measured" and by["paused_by"] and by["why"] == f"paused by {by['paused_by']}"
    assert stack.json(f"/api/v1/devices/{FINE_ID}")["live"]["newest"]["paused_by"] == by["paused_by"]
    wait_for("it is in a chunk", lambda: stack.sql(
        "SELECT 1 FROM ping_checks WHERE device_id = %s AND reason = 'paused' AND at = %s", FINE_ID, by["at"]))
    assert by in paused()
