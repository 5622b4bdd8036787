"""What is known of a check beyond its round trip time: seen live, kept in history, told by REST. The
stories share one running stack and build on each other, in order of the file."""
import lab as lab_module
import pytest
from stack import Stack, wait_for, write_devices

FINE, CUT = lab_module.addresses(2, first=41_000)
FINE_ID, CUT_ID = 1, 2


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(file, [FINE, CUT])
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
