"""The packets of a tick leave: what the batch has built is protected where it lies and sent, all streams in the order of their slots.

What a packet costs here is paid for every call in every tick. The kernel sends all of them in one system call where it can (`ring`). Else,
and for libsrtp, the loops are those of `map`: the interpreter does nothing between one call and the next.
"""

from __future__ import annotations

import logging
import socket
from typing import Any, Final

import numpy as np

from active_call.media.receive.leg import Leg
from active_call.media.ring.sending import RingSender
from active_call.media.send.packet_batch import PACKET_BYTES, SendBatch
from active_call.rtp.srtp import Context, protect_all

_sendto: Final = socket.socket.sendto

logger = logging.getLogger(__name__)


class PacketSender:
    """The legs whose packets are the first rows of the batch. `regroup` after any change of who they are, or of their keys."""

    def __init__(self, batch: SendBatch, ring: RingSender | None = None) -> None:
        """`ring` sends; None: each packet is sent by a system call of its own."""
        self._batch = batch
        self._ring = ring
        self._legs: list[Leg] = []
        self._sockets: list[socket.socket] = []
        self._packets: list[memoryview] = []
        self._secured: list[int] = []
        """The rows that are to be protected; of each, what libsrtp wants:"""
        self._contexts: list[Context] = []
        self._starts: list[Any] = []
        self._lengths: list[Any] = []

    def __len__(self) -> int:
        return len(self._legs)

    def regroup(self, legs: list[Leg]) -> None:
        """Take over whose packet lies in which row."""
        batch, places = self._batch, self._batch.memory.places
        sessions = [leg.srtp_out for leg in legs]
        self._legs = legs
        self._sockets = [leg.rtp_socket for leg in legs]
        self._packets = [batch.packet(row, PACKET_BYTES + (each.tag_bytes if each else 0)) for row, each in enumerate(sessions)]
        self._secured = [row for row, each in enumerate(sessions) if each is not None]
        self._contexts = [each.sending for each in sessions if each is not None]
        self._starts = [places[row][0] for row in self._secured]
        self._lengths = [places[row][1] for row in self._secured]
        if self._ring is not None:
            self._ring.regroup([leg.fd for leg in legs], [len(packet) for packet in self._packets])

    def send(self) -> None:
        """Send what the batch has built. Errors of the network are counted by the leg."""
        self._batch.memory.lengths[: len(self._legs)] = PACKET_BYTES
        protected = protect_all(self._contexts, self._starts, self._lengths)
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

    def _send_together(self, ring: RingSender) -> None:
        try:
            results = ring.send([leg.destination for leg in self._legs])
        except OSError as error:
            logger.error("packets are sent one by one from now on", extra={"reason": str(error)})
            self._ring = None
            return
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
            except Exception:  # noqa: BLE001 (whatever it is, it concerns this packet, and the others are to leave)
                legs[n_done].send_errors += 1
                n_done += 1
