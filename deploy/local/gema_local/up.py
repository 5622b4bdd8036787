"""Starts Gema on this machine: database, Redis, nginx and all processes, in one directory.

Two stages. The first runs as whoever called: it installs, builds, decides who the processes will be
(identity.py), makes DIR theirs and becomes them. The second has no rights left but those of DIR and
the prober's raw sockets: it writes settings, makes keys, token and database, starts the supervisor
and waits until everything says that it is ready.
"""
import argparse
import fcntl
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from gema_local import console, devices, identity, postgres, processes, status  # noqa: E402
from gema_local.layout import BIN, ROOT, Layout, Refused  # noqa: E402
from gema_local.supervisor import Supervisor, unix_get  # noqa: E402

READY_SECONDS = 120
STARTS_MAX = 6  # of one process, until all are ready
PROBERS_MAX = 64
DEVICE_LINES_SHOWN = 10

HELP = """\
Starts Gema on this machine and shows what it sees. Installs what is missing (with sudo where you
are not root), builds, and runs an own PostgreSQL, Redis and nginx beside its processes. Everything
it keeps is in one directory; nothing else on the machine is touched.

  deploy/local/up                                watch this machine's gateway, resolvers, loopback
  deploy/local/up --devices my-hosts.csv         watch these (columns by name: ip_address, hostname,
                                                 merk, os, interval_s, ...; README says which)
  deploy/local/up --data /srv/gema --detach      come back when all is ready, keep running
  deploy/local/up --data /srv/gema --probers 4   while it runs: so many probers from now on
  deploy/local/down --data /srv/gema             stop that one

Ctrl-C stops everything cleanly; the next start goes on where this one stopped.
Settings: DIR/gema.yaml (deploy/config/gema.yaml shows every key), environment GEMA_SECTION__KEY.
In DIR you find: admin.token (for the page and the API), url, log/<name>.log, run/<name>.pid.
"""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="deploy/local/up", description=HELP,
                                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--data", metavar="DIR", default="var", help="where everything is kept (default: ./var)")
    parser.add_argument("--port", type=int, default=8080,
                        help="HTTP port on 127.0.0.1 (default: 8080; 0: any free one, see DIR/url)")
    parser.add_argument("--devices", metavar="FILE", help="a .csv or .yaml file; it is read again at each start with it")
    parser.add_argument("--probers", metavar="N", type=int,
                        help="how many probers (default: 1). While Gema runs: starts or stops some")
    parser.add_argument("--detach", action="store_true", help="return as soon as all is ready")
    parser.add_argument("--no-install", action="store_true", help="never call apt; say what is missing")
    parser.add_argument("--second-stage", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        raise Refused(f"--port {options.port}: must be 0 to 65535")
    if options.probers is not None and not 1 <= options.probers <= PROBERS_MAX:
        raise Refused(f"--probers {options.probers}: must be 1 to {PROBERS_MAX}")
    return options


# --- first stage: as whoever called -----------------------------------------------------------------

def read_devices(name):
    """The file's bytes and its suffix. Read here: the stack may not be allowed to."""
    path = pathlib.Path(name)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".yaml", ".yml"):
        raise Refused(f"--devices {name}: must be a .csv or a .yaml file")
    try:
        return path.read_bytes(), ".csv" if suffix == ".csv" else ".yaml"
    except OSError as error:
        raise Refused(f"--devices {name}: {error.strerror.lower()}") from error


def refuse_if_running(layout):
    if Supervisor(layout).running():
        raise Refused(f"--data {layout.dir}: is in use by a running Gema (deploy/local/down --data {layout.dir} "
                      "stops it)")


