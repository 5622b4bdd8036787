"""The processes of the stack, in the order in which they start (and stop, reversed)."""
import dataclasses
import shlex
import shutil

from gema_local import postgres
from gema_local.layout import BIN, ROOT, Refused

HERE = ROOT / "deploy/local"


@dataclasses.dataclass
class Process:
    """One process. Stopping goes from high to low `order`: first what makes data, last what keeps it."""

    name: str
    order: int
    command: list
    capability: str = "none"
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    health: bool = True  # serves /readyz on DIR/run/<name>.http.sock


def _nginx():
    for path in ("/usr/sbin/nginx", shutil.which("nginx")):
        if path and shutil.os.access(path, shutil.os.X_OK):
            return path
    raise Refused("nginx is not installed")


def all_processes(layout, identity, version, probers):
    def own(service, name, order, **more):
        command = [str(BIN / f"gema-{service}"), "--data-dir", str(layout.dir), "--instance", name]
        return Process(name, order, command, **more)

    nested_prefix = identity.nested_prefix()
    for_namespace = "setfcap" if identity.nested else "none"
    pg = [*nested_prefix, postgres.program(version, "postgres"), "-D", str(layout.pg), "-c",
          f"config_file={layout.conf}/postgresql.conf"]
    # nginx, too: as number 0 it would hand its directories to nobody.
    nginx = [*nested_prefix, _nginx(), "-e", "stderr", "-p", str(layout.dir), "-c", str(layout.conf / "nginx.conf"), "-g",
             "daemon off;"]
    return [
        Process("postgres", 10, pg, capability=for_namespace, stop_signal="INT",
                stop_seconds=60, health=False),
        Process("redis", 11, [shutil.which("redis-server") or "/usr/bin/redis-server",
                              str(layout.conf / "redis.conf")], health=False),
        own("broker", "broker", 20),
        own("inventory", "inventory", 30),
        own("recorder", "recorder", 40, stop_seconds=30),
        own("timeout-tracker", "timeout-tracker", 41, stop_seconds=30),
        *[own("prober", f"prober-{i}", 50, capability="net_raw") for i in range(1, probers + 1)],
        own("gateway", "gateway", 60),
        Process("nginx", 70, nginx, capability=for_namespace, health=False),
    ]


def supervisor_sections(layout, processes):
    """The [program:...] sections."""
    out = []
    for process in processes:
        command = shlex.join([str(HERE / "run-child"), str(layout.dir), process.name, process.capability,
                              *process.command]).replace("%", "%%")
        out.append(f"""
[program:{process.name}]
command={command}
priority={process.order}
; run-child waits between restarts; the supervisor itself never gives up on a process.
autorestart=true
startsecs=0
startretries=1000000000
stopsignal={process.stop_signal}
stopwaitsecs={process.stop_seconds}
redirect_stderr=true
stdout_logfile={layout.log}/{process.name}.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=3
""")
    return "".join(out)
