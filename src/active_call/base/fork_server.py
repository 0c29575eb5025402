"""The fork server: a process that imports the code of its children once and forks one child per request.

A forked child is ready in milliseconds instead of half a second, and shares the memory pages of code and tables with the others. The
fork server has one thread and no loop, so forking it is safe. It is created first, before this program starts threads, and imports only
what its children need, so no asyncio either. Its imports run in parallel with the rest of the start. `forked_children` is its client.

After `rest_after_s` without a request it executes a bare interpreter in the same process (`fork_server_rest`), which frees the memory of
the imports. The next request then costs half a second more CPU time.

It listens on a Unix socket that keeps message boundaries. A request is JSON (module, arguments, changes to the environment) with the
child's descriptor and standard error; the answer is the pid with a pidfd, or the reason of a failure. When a child ends, its exit code
follows. The fork server ends when the socket closes; its children notice that their own sockets close.
"""

from __future__ import annotations

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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

from active_call.base import fork_server_rest
from active_call.base.process_title import set_process_title

STDIN, STDERR = 0, 2
MAX_BYTES: Final = 64 * 1024
DESCRIPTOR: Final = "{fd}"
"""A placeholder in a child's arguments for the number of its descriptor."""
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a terminal or a service manager sends to a whole group. The first process decides who ends when."""
REST_AFTER_S: Final = 5.0
_RESUME: Final = "import sys; sys.path[:] = sys.argv[1].split(':'); from active_call.base.fork_server import resume; resume(*sys.argv[2:])"


def start_fork_server(load: str, rest_after_s: float = REST_AFTER_S) -> tuple[socket.socket, int] | None:
    """Fork the fork server, which calls `load` (`module:function`) to import the code of its children. Returns its socket and pid, for
    `ForkServer`. The server frees its memory after `rest_after_s` without a request.

    Requests wait until `load` has returned; if it raises, the server exits. None if forking is unsafe or impossible: on systems other than
    Linux, and in a process that already has several threads.
    """
    if not hasattr(os, "pidfd_open") or not _has_one_thread():
        return None
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
    except OSError:
        return None
    if pid == 0:
        ours.close()
        _serve(theirs, load, rest_after_s)
    theirs.close()
    return ours, pid


def done_in_child(work: Callable[[], object], meanwhile: Callable[[], object] = lambda: None) -> bool:
    """Run `work` in a forked child and `meanwhile` in this process, and wait for both. The memory that the child uses is freed at its exit.

    False if `work` could not run or failed. `meanwhile` is always called.
    """
    if not _has_one_thread():
        meanwhile()
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:  # noqa: BLE001, S110 (a wall: the caller repeats the work itself, and gets the error)
            pass
        finally:
            os._exit(code)
    try:
        meanwhile()
    finally:
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _has_one_thread() -> bool:
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


# -- in the fork server


def _serve(requests: socket.socket, load: str, rest_after_s: float) -> NoReturn:
    """Fork for each request until the socket closes. Never returns into the code of the original process."""
    try:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), STDIN)
        set_process_title(__name__)
        forks = _Forks(requests, load, rest_after_s, {})
        forks.load()
        forks.run()
    except BaseException:  # noqa: BLE001 (a wall: above it are the frames of the original program)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def resume(fd: str, children: str, load: str, rest_after_s: str) -> NoReturn:
    """Serve requests again after a rest, with the arguments that `_Forks._rest` wrote. Never returns."""
    try:
        gc.disable()  # the same state as before the rest and in the children
        set_process_title(__name__)
        pid_of = {int(pidfd): int(pid) for pidfd, _, pid in (child.partition(":") for child in children.split(",") if child)}
        for number in (int(fd), *pid_of):
            os.set_inheritable(number, False)
        _Forks(socket.socket(fileno=int(fd)), load, float(rest_after_s), pid_of).run()
    except BaseException:  # noqa: BLE001 (a wall: above it is the end of the process)
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class _Forks:
    """The children, and the socket to the process that requests them."""

    def __init__(self, requests: socket.socket, load: str, rest_after_s: float, pid_of: dict[int, int]) -> None:
        self._requests = requests
        self._load = load
        self._has_loaded = False
        self._rest_after_s = rest_after_s
        self._pid_of = pid_of
        """By pidfd."""
        self._poll = select.poll()
        for fd in (requests.fileno(), *pid_of):
            self._poll.register(fd, select.POLLIN)

    def load(self) -> None:
        """Import the code of the children, once."""
        if not self._has_loaded:
            self._has_loaded = True
            module, _, function = self._load.partition(":")
            getattr(importlib.import_module(module), function)()
            gc.collect()
            gc.freeze()  # the garbage collector must not touch shared pages: a page it writes to is copied

    def _rest(self) -> None:
        """Execute a bare interpreter that waits for the next request. Returns only if exec fails."""
        fds = (self._requests.fileno(), *self._pid_of)
        children = ",".join(f"{pidfd}:{pid}" for pidfd, pid in self._pid_of.items())
        again = ("-c", _RESUME, ":".join(sys.path), str(fds[0]), children, self._load, str(self._rest_after_s))
        waiting = ("-I", "-S", fork_server_rest.__file__, ",".join(map(str, fds)), sys.executable, *again)
        with contextlib.suppress(OSError):
            for fd in fds:
                os.set_inheritable(fd, True)
            os.execv(sys.executable, [sys.executable, *waiting])  # noqa: S606
        for fd in fds:
            os.set_inheritable(fd, False)

    def run(self) -> None:
        """Run until the socket closes."""
        wait_ms: float | None = self._rest_after_s * 1000
        while True:
            ready = [fd for fd, _ in self._poll.poll(wait_ms)]
            if not ready:
                self._rest()
                wait_ms = None  # exec failed: do not try again
            for pidfd in ready:
                if pidfd in self._pid_of:
                    self._report_end(pidfd)
            if self._requests.fileno() in ready and not self._take_request():
                return

    def _take_request(self) -> bool:
        """False: no more requests follow."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._requests, MAX_BYTES, 2)
        except ConnectionError:
            return False
        if not message:
            return False
        self.load()
        try:
            pid = os.fork()
            if pid == 0:
                self._become(json.loads(message), *descriptors)
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._report({"failed": error.strerror or str(error)})
        else:
            self._pid_of[pidfd] = pid
            self._poll.register(pidfd, select.POLLIN)
            self._report({"started": pid}, pidfd)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _report_end(self, pidfd: int) -> None:
        pid = self._pid_of.pop(pidfd)
        self._poll.unregister(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(pidfd)
        self._report({"ended": pid, "code": code})

    def _report(self, message: dict[str, Any], *descriptors: int) -> None:
        with contextlib.suppress(OSError):
            socket.send_fds(self._requests, [json.dumps(message).encode()], descriptors)

    def _become(self, request: dict[str, Any], fd: int, stderr: int) -> NoReturn:
        """In the child: run the requested module, and exit as a program would."""
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
