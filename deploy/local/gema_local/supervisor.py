"""Talks to the supervisor of one DIR over its Unix socket."""
import http.client
import os
import socket
import time
import xmlrpc.client


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout=5):
        super().__init__("localhost", timeout=timeout)
        self.unix_path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.unix_path)


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path):
        super().__init__()
        self.path = path

    def make_connection(self, host):
        return UnixConnection(self.path)


def unix_get(path, target, timeout=2):
    """GET over a Unix socket. Returns (status, text); raises OSError when nobody answers."""
    connection = UnixConnection(path, timeout)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


class Supervisor:
    """The supervisor of one DIR. Every method but running() raises OSError when it is not there."""

    def __init__(self, layout):
        self.layout = layout
        self.proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_Transport(layout.supervisor_socket))

    def running(self):
        try:
            self.proxy.supervisor.getState()
            return True
        except PermissionError:
            return True  # somebody's is; not ours to talk to
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def processes(self):
        return {info["name"]: info for info in self.proxy.supervisor.getAllProcessInfo()}

    def pid(self):
        return self.proxy.supervisor.getPID()

    def apply_changes(self):
        """Starts what is new in its configuration file and stops what is no longer there. Returns the names of
        both. What changed in other ways goes on as it is."""
        added, _, removed = self.proxy.supervisor.reloadConfig()[0]
        for name in removed:
            self.proxy.supervisor.stopProcessGroup(name, False)
        for name in removed:
            while self.processes()[name]["statename"] == "STOPPING":  # ends: the supervisor kills in the end
                time.sleep(0.05)
            self.proxy.supervisor.removeProcessGroup(name)
        for name in added:
            self.proxy.supervisor.addProcessGroup(name)
        return added, removed

    def stop(self, progress, timeout_s=120):
        """Stops all processes, last started first. Returns True when everything is gone."""
        pid = self.pid()
        try:
            self.proxy.supervisor.shutdown()
        except xmlrpc.client.Fault:
            pass  # it is stopping already
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if not os.path.exists(f"/proc/{pid}") or _is_zombie(pid):
                return True
            try:
                progress([name for name, info in self.processes().items() if info["statename"] != "STOPPED"])
            except (OSError, http.client.HTTPException, xmlrpc.client.Error):
                pass
            time.sleep(0.1)
        return False


def _is_zombie(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
