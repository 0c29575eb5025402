"""Receive the datagrams of all streams: one per readable socket and pass, unprotected and judged together.

The readable sockets and the time go in. The common case (the next packet of G.711 from the accepted source) goes into the jitter buffers
and statistics of all streams at once. The next packet of another codec is counted in the same batch, and stored in its own jitter buffer.
Every other datagram goes to its leg, which judges it individually and uses the same tables. A
property test shows that both paths have the same effect. A datagram on which the code fails is dropped alone.

The cost per packet is paid for every call in every tick. The kernel reads all sockets in one system call if it supports io_uring (`ring`).
Work that arrays cannot do (a system call for each socket, libsrtp) uses `map`, without interpreter work between two calls.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from itertools import compress, repeat
from operator import eq
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.leg import Leg
from active_call.media.receive.sockets import ANCILLARY_BYTES, Ancillary, arrivals
from active_call.media.ring.messages import Address
from active_call.media.ring.reading import RingReader
from active_call.rtp.jitter_table import FRAME_BYTES
from active_call.rtp.packet import HEADER_BYTES, PLAIN_HEADER, RTCP_KINDS
from active_call.rtp.srtp import unprotect_all

MAX_LAST_DATAGRAMS: Final = 8
_recvmsg_into: Final = socket.socket.recvmsg_into
_Datagram = tuple[int, Ancillary, int, Any]
_NOTHING: Final[_Datagram] = (-1, [], 0, None)

logger = logging.getLogger(__name__)


class _Received(Struct, frozen=True):
    """The datagrams of one pass, by row."""

    lengths: NDArray[np.intc]
    """The lengths of the datagrams; -1 if there is no datagram."""
    arrived: NDArray[np.float64]
    is_from_source: NDArray[np.bool_]
    """Whether the datagram comes from the address whose packets its leg accepts at once."""
    address_of: Callable[[int], Address | None]
    """Returns the source address of a row, or None if there is no datagram."""
    more: list[Leg]
    """The legs that have another datagram."""


class PacketBatchReader:
    """Receives for all legs of one process, which share a `ReceiveColumns`."""

    def __init__(self, intake: ReceiveColumns, on_failed: Callable[[Leg, Exception], None], ring: RingReader | None = None) -> None:
        """`on_failed` is called with the leg and the error of each datagram that could not be handled. `ring` reads the sockets. Without
        it, each socket is read by its own system call.
        """
        self._intake = intake
        self._on_failed = on_failed
        self._ring = ring
        self._legs: list[Leg] = []
        self._slots: NDArray[np.intp] = np.zeros(0, np.intp)
        """The legs of the last `take`, and their slots."""
        self._lengths: NDArray[np.intc] = np.zeros(0, np.intc)
        """The lengths of its datagrams."""

    def silent_rows(self) -> list[int]:
        """The positions of the legs of the last `take` that had no datagram."""
        rows: list[int] = np.flatnonzero(self._lengths < 0).tolist()
        return rows

    def take(self, legs: list[Leg], now: float, unix_now: float) -> list[Leg]:
        """Take one datagram of each of `legs` (distinct), if there is one. `unix_now` is `now` on the kernel's clock. The list must not
        change afterwards: the same object means the same legs.

        Returns the legs that have another one. One that arrives later than the first is read does not count: a pass for a few datagrams
        costs nearly as much as one for all, and some always arrive during a pass.
        """
        intake, n_rows = self._intake, len(legs)
        if legs is not self._legs:
            self._legs, self._slots = legs, np.array([leg.slot for leg in legs], np.intp)
        slots = self._slots
        received = self._receive(legs, slots, now, unix_now)
        self._lengths = received.lengths
        packets, lengths = intake.packets[:n_rows], intake.memory.lengths[:n_rows]
        lengths[:] = received.lengths
        kind = packets["kind"]
        is_control = intake.is_muxed[slots] & (kind >= RTCP_KINDS[0]) & (kind <= RTCP_KINDS[1])
        is_opened = intake.is_open[slots] & ~is_control & (lengths > 0)
        self._unprotect(legs, is_opened & intake.is_secured[slots])

        try:
            is_simple = self._take_together(legs, slots, is_opened, received)
        except Exception as error:  # noqa: BLE001 (a wall)
            self._on_failed(legs[0], error)  # the retry one by one shows which one it was
            is_simple = np.zeros(n_rows, np.bool_)
        if is_simple.all():
            return received.more
        for row in np.flatnonzero(~is_simple & (received.lengths >= 0)).tolist():
            leg, address, at = legs[row], received.address_of(row), float(received.arrived[row])
            if address is None:
                continue
            try:
                if is_opened[row]:
                    if lengths[row] > 0:
                        leg.take_packet(row, int(lengths[row]), address, at)
                else:
                    leg.take_datagram(row, int(received.lengths[row]), address, at)
            except Exception as error:  # noqa: BLE001 (a wall)
                self._on_failed(leg, error)
        return received.more

    def _take_together(
        self, legs: list[Leg], slots: NDArray[np.intp], is_opened: NDArray[np.bool_], received: _Received
    ) -> NDArray[np.bool_]:
        """Take the datagrams that are the next packet of their stream. Returns which rows were taken."""
        intake, n_rows, arrived = self._intake, len(slots), received.arrived
        packets, lengths = intake.packets[:n_rows], intake.memory.lengths[:n_rows]
        kind = packets["kind"]
        sequence, timestamp = packets["sequence"].astype(np.int64), packets["timestamp"].astype(np.int64)
        ahead = intake.jitter.ahead(slots, sequence, timestamp)
        is_next: NDArray[np.bool_] = is_opened & (lengths > HEADER_BYTES) & (packets["flags"] == PLAIN_HEADER)
        is_next &= (packets["ssrc"] == intake.ssrc[slots]) & received.is_from_source & intake.reception.follows(slots, sequence)
        payload_type = kind & 0x7F
        is_simple = is_next & (ahead >= 0) & (payload_type == intake.batched_type[slots])
        is_stored = is_next & (payload_type == intake.stored_type[slots])
        rows = np.flatnonzero(is_simple)
        if len(rows) == n_rows:
            self._take_simple(rows, slots, sequence, timestamp, arrived, ahead)
        elif len(rows):
            self._take_simple(rows, slots[rows], sequence[rows], timestamp[rows], arrived[rows], ahead[rows])
        rows = np.flatnonzero(is_stored)
        if len(rows):
            self._note(slots[rows], sequence[rows], timestamp[rows], arrived[rows])
            self._store(legs, rows, sequence, timestamp, arrived)
        is_taken: NDArray[np.bool_] = is_simple | is_stored
        return is_taken

    def take_last(self, leg: Leg, now: float, unix_now: float) -> None:
        """Take the waiting datagrams of `leg`, up to a limit, because its stream is about to be closed and all of them must be counted."""
        for _ in range(MAX_LAST_DATAGRAMS):
            if not _has_datagram(leg):
                return
            self.take([leg], now, unix_now)

    def _receive(self, legs: list[Leg], slots: NDArray[np.intp], now: float, unix_now: float) -> _Received:
        """Read one datagram of each leg into the row of its position."""
        ring = self._ring
        if ring is not None:
            try:
                lengths, arrived = ring.read(self._intake.fds[slots], now, unix_now)
            except OSError as error:
                logger.error("packets are read one by one from now on", extra={"reason": str(error)})
                self._ring = None
                return self._receive(legs, slots, now, unix_now)
            is_from_source = (ring.addresses[: len(legs)] == self._intake.sources[slots]).all(axis=1)
            return _Received(lengths, arrived, is_from_source, ring.address_of, [legs[row] for row in ring.rows_with_more()])
        sizes, ancillaries, _, addresses = zip(*self._read_each(legs), strict=True)
        more = [leg for leg in legs if _has_datagram(leg)]
        is_from_source = np.fromiter(map(eq, addresses, [leg.heard_from for leg in legs]), np.bool_, len(legs))
        return _Received(np.array(sizes, np.intc), arrivals(ancillaries, now, unix_now), is_from_source, addresses.__getitem__, more)

    def _read_each(self, legs: list[Leg]) -> list[_Datagram]:
        """Read each leg by its own system call. `_NOTHING` if there is no datagram or if an ICMP error was returned."""
        datagrams: list[_Datagram] = []
        reading = map(_recvmsg_into, [leg.rtp_socket for leg in legs], self._intake.buffers, repeat(ANCILLARY_BYTES))
        while len(datagrams) < len(legs):
            try:
                for datagram in reading:
                    datagrams.append(datagram)  # noqa: PERF402 (what was read before an error is kept)
            except OSError:
                datagrams.append(_NOTHING)
        return datagrams

    def _unprotect(self, legs: list[Leg], is_secured: NDArray[np.bool_]) -> None:
        """Unprotect the datagrams in these rows. Their lengths become those of the packets, -1 for refused ones."""
        intake, chosen = self._intake, is_secured.tolist()
        contexts = [leg.receiving for leg in compress(legs, chosen)]
        statuses = unprotect_all(contexts, compress(intake.starts, chosen), compress(intake.lengths, chosen))
        if any(statuses):
            for row, status in zip(np.flatnonzero(is_secured).tolist(), statuses, strict=True):
                if status:
                    legs[row].refuse(status)
                    intake.memory.lengths[row] = -1

    def _take_simple(
        self,
        rows: NDArray[np.intp],
        slots: NDArray[np.intp],
        sequence: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        arrived: NDArray[np.float64],
        ahead: NDArray[np.int64],
    ) -> None:
        """Take the packets in `rows`. The other arguments are their columns."""
        intake, jitter = self._intake, self._intake.jitter
        self._note(slots, sequence, timestamp, arrived)
        jitter.push(slots, sequence, timestamp, arrived)
        lengths = intake.memory.lengths[rows]
        is_frame = (lengths == HEADER_BYTES + FRAME_BYTES) & (ahead % FRAME_BYTES == 0)
        if is_frame.all():
            jitter.keep(slots, ahead, intake.packets["payload"][rows])
            return
        jitter.keep(slots[is_frame], ahead[is_frame], intake.packets["payload"][rows[is_frame]])
        for place in np.flatnonzero(~is_frame).tolist():
            buffer = jitter.buffers[slots[place]]
            if buffer is not None:
                buffer.store(int(timestamp[place]), intake.datagram(int(rows[place]), int(lengths[place]))[HEADER_BYTES:].tobytes())

    def _note(
        self, slots: NDArray[np.intp], sequence: NDArray[np.int64], timestamp: NDArray[np.int64], arrived: NDArray[np.float64]
    ) -> None:
        """Count one accepted packet of sound for each of `slots`."""
        intake = self._intake
        intake.reception.receive(slots, sequence, timestamp, arrived)
        intake.note_accepted(slots, arrived)
        intake.heard_at[slots] = arrived
        intake.last_timestamp[slots] = timestamp

    def _store(
        self,
        legs: list[Leg],
        rows: NDArray[np.intp],
        sequence: NDArray[np.int64],
        timestamp: NDArray[np.int64],
        arrived: NDArray[np.float64],
    ) -> None:
        """Put the packets in `rows` into the jitter buffers of their legs. The other arguments are the columns of all rows."""
        intake = self._intake
        lengths = intake.memory.lengths[rows].tolist()
        columns = sequence[rows].tolist(), timestamp[rows].tolist(), arrived[rows].tolist(), lengths
        for row, number, at, when, length in zip(rows.tolist(), *columns, strict=True):
            try:
                legs[row].sound.jitter.push(number, at, bytes(intake.datagram(row, length)[HEADER_BYTES:]), when)
            except Exception as error:  # noqa: BLE001 (a wall)
                self._on_failed(legs[row], error)


def _has_datagram(leg: Leg) -> bool:
    try:
        leg.rtp_socket.recv(1, socket.MSG_PEEK)
    except OSError:
        return False
    return True
