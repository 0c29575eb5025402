"""The called server: a running one, or one started here. Its records are read over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from active_call.providers.tts.piper_voices import FOLDER_VARIABLE
from active_call.testing.sound.still_voice import NAME, write_still_voice

_START_S = 180.0
_RECORD_S = 10.0


class TargetError(Exception):
    """The server did not start, or does not respond."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to call, and where to read records; without `http` there are none."""

    uri: str
    http: str = ""
    token: str = ""

    def record_of(self, caller: str) -> dict[str, Any] | None:
        """The record of the call from `caller`; None if none appears in 10 s, or there is no HTTP API."""
        if not self.http:
            return None
        deadline = time.monotonic() + _RECORD_S
        while time.monotonic() < deadline:
            found = self._get(f"/api/records?limit=1&caller={urllib.parse.quote(caller)}")
            if found:
                identifier = next((found[0][key] for key in ("id", "recordId", "sessionId") if found[0].get(key)), "")
                record = self._get(f"/api/records/{urllib.parse.quote(str(identifier))}")
                return record if isinstance(record, dict) else None
            time.sleep(0.1)
        return None

    def _get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(self.http + path, headers=headers), timeout=5) as answer:  # noqa: S310
                return json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise TargetError(f"{self.http}{path}: {error}") from error


@contextmanager
def started(playbook: Path, *, still: bool = False) -> Iterator[Target]:
    """A separate server on loopback with `playbook`, in another process. Raises TargetError if it does not start.

    `still`: if Piper is installed, the agent says a text in the same way each time, so that a run can be repeated.
    """
    with TemporaryDirectory(prefix="active-call-eval-") as temporary:
        home = Path(temporary)
        (home / "main.md").write_text(playbook.read_text(encoding="utf-8"), encoding="utf-8")
        sip, http, rtp = _free_ports()
        environment, voice = _still_voice(home / "voices") if still else ({}, "")
        (home / "active-call.toml").write_text(
            f'addr = "127.0.0.1"\nudp_port = {sip}\nhttp_addr = "127.0.0.1:{http}"\nrtp_start_port = {rtp}\nrtp_end_port = {rtp + 199}\n'
            'media_workers = 1\nload_engines = "start"\ngraceful_shutdown_timeout = 1\n\n'
            '[handler]\ntype = "playbook"\ndefault = "main.md"\n\n'
            f'[callrecord]\ntype = "local"\nroot = "cdr"\n{voice}',
            encoding="utf-8",
        )
        with (home / "server.log").open("wb") as log:
            command = [sys.executable, "-m", "active_call.server.cli", "serve"]
            environment = {**os.environ, **environment}
            process = subprocess.Popen(command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603
        target = Target(f"sip:eval@127.0.0.1:{sip}", f"http://127.0.0.1:{http}")
        try:
            _wait_ready(target, process, home / "server.log")
            yield target
        finally:
            _stop(process)


def _still_voice(folder: Path) -> tuple[dict[str, str], str]:
    """The environment and the configuration of the agent's voice; both empty if Piper has no voice, or the user has a folder of voices."""
    if FOLDER_VARIABLE in os.environ:
        return {}, ""
    try:
        return write_still_voice(folder), f'\n[tts]\nprovider = "piper"\nspeaker = "{NAME}"\n'
    except LookupError:
        return {}, ""


def _wait_ready(target: Target, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(f"{target.http}/ready", timeout=2):  # noqa: S310
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise TargetError(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _free_ports() -> tuple[int, int, int]:
    """Ports for SIP, HTTP and the first of 200 for RTP, below the ephemeral range; each block has room for them."""
    for base in range(24_000, 32_000, 250):
        if all(_is_free(port) for port in (base, base + 2, base + 10)):
            return base, base + 2, base + 10
    raise TargetError("no free ports between 24000 and 32000")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
