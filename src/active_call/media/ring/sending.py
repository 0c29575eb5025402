"""Sends the rows of a `PacketMemory` through many sockets in one system call."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from active_call.media.ring.io_ring import SEND_MESSAGE, IoRing
from active_call.media.ring.messages import Address, MessageRows, pack_address, places_of


class RingSender:
    """Sends through at most `len(rows)` sockets per call. In `rows` (n, …) uint8 each datagram starts at the first byte of its row."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """Raises OSError if the kernel has no io_uring or forbids it."""
        self._ring = IoRing(len(rows), SEND_MESSAGE)
        self._sent = sent = MessageRows(len(rows))
        sent.pieces["base"] = places_of(rows)
        self._ring.operations["address"][: len(rows)] = places_of(sent.messages)
        self._destinations: list[Address] = []

    def regroup(self, fds: list[int]) -> None:
        """Set the socket of each row, in the order of the rows."""
        self._ring.operations["fd"][: len(fds)] = fds
        self._destinations = []

    def set_sizes(self, sizes: NDArray[np.intc]) -> None:
        """Set the datagram size of each row, in the order of the rows."""
        self._sent.pieces["size"][: len(sizes)] = sizes

    def send(self, destinations: list[Address]) -> NDArray[np.int32]:
        """Send the first rows in order, each to its destination. Returns the result of sendmsg(2) for each row, or the negative errno.

        Raises OSError if the ring itself fails.
        """
        if destinations != self._destinations:
            self._point_at(destinations)
        return self._ring.run(len(destinations))

    def _point_at(self, destinations: list[Address]) -> None:
        before, sent = self._destinations, self._sent
        for row, destination in enumerate(destinations):
            if row < len(before) and before[row] == destination:
                continue
            try:
                packed, n_bytes = pack_address(destination)
            except (OSError, struct.error):
                n_bytes = 0  # the kernel reports a missing destination for this row
            else:
                sent.addresses[row] = np.frombuffer(packed, np.uint64)
            sent.messages["name_bytes"][row] = n_bytes
        self._destinations = destinations

    def close(self) -> None:
        """Close the ring."""
        self._ring.close()
