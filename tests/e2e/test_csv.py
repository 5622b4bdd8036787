"""The daily CSV files of the multi-ping system, as its users and their scripts meet them."""
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
    made = Stack(devices=devices, config=f"general: {{timezone: {ZONE}}}\nrecorder: {{csv_write_every_s: 1}}\n")
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


def test_a_directory_that_fails_is_said_and_costs_no_history(stack):
    wait_for("a file", lambda: rows(stack), 60)
    results = 'gema_recorder_results_total{stream="ping"}'
    directory(stack).rename(stack.data / "aside")
    directory(stack).write_text("in the way")
    try:
        wait_for("the recorder says so", lambda: "impaired: csv:" in stack.health("recorder")[1], 60)
        assert stack.health("recorder")[0] == 200, "it records all the same"
        wait_for("a metric does, too", lambda: stack.metrics("recorder")["gema_recorder_csv_failing"] == 1, 30)
        before = stack.metrics("recorder")[results]
        wait_for("results go on being recorded", lambda: stack.metrics("recorder")[results] > before + 5, 30)
        answer = post(stack, "/api/ping/csv/rebuild")
        assert answer.status_code == 500 and "Not a directory" in answer.json()["error"], answer.text
    finally:
        directory(stack).unlink()
        (stack.data / "aside").rename(directory(stack))
    wait_for("all is well again", lambda: "impaired" not in stack.health("recorder")[1], 60)


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
    (stack.data / "gema.yaml").write_text(f"general: {{timezone: {ZONE}}}\nrecorder: {{csv_write_every_s: 1, "
                                          "csv_rows: results, csv_columns: short}\n")
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
