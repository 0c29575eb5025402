"""A PostgreSQL of the tests' own: a cluster in a folder that goes with it, on a loopback port, run by a user that is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

DEBIAN = Path("/usr/lib/postgresql")
USER = "active"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running cluster. `url` is that of an empty database."""

    folder: Path
    port: int
    programs: Path

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def new_database(self, name: str) -> str:
        """The URL of a further, empty database."""
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def sql(self, text: str, database: str = "postgres") -> str:
        """What psql says to a statement; values of a row are parted by `|`."""
        command = [str(self.programs / "psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-Atc", text]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    def stop(self) -> None:
        _run(self.programs, "pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50"
        _run(self.programs, "pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o", options, "start")


def find_programs() -> Path | None:
    """The folder of initdb and its like; Debian keeps it out of PATH."""
    versions = sorted(DEBIAN.glob("*/bin/initdb"))
    found = versions[-1] if versions else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@contextmanager
def own_cluster() -> Iterator[Postgres]:
    """Make a cluster, run it, and remove it. Skips the test where PostgreSQL is not installed."""
    programs = find_programs()
    if programs is None or not (programs / "pg_ctl").exists():
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql, or tools/install_peers.sh")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        account = pwd.getpwnam(_account())
        os.chown(folder, account.pw_uid, account.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    cluster = Postgres(folder, port, programs)
    try:
        _run(programs, "initdb", "-D", str(folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _account() -> str:
    """Somebody who is not root."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no other user")


def _run(programs: Path, name: str, *arguments: str) -> None:
    command = [str(programs / name), *arguments]
    if os.geteuid() == 0:
        runuser = shutil.which("runuser", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "runuser"
        command = [runuser, "-u", _account(), "--", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 or (name == "pg_ctl" and "stop" in arguments), f"{command}: {done.stdout}{done.stderr}"
