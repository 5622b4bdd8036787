"""The CSV files of the multi-ping system (one a day, and who times out), as its users and their scripts meet them."""
import csv
import datetime
import io
import os
import pathlib
import shutil
import signal
import tempfile

import lab as lab_module
import pytest
import requests
from stack import Stack, wait_for

COLUMNS = ["timestamp", "device_id", "ip_address", "hostname", "ping_success", "response_time_ms", "error_message",
           "merk", "os", "kondisi", "id_lokasi"]
TIMEOUT_COLUMNS = ["ip_address", "hostname", "device_id", "merk", "os", "kondisi", "consecutive_timeouts",
                   "first_timeout", "last_timeout", "last_updated"]
ADDRESSES = lab_module.addresses(5)
# No daylight saving, and another date than UTC for eleven hours of the day.
ZONE, OFFSET = "Pacific/Honolulu", datetime.timedelta(hours=-10)


def local_now():
    return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + OFFSET


@pytest.fixture(scope="module")
def stack(lab, tmp_path_factory):
    devices = tmp_path_factory.mktemp("devices") / "devices.csv"
    devices.write_text("ip_address,hostname,merk,os,kondisi,interval_s,timeout_ms,id_lokasi\n"
                       f"{ADDRESSES[0]},POCC,Vivotek FD8377-HV,linux,baik,1,500,4\n"
                       f"{ADDRESSES[1]},silent,,,baik,1,500,\n"
                       f"{ADDRESSES[2]},\"=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\",+1,@x,-1,1,500,\n"
                       f"{ADDRESSES[3]},gone,,,hilang,1,500,\n"
                       f"{ADDRESSES[4]},,,,,1,500,\n", encoding="utf-8")
    lab.silence([ADDRESSES[1]])
    made = Stack(devices=devices, config=f"general: {{timezone: {ZONE}}}\nrecorder: {{csv_write_every_s: 1}}\n"
                 "timeout-tracker: {csv_write_every_s: 1}\n")
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def shared_directory():
    """One that whoever the services run as may write to."""
    made = pathlib.Path(tempfile.mkdtemp(prefix="gema-csv-", dir="/tmp"))
    made.chmod(0o777)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def post(stack, path, **parameters):
    return stack.session.post(f"http://127.0.0.1:{stack.port}{path}", params=parameters, timeout=30)


def directory(stack):
    return stack.data / "ping_results"


def file(stack):
    return directory(stack) / f"ping_results_{local_now():%Y%m%d}.csv"


def rows(stack):
    """The rows of today's file by device id; None while there is none."""
    try:
        text = file(stack).read_bytes().decode()
    except FileNotFoundError:
        return None
    assert text.endswith("\r\n")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    out = {int(row["device_id"]): row for row in reader}
    assert reader.fieldnames == COLUMNS
    return out


def newest(stack):
    found = rows(stack)
    return max(row["timestamp"] for row in found.values()) if found else ""


def timeouts(stack, where=None):
    """The rows of timeout_tracking.csv in its order; None while there is none."""
    try:
        text = (where or directory(stack) / "timeout_tracking.csv").read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    assert text.endswith("\r\n")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    out = list(reader)
    assert reader.fieldnames == TIMEOUT_COLUMNS
    assert all(len(row) == 10 and None not in row.values() for row in out)
    return out


def silent_ids(stack):
    return [int(row["device_id"]) for row in timeouts(stack) or []]


def count_of(stack, device):
    """(consecutive timeouts, first timeout) of a device in the file, or None."""
    return next(((int(row["consecutive_timeouts"]), row["first_timeout"]) for row in timeouts(stack) or []
                 if row["device_id"] == str(device)), None)


