"""The sockets of a stream: RTP and RTCP on adjacent ports, non-blocking."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.errors import MediaError

RECEIVE_BUFFER_BYTES: Final = 64 * 1024
"""About 50 packets including kernel overhead: a second of stall. Older packets would be too late anyway."""

ANCILLARY_BYTES: Final = 64
"""Space for the kernel's timestamp (socket.CMSG_SPACE of a timespec, plus a reserve)."""
_SO_TIMESTAMPNS: Final = 35
"""asm-generic/socket.h. Python does not define it."""
_NO_STAMP: Final = bytes(16)
"""A timespec of long ago."""
MAX_WAIT_S: Final = 5.0
"""A longer wait in the socket means that the system clock was set."""
_EXPEDITED: Final = 0xB8
"""DSCP EF in the traffic class (RFC 3246, RFC 7657)."""


Ancillary = list[tuple[int, int, bytes]]


def arrivals(ancillaries: Sequence[Ancillary], now: float, unix_now: float) -> NDArray[np.float64]:
    """When the kernel received each datagram, on the clock of `now` (`unix_now` is the same moment). `now` if there is no timestamp."""
    stamps = b"".join([ancillary[0][2] if ancillary else _NO_STAMP for ancillary in ancillaries])
    at = np.frombuffer(stamps, np.int64).reshape(-1, 2)
    waited_s = unix_now - at[:, 0] - at[:, 1] * 1e-9
    return np.where((waited_s > 0.0) & (waited_s < MAX_WAIT_S), now - waited_s, now)


class OutOfDescriptors(MediaError):
    """The limit of open files of this process or machine is reached."""


def open_pair(ip: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Bind `port` for RTP and `port` + 1 for RTCP. None if either is in use.

    Raises OutOfDescriptors at the limit of open files, MediaError if the address is not ours.
    """
    opened: list[socket.socket] = []
    for number in (port, port + 1):
        try:
            opened.append(_open(ip, number))
        except OSError as error:
            for other in opened:
                other.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise OutOfDescriptors("no file descriptors left") from error
            raise MediaError(f"cannot bind {ip}: {error.strerror}") from error
    return opened[0], opened[1]


def _open(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if ":" in ip:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # the port may be in use in the other address family
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        with contextlib.suppress(OSError):
            if ":" in ip:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _EXPEDITED)
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _EXPEDITED)
        sock.bind((ip, port))
    except BaseException:
        sock.close()
        raise
    return sock
