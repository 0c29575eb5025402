"""The memory for the datagrams of all streams while they are received, and what has to be known of each stream for that, as arrays by slot.

The memory has a row for each datagram of one pass over the sockets. The columns are written by the legs, which own the facts, and read for
all streams at once by `packet_batch`.
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
"""Longer ones are cut off, and are no packets of sound."""
_ROW_BYTES: Final = DATAGRAM_BYTES + 64
"""One cache line more than a power of two: else the headers of all rows would share a few lines of the cache."""
NOBODY: Final = -1
_NO_SOURCE: Final = np.uint64(0xFFFFFFFFFFFFFFFF)
"""No address of a socket looks so."""

_DATAGRAM: Final = np.dtype(
    {
        "names": ["flags", "kind", "sequence", "timestamp", "ssrc", "payload"],
        "formats": ["u1", "u1", ">u2", ">u4", ">u4", ("u1", (FRAME_BYTES,))],
        "offsets": [0, 1, 2, 4, 8, HEADER_BYTES],
        "itemsize": _ROW_BYTES,
    }
)
"""A datagram that is an RTP packet with one frame of G.711 and nothing else, as nearly all are."""


class ReceiveColumns:
    """The memory and columns of `capacity` streams in one process. Owned by the tick."""

    def __init__(self, capacity: int) -> None:
        self.memory = PacketMemory(capacity, _ROW_BYTES)
        self.packets = np.frombuffer(self.memory.view, _DATAGRAM)
        self.buffers: list[list[memoryview]] = [[self.datagram(row)] for row in range(capacity)]
        """Of each row, as `recvmsg_into` wants it."""
        self.starts = [start for start, _ in self.memory.places]
        self.lengths = [length for _, length in self.memory.places]
        self.jitter = JitterTable(capacity)
        self.reception = ReceptionTable(capacity)

        self.is_open: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """An offer/answer has been applied, and there is one key at most."""
        self.is_secured: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.is_muxed: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """RTCP comes on the RTP port too."""
        self.batched_type: NDArray[np.int64] = np.full(capacity, NOBODY)
        """The payload type under which G.711 is received and played."""
        self.ssrc: NDArray[np.int64] = np.full(capacity, NOBODY)
        """The source that is heard."""
        self.sources: NDArray[np.uint64] = np.full((capacity, ADDRESS_WORDS), _NO_SOURCE)
        """The address whose packets are accepted at once, as the kernel has it."""

        self.n_received: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.last_arrival: NDArray[np.float64] = np.zeros(capacity)
        self.heard_at: NDArray[np.float64] = np.zeros(capacity)
        """When the accepted source was last heard."""
        self.last_timestamp: NDArray[np.int64] = np.zeros(capacity, np.int64)

    def begin_stream(self, slot: int) -> None:
        """A new stream lies in `slot`."""
        self.is_open[slot] = self.is_secured[slot] = self.is_muxed[slot] = False
        self.batched_type[slot] = self.ssrc[slot] = NOBODY
        self.sources[slot] = _NO_SOURCE
        self.n_received[slot] = self.last_timestamp[slot] = 0
        self.last_arrival[slot] = self.heard_at[slot] = 0.0

    def note_source(self, slot: int, address: Address | None) -> None:
        """Packets of the stream in `slot` are accepted at once from this address on; None: from nowhere."""
        self.sources[slot] = _NO_SOURCE if address is None else np.frombuffer(pack_address(address)[0], np.uint64)

    def note_accepted(self, slots: NDArray[np.intp], arrived: NDArray[np.float64]) -> None:
        """A packet of each of these streams, which differ, has been let in."""
        self.n_received[slots] += 1
        self.last_arrival[slots] = arrived

    def datagram(self, row: int, n_bytes: int = DATAGRAM_BYTES) -> memoryview:
        """The first bytes of `row`, writable."""
        start = row * _ROW_BYTES
        return self.memory.view[start : start + n_bytes]
