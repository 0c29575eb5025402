"""Datagrams on loopback, which a busy kernel delivers a moment after they were sent: a test waits for them, never for a time."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Final

ARRIVAL_S: Final = 10.0
"""Real time within which a datagram comes."""
_LAST: Final = b"the last one"


def wait_arrival(fd: int) -> None:
    """Wait until a datagram waits in the socket `fd`. Raises AssertionError if none comes."""
    assert select.select([fd], [], [], ARRIVAL_S)[0], "the datagram has not come"


def arrived(sock: socket.socket) -> list[bytes]:
    """Every datagram that was sent to `sock` until now, as far as its buffer holds them."""
    found: list[bytes] = []
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(2048))
    address = sock.getsockname()
    sock.sendto(_LAST, address)  # one that it sends to itself shows that those before it are there
    sock.settimeout(ARRIVAL_S)
    while True:
        datagram, source = sock.recvfrom(2048)
        if datagram == _LAST and source == address:
            return found
        found.append(datagram)