def test_the_file_has_one_row_per_device_and_is_kept_up_to_date(stack):
    found = wait_for("four devices in the file", lambda: (rows(stack) or {}).keys() == {1, 2, 3, 5} and rows(stack), 60)
    assert {key: found[1][key] for key in COLUMNS[1:5] + COLUMNS[6:]} == {
        "device_id": "1", "ip_address": ADDRESSES[0], "hostname": "POCC", "ping_success": "True",
        "error_message": "", "merk": "Vivotek FD8377-HV", "os": "linux", "kondisi": "baik", "id_lokasi": "4"}
    assert float(found[1]["response_time_ms"]) > 0
    assert abs(datetime.datetime.fromisoformat(found[1]["timestamp"]) - local_now()) < datetime.timedelta(minutes=2)
    assert found[2]["ping_success"] == "False" and found[2]["error_message"] == "No response (timeout)"
    assert found[2]["response_time_ms"] == ""
    assert found[5]["hostname"] == ADDRESSES[4]
    # What a spreadsheet would run is text.
    assert [found[3][key] for key in ("hostname", "merk", "os", "kondisi")] == [
        "'=HYPERLINK(\"http://x\",\"y\")", "'+1", "'@x", "'-1"]
    before = newest(stack)
    wait_for("the rows are replaced in place", lambda: newest(stack) > before, 30)
    assert (rows(stack) or {}).keys() == {1, 2, 3, 5}
    assert oct(file(stack).stat().st_mode & 0o777) == "0o644"


def test_the_files_are_listed_and_made_anew_by_call(stack):
    wait_for("a file", lambda: rows(stack), 60)
    listed = stack.json("/api/ping/csv/files")
    assert listed["success"] is True and listed["count"] == 1
    entry = listed["data"][0]
    assert entry["filename"] == file(stack).name and entry["date"] == f"{local_now():%Y-%m-%d}"
    assert entry["device_count"] == 4 and entry["size_bytes"] > 100
    assert abs(datetime.datetime.fromisoformat(entry["last_modified"]) - local_now()) < datetime.timedelta(minutes=2)
    answer = post(stack, "/api/ping/csv/rebuild")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"success": True, "device_count": 4, "note": "Duplicate ping prevention active",
                             "message": "CSV rebuild initiated successfully from cached database state"}
    assert post(stack, "/api/ping/csv/rebuild", date="tomorrow").status_code == 422
    anonymous = requests.post(f"http://127.0.0.1:{stack.port}/api/ping/csv/rebuild", timeout=30)
    assert anonymous.status_code == 401
    assert stack.json("/api/ping/service/status")["csv_output_directory"] == "ping_results"


def test_who_times_out_is_in_a_file_that_follows_devices_as_they_fail_and_recover(stack, lab):
    wait_for("the silent device", lambda: silent_ids(stack) == [2], 60)
    row = timeouts(stack)[0]
    assert row["ip_address"] == ADDRESSES[1] and row["hostname"] == "silent" and row["kondisi"] == "baik"
    first = datetime.datetime.fromisoformat(row["first_timeout"])
    last = datetime.datetime.fromisoformat(row["last_timeout"])
    assert row["last_updated"] == row["last_timeout"]
    assert round((last - first).total_seconds()) == int(row["consecutive_timeouts"]) - 1, "one a second"
    assert abs(last - local_now()) < datetime.timedelta(seconds=20)
    lab.silence([ADDRESSES[0], ADDRESSES[2]])
    try:
        wait_for("two more", lambda: sorted(silent_ids(stack)) == [1, 2, 3], 30)
        found = timeouts(stack)
        counts = [int(each["consecutive_timeouts"]) for each in found]
        assert counts == sorted(counts, reverse=True) and found[0]["device_id"] == "2"
        hostile = next(each for each in found if each["device_id"] == "3")
        assert [hostile[key] for key in ("hostname", "merk", "os", "kondisi")] == [
            "'=HYPERLINK(\"http://x\",\"y\")", "'+1", "'@x", "'-1"]
        # The routes name the file where it is, under both names, and say what it says.
        for base in ("/api", "/api/monitoring"):
            path = stack.json(f"{base}/ping/timeout/summary")["data"]["timeout_csv_path"]
            assert path == "ping_results/timeout_tracking.csv" and (stack.data / path).is_file()
            assert stack.json(f"{base}/ping/service/status")["timeout_tracking"]["csv_file"] == path
        told = stack.json("/api/ping/timeout/devices")["data"]
        assert sorted(each["device_id"] for each in told) == ["1", "2", "3"]
        assert {each["device_id"]: each["first_timeout"] for each in told} == {
            each["device_id"]: each["first_timeout"] for each in found}
        assert set(told[0]) == set(TIMEOUT_COLUMNS)
    finally:
        lab.answer([ADDRESSES[0], ADDRESSES[2]])
    wait_for("only the silent one is left", lambda: silent_ids(stack) == [2], 30)


