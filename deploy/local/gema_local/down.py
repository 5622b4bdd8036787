"""Stops what deploy/local/up started."""
import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from gema_local import console  # noqa: E402
from gema_local.layout import Layout  # noqa: E402
from gema_local.supervisor import Supervisor  # noqa: E402


def main(arguments):
    parser = argparse.ArgumentParser(prog="deploy/local/down",
                                     description="Stops what deploy/local/up started: first what makes data, last what "
                                                 "keeps it. The next start goes on from there.")
    parser.add_argument("--data", metavar="DIR", default="var", help="its directory (default: ./var)")
    options = parser.parse_args(arguments)
    layout = Layout(options.data)
    if not layout.dir.is_dir():
        console.complain(f"deploy/local/down: --data {layout.dir}: no such directory")
        return 2
    if not os.access(layout.dir, os.X_OK):
        console.complain(f"deploy/local/down: --data {layout.dir}: belongs to user number "
                         f"{layout.dir.stat().st_uid}; stop it as that user, or as root")
        return 2
    supervisor = Supervisor(layout)
    if not supervisor.running():
        console.say(f"nothing runs in {layout.dir}")
        return 0
    if not supervisor.stop(lambda left: console.live(console.dim("stopping: " + ", ".join(left)))):
        console.complain(f"deploy/local/down: some processes did not end; see {layout.log}/supervisor.log")
        return 1
    for path in layout.run.glob("*.pid"):
        path.unlink(missing_ok=True)
    console.say("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
