"""Children that share the code of one process: it has imported what they need, waits, and forks for each that is asked for.

A child is there in milliseconds instead of half a second, and its code and tables are the same pages of memory as those of others. The
process that forks has one thread and no loop, so that a fork of it is safe. It is made first, before this program starts threads.

A Unix socket of whole messages leads to it. A request is JSON (module, arguments, differences of the environment) with the child's
descriptor and standard error; the answer is the pid with a pidfd, or why there is none. When a child has ended, its return code follows.
The process ends with the socket, whatever becomes of us; its children notice that their own sockets end.

| the process that forks | children                                                        |
|------------------------|-----------------------------------------------------------------|
| lives                  | are forked                                                      |
| cannot fork, or is gone| are started as programs of their own; it is logged once         |
| dies                   | go on; that one has ended is learnt by its pidfd, its code is not |
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from active_call.base.child_processes import DESCRIPTOR, ChildProcess, Programs
from active_call.base.process_title import set_process_title

STDIN, STDERR = 0, 2
MAX_BYTES: Final = 64 * 1024
UNKNOWN_CODE: Final = -signal.SIGKILL
"""Of a child whose end only its pidfd has told: the process that could have asked for its code is gone, and was hardly gone in peace."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Sent by a terminal or a service manager to a whole group. Who ends when is the first process's to say."""

log = logging.getLogger(__name__)


class ForkedProcess:
    """A child that was forked, as `asyncio.subprocess.Process` would show it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Returns when it has ended, with its return code."""
        await self._ended.wait()
        return UNKNOWN_CODE if self.returncode is None else self.returncode

    def send_signal(self, number: int, /) -> None:
        """Send it a signal. Raises ProcessLookupError where it is gone."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        """End it at once. Raises ProcessLookupError where it is gone."""
        self.send_signal(signal.SIGKILL)

    def note_end(self, code: int) -> None:
        """It has ended."""
        if self.returncode is None:
            self.returncode = code
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._ended.set()

    def watch(self) -> None:
        """Learn of its end by its pidfd: nobody else tells."""
        if self.returncode is None:
            asyncio.get_running_loop().add_reader(self._pidfd, self.note_end, UNKNOWN_CODE)


class ForkServer:
    """The process that forks, as this one sees it. Used on one loop; `close` it when that has ended."""

    def __init__(self, connection: socket.socket, pid: int) -> None:
        self.pid = pid
        self._socket = connection
        self._socket.setblocking(False)
        self._environment = dict(os.environ)
        """Which it has, and with it its children."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: deque[asyncio.Future[ForkedProcess]] = deque()
        self._running: dict[int, ForkedProcess] = {}
        self._is_lost = False
        self._programs = Programs()

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """As `StartsChildren` says."""
        try:
            return await self._fork(module, arguments, fd, dict(os.environ) | dict(environment))
        except OSError as error:
            log.warning("process cannot be forked, its program is started anew", extra={"program": module, "reason": str(error)})
            return await self._programs.start(module, arguments, fd, environment)

    def close(self) -> None:
        """Let the process end. Children that still run are left to themselves."""
        self._socket.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

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
        return await answer

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
            if starting.done():  # nobody waits for it any more
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
            child.watch()
        self._running.clear()


def start_fork_server() -> ForkServer | None:
    """Fork the process that forks; what is imported by now, its children have. None where that is not safe, or not possible: on other
    systems than Linux, and in a process that has several threads already.
    """
    if not hasattr(os, "pidfd_open") or not _has_one_thread():
        return None
    gc.collect()
    gc.freeze()  # no process looks at what all share: a page that is looked at by the collector is a page that is copied
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
    except OSError:
        return None
    if pid == 0:
        ours.close()
        _serve(theirs)
    theirs.close()
    return ForkServer(ours, pid)


def _has_one_thread() -> bool:
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


# -- in the process that forks


def _serve(requests: socket.socket) -> NoReturn:
    """Fork for each request, until nobody can ask any more. It never returns into what this process was before."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), STDIN)
        set_process_title(__name__)
        _Forks(requests).run()
    except BaseException:  # noqa: BLE001 (a wall: above it stands the program that was forked)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class _Forks:
    """Its children, and the socket to the process that asks."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._pid_of: dict[int, int] = {}
        """By pidfd."""
        self._poll = select.poll()
        self._poll.register(requests, select.POLLIN)

    def run(self) -> None:
        """Until the socket ends."""
        while True:
            ready = [fd for fd, _ in self._poll.poll()]
            for pidfd in ready:
                if pidfd in self._pid_of:
                    self._tell_end(pidfd)
            if self._requests.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        """False: there will be no more."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._requests, MAX_BYTES, 2)
        except ConnectionError:
            return False
        if not message:
            return False
        try:
            pid = os.fork()
            if pid == 0:
                self._become(json.loads(message), *descriptors)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._tell({"failed": error.strerror or str(error)})
        else:
            self._pid_of[pidfd] = pid
            self._poll.register(pidfd, select.POLLIN)
            self._tell({"started": pid}, pidfd)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _tell_end(self, pidfd: int) -> None:
        pid = self._pid_of.pop(pidfd)
        self._poll.unregister(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(pidfd)
        self._tell({"ended": pid, "code": code})

    def _tell(self, message: dict[str, Any], *descriptors: int) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self._requests, [json.dumps(message).encode()], descriptors)

    def _become(self, request: dict[str, Any], fd: int, stderr: int) -> NoReturn:
        """The child: be what was asked for, and end as a program would."""
        code = 1
        try:
            self._requests.close()
            for pidfd in self._pid_of:
                os.close(pidfd)
            os.dup2(stderr, STDERR)
            os.close(stderr)
            for number in SIGNALS:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.environ.update(request["set"])
            for name in request["unset"]:
                os.environ.pop(name, None)
            arguments = [word.replace(DESCRIPTOR, str(fd)) for word in request["arguments"]]
            set_process_title(request["module"], *arguments)
            code = int(importlib.import_module(request["module"]).main(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 (a wall: the frames above belong to another process)
            traceback.print_exc()
        finally:
            logging.shutdown()
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)
