"""Many datagrams in one system call, for the bench only: `sendmmsg` and `recvmmsg` of Linux over prepared arrays.

Packets enter as rows of an array before the run; nothing is built, copied or parsed during it. Received packets are then in a log of rows,
each with the kernel's time stamp. The layouts are those of `struct mmsghdr`, `iovec`, `sockaddr_in` and `cmsghdr` on 64-bit Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ROW_BYTES: Final = 192
"""Room for an RTP packet of 20 ms of G.711 with its SRTP tag: three cache lines."""
RECEIVE_BUFFER_BYTES: Final = 4 * 1024 * 1024
_SO_TIMESTAMPNS: Final = 35
_SO_RCVBUFFORCE: Final = 33
_MSG_DONTWAIT: Final = 0x40

MESSAGE: Final = np.dtype(
    {
        "names": ["name", "name_bytes", "iov", "n_iov", "control", "control_bytes", "flags", "size"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "i4", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 48, 56],
        "itemsize": 64,
    }
)
IOVEC: Final = np.dtype([("base", "u8"), ("size", "u8")])
ADDRESS: Final = np.dtype([("family", "u2"), ("port", ">u2"), ("ip", "u1", (4,)), ("zero", "u1", (8,))])
CONTROL: Final = np.dtype([("size", "u8"), ("level", "i4"), ("type", "i4"), ("seconds", "i8"), ("nanoseconds", "i8")])

Rows = NDArray[np.uint8]
_libc: Final = ctypes.CDLL(None, use_errno=True)


def open_peer_socket(ip: str) -> socket.socket:
    """A bound UDP socket with kernel time stamps and large buffers; the port after it is left free."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.bind((ip, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def send_messages(fd: int, where: ctypes.c_void_p, count: int) -> int:
    """Send `count` messages located at `where`; returns how many the kernel accepted."""
    taken: int = _libc.sendmmsg(fd, where, count, 0)
    return max(taken, 0)


class Outgoing:
    """Prepared datagrams, sent in the order of their rows. The caller owns `rows` (n, ROW_BYTES), which must not move."""

    def __init__(self, rows: Rows, sizes: NDArray[np.uint64]) -> None:
        n_rows = len(rows)
        self._rows = rows
        self._vectors = np.zeros(n_rows, IOVEC)
        self._vectors["base"] = address_of(rows) + np.arange(n_rows, dtype=np.uint64) * np.uint64(ROW_BYTES)
        self._vectors["size"] = sizes
        self._addresses = np.zeros(0, ADDRESS)
        self._messages = np.zeros(n_rows, MESSAGE)
        self._messages["iov"] = address_of(self._vectors) + np.arange(n_rows, dtype=np.uint64) * np.uint64(IOVEC.itemsize)
        self._messages["n_iov"] = 1
        self._start = int(address_of(self._messages))

    def point_at(self, ip: str, ports: list[int]) -> None:
        """Assign row n to the n-th of `ports`, cyclically."""
        addresses = self._addresses = np.zeros(len(ports), ADDRESS)
        addresses["family"] = socket.AF_INET
        addresses["port"] = ports
        addresses["ip"] = np.frombuffer(socket.inet_aton(ip), np.uint8)
        target = np.arange(len(self._messages), dtype=np.uint64) % np.uint64(len(ports))
        self._messages["name"] = address_of(addresses) + target * np.uint64(ADDRESS.itemsize)
        self._messages["name_bytes"] = ADDRESS.itemsize

    def send(self, fd: int, first: int, count: int) -> int:
        """Send `count` rows from `first` on through `fd`; returns how many the kernel accepted."""
        return send_messages(fd, ctypes.c_void_p(self._start + first * MESSAGE.itemsize), count)


class Incoming:
    """A log of at most `n_rows` datagrams over all sockets. When it is full, it accepts no more, and `is_full` is set.

    `with_sources`: `source_ports` holds the source of each.
    """

    def __init__(self, n_rows: int, *, with_sources: bool = False) -> None:
        index = np.arange(n_rows, dtype=np.uint64)
        self._rows: Rows = np.zeros((n_rows, ROW_BYTES), np.uint8)
        self._control = np.zeros(n_rows, CONTROL)
        self._vectors = np.zeros(n_rows, IOVEC)
        self._vectors["base"] = address_of(self._rows) + index * np.uint64(ROW_BYTES)
        self._vectors["size"] = ROW_BYTES
        self._messages = np.zeros(n_rows, MESSAGE)
        self._messages["iov"] = address_of(self._vectors) + index * np.uint64(IOVEC.itemsize)
        self._messages["n_iov"] = 1
        self._messages["control"] = address_of(self._control) + index * np.uint64(CONTROL.itemsize)
        self._messages["control_bytes"] = CONTROL.itemsize
        self._sources = np.zeros(n_rows if with_sources else 0, ADDRESS)
        if with_sources:
            self._messages["name"] = address_of(self._sources) + index * np.uint64(ADDRESS.itemsize)
            self._messages["name_bytes"] = ADDRESS.itemsize
        self._start = int(address_of(self._messages))
        self._rows[:] = 1  # allocate the pages now
        self._control["size"] = 0
        self.n_taken = 0

    @property
    def is_full(self) -> bool:
        """No row is left."""
        return self.n_taken >= len(self._messages)

    def take(self, fd: int) -> None:
        """Read the waiting datagrams of `fd`."""
        room = len(self._messages) - self.n_taken
        where = ctypes.c_void_p(self._start + self.n_taken * MESSAGE.itemsize)
        taken: int = _libc.recvmmsg(fd, where, room, _MSG_DONTWAIT, None)
        if taken > 0:
            self.n_taken += taken
            return
        error = ctypes.get_errno()
        if taken < 0 and error not in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
            raise OSError(error, os.strerror(error))

    def packets(self) -> Rows:
        """The received datagrams, (n, ROW_BYTES)."""
        return self._rows[: self.n_taken]

    def sizes(self) -> NDArray[np.uint32]:
        """Their lengths."""
        return np.asarray(self._messages["size"][: self.n_taken])

    def source_ports(self) -> NDArray[np.uint16]:
        """The UDP port that sent each."""
        return np.asarray(self._sources["port"][: self.n_taken], np.uint16)

    def arrivals(self) -> NDArray[np.int64]:
        """When the kernel received them, in nanoseconds of Unix time."""
        control = self._control[: self.n_taken]
        return np.asarray(control["seconds"] * 1_000_000_000 + control["nanoseconds"])


def address_of(array: NDArray[Any]) -> np.uint64:
    """The address of the array, which must not move."""
    return np.uint64(array.ctypes.data)
