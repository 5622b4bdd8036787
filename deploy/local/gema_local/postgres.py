"""The PostgreSQL of a DIR: which programs, made once, never of another major."""
import os
import pathlib
import re
import shutil
import subprocess

from gema_local.layout import Refused

PROGRAMS = pathlib.Path("/usr/lib/postgresql")


def installed_majors():
    if not PROGRAMS.is_dir():
        return []
    return sorted(int(path.name) for path in PROGRAMS.iterdir()
                  if path.name.isdigit() and (path / "bin/postgres").exists() and (path / "bin/initdb").exists())


def major(layout):
    """The major to run. Raises Refused when DIR was made by one that is not installed."""
    majors = installed_majors()
    if not majors:
        raise Refused("PostgreSQL is not installed (package postgresql)")
    file = layout.pg / "PG_VERSION"
    try:
        made_by = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return majors[-1]
    except PermissionError as error:
        raise Refused(f"--data {layout.dir}: cannot read {file}; start it as the user it belongs to") from error
    if not re.fullmatch(r"\d+", made_by) or int(made_by) not in majors:
        raise Refused(f"--data {layout.dir}: was made by PostgreSQL {made_by}, and this machine has "
                      f"{', '.join(map(str, majors))} (docs/RUNBOOK.md, \"A new PostgreSQL\", says how to move it)")
    return int(made_by)


def program(version, name):
    return str(PROGRAMS / str(version) / "bin" / name)


def _account_environment(layout):
    """initdb wants its user to have a name; a bare number gets one for the moment."""
    wrapper = next((str(path) for path in pathlib.Path("/usr/lib").glob("*/libnss_wrapper.so")), None)
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    try:
        import pwd
        pwd.getpwuid(os.geteuid())
        return environment
    except KeyError:
        pass
    if wrapper is None:
        raise Refused("package libnss-wrapper is missing")
    passwd, group = layout.conf / "passwd", layout.conf / "group"
    passwd.write_text(f"gema:x:{os.geteuid()}:{os.getegid()}::{layout.dir}:/bin/false\n", encoding="ascii")
    group.write_text(f"gema:x:{os.getegid()}:\n", encoding="ascii")
    environment.update(LD_PRELOAD=wrapper, NSS_WRAPPER_PASSWD=str(passwd), NSS_WRAPPER_GROUP=str(group))
    return environment


def create(layout, identity, version):
    """Makes DIR/pg with user and database gema, whole or not at all."""
    if layout.pg.exists():
        return
    fresh = layout.dir / "pg.new"
    shutil.rmtree(fresh, ignore_errors=True)
    environment = _account_environment(layout)
    prefix = identity.nested_prefix()
    # Peers are trusted: only the owner of DIR can reach the socket in DIR/run, and there is no other.
    made = subprocess.run([*prefix, program(version, "initdb"), "-D", str(fresh), "-U", "gema", "--auth-local=trust",
                           "--auth-host=reject", "-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"],
                          env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if made.returncode == 0:
        made = subprocess.run([*prefix, program(version, "postgres"), "--single", "-D", str(fresh), "postgres"],
                              input="CREATE DATABASE gema\n", env=environment, capture_output=True, text=True,
                              check=False)
    if made.returncode != 0:
        raise Refused(f"PostgreSQL could not make its database: {(made.stderr or made.stdout).strip().splitlines()[-1]}")
    os.rename(fresh, layout.pg)
