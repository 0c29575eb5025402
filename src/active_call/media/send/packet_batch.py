"""What is sent in one tick, as arrays over all streams: samples become packets in one batch, headers included.

One row per sending stream; the header fields are in arrays by slot. Rows of samples go in. RTP packets come out, each in its row of memory
with space for an SRTP tag after it. This module knows no socket and no key. RFC 3550 §5.1.

The RTP timestamp is computed from the tick number, not counted: it stays on the grid over hold, stalls and telephone events.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.codec import g711
from active_call.media.send.mixer import Samples
from active_call.rtp.srtp import PacketMemory

FRAME_SAMPLES: Final = 160
"""20 ms of G.711: one payload byte and one tick of the RTP clock per sample."""
PACKET_BYTES: Final = 12 + FRAME_SAMPLES

VERSION_2: Final = 0x80
_MARKER: Final = 0x80
HEADER_FIELDS: Final = [("flags", "u1"), ("kind", "u1"), ("sequence", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4")]
_PACKET: Final = np.dtype([*HEADER_FIELDS, ("payload", "u1", (FRAME_SAMPLES,)), ("trailer", "u1", (20,))])
"""Three cache lines."""

Slots = NDArray[np.intp]


class SendBatch:
    """The senders' state by slot, and the buffers of a tick. Owned by the tick. `begin_stream` claims a slot."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.is_alaw: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.payload_type: NDArray[np.uint8] = np.zeros(capacity, np.uint8)
        self.sequence: NDArray[np.uint16] = np.zeros(capacity, np.uint16)
        self.ssrc: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self.marker: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        """The next packet starts a talkspurt (RFC 3551 §4.1)."""
        self.muted: NDArray[np.bool_] = np.zeros(capacity, np.bool_)
        self.n_packets: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self.n_octets: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._timestamp_base: NDArray[np.uint32] = np.zeros(capacity, np.uint32)
        self._clock_step: NDArray[np.int64] = np.full(capacity, FRAME_SAMPLES)
        """RTP clock ticks in 20 ms. Only `timestamp` needs it, because all batched streams have 160."""
        self._pcm: Samples = np.zeros((capacity, FRAME_SAMPLES), np.int16)
        self.memory = PacketMemory(capacity, _PACKET.itemsize)
        """The packets, by row. They are protected in place; the next `build` rewrites everything that this changes."""
        self._packets = np.frombuffer(self.memory.view, _PACKET)
        self._packets["flags"] = VERSION_2

    def begin_stream(self, slot: int, *, ssrc: int, sequence: int, timestamp: int) -> None:
        """Reset `slot` for a new stream with these initial values."""
        self.ssrc[slot] = ssrc
        self.sequence[slot] = sequence
        self._timestamp_base[slot] = timestamp
        self._clock_step[slot] = FRAME_SAMPLES
        self.marker[slot] = True
        self.muted[slot] = False
        self.n_packets[slot] = self.n_octets[slot] = 0

    def rows(self, n_rows: int) -> Samples:
        """The frames of the batched streams, (n_rows, 160). Always the same memory."""
        return self._pcm[:n_rows]

    def packet(self, row: int) -> memoryview:
        """The packet of `row` without a tag. A view of what the last `build` wrote."""
        start = row * _PACKET.itemsize
        return self.memory.view[start : start + PACKET_BYTES]

    def timestamp(self, slot: int, tick: int) -> int:
        """The RTP timestamp of `slot` in `tick`."""
        return (int(self._timestamp_base[slot]) + tick * int(self._clock_step[slot])) & 0xFFFFFFFF

    def set_clock(self, slot: int, clock_hz: int, tick: int) -> None:
        """Count timestamps at `clock_hz` from `tick` on, continuing from the current value (RFC 7160 describes the problems of a jump)."""
        step = clock_hz * FRAME_MS // 1000
        if step != self._clock_step[slot]:
            now = self.timestamp(slot, tick)
            self._clock_step[slot] = step
            self._timestamp_base[slot] = (now - tick * step) & 0xFFFFFFFF

    def take_sequence(self, slot: int, n_octets: int) -> int:
        """The sequence number for a packet that is built individually. The packet is counted."""
        sequence = int(self.sequence[slot])
        self.sequence[slot] = (sequence + 1) & 0xFFFF
        self.n_packets[slot] += 1
        self.n_octets[slot] += n_octets
        return sequence

    def build(self, slots: Slots, pcm: Samples, tick: int) -> None:
        """Encode `pcm` (rows as in `slots`) into packets, see `packet`, and count them."""
        n_packets = len(slots)
        if not n_packets:
            return
        packets = self._packets[:n_packets]
        self.write_headers(packets, slots, tick, FRAME_SAMPLES)
        packets["payload"] = g711.encode(pcm, self.is_alaw[slots])
        self.n_octets[slots] += FRAME_SAMPLES
        self.memory.lengths[:n_packets] = PACKET_BYTES

    def write_headers(self, packets: NDArray[Any], slots: Slots, tick: int, clock_step: int) -> None:
        """Write the next header of each slot into `packets`, rows of at least `HEADER_FIELDS`, and count the packets.

        `clock_step`: RTP clock ticks in 20 ms, the same for all of them. The caller counts the octets.
        """
        packets["kind"] = self.payload_type[slots] | (self.marker[slots].view(np.uint8) * np.uint8(_MARKER))
        packets["sequence"] = self.sequence[slots]
        packets["timestamp"] = self._timestamp_base[slots] + np.uint32(tick * clock_step & 0xFFFFFFFF)
        packets["ssrc"] = self.ssrc[slots]
        self.marker[slots] = False
        self.sequence[slots] += np.uint16(1)
        self.n_packets[slots] += 1
