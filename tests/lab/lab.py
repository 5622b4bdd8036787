"""A network of its own for tests and measurements: tens of thousands of addresses that answer, some
of which can be made silent, lossy or unreachable.

Two network namespaces joined by a veth pair. The *near* one is where the probing side runs (it has
its own loopback, so ports never clash); in the *far* one the kernel itself answers echo requests
for whole ranges:

    near  192.0.2.1, 2001:db8:1::1  ── veth ──  192.0.2.2, 2001:db8:1::2  far
                                                198.18.0.0/15, 2001:db8:2::/64 answer there

All of these are documentation and benchmark ranges (RFC 5737, 2544, 3849), and no packet can leave:
neither namespace has another interface. A watchdog process removes the lab after `seconds`, even if
the test dies; close() removes it at once. Needs root.

    with Lab(seconds=600) as lab:
        lab.enter()                          # this process and its children now live in `near`
        lab.silence(["198.18.0.5"])
        ...
        lab.answer(["198.18.0.5"])

From a shell: tests/lab/lab run -- COMMAND...    (see --help)
"""
import ctypes
import ipaddress
import os
import signal
import subprocess
import sys

V4 = ipaddress.ip_network("198.18.0.0/15")
V6 = ipaddress.ip_network("2001:db8:2::/64")
CLONE_NEWNET = 0x40000000

# Drops come first in the far side's input, so the kernel never sees the request.
RULES = """
table inet lab {
  set silent4 { type ipv4_addr; }
  set silent6 { type ipv6_addr; }
  set mute4 { type ipv4_addr; }
  set mute6 { type ipv6_addr; }
  set lossy4 { type ipv4_addr; }
  set lossy6 { type ipv6_addr; }
  set unreachable4 { type ipv4_addr; }
  set unreachable6 { type ipv6_addr; }
  chain input {
    type filter hook input priority 0; policy accept;
    ip daddr @silent4 drop
    ip6 daddr @silent6 drop
    ip daddr @mute4 icmp type echo-request drop
    ip6 daddr @mute6 icmpv6 type echo-request drop
    ip daddr @lossy4 numgen random mod 100 < %(loss)d drop
    ip6 daddr @lossy6 numgen random mod 100 < %(loss)d drop
    ip daddr @unreachable4 reject with icmp type host-unreachable
    ip6 daddr @unreachable6 reject with icmpv6 type addr-unreachable
  }
}
"""


class LabError(RuntimeError):
    pass


def possible():
    """None when a lab can be made here, or one sentence that says why not."""
    if os.geteuid() != 0:
        return "a lab of network namespaces needs root"
    probe = f"gema-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], capture_output=True)
    if subprocess.run(["nft", "--version"], capture_output=True).returncode != 0:
        return "nft is not installed (package nftables)"
    return None


def addresses(count, first=0):
    """`count` answering IPv4 addresses as texts, skipping `first`. The range holds 131,000."""
    base = int(V4.network_address) + 1 + first
    if count + first >= V4.num_addresses - 2:
        raise LabError(f"{count} addresses from {first} do not fit into {V4}")
    return [str(ipaddress.ip_address(base + i)) for i in range(count)]


def addresses6(count, first=0):
    base = int(V6.network_address) + 0x1000 + first
    return [str(ipaddress.ip_address(base + i)) for i in range(count)]


