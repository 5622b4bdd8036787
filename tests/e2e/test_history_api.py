"""History by REST, as charts, reports and scripts ask for it: real checks of real addresses, each answer
compared with what the others and the database say. The stories share one running stack and build on each
other, in order of the file."""
import csv
import datetime
import io
import json
import subprocess

import lab as lab_module
import pytest
from stack import Stack, now_ms, wait_for, write_devices

FINE, GONE, LOSSY = lab_module.addresses(3, first=43_000)
FINE_ID, GONE_ID, LOSSY_ID = 1, 2, 3
ZONE = "Pacific/Honolulu"  # no daylight saving


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.csv"
    write_devices(file, [FINE, GONE, LOSSY])
    made = Stack(devices=file, config=f"general: {{timezone: {ZONE}}}\nrecorder: {{chunk_every_s: 2}}\n")
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def window(stack, lab):
    """20 s in which FINE answered all the time, and GONE was away for some; whole in history."""
    wait_for("results", lambda: columns(stack, FINE_ID)["count"] >= 3)
    begin = now_ms()
    wait_for("GONE answers", lambda: "answered" in words(columns(stack, GONE_ID, **{"from": begin})))
    lab.silence([GONE])
    wait_for("GONE is down", lambda: rows(stack, "/api/v1/outages"))
    lab.answer([GONE])
    wait_for("GONE is up", lambda: rows(stack, "/api/v1/outages")[0]["end"])
    wait_for("20 s", lambda: now_ms() > begin + 20_000)
    end = now_ms()
    for device in (FINE_ID, GONE_ID, LOSSY_ID):
        wait_for("all in history", lambda d=device: (column(columns(stack, d), "at") or [0])[-1] > end + 2000)
    return {"from": begin, "to": end}


def columns(stack, device, **parameters):
    return stack.json(f"/api/v1/devices/{device}/results", format="columns", **parameters)


def column(body, name):
    """One value for each result, whether the body tells it so or in runs."""
    if name in body["columns"]:
        values = body["columns"][name]
    elif name == "at":
        values = [first + i * step for first, step, number in body["runs"]["at"] for i in range(number)]
    else:
        values = [value for value, number in body["runs"][name] for _ in range(number)]
    assert len(values) == body["count"]
    return values


def words(body):
    return [body["verdicts"][str(v)] for v in column(body, "verdict")]


def rows(stack, path, **parameters):
    return stack.json(path, **parameters)["data"]


def rfc3339(ms):
    moment = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def error(stack, path, status, **parameters):
    answer = stack.get(path, **parameters)
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_columns_say_what_rows_say(stack, window):
    body = columns(stack, FINE_ID, **window)
    at = column(body, "at")
    assert body["count"] == len(at) >= 19 and at == sorted(at)
    assert all(window["from"] <= t < window["to"] for t in at)
    assert set(words(body)) == {"answered"}
    assert all(0 < rtt < 500_000 for rtt in body["columns"]["rtt_us"])
    by_row = rows(stack, f"/api/v1/devices/{FINE_ID}/results", limit=1000, **window)
    assert [row["rtt_ms"] for row in reversed(by_row)] == [rtt / 1000 for rtt in body["columns"]["rtt_us"]]
    assert body["names"][column(body, "location")[0]] == "default"
    # RFC 3339 is the same window.
    texts = {name: rfc3339(value) for name, value in window.items()}
    assert column(columns(stack, FINE_ID, **texts), "at") == at
    # What history's own audit found.
    audit, gaps = stack.audit(1, 1, window["from"], window["to"])
    assert gaps == 0 and audit[1]["found"] == body["count"]


def test_pages_add_up_to_the_whole(stack, window):
    whole = column(columns(stack, FINE_ID, **window), "at")
    collected, before = [], None
    while True:
        more = {} if before is None else {"before": before}
        page = columns(stack, FINE_ID, limit=7, **window, **more)
        collected = column(page, "at") + collected
        before = page["next_before"]
        if before is None:
            break
    assert collected == whole


