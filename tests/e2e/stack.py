"""A running Gema as the README starts it (deploy/local/up), for the end-to-end tests and benches."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2
import redis
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("GEMA_BUILD", ROOT / "build/release"))
# What can be killed; names as in DIR/run/<name>.pid.
SERVICES = ["broker", "inventory", "prober-1", "recorder", "timeout-tracker", "gateway"]
STORES = ["postgres", "redis"]


def wait_for(what, probe, seconds=60):
    """Asks probe() until it gives something true, and returns that. Fails after `seconds`, saying
    `what` was awaited and what probe() gave last. The pause between two questions is not a wait for
    time to pass: the event ends it."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        last = probe()
        if last:
            return last
        time.sleep(0.1)  # lint: allow(sleep-in-test) the pause between two questions
    raise AssertionError(f"{what}: not within {seconds} s; last: {last!r}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_devices(file, addresses, interval_s=1, timeout_ms=500, **columns):
    """A devices file; device ids are 1, 2, ... in the order of `addresses`."""
    with open(file, "w", encoding="utf-8") as out:
        extra = "".join(f",{name}" for name in columns)
        out.write(f"ip_address,hostname,merk,os,kondisi,interval_s,timeout_ms{extra}\n")
        for i, address in enumerate(addresses, 1):
            values = "".join(f",{value}" for value in columns.values())
            out.write(f"{address},host-{i},Vivotek,linux,baik,{interval_s},{timeout_ms}{values}\n")


class Stack:
    """One DIR. start() may be called again after stop(): it goes on where it stopped."""

    def __init__(self, devices=None, probers=1, config=None, data=None):
        # Short: Unix socket paths may have 107 bytes.
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="gema-", dir="/tmp"))
        os.chmod(self.data, 0o755)
        self.owned = data is None
        self.devices = devices
        self.probers = probers
        self.port = free_port()
        self.session = requests.Session()
        self.session.trust_env = False
        if config:
            (self.data / "gema.yaml").write_text(config, encoding="utf-8")

    def up_command(self):
        command = [str(ROOT / "deploy/local/up"), "--data", str(self.data), "--port", str(self.port),
                   "--probers", str(self.probers), "--detach", "--no-install"]
        if self.devices:
            command += ["--devices", str(self.devices)]
        return command

    def start(self):
        done = subprocess.run(self.up_command(), capture_output=True, text=True, timeout=900)
        if done.returncode != 0:
            raise AssertionError(f"up failed ({done.returncode}):\n{done.stdout}\n{done.stderr}\n{self.logs()}")
        token = (self.data / "admin.token").read_text(encoding="utf-8").strip()
        self.session.headers["Authorization"] = f"Bearer {token}"
        return done

    def stop(self):
        subprocess.run([str(ROOT / "deploy/local/down"), "--data", str(self.data)], check=False,
                       capture_output=True, timeout=120)

    def close(self):
        self.stop()
        if self.owned and not os.environ.get("GEMA_KEEP"):
            shutil.rmtree(self.data, ignore_errors=True)

    def logs(self, lines=15):
        text = ""
        for file in sorted((self.data / "log").glob("*.log")):
            tail = file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            text += f"--- {file.name}\n" + "\n".join(tail) + "\n"
        return text

    # --- REST

    def get(self, path, **parameters):
        return self.session.get(f"http://127.0.0.1:{self.port}{path}", params=parameters, timeout=30)

    def json(self, path, **parameters):
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def try_json(self, path, **parameters):
        """The body, or None while the gateway is away or cannot answer."""
        try:
            answer = self.get(path, **parameters)
            return answer.json() if answer.status_code == 200 else None
        except (requests.RequestException, ValueError):
            return None

    # --- processes

    def pid(self, name):
        try:
            return int((self.data / "run" / f"{name}.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None

    def kill(self, name, number=signal.SIGKILL):
        pid = self.pid(name)
        assert pid, f"{name} has no pid file"
        os.kill(pid, number)
        return pid

    def health(self, name, path="/readyz"):
        """(status, body) of a process' own health socket, or (0, reason)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(5)
            try:
                s.connect(str(self.data / "run" / f"{name}.http.sock"))
                s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                data = b""
                while chunk := s.recv(65536):
                    data += chunk
            except OSError as error:
                return 0, str(error)
        head, _, body = data.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode("utf-8", "replace")

    def ready(self, name):
        return self.health(name)[0] == 200

    def metrics(self, name):
        """{metric{labels}: value} of one process."""
        values = {}
        for line in self.health(name, "/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                key, _, value = line.rpartition(" ")
                values[key] = float(value)
        return values

    def wait_replaced(self, name, old_pid, seconds=60):
        """The supervisor started `name` again, and it is ready."""
        wait_for(f"a new {name}", lambda: self.pid(name) not in (None, old_pid), seconds)
        wait_for(f"{name} ready", lambda: self.answers(name), seconds)

    def answers(self, name):
        """Ready, or for the stores: takes connections."""
        try:
            if name == "postgres":
                self.sql("SELECT 1")
                return True
            if name == "redis":
                return self.redis().ping()
            if name == "nginx":
                return self.try_json("/api/health") is not None
        except (psycopg2.OperationalError, redis.RedisError):
            return False
        return self.ready(name)

    # --- stores

    def sql(self, text, *parameters):
        connection = psycopg2.connect(host=str(self.data / "run"), user="gema", dbname="gema")
        try:
            with connection.cursor() as cursor:
                cursor.execute(text, parameters)
                return cursor.fetchall()
        finally:
            connection.close()

    def sql_do(self, text, *parameters):
        """The same, to change something."""
        connection = psycopg2.connect(host=str(self.data / "run"), user="gema", dbname="gema")
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(text, parameters)
        finally:
            connection.close()

    def redis(self):
        return redis.Redis(unix_socket_path=str(self.data / "run/redis.sock"))

    # --- history

    def audit(self, first, last, from_ms, to_ms, interval_ms=1000):
        """Reports of gema_history_audit by device id, and the number of announced gaps."""
        done = subprocess.run(
            [str(BUILD / "bin/gema_history_audit"), "--data-dir", str(self.data), "--first", str(first),
             "--last", str(last), "--from-ms", str(from_ms), "--to-ms", str(to_ms),
             "--interval-ms", str(interval_ms)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {line["device"]: line for line in lines[:-1]}, lines[-1]["gaps"]

    def totals(self, count, from_ms, to_ms, interval_ms=1000):
        """What history holds of devices 1..count in the window, in one pass."""
        done = subprocess.run(
            [str(BUILD / "bin/gema_history_audit"), "--data-dir", str(self.data), "--totals",
             "--last", str(count), "--from-ms", str(from_ms), "--to-ms", str(to_ms),
             "--interval-ms", str(interval_ms)], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def now_ms():
    return int(time.time() * 1000)
