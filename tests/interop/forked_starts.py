"""Starts of `active-call serve` that cost less: a process that has imported the program forks for each of them.

Run as a program (`forked_starts.py FD`) it is that process: each request on the socket FD starts a server, whose end is told there. Such a
server is the same program with the same arguments, folder, environment and streams; it has only not spent the two seconds of imports.
Where the test process itself is forked (`--processes`), `start_for_all` has one such process started before, and each test process gets a
fork of that one. `ForkedServer` is such a server as `subprocess.Popen` would show it. Tests that judge timing or memory start the program
itself.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

ARGUMENTS: Final = ("serve",)
_MOST_BYTES: Final = 1024 * 1024


class ForkedServer:
    """A server that was forked. It has of `Popen` what tests use."""

    def __init__(self, starts: ForkedStarts, pid: int, program: str, arguments: Sequence[str]) -> None:
        self._starts = starts
        self.pid = pid
        self.args = [sys.executable, *([program] if program else ["-m", "active_call.server.cli"]), *arguments]
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code when it has ended; negative when a signal ended it."""
        if self.returncode is None:
            self._starts.take_ends(0.0)
            self.returncode = self._starts.ended.pop(self.pid, None)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Its exit code; raises TimeoutExpired as `Popen` does."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._starts.take_ends(left_s)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class ForkedStarts:
    """The process that forks, as this one sees it. It ends with its socket."""

    def __init__(self, first: ForkedStarts | None = None) -> None:
        self.ended: dict[int, int] = {}
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        with theirs:
            if first is not None:
                socket.send_fds(first._socket, [b"{}"], [theirs.fileno()])
                return
            command = [sys.executable, str(Path(__file__)), str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    def start(
        self, folder: Path, log: int, environment: dict[str, str], program: str = "", arguments: Sequence[str] | None = None
    ) -> ForkedServer:
        """A server in `folder` that writes to the descriptor `log`. `program`: a Python file that is run instead of the command line.
        `arguments`: of either; without them the command line has `serve`, and a program none.
        """
        if arguments is None:
            arguments = () if program else ARGUMENTS
        request = json.dumps({"folder": str(folder), "environment": environment, "program": program, "arguments": arguments}).encode()
        socket.send_fds(self._socket, [request], [log])
        message = self._receive()
        while "started" not in message:
            self._take_end(message)
            message = self._receive()
        return ForkedServer(self, message["started"], program, arguments)

    def take_ends(self, timeout_s: float) -> None:
        """Hear of servers that have ended; wait so long for the first."""
        while select.select([self._socket], [], [], timeout_s)[0]:
            self._take_end(self._receive())
            timeout_s = 0.0

    def close(self) -> None:
        """End it and what it has started."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(20)
            while self._socket.recv(_MOST_BYTES):
                pass
        self._socket.close()
        if self._process is not None:
            self._process.wait(20)

    def _receive(self) -> dict[str, Any]:
        message = self._socket.recv(_MOST_BYTES)
        if not message:
            raise RuntimeError("the process that forks servers has ended")
        return dict(json.loads(message))

    def _take_end(self, message: dict[str, Any]) -> None:
        self.ended[message["ended"]] = message["code"]


_starts: list[ForkedStarts] = []
_of_all: dict[int, ForkedStarts] = {}
"""By the process that has started it: the one of `start_for_all`."""


def start_for_all() -> None:
    """To be called by a process that will fork test processes: they then need not import the program once each."""
    _of_all[os.getpid()] = ForkedStarts()


def forked_starts() -> ForkedStarts:
    """The forking process of this test process, which the first that asks starts."""
    if not _starts:
        _starts.append(ForkedStarts(next(iter(_of_all.values()), None)))
    return _starts[0]


def stop_forked_starts() -> None:
    """To be called when all tests of this process have run."""
    while _starts:
        _starts.pop().close()
    if (first := _of_all.pop(os.getpid(), None)) is not None:
        first.close()


def _import_the_program() -> None:
    import importlib

    from active_call.server.preloading import load_httpx, preload_modules

    preload_modules()
    load_httpx()
    for name in (
        "anyio._backends._asyncio",
        "uvicorn.lifespan.off",
        "uvloop",
        "active_call.server.cli",
        "active_call.server.commands.main",
        "active_call.server.logs",
        "active_call.server.launching",
        "active_call.server.reloading",
        "active_call.server.serving",
        "active_call.server.starter_files",
        "active_call.api.app",
        "active_call.app.app",
    ):
        importlib.import_module(name)
    _prepare_the_program()


def _prepare_the_program() -> None:
    """What every start works out anew and always alike, in half of its time: the commands, the prices, how options are read."""
    import typer.main

    from active_call.agent.playbook.parser import parse_playbook
    from active_call.providers.usage.prices import shipped_prices
    from active_call.server.commands import main
    from active_call.server.config.loading import load_config

    command = typer.main.get_command(main.app)
    typer.main.get_command = lambda app: command
    shipped_prices()
    parse_playbook(_SAMPLE, file="sample.md", environment={})
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder, "sample.toml")
        sample.write_text("media_workers = 1\n[asr]\nprovider = 'pocketsphinx'\n[tts]\nprovider = 'espeak'\n", encoding="utf-8")
        load_config(sample)


_SAMPLE: Final = """---
llm: {provider: script}
tts: {provider: espeak}
asr: {provider: pocketsphinx}
greeting: Hello.
---
## press 1
Bye. <hangup/>
"""


def _serve(requests: socket.socket) -> None:
    """Fork for each request until nobody can ask any more; then nothing of it is left. An empty request: fork one that serves others."""
    running: dict[int, int] = {}  # pid by pidfd
    others: set[int] = set()
    while True:
        readable = select.select([requests, *running], [], [])[0]
        for pidfd in [one for one in readable if one in running]:
            pid = running.pop(pidfd)
            os.close(pidfd)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if pid in others:
                continue
            with contextlib.suppress(OSError):
                requests.send(json.dumps({"ended": pid, "code": code}).encode())
        if requests in readable:
            message, descriptors = b"", []
            with contextlib.suppress(ConnectionError):  # it ended with news unread
                message, descriptors, _, _ = socket.recv_fds(requests, _MOST_BYTES, 1)
            if not message:
                break
            request = json.loads(message)
            pid = os.fork()
            if pid == 0 and request:
                _become_server(request, descriptors[0])
            if pid == 0:
                requests.close()
                for pidfd in running:
                    os.close(pidfd)
                _serve(socket.socket(fileno=descriptors[0]))
                os._exit(0)
            os.close(descriptors[0])
            running[os.pidfd_open(pid)] = pid
            if request:
                requests.send(json.dumps({"started": pid}).encode())
            else:
                others.add(pid)
    for pid in running.values():
        os.kill(pid, signal.SIGKILL)


def _become_server(request: dict[str, Any], log: int) -> None:
    """What `python -m active_call.server.cli serve` does after its imports, or `python program`. Does not return."""
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 256)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", *sys.path)]
    program = request["program"]
    sys.argv = [program or "active-call", *request["arguments"]]
    try:
        if program:
            _run(program)
        else:
            from active_call.server.cli import main

            main()
    except SystemExit as end:
        _exit(end)
    except BaseException:
        traceback.print_exc()
        _exit(SystemExit(1))
    _exit(SystemExit(0))


def _run(program: str) -> None:
    """Run a Python file. Its media and engine processes are forked, as those of the command line; else each would import its code."""
    from active_call.server import composition
    from active_call.server.preloading import preload

    children = preload()
    if children is not None:
        composition.Programs = lambda: children  # type: ignore[assignment, misc]
    sys.path[0] = str(Path(program).parent.resolve())
    try:
        runpy.run_path(program, run_name="__main__")
    finally:
        if children is not None:
            children.close()


def _exit(end: SystemExit) -> NoReturn:
    """End as the interpreter does, but free no object: most lie in pages that all starts share, which would be copied."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts the tests; they stop their servers
    _import_the_program()
    gc.collect()
    gc.freeze()  # no server looks at what all share
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve(socket.socket(fileno=int(sys.argv[1])))