def check_port(port):
    """The port to use. Raises Refused when somebody listens on it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nginx does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Refused(f"--port {port}: {'is in use' if port >= 1024 else error.strerror.lower()}"
                          " on 127.0.0.1") from error
        return probe.getsockname()[1]


def tool(*command):
    if subprocess.run([str(ROOT / command[0]), *command[1:]], check=False, stdout=sys.stderr).returncode != 0:
        raise SystemExit(2)  # it has said why


def needed_files():
    """What the second stage and the processes read of the checkout."""
    return [BIN, *BIN.glob("gema-*"), *(path for path in processes.HERE.rglob("*") if path.is_file())]


def give_directory(layout, who):
    """Makes DIR and gives it to the identity. The user's own settings in it become the identity's, too."""
    foreign = layout.foreign_names()
    if foreign:
        raise Refused(f"--data {layout.dir}: holds other things already ({', '.join(foreign[:3])}"
                      f"{', ...' if len(foreign) > 3 else ''}); give a new or an empty directory")
    fresh = not layout.is_ours()
    try:
        for parent in reversed(layout.dir.parents):
            if not parent.exists():
                parent.mkdir()
                parent.chmod(0o755)  # whatever the umask: the identity must pass
        layout.dir.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0 and fresh:
            for name in os.listdir(layout.dir):
                os.chown(layout.dir / name, who.uid, who.gid, follow_symlinks=False)
            os.chown(layout.dir, who.uid, who.gid, follow_symlinks=False)
        os.chmod(layout.dir, 0o700)
    except OSError as error:
        raise Refused(f"--data {layout.dir}: {error.strerror.lower()}") from error


def hand_over(layout, who, plan):
    """Passes the plan and the environment on through a file that only the identity can read."""
    path = layout.dir / f".start-{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, who.uid, who.gid)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(plan, file)
    return path


def first_stage(options, arguments):
    layout = Layout(options.data)
    layout.check()
    identity.check_owner(layout)
    given = read_devices(options.devices) if options.devices else None
    if options.probers is not None and not given and Supervisor(layout).running():
        change_probers_first_stage(layout, arguments)
    refuse_if_running(layout)
    if options.port != 0:
        check_port(options.port)
    tool("tools/install", *(["--no-install"] if options.no_install else []), "build", "run")
    tool("tools/build", "services")
    postgres.major(layout)
    who = identity.choose(layout, needed_files())
    if who.nested:
        identity.check_nested()
    give_directory(layout, who)
    prefix = identity.become(who)
    plan = {"environment": dict(os.environ, HOME=str(layout.dir)), "nested": who.nested,
            "devices": given and [given[0].decode("utf-8", "surrogateescape"), given[1], os.path.abspath(options.devices)]}
    path = hand_over(layout, who, plan)
    os.chdir("/")  # where we came from may be closed to the identity
    os.execvp((prefix or [sys.executable])[0],
              [*prefix, sys.executable, "-B", str(pathlib.Path(__file__).resolve()), "--second-stage", str(path),
               *strip_data(arguments), "--data", str(layout.dir)])


def change_probers_first_stage(layout, arguments):
    who = identity.choose(layout, needed_files())
    prefix = identity.become(who)
    plan = {"environment": dict(os.environ, HOME=str(layout.dir)), "nested": who.nested, "devices": None,
            "change_probers": True}
    path = hand_over(layout, who, plan)
    os.chdir("/")
    os.execvp((prefix or [sys.executable])[0],
              [*prefix, sys.executable, "-B", str(pathlib.Path(__file__).resolve()), "--second-stage", str(path),
               *strip_data(arguments), "--data", str(layout.dir)])


def strip_data(arguments):
    """The arguments without those that the first stage has made absolute or read."""
    out, skip = [], False
    for word in arguments:
        if skip:
            skip = False
        elif word in ("--data", "--devices"):
            skip = True
        elif not word.startswith(("--data=", "--devices=")):
            out.append(word)
    return out


# --- second stage: as the identity ------------------------------------------------------------------

def write_file(path, text, mode=0o600):
    """Whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(fresh, path)


def render(layout, name, port=0, more=""):
    text = (processes.HERE / "templates" / name).read_text(encoding="utf-8")
    write_file(layout.conf / name, text.replace("@DIR@", str(layout.dir)).replace("@PORT@", str(port)) + more)


