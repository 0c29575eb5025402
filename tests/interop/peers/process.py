"""A real program under test: started in a folder, its output in a file, ended by its own process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

_PACKAGES = {"baresip": "baresip-core", "sipp": "sip-tester", "kamailio": "kamailio kamailio-tls-modules", "ffmpeg": "ffmpeg"}
_PACKAGES["linphonec"] = "linphone-cli"


def require(program: str) -> str:
    """The program's path. Without it the test is skipped with the way to get it; in CI it fails, so that nothing goes unnoticed."""
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        text = f"{program} is missing: sh tools/install_peers.sh, or apt-get install {_PACKAGES.get(program, program)}"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return path


def wait_until(condition: Callable[[], bool], timeout_s: float, *, every_s: float = 0.05) -> bool:
    """Whether the condition comes true within the time. Real programs tell no other way."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


class Program:
    """One running program. Its output is `folder/log.txt`; with `reads_commands` it can be told things by `write`."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, reads_commands: bool = False, environment: dict[str, str] | None = None
    ) -> None:
        self.log_file = folder / "log.txt"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(arguments),
                cwd=folder,
                stdin=subprocess.PIPE if reads_commands else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def write(self, line: str) -> None:
        """One line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    @property
    def log(self) -> str:
        """All output so far."""
        return self.log_file.read_text(errors="replace")

    @property
    def exit_code(self) -> int | None:
        """`None` while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Its exit code; it is killed, and TimeoutError raised, when the time is over."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise TimeoutError(f"{self._process.args!r} did not end in {timeout_s} s:\n{self.log[-2000:]}") from None

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            if self._process.poll() is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
