"""Reads one datagram from each of many sockets in one system call, into the rows of a `PacketMemory`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.receive.sockets import MAX_WAIT_S
from active_call.media.ring.io_ring import RECEIVE_MESSAGE, IoRing
from active_call.media.ring.messages import ADDRESS_BYTES, CONTROL, MESSAGE, Address, MessageRows, places_of, unpack_address

_SCM_TIMESTAMPNS: Final = 35
"""From asm-generic/socket.h; the same value as SO_TIMESTAMPNS."""


_MSG_PEEK: Final = 0x2


class RingReader:
    """Reads at most `len(rows)` sockets per call. `rows` (n, …) uint8 receives the first `max_bytes` of each datagram.

    Each socket has two operations in sequence: the one that reads, and one that looks whether there is another datagram.
    """

    def __init__(self, rows: NDArray[np.uint8], max_bytes: int) -> None:
        """Raises OSError if the kernel has no io_uring or forbids it."""
        self._ring = IoRing(2 * len(rows), RECEIVE_MESSAGE)
        self._received = received = MessageRows(len(rows), with_stamps=True)
        received.pieces["base"] = places_of(rows)
        received.pieces["size"] = max_bytes
        self._nothing = np.zeros(1, MESSAGE)
        """The message of the operations that look: without space for a datagram and its address."""
        operations = self._ring.operations[: 2 * len(rows)]
        self._reads, self._looks = operations[0::2], operations[1::2]
        self._reads["address"] = places_of(received.messages)
        self._looks["address"] = places_of(self._nothing)
        self._looks["message_flags"] |= _MSG_PEEK
        self._found: NDArray[np.int32] = np.zeros(0, np.int32)
        self.addresses = received.addresses
        """The source address of each row's datagram in the kernel's layout, padded with zeros; all zeros if there is no datagram."""

    def read(self, fds: NDArray[np.intc], now: float, unix_now: float) -> tuple[NDArray[np.intc], NDArray[np.float64]]:
        """Read one datagram from each socket. Returns the lengths (-1 if there is no datagram) and the kernel's arrival times on the clock
        of `now`. `unix_now` is the same moment on the kernel's clock. Raises OSError if the ring itself fails.
        """
        n_rows, received = len(fds), self._received
        messages, controls = received.messages[:n_rows], received.controls[:n_rows]
        messages["name_bytes"] = ADDRESS_BYTES
        messages["control_bytes"] = CONTROL.itemsize
        controls["type"] = 0
        self.addresses[:n_rows] = 0
        self._reads["fd"][:n_rows] = self._looks["fd"][:n_rows] = fds
        results = self._ring.run(2 * n_rows)
        lengths, self._found = np.maximum(results[0::2], -1), results[1::2]
        waited_s = (unix_now - controls["seconds"]) - controls["nanoseconds"] * 1e-9
        is_stamped = (controls["type"] == _SCM_TIMESTAMPNS) & (waited_s > 0.0) & (waited_s < MAX_WAIT_S)
        return lengths, np.where(is_stamped, now - waited_s, now)

    def rows_with_more(self) -> list[int]:
        """The rows of the last `read` whose sockets had another datagram then."""
        rows: list[int] = np.flatnonzero(self._found >= 0).tolist()
        return rows

    def address_of(self, row: int) -> Address | None:
        """The source address of the datagram in `row`, or None."""
        return unpack_address(self.addresses[row].tobytes())

    def close(self) -> None:
        """Close the ring."""
        self._ring.close()