def test_who_is_not_measured_stays_with_his_count(stack):
    wait_for("the silent device", lambda: silent_ids(stack) == [2], 60)
    url = f"http://127.0.0.1:{stack.port}/api/v1/probing"
    assert stack.session.post(f"{url}/pause", json={"by": "Siti"}, timeout=30).status_code == 200
    try:
        paused = 'gema_timeout_tracker_results_total{outcome="not measured"}'
        before = stack.metrics("timeout-tracker").get(paused, 0)
        wait_for("slots that were not measured", lambda: stack.metrics("timeout-tracker").get(paused, 0) > before + 12, 30)
        held = wait_for("a row", lambda: count_of(stack, 2), 10)
        before = stack.metrics("timeout-tracker")[paused]
        wait_for("more of them", lambda: stack.metrics("timeout-tracker")[paused] > before + 12, 30)
        assert count_of(stack, 2) == held
    finally:
        assert stack.session.post(f"{url}/resume", timeout=30).status_code == 200
    wait_for("it counts on", lambda: count_of(stack, 2)[0] > held[0] and count_of(stack, 2)[1] == held[1], 30)


def test_a_tracker_that_is_killed_goes_on_with_the_same_counts(stack):
    before = wait_for("the silent device", lambda: count_of(stack, 2), 60)
    for _ in range(3):
        pid = stack.kill("timeout-tracker", signal.SIGKILL)
        (directory(stack) / ".timeout_tracking.csv.1.new").write_text("left by a crash")
        (directory(stack) / "timeout_tracking.csv").write_text("spoiled")
        stack.wait_replaced("timeout-tracker", pid)
        spoiled = directory(stack) / "timeout_tracking.csv"
        wait_for("a whole file", lambda: spoiled.read_text() != "spoiled", 30)
        wait_for("it counts on", lambda: (count_of(stack, 2) or before)[0] > before[0], 30)
        assert count_of(stack, 2)[1] == before[1], "since when is not forgotten"
        assert silent_ids(stack) == [2]
        before = count_of(stack, 2)
        assert not list(directory(stack).glob(".timeout_tracking.csv.1.new"))


def test_a_directory_that_fails_is_said_and_costs_no_history(stack):
    wait_for("a file", lambda: rows(stack), 60)
    results = 'gema_recorder_results_total{stream="ping"}'
    directory(stack).rename(stack.data / "aside")
    directory(stack).write_text("in the way")
    try:
        wait_for("the recorder says so", lambda: "impaired: csv:" in stack.health("recorder")[1], 60)
        assert stack.health("recorder")[0] == 200, "it records all the same"
        wait_for("the tracker says so", lambda: "impaired: csv:" in stack.health("timeout-tracker")[1], 60)
        assert stack.health("timeout-tracker")[0] == 200, "it decides all the same"
        assert stack.metrics("timeout-tracker")["gema_timeout_tracker_csv_failing"] == 1
        wait_for("a metric does, too", lambda: stack.metrics("recorder")["gema_recorder_csv_failing"] == 1, 30)
        before = stack.metrics("recorder")[results]
        wait_for("results go on being recorded", lambda: stack.metrics("recorder")[results] > before + 5, 30)
        answer = post(stack, "/api/ping/csv/rebuild")
        assert answer.status_code == 500 and "Not a directory" in answer.json()["error"], answer.text
    finally:
        directory(stack).unlink()
        (stack.data / "aside").rename(directory(stack))
    for name in ("recorder", "timeout-tracker"):
        wait_for(f"all is well again with {name}", lambda: "impaired" not in stack.health(name)[1], 60)
    wait_for("the list of silent devices, too", lambda: silent_ids(stack) == [2], 30)