def take_lock(layout):
    """Held while starting, so that two starts do not meet."""
    lock = open(layout.dir / ".lock", "w", encoding="ascii")  # noqa: SIM115: held until the end
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Refused(f"--data {layout.dir}: is in use by another deploy/local/up") from error
    return lock


def make_directories(layout):
    for path in (layout.run, layout.log, layout.conf, layout.redis, layout.imports, layout.dir / "state",
                 layout.dir / "spool"):
        path.mkdir(mode=0o700, exist_ok=True)
    for path in layout.dir.glob(".start-*"):
        path.unlink(missing_ok=True)
    # What is left of a run that ended badly. The supervisor's death took its processes with it.
    for path in layout.run.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_configuration(layout, programs):
    """Every process checks its settings; what several say is shown once."""
    lines = []
    for program in programs:
        done = subprocess.run([*program.command, "--check-config"], capture_output=True, text=True, check=False)
        for line in done.stderr.splitlines():
            text = line.split(": ", 1)[1] if line.startswith("gema-") and ": " in line else line
            if text and text not in lines:
                lines.append(text)
                console.complain(f"{'wrong setting' if done.returncode else 'note'}: {text}")
        if done.returncode != 0 and not done.stderr.strip():
            lines.append("?")
            console.complain(f"wrong setting: {program.name} --check-config ended with {done.returncode}")
        if done.returncode != 0:
            lines.append(None)
    if None in lines:
        raise Refused(f"nothing was started; correct {layout.dir}/gema.yaml or the environment")


def make_keys(layout, programs):
    clients = [program.name for program in programs if program.health and program.name != "broker"]
    command = [str(BIN / "gema-broker"), "--make-keys", str(layout.dir)]
    for name in [*clients, "cli"]:
        command += ["--client", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Refused(f"cannot make the keys of the bus: {(done.stderr or done.stdout).strip()}")


def make_token(layout):
    """Returns True when this start made it."""
    if layout.token.exists():
        return False
    write_file(layout.token, "gema_" + secrets.token_urlsafe(32) + "\n")
    return True


def check_devices(path, name):
    """Shows the bad lines, which are left out. Raises Refused when there is no good one."""
    done = subprocess.run([str(BIN / "gema-inventory"), "--check-devices", str(path)], capture_output=True, text=True,
                          check=False)
    lines = [line.removeprefix("gema-inventory: ").replace(str(path), name) for line in done.stderr.splitlines()]
    if done.returncode != 0:
        raise Refused(f"--devices {lines[-1] if lines else name}")
    for line in lines[:DEVICE_LINES_SHOWN]:
        console.complain(f"left out: {line}")
    if len(lines) > DEVICE_LINES_SHOWN:
        console.complain(f"left out: {len(lines) - DEVICE_LINES_SHOWN} more lines "
                         f"({BIN}/gema-inventory --check-devices {name} shows all)")


def devices_setting(layout, given, first):
    """The devices file for inventory, or None: it goes on with what it has."""
    if given:
        text, suffix, name = given
        path = layout.imports / f"devices{suffix}"
        write_file(path, text.encode("utf-8", "surrogateescape"))
        check_devices(path, name)
        return path
    if first:
        path = layout.imports / "devices.csv"
        write_file(path, devices.default_csv())
        return path
    return None


def start_supervisor(layout, environment):
    log = open(layout.log / "supervisor.err", "wb")  # noqa: SIM115: inherited
    return subprocess.Popen(["/usr/bin/supervisord", "-n", "-c", str(layout.conf / "supervisord.conf")],
                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment,
                            cwd=layout.dir, start_new_session=True)


def redis_answers(layout):
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1)
            connection.connect(str(layout.run / "redis.sock"))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def http_ready(port):
    try:
        return status.get(port, "/readyz", None, timeout=1)[0] == 200
    except OSError:
        return False


