"""Memory for the received datagrams of all streams, and the per-stream facts needed to receive them, as arrays by slot.

The memory has a row for each datagram of one pass over the sockets. The legs own the facts and write the columns; `packet_batch` reads them
for all streams at once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.media.ring.messages import ADDRESS_WORDS, Address, pack_address
from active_call.rtp.jitter_table import FRAME_BYTES, JitterTable
from active_call.rtp.packet import HEADER_BYTES
from active_call.rtp.reception_table import ReceptionTable
from active_call.rtp.srtp import PacketMemory

DATAGRAM_BYTES: Final = 2048
"""Longer datagrams are truncated. They are not audio packets."""
_ROW_BYTES: Final = DATAGRAM_BYTES + 64
"""One cache line more than a power of two. Otherwise the headers of all rows would compete for a few cache lines."""
NOBODY: Final = -1
_NO_SOURCE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
"""Differs from every address."""

_DATAGRAM: Final = np.dtype(
    {
        "names": ["flags", "kind", "sequence", "timestamp", "ssrc", "payload"],
        "formats": ["u1", "u1", ">u2", ">u4", ">u4", ("u1", (FRAME_BYTES,))],
        "offsets": [0, 1, 2, 4, 8, HEADER_BYTES],
        "itemsize": _ROW_BYTES,
    }
)
"""A datagram that is an RTP packet with exactly one frame of G.711, as nearly all are."""


class ReceiveColumns:
    """The memory and columns of `capacity` streams in one process. Owned by the tick."""

    def __init__(self, capacity: int) -> None:
        self.memory = PacketMemory(capacity, _ROW_BYTES)
        self.packets = np.frombuffer(self.memory.view, _DATAGRAM)
        self.buffers: list[list[memoryview]] = [[self.datagram(row)] for row in range(capacity)]
        """The buffer of each row in the form that `recvmsg_into` takes."""
        self.starts = [start for start, _ in self.memory.places]
        self.lengths = [length for _, length in self.memory.places]
        self.jitter = JitterTable(capacity)
        self.reception = ReceptionTable(capacity)

        self.fds: NDArray[np.intc] = np.zeros(capacity, np.intc)
        """The descriptors of the RTP sockets."""
        self.is_open: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """Whether offer/answer has been applied and there is at most one key."""
        self.is_secured: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.is_muxed: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """Whether RTCP arrives on the RTP port."""
        self.batched_type: NDArray[np.int64] = np.full(capacity, NOBODY)
        """The payload type of the received G.711."""
        self.stored_type: NDArray[np.int64] = np.full(capacity, NOBODY)
        """The payload type of received sound that is stored and decoded packet by packet, as Opus."""
        self.ssrc: NDArray[np.int64] = np.full(capacity, NOBODY)
        """The accepted source."""
        self.sources: NDArray[np.uint64] = np.full((capacity, ADDRESS_WORDS), _NO_SOURCE)
        """The address whose packets are accepted at once, in the kernel's layout."""

        self.n_received: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.last_arrival: NDArray[np.float64] = np.zeros(capacity)
        self.heard_at: NDArray[np.float64] = np.zeros(capacity)
        """When the last packet of the accepted source arrived."""
        self.last_timestamp: NDArray[np.int64] = np.zeros(capacity, np.int64)

    def begin_stream(self, slot: int) -> None:
        """Reset `slot` for a new stream."""
        self.is_open[slot] = self.is_secured[slot] = self.is_muxed[slot] = False
        self.batched_type[slot] = self.ssrc[slot] = NOBODY
        self.sources[slot] = _NO_SOURCE
        self.n_received[slot] = self.last_timestamp[slot] = 0
        self.last_arrival[slot] = self.heard_at[slot] = 0.0

    def note_source(self, slot: int, address: Address | None) -> None:
        """Set the address whose packets the stream in `slot` accepts at once, or None."""
        self.sources[slot] = _NO_SOURCE if address is None else np.frombuffer(pack_address(address)[0], np.uint64)

    def note_accepted(self, slots: NDArray[np.intp], arrived: NDArray[np.float64]) -> None:
        """Record an accepted packet for each of these streams, which must be distinct."""
        self.n_received[slots] += 1
        self.last_arrival[slots] = arrived

    def datagram(self, row: int, n_bytes: int = DATAGRAM_BYTES) -> memoryview:
        """The first bytes of `row`, writable."""
        start = row * _ROW_BYTES
        return self.memory.view[start : start + n_bytes]
