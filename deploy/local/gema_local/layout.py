"""DIR: what lies where, and which directories can be one."""
import os
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = ROOT / "build/release/bin"

# sockaddr_un.sun_path holds 108 bytes, one of them the terminating zero.
SOCKET_PATH_BYTES_MAX = 107
# The longest socket name that any process makes in DIR/run.
LONGEST_SOCKET = "timeout-tracker.http.sock"


class Refused(Exception):
    """A reason not to start or stop, in one line for the user. Exit status 2."""


class Layout:
    """The paths below one DIR."""

    def __init__(self, directory):
        self.dir = pathlib.Path(os.path.realpath(directory))
        self.run = self.dir / "run"
        self.log = self.dir / "log"
        self.conf = self.dir / "conf"
        self.keys = self.dir / "keys"
        self.pg = self.dir / "pg"
        self.redis = self.dir / "redis"
        self.imports = self.dir / "import"
        self.token = self.dir / "admin.token"
        self.url = self.dir / "url"
        self.marker = self.dir / ".gema"  # says that DIR is one of ours
        self.supervisor_socket = self.run / "supervisor.sock"
        self.supervisor_pid = self.run / "supervisor.pid"

    def check(self):
        """Raises Refused for a path that some process could not work with."""
        text = str(self.dir)
        if not re.fullmatch(r"[A-Za-z0-9._/+@=,~-]+", text):
            raise Refused(f"--data {text}: its path may contain only letters, digits and . _ / + @ = , ~ -")
        longest = self.run / LONGEST_SOCKET
        length = len(os.fsencode(str(longest)))
        if length > SOCKET_PATH_BYTES_MAX:
            raise Refused(f"--data {text}: its path is too long by {length - SOCKET_PATH_BYTES_MAX} bytes: the socket "
                          f"{longest} would have {length}, and a socket's path may have {SOCKET_PATH_BYTES_MAX}")
        if self.dir.exists() and not self.dir.is_dir():
            raise Refused(f"--data {text}: this is a file")

    def is_ours(self):
        return self.marker.exists()

    def foreign_names(self):
        """What lies in DIR although it is not one of ours yet; the user's own settings may."""
        if self.is_ours() or not self.dir.is_dir():
            return []
        return sorted(name for name in os.listdir(self.dir) if name not in ("gema.yaml", ".env", "lost+found"))