def test_a_series_sums_up_the_results(stack, window):
    body = stack.json(f"/api/v1/devices/{GONE_ID}/series", points=4, quantiles="0,50,100", **window)
    one = body["series"][0]["columns"]
    assert body["step_ms"] > 0 and len(one["at"]) <= 4
    results = columns(stack, GONE_ID, **window)
    assert sum(one["answered"]) == words(results).count("answered")
    assert sum(one["failed"]) == words(results).count("failed") > 0
    # Many points: each is a result.
    fine = stack.json(f"/api/v1/devices/{FINE_ID}/series", points=1000, **window)
    assert fine["step_ms"] == 0
    assert fine["series"][0]["columns"]["at"] == column(columns(stack, FINE_ID, **window), "at")
    group = stack.json("/api/v1/series", device=f"{FINE_ID},{GONE_ID}", points=1, **window)
    counted = [columns(stack, d, **window)["count"] for d in (FINE_ID, GONE_ID)]
    merged = group["series"][0]["columns"]
    assert merged["answered"][0] + merged["failed"][0] + merged["not_measured"][0] == sum(counted)


def test_the_outage_is_told_by_all_routes(stack, window):
    outage = rows(stack, f"/api/v1/devices/{GONE_ID}/outages")[0]
    assert outage["address"] == GONE and outage["hostname"] == "host-2"
    assert not outage["active"] and outage["reason"] == "timeout" and outage["failures_to_confirm"] == 3
    begin, end = (datetime.datetime.fromisoformat(outage[k].replace("Z", "+00:00")).timestamp() * 1000
                  for k in ("start", "end"))
    assert abs(end - begin - outage["duration_ms"]) < 1
    results = columns(stack, GONE_ID, **window)
    failed = [t for t, word in zip(column(results, "at"), words(results)) if word == "failed"]
    assert failed[0] == round(begin) and failed[-1] < end and outage["failed_checks"] == len(failed)
    assert rows(stack, "/api/v1/outages", active=1) == []
    assert rows(stack, f"/api/v1/devices/{FINE_ID}/outages") == []

    body = stack.json(f"/api/v1/devices/{GONE_ID}/availability", **window)
    total = body["total"]
    assert total["up_ms"] + total["down_ms"] + total["not_measured_ms"] == window["to"] - window["from"]
    assert total["failed"] == len(failed) and total["outages"] == 1
    assert 0 < total["up_percent"] < 100
    days = stack.json(f"/api/v1/devices/{GONE_ID}/availability", period="day", hours=49)
    labels = days["columns"]["label"]
    assert len(labels) in (3, 4) and days["timezone"] == ZONE
    honolulu = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=10)
    assert labels[-1] == f"{honolulu:%Y-%m-%d}"
    # A local midnight is at 10:00 UTC.
    assert all(ms % 86_400_000 == 36_000_000 for ms in days["columns"]["from"][1:])


