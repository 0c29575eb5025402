"""Sends the rows of a `PacketMemory` through many sockets in one system call."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from active_call.media.ring.io_ring import SEND_MESSAGE, IoRing
from active_call.media.ring.messages import Address, MessageRows, pack_address, places_of


class RingSender:
    """For at most `len(rows)` sockets. `rows` (n, …) uint8: the datagram of a row lies at its beginning."""

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        """Raises OSError when the kernel has no io_uring for us."""
        self._ring = IoRing(len(rows), SEND_MESSAGE)
        self._sent = sent = MessageRows(len(rows))
        sent.pieces["base"] = places_of(rows)
        self._ring.operations["address"][: len(rows)] = places_of(sent.messages)
        self._destinations: list[Address] = []

    def regroup(self, fds: list[int], sizes: list[int]) -> None:
        """Row n goes out by the n-th of these sockets, as so many bytes."""
        self._ring.operations["fd"][: len(fds)] = fds
        self._sent.pieces["size"][: len(fds)] = sizes
        self._destinations = []

    def send(self, destinations: list[Address]) -> NDArray[np.int32]:
        """Send the first rows, in their order, each to its destination; gives of each what sendmsg(2) has returned, errors as negative
        numbers. Raises OSError when the ring itself fails.
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
                n_bytes = 0  # the kernel says of this row that it has no destination
            else:
                sent.addresses[row] = np.frombuffer(packed, np.uint64)
            sent.messages["name_bytes"][row] = n_bytes
        self._destinations = destinations

    def close(self) -> None:
        """Give the ring back."""
        self._ring.close()
