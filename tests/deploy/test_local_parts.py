"""The parts of deploy/local/up that decide something, without starting anything."""
import configparser
import ipaddress
import os
import pathlib
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/local"))

from gema_local import devices, identity, layout, postgres, processes, status, up  # noqa: E402

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def layout_of(path):
    return layout.Layout(path)


# --- DIR ---------------------------------------------------------------------------------------------

def test_the_longest_socket_still_fits_into_the_longest_directory():
    fits = "/" + "x" * (107 - len("/run/" + layout.LONGEST_SOCKET) - 1)
    layout_of(fits).check()
    with pytest.raises(layout.Refused, match="too long by 1 bytes"):
        layout_of(fits + "x").check()


def test_no_process_has_a_longer_socket_name_than_the_check_knows():
    who = identity.Identity(1, 1)
    names = [f"{p.name}.http.sock" for p in processes.all_processes(layout_of("/d"), who, 15, up.PROBERS_MAX) if p.health]
    names += ["bus-ingress.sock", ".s.PGSQL.5432", "supervisor.sock." + "9" * 7]
    assert max(map(len, names)) <= len(layout.LONGEST_SOCKET)


@pytest.mark.parametrize("path", ["/a b", "/a'b", "/a%b", "/a;b", "/a$b", "/a#b", "/a{b", "/a\nb", "/a\\b"])
def test_paths_that_some_configuration_file_would_misread_are_refused(path):
    with pytest.raises(layout.Refused):
        layout_of(path).check()


def test_a_relative_directory_and_a_link_become_one_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert layout_of("link").dir == layout_of("real").dir == tmp_path / "real"


def test_the_users_own_settings_do_not_make_a_directory_foreign(tmp_path):
    (tmp_path / "gema.yaml").write_text("")
    (tmp_path / ".env").write_text("")
    assert layout_of(tmp_path).foreign_names() == []
    (tmp_path / "b").write_text("")
    (tmp_path / "a").write_text("")
    assert layout_of(tmp_path).foreign_names() == ["a", "b"]
    (tmp_path / ".gema").write_text("{}")
    assert layout_of(tmp_path).foreign_names() == []


# --- who ---------------------------------------------------------------------------------------------

def test_a_closed_parent_is_found(tmp_path):
    (tmp_path / "closed/open").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    stranger = tmp_path.stat().st_uid + 12345
    assert identity.may_enter(tmp_path / "closed/open/new", tmp_path.stat().st_uid, 0)
    assert not identity.may_enter(tmp_path / "closed/open/new", stranger, stranger)
    (tmp_path / "closed").chmod(0o701)
    for parent in tmp_path.parents:
        if not identity.may_enter(parent, stranger, stranger):
            break
    else:
        assert identity.may_enter(tmp_path / "closed/open/new", stranger, stranger)


def test_a_file_that_others_may_not_read_is_found(tmp_path):
    owner = tmp_path.stat().st_uid
    file = tmp_path / "program"
    file.write_text("")
    for mode, mine, others in ((0o700, True, False), (0o644, True, True), (0o744, True, False), (0o755, True, True)):
        file.chmod(mode)
        assert identity.may_read(file, owner, 0) == mine
        if identity.may_enter(file, owner + 12345, owner + 12345):
            assert identity.may_read(file, owner + 12345, owner + 12345) == others, oct(mode)


@ROOT_ONLY
def test_parents_that_are_made_let_the_identity_pass():
    base = pathlib.Path("/tmp") / f"gema-parents-{os.getpid()}"
    old = os.umask(0o077)
    try:
        made = layout_of(base / "a/b/d")
        who = identity.choose(made, [])
        up.give_directory(made, who)
        assert not who.nested
        assert identity.may_enter(made.dir, who.uid, who.gid)
        assert (made.dir.stat().st_uid, made.dir.stat().st_mode & 0o777) == (who.uid, 0o700)
    finally:
        os.umask(old)
        subprocess.run(["rm", "-rf", str(base)], check=True)


@ROOT_ONLY
def test_root_becomes_a_number_without_account_the_owner_of_the_directory_or_itself_without_rights(tmp_path_factory):
    base = pathlib.Path("/tmp") / f"gema-who-{os.getpid()}"
    base.mkdir(mode=0o755)
    try:
        chosen = identity.choose(layout_of(base / "new"), [])
        assert (chosen.uid, chosen.nested) == (identity.free_uid(), False)
        (base / "owned").mkdir()
        os.chown(base / "owned", 4321, 4322)
        chosen = identity.choose(layout_of(base / "owned"), [])
        assert (chosen.uid, chosen.gid, chosen.nested) == (4321, 4322, False)
        (base / "closed").mkdir(mode=0o700)
        chosen = identity.choose(layout_of(base / "closed/new"), [])
        assert (chosen.uid, chosen.nested) == (0, True)
        # Code that the number could not read is as good as a closed directory.
        assert identity.choose(layout_of(base / "new"), [base / "closed"]).nested
        # A directory that already belongs to a number, in a place that was closed since.
        (base / "closed/d").mkdir()
        os.chown(base / "closed/d", 4321, 4321)
        with pytest.raises(layout.Refused, match="is closed to user number 4321"):
            identity.choose(layout_of(base / "closed/d"), [])
    finally:
        subprocess.run(["rm", "-rf", str(base)], check=True)