def test_after_a_kill_the_file_is_right_again_and_old_files_are_gone(stack):
    wait_for("a file", lambda: rows(stack), 60)
    old = [directory(stack) / f"ping_results_{local_now() - datetime.timedelta(days=days):%Y%m%d}.csv"
           for days in (40, 31, 30, 29)]
    for each in old:
        each.write_text("timestamp\r\n")
    (directory(stack) / ".ping_results_20200101.csv.1.new").write_text("left by a crash")
    pid = stack.kill("recorder", signal.SIGKILL)
    file(stack).write_text("spoiled")
    stack.wait_replaced("recorder", pid)
    wait_for("four devices in the file", lambda: "spoiled" not in file(stack).read_text() and
             (rows(stack) or {}).keys() == {1, 2, 3, 5}, 60)
    wait_for("old files are removed", lambda: [each.exists() for each in old] == [False, False, True, True], 30)
    assert not [name for name in os.listdir(directory(stack)) if name.startswith(".ping_results_2020")]


def test_without_the_recorder_the_routes_say_503(stack):
    pid = stack.pid("recorder")
    os.kill(pid, signal.SIGSTOP)
    try:
        for answer in (stack.get("/api/ping/csv/files"), post(stack, "/api/ping/csv/rebuild")):
            assert answer.status_code == 503
            assert answer.json() == {"success": False, "error": "Multi-ping service not available"}
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for("the routes answer again", lambda: stack.try_json("/api/ping/csv/files"), 30)


def test_by_option_one_row_per_result_the_newest_under_the_source_systems_names(stack, shared_directory):
    elsewhere = shared_directory
    stack.stop()
    (stack.data / ".env").write_text(f"CSV_OUTPUT_DIR={elsewhere}\nMAX_CSV_RECORDS=9\n")
    config = f"general: {{timezone: {ZONE}}}\nrecorder: {{csv_write_every_s: 1, csv_rows: results, csv_columns: short}}\n"
    (stack.data / "gema.yaml").write_text(config + "timeout-tracker: {csv_write_every_s: 1}\n")
    stack.start()

    def found():
        try:
            text = (elsewhere / f"ping_results_{local_now():%Y%m%d}.csv").read_bytes().decode()
        except FileNotFoundError:
            return None
        return list(csv.reader(io.StringIO(text, newline="")))

    lines = wait_for("nine results", lambda: len(found() or []) == 10 and found(), 60)
    assert lines[0] == COLUMNS[:7]
    times = [line[0] for line in lines[1:]]
    assert times == sorted(times) and {line[1] for line in lines[1:]} <= {"1", "2", "3", "5"}
    wait_for("newer ones", lambda: (found() or [[""]])[-1][0] > times[-1], 30)
    assert len(found()) == 10
    assert stack.json("/api/ping/service/status")["csv_output_directory"] == str(elsewhere)
    assert stack.json("/api/ping/csv/files")["data"][0]["device_count"] == 9

    # Who times out is there, too, until that file is switched off; the gateway notices by itself.
    where = elsewhere / "timeout_tracking.csv"
    wait_for("the silent device", lambda: timeouts(stack, where), 60)
    assert stack.json("/api/ping/timeout/summary")["data"]["timeout_csv_path"] == str(where)
    (stack.data / "gema.yaml").write_text(config + "timeout-tracker: {csv_write_every_s: 0}\n")
    stack.wait_replaced("timeout-tracker", stack.kill("timeout-tracker"))
    status = wait_for("no file is named", lambda: (stack.try_json("/api/ping/service/status") or {}).get(
        "timeout_tracking", {}).get("csv_file") is None and stack.try_json("/api/ping/service/status"), 60)
    assert status["timeout_tracking"]["enabled"] is True
    assert "timeout_csv_path" not in stack.json("/api/ping/timeout/summary")["data"]