def not_ready(layout, programs, port):
    """{name: what it waits for} of everything that is not ready yet."""
    waiting = {}
    for program in programs:
        if program.name == "redis":
            if not redis_answers(layout):
                waiting["redis"] = "does not answer yet"
        elif program.health:
            try:
                code, text = unix_get(layout.run / f"{program.name}.http.sock", "/readyz")
                if code != 200:
                    waiting[program.name] = "; ".join(text.split("\n")).strip("; ") or "not ready"
            except OSError:
                waiting[program.name] = "starting"
    if not waiting and not http_ready(port):
        waiting["nginx"] = "does not answer yet"
    return waiting


def tail(path, lines=8):
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
    except OSError:
        return []


class StartFailed(Exception):
    """Some process will not come up."""


def wait_until_ready(layout, programs, port, daemon):
    supervisor = Supervisor(layout)
    started = time.monotonic()
    starts = {}  # name -> start times seen
    while True:
        waiting = not_ready(layout, programs, port)
        if not waiting:
            return time.monotonic() - started
        if daemon.poll() is not None:
            raise StartFailed("the supervisor ended: " + " ".join(tail(layout.log / "supervisor.err", 3)))
        try:
            for name, info in supervisor.processes().items():
                starts.setdefault(name, set()).add(info["start"])
                # Exit status 2 of ours is a start that cannot work (service_main.h): no use in trying on.
                final = name in waiting and info["exitstatus"] == 2 and len(starts[name]) > 2
                if final or len(starts[name]) > STARTS_MAX:
                    raise StartFailed(f"{name} does not start:\n  " + "\n  ".join(tail(layout.log / f"{name}.log")))
        except OSError:
            pass
        if time.monotonic() - started > READY_SECONDS:
            name, why = next(iter(waiting.items()))
            raise StartFailed(f"not ready after {READY_SECONDS} s; {name}: {why}\n  " +
                              "\n  ".join(tail(layout.log / f"{name}.log")))
        name, why = next(iter(waiting.items()))
        console.live(console.dim(f"starting: {name}: {why}" +
                                 (f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else "")))
        time.sleep(0.05)


def stop_all(layout, daemon=None):
    """Returns True when everything ended."""
    def progress(left):
        console.live(console.dim("stopping: " + ", ".join(left)))
    try:
        done = Supervisor(layout).stop(progress)
    except OSError:
        if daemon is None or daemon.poll() is not None:
            return True
        daemon.terminate()  # it does not listen yet, but stops its processes as well
        done = True
    if daemon is not None and done:
        daemon.wait()
    for path in layout.run.glob("*.pid"):
        path.unlink(missing_ok=True)
    return done


class Interrupted(Exception):
    """Ctrl-C, a closed terminal, or SIGTERM."""


def on_signal(_number, _frame):
    # Only once: the way down must not be interrupted halfway.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def show_address(layout, port, new_token, who, seconds, count):
    token = layout.token.read_text(encoding="ascii").strip()
    console.say()
    console.say(f"{console.green('Gema is ready')} after {seconds:.1f} s: {count} processes, as {who}")
    console.say(f"  page    {console.bold(f'http://127.0.0.1:{port}/#token={token}')}")
    console.say(f"  token   {'made now, ' if new_token else ''}in {layout.token}")
    console.say(f"  try     curl -H \"X-API-Token: $(cat {layout.token})\" http://127.0.0.1:{port}/api/ping/latest")
    console.say(f"  logs    {layout.log}/")
    console.say()


def watch(layout, port, daemon):
    """The live line, until a signal or until somebody else stops the stack."""
    token = layout.token.read_text(encoding="ascii").strip()
    line = status.StatusLine(layout, port, token)
    while daemon.poll() is None:
        line.show()
        try:
            daemon.wait(timeout=1)
        except subprocess.TimeoutExpired:
            pass
    console.say("stopped (by deploy/local/down, or the supervisor was killed)")


