"""Protect the packets of the batch in place and send them, all streams in the order of their slots.

The cost per packet is paid for every call in every tick. The kernel sends all packets in one system call if it supports io_uring (`ring`).
Otherwise, and for libsrtp, the loops use `map`: there is no interpreter work between two calls.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Final

import numpy as np

from active_call.media.receive.leg import Leg
from active_call.media.ring.sending import RingSender
from active_call.rtp.srtp import Context, PacketMemory, protect_all

_sendto: Final = socket.socket.sendto

logger = logging.getLogger(__name__)


class PacketSender:
    """The legs whose packets are the first rows of `memory`. Call `regroup` after any change of these legs or of their keys."""

    def __init__(self, memory: PacketMemory, ring: RingSender | None = None) -> None:
        """`ring` sends the packets. Without it, each packet is sent by its own system call."""
        self._memory = memory
        self._sizes = b""
        """The sizes of the protected packets, as they are in the memory."""
        self._ring = ring
        self._legs: list[Leg] = []
        self._sockets: list[socket.socket] = []
        self._packets: list[memoryview] = []
        self._secured: list[int] = []
        """The rows to be protected, and for each the arguments of libsrtp:"""
        self._contexts: list[Context] = []
        self._starts: list[Any] = []
        self._lengths: list[Any] = []

    def __len__(self) -> int:
        return len(self._legs)

    def regroup(self, legs: list[Leg]) -> None:
        """Set which leg's packet is in which row."""
        places = self._memory.places
        sessions = [leg.srtp_out for leg in legs]
        self._legs = legs
        self._sockets = [leg.rtp_socket for leg in legs]
        self._secured = [row for row, each in enumerate(sessions) if each is not None]
        self._contexts = [each.sending for each in sessions if each is not None]
        self._starts = [places[row][0] for row in self._secured]
        self._lengths = [places[row][1] for row in self._secured]
        self._sizes = b""
        if self._ring is not None:
            self._ring.regroup([leg.fd for leg in legs])

    def send(self) -> None:
        """Send the packets, whose lengths are in the memory. The leg counts network errors."""
        protected = protect_all(self._contexts, self._starts, self._lengths)
        self._fit_sizes()
        if all(protected):
            if self._ring is not None:
                self._send_together(self._ring)
            else:
                self._send(self._legs, self._sockets, self._packets)
            return
        failed = {row for row, is_protected in zip(self._secured, protected, strict=True) if not is_protected}
        rows = [row for row in range(len(self._legs)) if row not in failed]
        for row in failed:
            self._legs[row].send_errors += 1
        self._send([self._legs[row] for row in rows], [self._sockets[row] for row in rows], [self._packets[row] for row in rows])

    def _fit_sizes(self) -> None:
        """Follow the sizes of the protected packets, which are the same in every tick with G.711."""
        sizes = self._memory.lengths[: len(self._legs)]
        if sizes.tobytes() == self._sizes:
            return
        self._sizes = sizes.tobytes()
        if self._ring is not None:
            self._ring.set_sizes(sizes)
        view, row_bytes = self._memory.view, self._memory.rows.shape[1]
        starts = range(0, len(sizes) * row_bytes, row_bytes)
        self._packets = [view[start : start + size] for start, size in zip(starts, sizes.tolist(), strict=True)]

    def _send_together(self, ring: RingSender) -> None:
        try:
            results = ring.send([leg.destination for leg in self._legs])
        except OSError as error:
            logger.error("packets are sent one by one from now on", extra={"reason": str(error)})
            self._ring = None
            return
        if results.min(initial=0) < 0:
            for row in np.flatnonzero(results < 0).tolist():
                self._legs[row].send_errors += 1

    @staticmethod
    def _send(legs: list[Leg], sockets: list[socket.socket], packets: list[memoryview]) -> None:
        n_done = 0
        sending = map(_sendto, sockets, packets, [leg.destination for leg in legs])
        while n_done < len(legs):
            try:
                for _ in sending:
                    n_done += 1
            except Exception:  # noqa: BLE001 (an error concerns this packet only, and the others must be sent)
                legs[n_done].send_errors += 1
                n_done += 1
