"""The sockets of a stream: RTP and RTCP, neighbours, never blocking."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Final

from active_call.base.errors import MediaError

RECEIVE_BUFFER_BYTES: Final = 64 * 1024
"""Some 50 packets with the kernel's overhead: a second of stall. More would only be heard too late."""

ANCILLARY_BYTES: Final = 64
"""Room for the kernel's time stamp (socket.CMSG_SPACE of a timespec, and some)."""
_SO_TIMESTAMPNS: Final = 35
"""asm-generic/socket.h; Python has no name for it."""
_TIMESPEC: Final = struct.Struct("qq")
_unpack_timespec = _TIMESPEC.unpack
MAX_WAIT_S: Final = 5.0
"""A longer wait in the socket means that somebody has set the clock."""
_EXPEDITED: Final = 0xB8
"""DSCP EF in the traffic class (RFC 3246, RFC 7657)."""


Ancillary = list[tuple[int, int, bytes]]


def arrival(ancillary: Ancillary, now: float, unix_now: float) -> float:
    """When the kernel took in a datagram, on the clock of `now` (monotonic); `unix_now` is the same moment. `now` when it does not say."""
    if not ancillary:
        return now
    seconds, nanoseconds = _unpack_timespec(ancillary[0][2])
    waited_s = unix_now - seconds - nanoseconds * 1e-9
    return now - waited_s if 0.0 < waited_s < MAX_WAIT_S else now


def open_pair(ip: str, port: int) -> tuple[socket.socket, socket.socket] | None:
    """Bind `port` for RTP and `port` + 1 for RTCP. None when either is in use; MediaError when the address is not ours."""
    opened: list[socket.socket] = []
    for number in (port, port + 1):
        try:
            opened.append(_open(ip, number))
        except OSError as error:
            for other in opened:
                other.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise MediaError(f"cannot bind {ip}: {error.strerror}") from error
    return opened[0], opened[1]


def _open(ip: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if ":" in ip:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # a call has one family, and the port of the other may be in use
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
