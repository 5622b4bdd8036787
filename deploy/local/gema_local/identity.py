"""Who the processes run as, and how to become that.

Nothing of Gema needs root. Only the prober keeps one capability, CAP_NET_RAW, for its raw sockets.

  normal user   the user; `sudo setpriv` hands the capability over (where ping sockets are open to
                the user, no sudo is needed)
  root          the owner of DIR; for a new DIR a number that no account has (nothing is created on
                the system). Where that number could not enter DIR or the binaries (below /root, say):
                root's number without root's capabilities; PostgreSQL, which refuses that, and nginx
                in a user namespace of their own.
"""
import grp
import os
import pathlib
import pwd
import shutil
import subprocess

from gema_local.layout import Refused

# Outside of what adduser (1000-59999), systemd (61184-65519) and Debian (60000-64999) hand out in
# practice; the next free one is taken where somebody has it.
FREE_UID = 58731
NET_RAW = 1 << 13


class Identity:
    """uid, gid, and whether PostgreSQL and nginx need a user namespace (`nested`)."""

    def __init__(self, uid, gid, nested=False):
        self.uid, self.gid, self.nested = uid, gid, nested

    def nested_prefix(self):
        """Put before what minds being number 0: in a user namespace of its own it sees another."""
        return ["unshare", "--user", "--map-user=65534", "--map-group=65534"] if self.nested else []

    def __str__(self):
        if self.nested:
            return "root's number, without its rights"
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name}"
        except KeyError:
            return f"user number {self.uid}"


def _capabilities(which):
    text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    return int(next(line for line in text.splitlines() if line.startswith(which)).split()[1], 16)


def has_net_raw():
    """True when this process could hand CAP_NET_RAW to its children as it is."""
    return bool(_capabilities("CapAmb") & NET_RAW)


def ping_sockets_open(gid):
    """True when the kernel lets this group open datagram ICMP sockets."""
    try:
        low, high = pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text(encoding="ascii").split()
    except OSError:
        return False
    return int(low) <= gid <= int(high)


def free_uid():
    uid = FREE_UID
    while True:
        try:
            pwd.getpwuid(uid)
        except KeyError:
            try:
                grp.getgrgid(uid)
            except KeyError:
                return uid
        uid += 1


def existing_parent(path):
    path = pathlib.Path(path)
    while not path.exists():
        path = path.parent
    return path


def _allowed(path, uid, gid, wanted):
    """Whether all of `wanted` (bits as for others: 4 read, 1 enter or execute) is allowed."""
    info = path.stat()
    shift = 6 if info.st_uid == uid else 3 if info.st_gid == gid else 0
    return (info.st_mode >> shift) & wanted == wanted


def may_enter(path, uid, gid):
    """True when uid/gid may reach `path` (its nearest existing part) through all its parents."""
    steps = [*reversed(existing_parent(path).parents), existing_parent(path)]
    return all(_allowed(step, uid, gid, 1) for step in steps if step.is_dir())


def may_read(path, uid, gid):
    """The same, and read what is there; a program must be executable, too."""
    if not may_enter(path, uid, gid):
        return False
    program = path.is_file() and path.stat().st_mode & 0o111
    return _allowed(path, uid, gid, 5 if program or path.is_dir() else 4)


def first_closed(path, uid, gid):
    for step in [*reversed(existing_parent(path).parents), existing_parent(path)]:
        if not may_enter(step, uid, gid):
            return step
    return existing_parent(path)


def check_owner(layout):
    """Raises Refused when DIR is another user's."""
    try:
        owner = layout.dir.stat().st_uid if layout.dir.exists() else os.geteuid()
    except PermissionError as error:
        raise Refused(f"--data {layout.dir}: permission denied") from error
    if os.geteuid() not in (0, owner):
        raise Refused(f"--data {layout.dir}: belongs to user number {owner}; start it as that user, or as root")


def choose(layout, code):
    """Decides who will run the stack. `code`: the files that must be readable."""
    if os.geteuid() != 0:
        return Identity(os.geteuid(), os.getegid())
    fresh = not layout.is_ours()
    owner = layout.dir.stat() if layout.dir.exists() else None
    if owner is not None and (not fresh or owner.st_uid != 0):
        uid, gid = owner.st_uid, owner.st_gid
    else:
        uid = gid = free_uid()
    if uid == 0:
        return Identity(0, 0, nested=True)
    # DIR itself will be given to the identity; everything above it must let it pass.
    closed = [] if may_enter(layout.dir.parent, uid, gid) else [layout.dir.parent]
    closed += [path for path in code if not may_read(path, uid, gid)]
    if not closed:
        return Identity(uid, gid)
    if fresh and (owner is None or owner.st_uid == 0):
        return Identity(0, 0, nested=True)
    raise Refused(f"{first_closed(closed[0], uid, gid)} is closed to user number {uid}, to whom {layout.dir} belongs")


def check_nested():
    """Raises Refused where a user namespace cannot be had."""
    done = subprocess.run([*Identity(0, 0, nested=True).nested_prefix(), "true"], capture_output=True, check=False)
    if done.returncode != 0:
        raise Refused("PostgreSQL refuses to run as root, this directory is closed to everybody else, and user "
                      "namespaces are not allowed here; use a --data directory and a checkout that others may enter, "
                      "such as below /srv")


def become(identity):
    """The command that starts another as `identity`, with no capability but what the prober needs."""
    caps = "-all,+net_raw,+setfcap" if identity.nested else "-all,+net_raw"
    if os.geteuid() == 0:
        if not _capabilities("CapBnd") & NET_RAW:
            if not ping_sockets_open(identity.gid):
                raise Refused("the prober needs raw sockets, and not even root has them here: give the container "
                              "CAP_NET_RAW")
            caps = caps.replace(",+net_raw", "")
        return ["setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--clear-groups",
                f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}",
                "--securebits=+noroot,+noroot_locked", "--no-new-privs"]
    if has_net_raw():
        return []
    if shutil.which("sudo"):
        return ["sudo", "setpriv", f"--reuid={identity.uid}", f"--regid={identity.gid}", "--init-groups",
                f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}", "--no-new-privs"]
    if ping_sockets_open(identity.gid):
        return []
    raise Refused("the prober needs raw sockets: run this as root, or install sudo")
