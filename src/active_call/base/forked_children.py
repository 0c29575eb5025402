"""Children forked by the fork server (`fork_server`), behind the interface of `child_processes`.

| the fork server         | children                                                       |
|-------------------------|----------------------------------------------------------------|
| lives                   | are forked                                                     |
| cannot fork, or is gone | are started as separate programs; this is logged               |
| does not answer         | the same; it is killed                                         |
| dies or hangs           | continue; their end is reported by pidfd, without an exit code |
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from active_call.base.child_processes import ChildProcess, Programs
from active_call.base.fork_server import MAX_BYTES, STDERR

UNKNOWN_CODE: Final = -signal.SIGKILL
"""The exit code for a child whose end only its pidfd reported: the fork server knows the code and does not tell it, so a failure is
assumed."""
CODE_AFTER_S: Final = 1.0
"""How long the fork server may take to tell the exit code."""
ANSWER_S: Final = 5.0
"""How long it may take to fork, with the imports before the first child."""
END_S: Final = 2.0
"""How long it may take to end."""

log = logging.getLogger(__name__)


class ForkedProcess:
    """A forked child with the interface of `asyncio.subprocess.Process`."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._ended = asyncio.Event()
        self.code_after_s = CODE_AFTER_S
        """How long to wait for its exit code; 0 if the fork server is gone."""
        asyncio.get_running_loop().add_reader(pidfd, self._expect_code)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        await self._ended.wait()
        return UNKNOWN_CODE if self.returncode is None else self.returncode

    def send_signal(self, number: int, /) -> None:
        """Send a signal. Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """Kill it. Raises ProcessLookupError if it has ended."""
        self.send_signal(signal.SIGKILL)

    def note_end(self, code: int) -> None:
        """It has ended."""
        if self.returncode is None:
            self.returncode = code
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set()

    def _expect_code(self) -> None:
        """Its pidfd reports its end. Its exit code follows, unless the fork server hangs or is gone."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        loop.call_later(self.code_after_s, self.note_end, UNKNOWN_CODE)


class ForkServer:
    """The client of the fork server. Used on one loop; `close` it when that has ended."""

    def __init__(self, connection: socket.socket, pid: int, answer_s: float = ANSWER_S) -> None:
        self.pid = pid
        self._answer_s = answer_s
        self._socket = connection
        self._socket.setblocking(False)
        self._environment = dict(os.environ)
        """The environment that it and its children have."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: deque[asyncio.Future[ForkedProcess]] = deque()
        self._running: dict[int, ForkedProcess] = {}
        self._is_lost = False
        self._programs = Programs()

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """See `StartsChildren`."""
        try:
            return await self._fork(module, arguments, fd, dict(os.environ) | dict(environment))
        except OSError as error:
            log.warning("process cannot be forked, its program is started anew", extra={"program": module, "reason": str(error)})
            return await self._programs.start(module, arguments, fd, environment)

    def close(self) -> None:
        """Let the fork server end. Children that still run are not stopped."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            deadline = time.monotonic() + END_S
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    return
                time.sleep(0.01)

    async def _fork(self, module: str, arguments: Sequence[str], fd: int, environment: dict[str, str]) -> ForkedProcess:
        """Raises OSError."""
        if self._is_lost:
            raise ConnectionError("the process that forks is gone")
        self._attach()
        request = {
            "module": module,
            "arguments": list(arguments),
            "set": {name: value for name, value in environment.items() if self._environment.get(name) != value},
            "unset": [name for name in self._environment if name not in environment],
        }
        socket.send_fds(self._socket, [json.dumps(request).encode()], [fd, STDERR])
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._starting.append(answer)
        try:
            async with asyncio.timeout(self._answer_s):
                return await answer
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # `_lose` follows
            raise ConnectionError(f"the process that forks has not answered within {self._answer_s:g} s") from None

    def _attach(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            loop.add_reader(self._socket.fileno(), self._receive)

    def _receive(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, MAX_BYTES, 1)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            self._lose()
            return
        told = json.loads(message)
        if "ended" in told:
            child = self._running.pop(told["ended"], None)
            if child is not None:
                child.note_end(told["code"])
            return
        starting = self._starting.popleft()
        if "started" in told:
            child = self._running[told["started"]] = ForkedProcess(told["started"], descriptors[0])
            if starting.done():  # its requester is gone
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            else:
                starting.set_result(child)
        elif not starting.done():
            starting.set_exception(OSError(told["failed"]))

    def _lose(self) -> None:
        self._is_lost = True
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        log.error("the process that forks is gone", extra={"pid": self.pid})
        for starting in self._starting:
            if not starting.done():
                starting.set_exception(ConnectionError("the process that forks has ended"))
        self._starting.clear()
        for child in self._running.values():
            child.code_after_s = 0.0
        self._running.clear()