def _run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Lab:
    def __init__(self, seconds=900, loss_percent=5, name=None):
        self.name = name or f"gema-{os.getpid()}"
        self.near = f"{self.name}-near"
        self.far = f"{self.name}-far"
        self.loss_percent = loss_percent
        self.watchdog = None
        self.home = None
        why = possible()
        if why:
            raise LabError(why)
        try:
            self._make(seconds)
        except BaseException:
            self.close()
            raise

    def _make(self, seconds):
        self._remove()
        _run("ip", "netns", "add", self.near)
        _run("ip", "netns", "add", self.far)
        # In a session of its own and deaf to the terminal, so that Ctrl-C cannot save the lab.
        self.watchdog = subprocess.Popen(
            ["sh", "-c", f"sleep {int(seconds)}; ip netns del {self.near}; ip netns del {self.far}"],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        _run("ip", "-n", self.near, "link", "add", "veth0", "type", "veth", "peer", "name", "veth0",
             "netns", self.far)
        for ns, v4, v6 in ((self.near, "192.0.2.1/30", "2001:db8:1::1/64"),
                           (self.far, "192.0.2.2/30", "2001:db8:1::2/64")):
            _run("ip", "-n", ns, "link", "set", "lo", "up")
            _run("ip", "-n", ns, "addr", "add", v4, "dev", "veth0")
            if self._has_ipv6():
                _run("ip", "-n", ns, "addr", "add", v6, "dev", "veth0", "nodad")
            _run("ip", "-n", ns, "link", "set", "veth0", "txqueuelen", "10000", "up")
        # One next hop for all targets, hence one neighbour entry however many there are.
        _run("ip", "-n", self.near, "route", "add", str(V4), "via", "192.0.2.2")
        _run("ip", "-n", self.far, "route", "add", "local", str(V4), "dev", "lo")
        if self._has_ipv6():
            _run("ip", "-n", self.near, "-6", "route", "add", str(V6), "via", "2001:db8:1::2")
            _run("ip", "-n", self.far, "-6", "route", "add", "local", str(V6), "dev", "lo")
        # Unreachables are rate limited by default (one a second to each peer); the lab wants them all.
        for key, value in (("net.ipv4.icmp_ratelimit", 0), ("net.ipv6.icmp.ratelimit", 0),
                           ("net.ipv4.icmp_msgs_per_sec", 1000000),
                           ("net.ipv4.icmp_msgs_burst", 100000)):
            subprocess.run(["ip", "netns", "exec", self.far, "sysctl", "-qw", f"{key}={value}"],
                           capture_output=True)
        self._nft(RULES % {"loss": self.loss_percent})

    @staticmethod
    def _has_ipv6():
        return os.path.exists("/proc/net/if_inet6")

    def _nft(self, text):
        _run("ip", "netns", "exec", self.far, "nft", "-f", "-", text=text)

    def _elements(self, verb, kind, targets):
        families = {4: [], 6: []}
        for target in targets:
            families[ipaddress.ip_address(target).version].append(target)
        for family, members in families.items():
            if members:
                self._nft(f"{verb} element inet lab {kind}{family} {{ {', '.join(members)} }}\n")

    def silence(self, targets):
        """These answer nothing from now on."""
        self._elements("add", "silent", targets)

    def mute(self, targets):
        """These answer no echo request from now on, but everything else."""
        self._elements("add", "mute", targets)

    def serve(self, address, port, directory):
        """A web server with the files of `directory` at an address of the far side; the caller's to
        kill. Returns once it listens."""
        server = subprocess.Popen(
            ["ip", "netns", "exec", self.far, sys.executable, "-u", "-m", "http.server", str(port),
             "--bind", address, "--directory", str(directory)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if "Serving HTTP" not in server.stdout.readline():
            server.kill()
            raise LabError(f"no web server at {address}:{port}")
        return server

    def answer_late(self, targets, delay_s, copies=1):
        """Answers to echo requests come that much later, so many times each (IPv4). Returns the process
        that does it, once it listens; the caller's to kill."""
        self.mute(targets)
        answering = subprocess.Popen(
            ["ip", "netns", "exec", self.far, sys.executable, "-u",
             os.path.join(os.path.dirname(os.path.abspath(__file__)), "responder.py"), "veth0",
             str(delay_s), str(copies), *targets],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if "answering" not in answering.stdout.readline():
            answering.kill()
            raise LabError("nobody answers late")
        return answering

    def lossy(self, targets):
        """These lose loss_percent of the requests from now on."""
        self._elements("add", "lossy", targets)

    def unreachable(self, targets):
        """For these a router answers host unreachable from now on."""
        self._elements("add", "unreachable", targets)

    def answer(self, targets):
        """Undoes silence()."""
        self._elements("delete", "silent", targets)

    def answer_all(self):
        """Undoes silence(), mute(), lossy() and unreachable() for everyone."""
        self._nft("".join(f"flush set inet lab {kind}{family}\n" for family in (4, 6)
                          for kind in ("silent", "mute", "lossy", "unreachable")))

    def cut(self):
        """The probing side's uplink goes down; its own addresses and routes stay."""
        _run("ip", "-n", self.far, "link", "set", "veth0", "down")

    def mend(self):
        _run("ip", "-n", self.far, "link", "set", "veth0", "up")

    def enter(self):
        """Moves this process (its calling thread and later children) into the near namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        if self.home is None:
            self.home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        fd = os.open(f"/run/netns/{self.near}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, CLONE_NEWNET) != 0:
                raise LabError(f"setns {self.near}: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(fd)

    def leave(self):
        if self.home is not None:
            ctypes.CDLL(None).setns(self.home, CLONE_NEWNET)
            os.close(self.home)
            self.home = None

    def _remove(self):
        for ns in (self.near, self.far):
            if os.path.exists(f"/run/netns/{ns}"):
                subprocess.run(["ip", "netns", "del", ns], capture_output=True)

    def close(self):
        self.leave()
        if self.watchdog is not None:
            os.killpg(self.watchdog.pid, signal.SIGKILL)
            self.watchdog.wait()
            self.watchdog = None
        self._remove()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()


def attach():
    """The lab that `lab run` made around this process (environment GEMA_LAB)."""
    name = os.environ.get("GEMA_LAB")
    if not name:
        raise LabError("GEMA_LAB is not set: start this with tests/lab/lab run -- COMMAND")
    lab = Lab.__new__(Lab)
    lab.name, lab.near, lab.far = name, f"{name}-near", f"{name}-far"
    lab.watchdog, lab.home, lab.loss_percent = None, None, 0
    return lab


def main(arguments):
    if arguments[:1] == ["run"] and "--" in arguments:
        cut = arguments.index("--")
        seconds = 900
        if arguments[1:cut][:1] == ["--seconds"]:
            seconds = int(arguments[2])
        why = possible()
        if why:
            print(f"lab: {why}", file=sys.stderr)
            return 77  # what ctest's SKIP_RETURN_CODE and automake call "skipped"
        with Lab(seconds=seconds) as lab:
            command = ["ip", "netns", "exec", lab.near, *arguments[cut + 1:]]
            environment = dict(os.environ, GEMA_LAB=lab.name)
            return subprocess.run(command, env=environment).returncode
    if arguments and arguments[0] in ("silence", "answer", "mute", "lossy", "unreachable"):
        getattr(attach(), arguments[0])(arguments[1:])
        return 0
    if arguments and arguments[0] in ("cut", "mend"):
        getattr(attach(), arguments[0])()
        return 0
    print(__doc__)
    print("""Commands:
  lab run [--seconds N] -- COMMAND...   runs COMMAND in the near namespace of a new lab; exit code 77
                                        when a lab cannot be made here (one line says why)
  inside it: lab silence|answer|mute|lossy|unreachable ADDRESS...     lab cut|mend""")
    return 0 if arguments[:1] in (["--help"], ["-h"]) else 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(1)
