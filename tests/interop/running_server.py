"""The program under test, as a user runs it: `active-call serve` in a process of its own, with a config file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import psutil
from forked_starts import ForkedServer, forked_starts

from active_call.server.certificate import write_development_certificate
from ports import free_port, rtp_of_servers

LIGHT_ENGINES = """
[asr]
provider = "pocketsphinx"

[tts]
provider = "espeak"
"""
"""Engines that load in no time, for tests that are about something else. A server starts their processes when it needs them."""
NOBODY_SPEAKS = """
[asr]
provider = "none"

[tts]
provider = "espeak"
"""
"""For callers without a voice: no process of a recogniser, which takes 0.25 CPU-seconds to start."""
START_S = 60
"""A start takes four seconds; this is for a machine that has much else to do."""
HTTP_S = 30
"""An answer takes milliseconds; the same."""


@dataclass
class Server:
    """A running server. `health` and the rest talk HTTP, as an operator's tools would."""

    folder: Path
    udp_port: int
    tls_port: int
    http_port: int
    process: subprocess.Popen[bytes] | ForkedServer
    log_file: Path
    was_killed: bool = False
    """Set by a test that kills it on purpose."""
    _log_begin: int = 0
    _begun_at: datetime | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has logged, since the test began where it is shared."""
        return self.log_file.read_bytes()[self._log_begin :].decode("utf-8", "replace")

    def begin_anew(self) -> None:
        """Forget log and records so far: another test begins."""
        self._log_begin = self.log_file.stat().st_size
        self._begun_at = datetime.now(UTC)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=HTTP_S) as response:
            return json.loads(response.read())

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=HTTP_S) as response:
            return json.loads(response.read())

    def health(self) -> dict[str, Any]:
        return dict(self.get("/health"))

    def records(self) -> list[dict[str, Any]]:
        """Whole records of calls, oldest first; without those of INVITEs that were refused before they became one (`r.…`).

        A record may come a moment after its call: those of calls before the test are told by their time.
        """
        files = sorted((self.folder / "cdr").rglob("[!r]*.json"), key=lambda path: path.stat().st_mtime)
        records = [json.loads(path.read_text(encoding="utf-8")) for path in files]
        begun_at = self._begun_at
        return [one for one in records if begun_at is None or datetime.fromisoformat(one["startTime"]) >= begun_at]

    def wait_records(self, n_records: int, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        self.wait(lambda: len(self.records()) >= n_records, timeout_s, f"{n_records} record(s), found {len(self.records())}")
        return self.records()

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"the server has died:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}\n{self.log[-4000:]}"
            time.sleep(0.05)

    def media_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.health()["media"]]

    def descriptors(self) -> dict[int, int]:
        """Open descriptors of the server and of each process below it."""
        root = psutil.Process(self.pid)
        return {process.pid: process.num_fds() for process in [root, *root.children(recursive=True)]}

    def stop(self) -> int | None:
        """Ask it to stop, as systemd would; gives the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        return self.process.returncode


@contextmanager
def running_server(
    folder: Path,
    playbook: str | dict[str, str],
    *,
    extra: str = "",
    handler: str | None = None,
    environment: dict[str, str] | None = None,
    tls: str = "tls_verify = false",
    addr: str = "127.0.0.1",
    callrecord: str = "",
    root: str = "cdr",
    graceful_s: int = 1,
    status: str = "ok",
    cold: bool = False,
    engines: str = LIGHT_ENGINES,
    recording: bool = False,
) -> Iterator[Server]:
    """Start `active-call serve` in `folder` with a playbook (or several by name, `main.md` being the default one).

    `tls` says how outbound TLS verifies, `callrecord` stands below `[callrecord]`, whose folder is `root`. It has
    started when `/health` says `status`. `cold` starts the program itself, instead of forking a process that has imported it,
    with its engine processes: for what is judged by time or memory. `engines`: the configuration's defaults for speech; empty: what the
    program chooses by itself. `recording`: calls are recorded, in `recordings`, by a process of its own.
    """
    books = playbook if isinstance(playbook, dict) else {"main.md": playbook}
    at_once = engines == LIGHT_ENGINES and any("greeting" in text for text in books.values())  # they are ready then
    is_heavy = engines not in (LIGHT_ENGINES, NOBODY_SPEAKS)
    (folder / "playbooks").mkdir(parents=True, exist_ok=True)
    for name, text in books.items():
        (folder / "playbooks" / name).write_text(text, encoding="utf-8")
    if not (folder / "cert.pem").exists():
        for name, text in _certificate().items():
            (folder / name).write_bytes(text)
            (folder / name).chmod(0o600)
    udp_port, tls_port, http_port = free_port(), free_port(), free_port()
    config = f"""
addr = "{addr}"
udp_port = {udp_port}
tls_port = {tls_port}
tls_cert_file = "cert.pem"
tls_key_file = "key.pem"
{tls}
http_addr = "127.0.0.1:{http_port}"
{"" if "rtp_start_port" in extra else f"rtp_start_port = {rtp_of_servers()[0]}"}
graceful_shutdown_timeout = {graceful_s}
{"" if "media_workers" in extra else "media_workers = 1"}
load_engines = "{"start" if cold or is_heavy or at_once else "use"}"
{extra if "rtp_end_port" in extra else f"rtp_end_port = {rtp_of_servers()[1]}" + chr(10) + extra}

{handler or "[handler]" + chr(10) + 'type = "playbook"' + chr(10) + 'default = "main.md"'}

[recording]
enabled = {str(recording).lower()}
path = "recordings"

{"" if "[asr]" in extra or "[tts]" in extra else engines}
[callrecord]
type = "local"
root = "{root}"
{callrecord}"""
    (folder / "active-call.toml").write_text(config, encoding="utf-8")
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        process = _started(folder, log, {**os.environ, **(environment or {})}, cold)
    server = Server(folder, udp_port, tls_port, http_port, process, log_file)
    try:
        server.wait(lambda: _answers(server, status), START_S, "the server to be ready")
        yield server
        code = server.stop()
        assert code == 0 or server.was_killed, f"the server ended with {code}:\n{server.log[-4000:]}"
    finally:
        server.stop()


@cache
def _certificate() -> dict[str, bytes]:
    """`cert.pem` and `key.pem` of the servers under test: making them costs a tenth of a second."""
    with TemporaryDirectory() as folder:
        files = Path(folder, "cert.pem"), Path(folder, "key.pem")
        write_development_certificate(*files, ["127.0.0.1", "localhost"])
        return {file.name: file.read_bytes() for file in files}


def _started(folder: Path, log: BinaryIO, environment: dict[str, str], cold: bool) -> subprocess.Popen[bytes] | ForkedServer:
    if not cold:
        return forked_starts().start(folder, log.fileno(), environment)
    command = [sys.executable, "-m", "active_call.server.cli", "serve"]
    return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _answers(server: Server, status: str) -> bool:
    try:
        return bool(server.health()["status"] == status)
    except OSError:
        return False