def test_statistics_of_all_are_the_sum_of_each(stack, window):
    body = stack.json("/api/v1/statistics", per_device=1, percentiles="smoke", **window)
    assert body["columns"]["device_id"] == [FINE_ID, GONE_ID, LOSSY_ID]
    for name in ("answered", "failed", "not_measured", "echoes_sent"):
        assert sum(body["columns"][name]) == body["total"][name], name
    assert body["columns"]["answered"][0] == columns(stack, FINE_ID, **window)["count"]
    rtts = sorted(columns(stack, FINE_ID, **window)["columns"]["rtt_us"])
    median = rtts[(len(rtts) + 1) // 2 - 1]
    assert abs(body["columns"]["p50"][0] - median) <= 0.01 * median + 1
    old = stack.json("/api/ping/statistics", hours=1)["statistics"]
    assert old["total_devices"] == 3 and old["failed_pings"] >= body["total"]["failed"]


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_an_export_piped_by_curl_is_what_history_holds(stack, window, form):
    token = stack.session.headers["Authorization"]
    done = subprocess.run(
        ["curl", "-sS", "--fail", "--noproxy", "*", "-H", f"Authorization: {token}", "-G",
         f"http://127.0.0.1:{stack.port}/api/v1/export", "-d", f"format={form}",
         "-d", f"from={window['from']}", "-d", f"to={window['to']}"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    exported = (list(csv.DictReader(io.StringIO(text, newline=""))) if form == "csv"
                else [json.loads(line) for line in text.splitlines()])
    for device in (FINE_ID, GONE_ID, LOSSY_ID):
        body = columns(stack, device, **window)
        mine = [row for row in exported if int(row["device_id"]) == device]
        assert [row["at"] for row in mine] == [rfc3339(t) for t in column(body, "at")]
        assert [row["verdict"] for row in mine] == words(body)
        assert [int(row.get("rtt_mean_us") or 0) for row in mine] == [rtt or 0 for rtt in body["columns"]["rtt_us"]]
    assert len(exported) == sum(columns(stack, d, **window)["count"] for d in (1, 2, 3))


@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_an_export_says_where_a_stored_row_does_not_decode(stack, window, form):
    """Status and headers have left long before: a line stands in the row's place, also behind nginx."""
    stack.sql_do("SELECT history_make_leaf_at('ping_chunks', %s)", hour(-3))
    stack.sql_do("INSERT INTO ping_chunks (device_id, start_ms, part, step_ms, location_id, producer_id, clock_steps,"
                 " echoes, results, packed) SELECT %s, %s, 7, 1000, id, id, 0, 1, 60, '\\x63' FROM history_names LIMIT 1",
                 FINE_ID, hour(-3))
    try:
        text = stack.get("/api/v1/export", format=form, hours=5).text
    finally:
        stack.sql_do("DELETE FROM ping_chunks WHERE part = 7 AND start_ms = %s", hour(-3))
    exported = (list(csv.DictReader(io.StringIO(text, newline=""))) if form == "csv"
                else [json.loads(line) for line in text.splitlines()])
    first = exported[0]
    assert (first["at"], int(first["device_id"]), first["verdict"], first["reason"]) == (
        rfc3339(hour(-3)), FINE_ID, "unreadable", "ping_chunks part 7")
    assert [row["verdict"] for row in exported].count("unreadable") == 1 and len(exported) > 20
    wait_for("counted", lambda: stack.metrics("gateway")["gema_gateway_exports_unreadable_rows"] >= 1)


def test_an_export_that_breaks_off_is_an_error_to_the_client(stack, window):
    """The gateway dies while a slow client reads: curl must not take what it has for the whole."""
    stack.sql_do("INSERT INTO history_names (name) VALUES ('made')")
    # A day at 10 Hz, so that the export is larger than all buffers on the way.
    stack.sql_do("SELECT history_make_leaf_at('ping_chunks', %s + h * 3600000::bigint)"
                 " FROM generate_series(0, 23) h", hour(-30))
    stack.sql_do(
        "INSERT INTO ping_chunks (device_id, start_ms, part, step_ms, location_id, producer_id, clock_steps, echoes,"
        " samples) SELECT %s, %s + h * 3600000::bigint, 999999, 100, n.id, n.id, 0, 1, array_fill(1234, ARRAY[36000])"
        " FROM generate_series(0, 23) h, history_names n WHERE n.name = 'made'", LOSSY_ID, hour(-30))
    token = stack.session.headers["Authorization"]
    url = f"http://127.0.0.1:{stack.port}/api/v1/export?device={LOSSY_ID}&hours=48"
    command = ["curl", "-sS", "--noproxy", "*", "-H", f"Authorization: {token}", url]
    whole = subprocess.run([*command, "-o", "/dev/null", "-w", "%{size_download}"], capture_output=True, timeout=120)
    assert whole.returncode == 0 and int(whole.stdout) > 40_000_000, whole
    pid = stack.pid("gateway")
    slow = subprocess.Popen([*command, "--limit-rate", "1M"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert slow.stdout.read(1000).startswith(b"at,device_id")
    stack.kill("gateway")
    rest, complaint = slow.communicate(timeout=60)
    assert slow.returncode == 18, (slow.returncode, complaint, len(rest))  # transfer closed
    stack.wait_replaced("gateway", pid)


def test_two_exports_at_once_and_no_more(stack, window):
    """Charts go on meanwhile, and an export whose client left makes room."""
    wait_for("the catalogue", lambda: stack.try_json("/api/ping/status"))
    token = stack.session.headers["Authorization"]
    url = f"http://127.0.0.1:{stack.port}/api/v1/export?device={LOSSY_ID}&hours=48"
    command = ["curl", "-sS", "--noproxy", "*", "--limit-rate", "100K", "-H", f"Authorization: {token}", url]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    try:
        for client in clients:
            assert client.stdout.read(100)
        assert "2 exports are under way" in error(stack, "/api/v1/export", 503, device=FINE_ID)
        assert columns(stack, FINE_ID, **window)["count"] >= 19
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    wait_for("room", lambda: stack.get("/api/v1/export", device=FINE_ID, hours=1).status_code == 200)
    wait_for("counted", lambda: stack.metrics("gateway")["gema_gateway_exports_broken_off"] >= 2)


def hour(back):
    return (now_ms() // 3_600_000 + back) * 3_600_000


def test_bad_questions_get_the_right_status_and_one_sentence(stack):
    base = f"/api/v1/devices/{FINE_ID}"
    at, soon = rfc3339(hour(0)), rfc3339(hour(1))
    assert error(stack, f"{base}/results", 422, **{"from": soon, "to": at}) == \
        f'from = "{soon}": must be before to = "{at}"'
    assert "points = \"0\"" in error(stack, f"{base}/series", 422, points=0)
    assert "points = \"1000000\"" in error(stack, f"{base}/series", 422, points=1_000_000)
    assert "2000 to 2099" in error(stack, f"{base}/availability", 422, **{"from": now_ms() // 1000})
    for route in ("results", "series", "outages", "availability"):
        assert error(stack, f"/api/v1/devices/77/{route}", 404).startswith("no device 77: ")
    assert error(stack, "/api/v1/export", 404, device=77) == "no device 77"


def test_the_history_of_a_removed_device_stays_readable(stack, window):
    before = columns(stack, GONE_ID, **window)["count"]
    url = f"http://127.0.0.1:{stack.port}/api/v1/devices/{GONE_ID}"
    assert stack.session.delete(url, timeout=30).status_code == 204
    wait_for("it is gone", lambda: stack.get(f"/api/v1/devices/{GONE_ID}").status_code == 404)
    assert columns(stack, GONE_ID, **window)["count"] == before
    assert rows(stack, f"/api/v1/devices/{GONE_ID}/outages", **window)[0]["hostname"] is None
    text = stack.get("/api/v1/export", device=GONE_ID, **window).text
    assert text.count("\r\n") == before + 1 and GONE in text


def test_cleanup_says_what_would_go_and_removes_it(stack):
    def clean(**body):
        answer = stack.session.post(f"http://127.0.0.1:{stack.port}/api/v1/history/cleanup", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    old = hour(-24 * 5)
    stack.sql_do("SELECT history_make_leaf_at('ping_packed', %s)", old)
    would = clean(older_than_days=3, dry_run=True)
    assert would["partitions"] >= 1 and would["dry_run"]
    assert clean(older_than_days=3)["partitions"] == would["partitions"]
    assert clean(older_than_days=3)["partitions"] == 0
    overview = stack.json("/api/v1/history")
    assert overview["cleaned_up_to"] == would["before"] and overview["bytes"] > 0
    assert overview["broken_rows"] == 0 and overview["gaps"] == 0


def test_without_the_database_each_says_so_and_live_routes_go_on(stack):
    pid = stack.kill("postgres")
    answer = stack.get(f"/api/v1/devices/{FINE_ID}/series")
    assert answer.status_code in (200, 503)  # a supervisor may have been faster
    assert stack.json("/api/ping/status")["success"]
    stack.wait_replaced("postgres", pid)
    wait_for("history again", lambda: stack.try_json(f"/api/v1/devices/{FINE_ID}/series"))
