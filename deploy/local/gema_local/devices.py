"""The devices a first start watches when none are given: what every machine has."""
import ipaddress
import pathlib
import socket
import struct


def _default_gateways():
    try:
        lines = pathlib.Path("/proc/net/route").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        field = line.split()
        if len(field) > 7 and field[1] == "00000000" and field[7] == "00000000" and field[2] != "00000000":
            yield socket.inet_ntoa(struct.pack("<I", int(field[2], 16)))


def _resolvers():
    try:
        lines = pathlib.Path("/etc/resolv.conf").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        field = line.split()
        if len(field) > 1 and field[0] == "nameserver":
            yield field[1]


def default_csv():
    """A devices file: this machine's gateway, its resolvers, and loopback."""
    rows = [("gateway", address) for address in _default_gateways()]
    rows += [("resolver", address) for address in _resolvers()]
    rows.append(("loopback", "127.0.0.1"))
    if pathlib.Path("/proc/net/if_inet6").exists() and "00000001 " in _text("/proc/net/if_inet6"):
        rows.append(("loopback-v6", "::1"))
    seen, lines, count = set(), ["ip_address,hostname,type"], {}
    for kind, text in rows:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue  # a scope, or no address at all
        if address in seen or address.is_link_local or address.is_unspecified:
            continue
        seen.add(address)
        count[kind] = count.get(kind, 0) + 1
        name = kind if count[kind] == 1 else f"{kind}-{count[kind]}"
        lines.append(f"{address},{name},{kind.split('-', maxsplit=1)[0]}")
    return "\n".join(lines) + "\n"


def _text(path):
    try:
        return pathlib.Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