def change_probers(layout, who, count):
    """Starts or stops probers of a running stack, until there are `count`. The others go on."""
    programs = processes.all_processes(layout, who, postgres.major(layout), count)
    make_keys(layout, programs)  # the broker notices within a second
    render(layout, "supervisord.conf", more=processes.supervisor_sections(layout, programs))
    supervisor = Supervisor(layout)
    started, stopped = supervisor.apply_changes()
    for name in stopped:
        for suffix in ("pid", "http.sock"):
            (layout.run / f"{name}.{suffix}").unlink(missing_ok=True)
    port = int(layout.url.read_text(encoding="ascii").strip().rsplit(":", 1)[1])
    deadline = time.monotonic() + READY_SECONDS
    while waiting := not_ready(layout, [p for p in programs if p.name in started], port):
        name, why = next(iter(waiting.items()))
        console.live(console.dim(f"starting: {name}: {why}"))
        if time.monotonic() > deadline:
            console.complain(f"deploy/local/up: {name} is not ready after {READY_SECONDS} s: {why}; it goes on trying, "
                             f"see {layout.log}/{name}.log")
            return 1
        time.sleep(0.05)
    console.say("; ".join(filter(None, [started and f"started {', '.join(started)}",
                                        stopped and f"stopped {', '.join(stopped)}",
                                        f"{count} prober{'s' if count > 1 else ''} now"])))
    return 0


def second_stage(options):
    path = pathlib.Path(options.second_stage)
    plan = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    os.environ.clear()
    os.environ.update(plan["environment"])
    os.umask(0o077)
    who = identity.Identity(os.geteuid(), os.getegid(), plan["nested"])
    layout = Layout(options.data)
    lock = take_lock(layout)
    if plan.get("change_probers"):
        return change_probers(layout, who, options.probers)
    refuse_if_running(layout)
    port = check_port(options.port)
    version = postgres.major(layout)
    programs = processes.all_processes(layout, who, version, options.probers or 1)
    services = [program for program in programs if program.health]

    settings = json.loads(layout.marker.read_text()) if layout.is_ours() else {"devices_read": False}
    write_file(layout.marker, json.dumps(settings) + "\n")
    make_directories(layout)
    file = devices_setting(layout, plan["devices"], not settings["devices_read"])
    environment = dict(os.environ)
    if file is not None:
        environment["GEMA_INVENTORY__DEVICES_FILE"] = str(file)
        os.environ["GEMA_INVENTORY__DEVICES_FILE"] = str(file)
    check_configuration(layout, services)
    new_token = make_token(layout)
    make_keys(layout, programs)
    if not layout.pg.exists():
        console.live(console.dim("making the database"))
    postgres.create(layout, who, version)
    for name in ("nginx.conf", "postgresql.conf", "redis.conf"):
        render(layout, name, port)
    render(layout, "supervisord.conf", more=processes.supervisor_sections(layout, programs))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    daemon = None
    try:
        daemon = start_supervisor(layout, environment)
        seconds = wait_until_ready(layout, programs, port, daemon)
        write_file(layout.url, f"http://127.0.0.1:{port}\n", 0o644)
        settings["devices_read"] = True
        write_file(layout.marker, json.dumps(settings) + "\n")
        show_address(layout, port, new_token, who, seconds, len(programs))
        if options.detach:
            return 0
        lock.close()
        console.say(console.dim("Ctrl-C stops everything; the next start goes on from here."))
        watch(layout, port, daemon)
        return 0
    except Interrupted:
        console.say()
        if daemon is not None and not stop_all(layout, daemon):
            console.complain(f"some processes did not end; see {layout.log}/supervisor.log")
            return 1
        console.say("stopped")
        return 0
    except StartFailed as error:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        console.complain(console.red(f"deploy/local/up: {error}"))
        stop_all(layout, daemon)
        return 2


def main(arguments):
    try:
        options = parse(arguments)
        if options.second_stage:
            return second_stage(options)
        first_stage(options, arguments)
        return 1  # not reached
    except Refused as error:
        console.complain(f"deploy/local/up: {error}")
        return 2
    except KeyboardInterrupt:
        console.complain("interrupted; nothing runs")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
