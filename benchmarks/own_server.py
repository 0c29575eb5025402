"""`active-call serve` as a separate process, for benchmarks that call it from outside."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HOST = "127.0.0.1"
START_S = 60.0
STOP_S = 30.0


def free_port(kind: int) -> int:
    """A free port; `kind` is `SOCK_STREAM` or `SOCK_DGRAM`."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def started_server(folder: Path, http: int) -> Iterator[int]:
    """Start it with the `active-call.toml` of `folder`, whose HTTP port is `http`; yields its process id once it is ready."""
    with (folder / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "active_call.server.cli", "serve"]
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + START_S
        while not _is_ready(http):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server does not start:\n{(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            print(f"the server has not stopped within {STOP_S:g} s and is killed", file=sys.stderr)
            process.kill()
            process.wait()


def _is_ready(http: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{HOST}:{http}/health", timeout=10) as response:
        return bool(json.loads(response.read())["status"] == "ok")
    return False