@ROOT_ONLY
@pytest.mark.parametrize("nested,caps", [(False, 1 << 13), (True, (1 << 13) | (1 << 31))])
def test_what_becomes_of_root_has_only_what_the_prober_needs(nested, caps):
    who = identity.Identity(0 if nested else 58731, 0 if nested else 58731, nested)
    text = subprocess.run([*identity.become(who), "cat", "/proc/self/status"], check=True, capture_output=True,
                          text=True).stdout
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(fields[name], 16) == caps, name
    assert fields["NoNewPrivs"] == "1"
    assert fields["Groups"].split() in ([], [str(who.gid)])


# --- the rest ----------------------------------------------------------------------------------------

def test_the_second_stage_gets_the_arguments_without_what_the_first_has_settled():
    assert up.strip_data(["--data", "x", "--port", "1", "--devices=y", "--detach", "--data=z"]) == \
        ["--port", "1", "--detach"]


def test_the_supervisor_reads_what_we_write(tmp_path):
    who = identity.Identity(1, 1, nested=True)
    programs = processes.all_processes(layout_of("/srv/a,b"), who, 15, 3)
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.read_string(processes.supervisor_sections(layout_of("/srv/a,b"), programs))
    assert len(parser.sections()) == len(programs) == 11
    for program in programs:
        section = parser[f"program:{program.name}"]
        words = shlex.split(section["command"].replace("%%", "%"))
        assert words[1:] == ["/srv/a,b", program.name, program.capability, *program.command]
        assert section["autorestart"] == "true"
    assert [p.name for p in programs if p.capability == "net_raw"] == ["prober-1", "prober-2", "prober-3"]


def test_stopping_goes_from_what_makes_data_to_what_keeps_it():
    order = {p.name: p.order for p in processes.all_processes(layout_of("/d"), identity.Identity(1, 1), 15, 1)}
    assert order["nginx"] > order["gateway"] > order["prober-1"] > order["timeout-tracker"]
    assert min(order["recorder"], order["timeout-tracker"]) > order["inventory"] > order["broker"]
    assert order["broker"] > order["redis"] and order["broker"] > order["postgres"]


def test_nginx_takes_its_configuration(tmp_path):
    made = layout_of(tmp_path)
    made.conf.mkdir()
    made.run.mkdir()
    up.render(made, "nginx.conf", 18099)
    text = (made.conf / "nginx.conf").read_text()
    assert "@" not in text.replace("@too", "").replace("@away", "")
    done = subprocess.run(["/usr/sbin/nginx", "-t", "-e", "stderr", "-p", str(tmp_path), "-c",
                           str(made.conf / "nginx.conf")], capture_output=True, text=True, check=False)
    assert "syntax is ok" in done.stderr, done.stderr
    assert "listen 127.0.0.1:18099" in text and "proxy_http_version 1.0" in text


def test_another_major_is_refused_and_an_installed_one_taken(tmp_path):
    made = layout_of(tmp_path)
    newest = postgres.installed_majors()[-1]
    assert postgres.major(made) == newest
    made.pg.mkdir()
    (made.pg / "PG_VERSION").write_text(f"{newest}\n")
    assert postgres.major(made) == newest
    for text in ("8\n", "", "9.6\n"):
        (made.pg / "PG_VERSION").write_text(text)
        with pytest.raises(layout.Refused, match="and this machine has"):
            postgres.major(made)


def test_the_default_devices_are_addresses_each_once():
    lines = devices.default_csv().splitlines()
    assert lines[0] == "ip_address,hostname,type"
    addresses = [ipaddress.ip_address(line.split(",")[0]) for line in lines[1:]]
    names = [line.split(",")[1] for line in lines[1:]]
    assert ipaddress.ip_address("127.0.0.1") in addresses
    assert len(set(addresses)) == len(addresses) and len(set(names)) == len(names)


def test_the_default_devices_leave_out_what_cannot_be_pinged(monkeypatch):
    monkeypatch.setattr(devices, "_default_gateways", lambda: iter(["192.0.2.1", "192.0.2.1"]))
    monkeypatch.setattr(devices, "_resolvers", lambda: iter(["fe80::1%eth0", "nonsense", "192.0.2.1", "192.0.2.53", "fe80::2"]))
    lines = devices.default_csv().splitlines()
    assert lines[1:4] == ["192.0.2.1,gateway,gateway", "192.0.2.53,resolver,resolver", "127.0.0.1,loopback,loopback"]


def test_the_live_line():
    body = {"devices": 4, "answered": 3, "silent": 1, "results_per_second": 0.8, "worst_lag_ms": 1.25,
            "rtt_min_ms": 0.125, "rtt_median_ms": 1, "rtt_max_ms": None,
            "processes": [{"name": "recorder", "ready": False}, {"name": "prober-1", "ready": True}]}
    assert status.StatusLine.describe(body) == \
        "4 devices  3 answered  1 silent  round trip 0.12/1.00/- ms  0.8 results/s  worst lag 1.2 ms  waiting: recorder"
    body["probing"] = {"paused": True, "by": "Siti\x1b[2J"}
    assert status.StatusLine.describe(body).startswith("paused by Siti?[2J  4 devices")
    body["probing"]["paused"] = False
    assert status.StatusLine.describe(body).startswith("4 devices")


def test_what_it_writes_is_whole_and_private(tmp_path):
    file = tmp_path / "x"
    (tmp_path / "x.new").symlink_to("/etc/passwd")  # is never followed
    up.write_file(file, "secret")
    assert file.read_text() == "secret" and file.stat().st_mode & 0o777 == 0o600
