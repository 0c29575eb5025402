"""Reads one datagram of each of many sockets in one system call, into the rows of a `PacketMemory`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.receive.sockets import MAX_WAIT_S
from active_call.media.ring.io_ring import RECEIVE_MESSAGE, IoRing
from active_call.media.ring.messages import ADDRESS_BYTES, CONTROL, Address, MessageRows, places_of, unpack_address

_SCM_TIMESTAMPNS: Final = 35
"""asm-generic/socket.h; the same number as the option."""


class RingReader:
    """For at most `len(rows)` sockets at a time. `rows` (n, …) uint8: the datagram of a row lies there, its first `max_bytes`."""

    def __init__(self, rows: NDArray[np.uint8], max_bytes: int) -> None:
        """Raises OSError when the kernel has no io_uring for us."""
        self._ring = IoRing(len(rows), RECEIVE_MESSAGE)
        self._received = received = MessageRows(len(rows), with_stamps=True)
        received.pieces["base"] = places_of(rows)
        received.pieces["size"] = max_bytes
        self._ring.operations["address"][: len(rows)] = places_of(received.messages)
        self.addresses = received.addresses
        """Where each row's datagram came from, as the kernel has it, with zeros behind; all zero where there is none."""

    def read(self, fds: list[int], now: float, unix_now: float) -> tuple[NDArray[np.intc], NDArray[np.float64]]:
        """One datagram of each of these sockets: its length (0 also where there is none), and when the kernel took it in, on the clock of
        `now`. `unix_now` is the same moment on the kernel's clock. Raises OSError when the ring itself fails.
        """
        n_rows, received = len(fds), self._received
        messages, controls = received.messages[:n_rows], received.controls[:n_rows]
        messages["name_bytes"] = ADDRESS_BYTES
        messages["control_bytes"] = CONTROL.itemsize
        controls["type"] = 0
        self.addresses[:n_rows] = 0
        self._ring.operations["fd"][:n_rows] = fds
        results = self._ring.run(n_rows)
        waited_s = (unix_now - controls["seconds"]) - controls["nanoseconds"] * 1e-9
        is_stamped = (controls["type"] == _SCM_TIMESTAMPNS) & (waited_s > 0.0) & (waited_s < MAX_WAIT_S)
        return np.maximum(results, 0), np.where(is_stamped, now - waited_s, now)

    def address_of(self, row: int) -> Address | None:
        """Where the datagram of this row came from."""
        return unpack_address(self.addresses[row].tobytes())

    def close(self) -> None:
        """Give the ring back."""
        self._ring.close()
