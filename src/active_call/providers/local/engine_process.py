"""The inside of an engine process: `python -m active_call.providers.local.engine_process NAME FD`.

Requests enter on the socket FD, answers leave on it, one at a time and in order. A request is a pickled `(function, args)`, an answer a
pickled `(True, result, cpu_s)` or `(False, reason, cpu_s)` with the CPU time that it took. Each is preceded by its length in 4 bytes,
big-endian. The process ends when the socket closes. It knows nothing of the functions, and imports nothing that the engines do not need.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import socket
import struct
import sys
import time
from typing import Any

from active_call.base.blocking_frames import receive_frame

LENGTH = struct.Struct(">I")
NICENESS = 5
"""Lower priority than the media processes, whose pacing must not wait for an engine."""

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15


def main(arguments: list[str]) -> int:
    """Serve requests on the socket FD of `arguments` (NAME, FD) until the parent closes it or dies."""
    name, fd = arguments
    _settle(name)
    with socket.socket(fileno=int(fd)) as connection:
        connection.setblocking(True)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent has closed it during a request
            while (request := receive_frame(connection)) is not None:
                connection.sendall(_answer(request))
    return 0


def frame(value: Any) -> bytes:
    """`value` pickled, after its length."""
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def _answer(request: bytearray) -> bytes:
    began = time.process_time()
    try:
        function, args = pickle.loads(request)  # noqa: S301 - the parent process, over an inherited socket
        return frame((True, function(*args), time.process_time() - began))
    except Exception as error:  # noqa: BLE001 - the far end of the provider wall: the parent raises, counts and logs it
        return frame((False, f"{type(error).__name__}: {error}", time.process_time() - began))


def _settle(name: str) -> None:
    """Sets low priority, ignores Ctrl-C (the parent decides), sets a name for `top`, and dies with the parent if the kernel supports it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            prctl = ctypes.CDLL(None).prctl
            prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
            title = ctypes.create_string_buffer(name.encode()[:15])
            prctl(PR_SET_NAME, ctypes.addressof(title), 0, 0, 0)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
