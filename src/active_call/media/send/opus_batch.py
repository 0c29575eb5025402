"""The streams that send one Opus packet of 20 ms in each tick: encoded directly into the memory from which they are sent.

Rows of samples go in, packets leave through `PacketSender`. Each stream has its own encoder; headers, protection and sending are done for
all of them at once. The order is that of the slots.

Digital silence is not encoded again and again (`codec.opus_silence`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS
from active_call.codec.opus import encode_all
from active_call.codec.opus_silence import SilentPayloads
from active_call.codec.table import OPUS
from active_call.media.receive.leg import Leg
from active_call.media.ring.sending import RingSender
from active_call.media.send.mixer import Samples
from active_call.media.send.packet_batch import HEADER_FIELDS, VERSION_2, SendBatch, Slots
from active_call.media.send.packetizer import packet_ms
from active_call.media.send.prefetch import Prefetch
from active_call.media.send.sender import PacketSender
from active_call.media.worker.slots import Stream
from active_call.rtp.packet import HEADER_BYTES
from active_call.rtp.srtp import MAX_TAG_BYTES, PacketMemory

OPUS_FRAME_SAMPLES: Final = OPUS.sample_rate_hz * FRAME_MS // 1000
MAX_PAYLOAD_BYTES: Final = 608
"""Eight times the average at our bit rate. libopus keeps to it."""
_CLOCK_STEP: Final = OPUS.rtp_clock_hz * FRAME_MS // 1000
_ROW: Final = np.dtype([*HEADER_FIELDS, ("payload", "u1", (MAX_PAYLOAD_BYTES,)), ("trailer", "u1", (MAX_TAG_BYTES + 4,))])


def is_opus_batched(stream: Stream, leg: Leg) -> bool:
    """Whether the next packets of the stream can be encoded here: one Opus packet in each tick at the rate of its plays, no digits."""
    config = leg.config
    return (
        leg.opus_encoder is not None
        and stream.rate_hz == OPUS.sample_rate_hz
        and config is not None
        and packet_ms(config.ptime_ms, OPUS) == FRAME_MS
        and leg.digits_out.is_idle
    )


class OpusBatch:
    """All such streams of a process. Call `regroup` after any change in that set, and `send` once per tick when `rows` is filled."""

    def __init__(self, batch: SendBatch, open_ring: Callable[[NDArray[np.uint8]], RingSender | None] | None = None) -> None:
        """`batch` has the sequence numbers. `open_ring` opens a ring for the packet memory, see `PacketSender`."""
        self._batch = batch
        self._memory = PacketMemory(batch.capacity, _ROW.itemsize)
        self._packets = np.frombuffer(self._memory.view, _ROW)
        self._packets["flags"] = VERSION_2
        self._pcm: Samples = np.zeros((batch.capacity, OPUS_FRAME_SAMPLES), np.int16)
        self._departures = PacketSender(self._memory, open_ring(self._memory.rows) if open_ring else None)
        self.prefetch = Prefetch(batch.capacity, OPUS_FRAME_SAMPLES)
        self.slots: Slots = np.zeros(0, np.intp)
        self._is_shedding = False
        self.streams: list[Stream] = []
        """By row."""
        self._silence: list[SilentPayloads] = []
        self._encoders: list[int] = []
        first, step = self._pcm.ctypes.data, self._pcm.strides[0]
        self._samples_at = [first + row * step for row in range(batch.capacity)]
        first, step = self._packets.ctypes.data + HEADER_BYTES, self._packets.strides[0]
        self._payloads_at = [first + row * step for row in range(batch.capacity)]

    def __len__(self) -> int:
        return len(self.streams)

    @property
    def rows(self) -> Samples:
        """The frames of the streams, (n, 320). Always the same memory."""
        return self._pcm[: len(self.streams)]

    def set_shedding(self, is_shedding: bool) -> None:
        """Encode with less effort, or as configured again."""
        self._is_shedding = is_shedding
        for silence in self._silence:
            silence.encoder.set_shedding(is_shedding)
            silence.end()

    def regroup(self, streams: list[Stream]) -> None:
        """Update the set of streams. All of them fulfil `is_opus_batched`, and they are in the order of the slots."""
        before = {silence.encoder: silence for silence in self._silence}
        kept = {stream.number for stream in streams}
        for stream in self.streams:
            if stream.number not in kept:
                self.prefetch.give_back(stream.slot)
        legs = [stream.leg for stream in streams if stream.leg is not None]
        encoders = [leg.opus_encoder for leg in legs if leg.opus_encoder is not None]
        self.streams = streams
        self.slots = np.array([stream.slot for stream in streams], np.intp)
        self._silence = [before.get(encoder) or SilentPayloads(encoder) for encoder in encoders]
        for silence in self._silence:
            silence.encoder.set_shedding(self._is_shedding)
        self._encoders = [silence.encoder.address for silence in self._silence]
        self._departures.regroup(legs)

    def send(self, tick: int) -> list[Stream]:
        """Encode `rows` and send the packets of `tick`. Returns the streams whose sound could not be encoded."""
        n_rows = len(self.streams)
        if not n_rows:
            return []
        is_sound: list[bool] = (self.rows != 0).any(axis=1).tolist()
        sizes = self._encode(is_sound)
        failed = [row for row, size in enumerate(sizes) if size <= 0]
        for row in failed:
            sizes[row] = 0
        self._batch.write_headers(self._packets[:n_rows], self.slots, tick, _CLOCK_STEP)
        self._batch.n_octets[self.slots] += sizes
        self._memory.lengths[:n_rows] = sizes
        self._memory.lengths[:n_rows] += HEADER_BYTES
        self._departures.send()
        return [self.streams[row] for row in failed]

    def _encode(self, is_sound: list[bool]) -> list[int]:
        """Write all payloads. Returns their sizes, or for a stream that cannot be encoded libopus' error number."""
        sizes = [0] * len(is_sound)
        copied: dict[int, bytes] = {}
        for row, silence in enumerate(self._silence):
            if is_sound[row]:
                silence.end()
            elif (payload := silence.take()) is not None:
                copied[row] = payload
        rows = [row for row in range(len(sizes)) if row not in copied]
        encoders, samples_at, payloads_at = self._encoders, self._samples_at, self._payloads_at
        encoded = encode_all(
            [encoders[row] for row in rows], [samples_at[row] for row in rows], OPUS_FRAME_SAMPLES,
            [payloads_at[row] for row in rows], MAX_PAYLOAD_BYTES,
        )  # fmt: skip
        for row, size in zip(rows, encoded, strict=True):
            sizes[row] = size
            if not is_sound[row] and size > 0:
                self._silence[row].note(self._packets["payload"][row, :size].tobytes())
        for row, payload in copied.items():
            sizes[row] = len(payload)
            self._packets["payload"][row, : len(payload)] = np.frombuffer(payload, np.uint8)
        return sizes
