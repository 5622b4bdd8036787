"""Proof of life: devices that answer no echo, and what their web servers and ports say instead. The
stories share one running stack and build on each other, in order of the file."""
import json

import lab as lab_module
import pytest
from stack import Stack, wait_for

# ids are 1, 2, ... in this order
WEB, JSON, TCP, RESET, PLAIN = lab_module.addresses(5, first=40_000)
INTERVAL_MS = 1000


@pytest.fixture(scope="module")
def servers(lab, tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    (site / "health").write_text('{"wan": [{"up": true}]}', encoding="utf-8")
    running = {address: lab.serve(address, 8080, site) for address in (WEB, JSON, TCP)}
    yield running
    for server in running.values():
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def stack(lab, servers, tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.csv"
    file.write_text(
        "ip_address,hostname,interval_s,timeout_ms,web_url,web_json,tcp_ports\n"
        f"{WEB},web,1,500,http://{WEB}:8080/,,\n"
        f"{JSON},json,1,500,{JSON}:8080/health,/wan/0/up=true,\n"
        f"{TCP},tcp,1,500,,,22;8080\n"
        f"{RESET},reset,1,500,,,22\n"
        f"{PLAIN},plain,1,500,,,\n", encoding="utf-8")
    lab.mute([WEB, JSON, TCP, RESET])
    made = Stack(devices=file, config="recorder: {chunk_every_s: 2}\n")
    try:
        made.start()
        yield made
    finally:
        made.close()


def latest(stack):
    """{hostname: its row}, or None while not all devices have one."""
    body = stack.try_json("/api/ping/latest", limit=10)
    rows = {row["hostname"]: row for row in body["data"]} if body else {}
    return rows if len(rows) == 5 else None


def up(stack):
    rows = latest(stack)
    return rows and {name for name, row in rows.items() if row["ping_success"] == "True"}


def checks(stack, device):
    """(verdict, reason) of each recorded check, oldest first."""
    return stack.sql("SELECT verdict, reason FROM ping_checks WHERE device_id = %s ORDER BY at", device)


def proofs(stack, kind, outcome):
    name = f'gema_prober_proofs_total{{kind="{kind}",outcome="{outcome}"}}'
    return stack.metrics("prober-1").get(name, 0)


def timeouts(stack):
    body = stack.try_json("/api/ping/timeout/devices", min_consecutive=3)
    return body and {row["hostname"] for row in body["data"]}


def silent(stack):
    """{hostname: why} of the first `silent` event of the live stream."""
    url = f"http://127.0.0.1:{stack.port}/api/v1/events"
    with stack.session.get(url, stream=True, timeout=30) as events:
        lines = events.iter_lines(decode_unicode=True)
        assert any(line == "event: silent" for line in lines)
        frame = json.loads(next(lines).removeprefix("data: "))
    return {device["hostname"]: device["why"] for device in frame["devices"]}


def test_who_answers_otherwise_is_up(stack):
    wait_for("the silent ones by their proofs", lambda: up(stack) == {"web", "json", "tcp", "plain"})
    wait_for("three failed checks of the other", lambda: timeouts(stack) == {"reset"})
    assert proofs(stack, "web", "alive") > 0 and proofs(stack, "tcp", "alive") > 0
    assert proofs(stack, "tcp", "connection reset") > 0, "a reset is no proof, and is said"
    assert "tcp 22: connection reset, no proof" in silent(stack)["reset"]
    for device, reason in ((1, "web alive"), (2, "web alive"), (3, "tcp alive")):
        wait_for(f"{reason} in history", lambda d=device, r=reason: ("answered", r) in checks(stack, d))
        assert not [check for check in checks(stack, device) if check[0] == "failed"]
    assert {check[0] for check in checks(stack, 4)} <= {"failed", "not measured"}
    assert {check[1] for check in checks(stack, 5)} <= {"none", "lossy", "late"}


def test_a_web_server_that_stops_is_down(stack, servers):
    for address in (WEB, JSON):
        servers[address].kill()
        servers[address].wait()
    wait_for("both are down", lambda: timeouts(stack) == {"web", "json", "reset"})
    wait_for("and only they", lambda: up(stack) == {"tcp", "plain"})
    assert proofs(stack, "web", "connection reset") > 0
    wait_for("failed in history", lambda: checks(stack, 1)[-1][0] == "failed")


def test_it_comes_back_with_the_right_answer_only(stack, servers, lab, tmp_path):
    (tmp_path / "health").write_text('{"wan": [{"up": false}]}', encoding="utf-8")
    for address in (WEB, JSON):
        servers[address] = lab.serve(address, 8080, tmp_path)
    wait_for("the page is enough for one", lambda: up(stack) == {"web", "tcp", "plain"})
    assert timeouts(stack) == {"json", "reset"}
    wait_for("why", lambda: "web: wrong body" in silent(stack).get("json", ""))
    wait_for("the other says what is wrong", lambda: proofs(stack, "web", "wrong body") > 0)


def test_the_api_gives_and_changes_what_proves_life(stack):
    device = stack.json("/api/v1/devices/2")["data"]
    assert device["web_url"] == f"http://{JSON}:8080/health" and device["web_json"] == "/wan/0/up=true"
    assert stack.json("/api/v1/devices/3")["data"]["tcp_ports"] == [22, 8080]
    url = f"http://127.0.0.1:{stack.port}/api/v1/devices/2"
    refused = stack.session.patch(url, json={"web_json": "wan=true"}, timeout=30)
    assert refused.status_code == 422 and "web_json" in refused.text
    taken = stack.session.patch(url, json={"web_json": "/wan/0/up=false"}, timeout=30)
    assert taken.status_code == 200 and taken.json()["data"]["web_json"] == "/wan/0/up=false"
    wait_for("up by the new value", lambda: "json" in (up(stack) or ()))
