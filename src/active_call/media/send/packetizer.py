"""The sending side of a stream that cannot be batched: outgoing telephone events, packets longer or shorter than a tick, another codec.

The frame of the tick goes in; the due packets go out through the leg. RFC 3550, 4733. This module knows neither plays nor keys. Sound is
collected until it fills a packet of the peer's `ptime` (RFC 8866 §6.4), so that 10, 30 or 60 ms packets keep their interval on the 20 ms
grid. An outgoing telephone event replaces the sound.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.base.pcm import FRAME_MS
from active_call.codec.table import OPUS, Codec
from active_call.media.receive.leg import Leg
from active_call.media.send.mixer import Samples
from active_call.media.send.packet_batch import SendBatch
from active_call.rtp.packet import pack_header

MIN_PTIME_MS: Final = 10
MAX_PTIME_MS: Final = 60
MAX_PAYLOAD_BYTES: Final = 1280
"""With RTP, SRTP, UDP and IPv6 headers this stays below 1400 bytes, which nearly every path carries without fragmentation."""
_OPUS_MS: Final = (10, 20, 40, 60)
"""RFC 6716 §2.1.4. 2.5 and 5 ms make no sense with a 20 ms tick."""


class Packetizer:
    """The sending side of one such stream. `frame` is the input of the next `send`, at the codec's rate. Its owner fills and clears it."""

    __slots__ = ("_batch", "_leg", "_n_pending", "_pending", "_slot", "frame")

    def __init__(self, slot: int, leg: Leg, batch: SendBatch) -> None:
        self._slot = slot
        self._leg = leg
        self._batch = batch
        self._pending: list[Samples] = []
        self._n_pending = 0
        self.frame: Samples = np.zeros(leg.send_codec.sample_rate_hz * FRAME_MS // 1000, np.int16)

    def fit(self) -> None:
        """Follow a change of the leg's codec. Sound that waits for a full packet is dropped if the rate has changed."""
        n_samples = self._leg.send_codec.sample_rate_hz * FRAME_MS // 1000
        if n_samples != len(self.frame):
            self.frame = np.zeros(n_samples, np.int16)
            self._drop()

    def send(self, tick: int) -> None:
        """Send the packets due in `tick`."""
        timestamp = self._batch.timestamp(self._slot, tick)
        if self._send_event(timestamp):
            self._drop()
            return
        self._pending.append(self.frame.copy())
        self._n_pending += len(self.frame)
        config, codec = self._leg.config, self._leg.send_codec
        if config is None:
            return
        n_samples = packet_ms(config.ptime_ms, codec) * codec.sample_rate_hz // 1000
        if self._n_pending < n_samples:
            return
        sound = np.concatenate(self._pending) if len(self._pending) > 1 else self._pending[0]
        ticks_of = codec.rtp_clock_hz / codec.sample_rate_hz
        first = timestamp + round((len(self.frame) - len(sound)) * ticks_of)
        n_sent = len(sound) - len(sound) % n_samples
        for start in range(0, n_sent, n_samples):
            self._send_sound(sound[start : start + n_samples], (first + round(start * ticks_of)) & 0xFFFFFFFF)
        self._pending = [sound[n_sent:]] if n_sent < len(sound) else []
        self._n_pending = len(sound) - n_sent

    def _send_event(self, timestamp: int) -> bool:
        leg = self._leg
        event = leg.digits_out.next_packet(timestamp)
        if event is None or leg.config is None:
            return False
        sequence = self._batch.take_sequence(self._slot, len(event.payload))
        header = pack_header(leg.config.send_event_type, event.marker, sequence, event.timestamp, int(self._batch.ssrc[self._slot]))
        leg.send(header + event.payload)
        return True

    def _send_sound(self, samples: Samples, timestamp: int) -> None:
        batch, slot, leg = self._batch, self._slot, self._leg
        payload = leg.encode(samples)
        if not payload or leg.config is None:
            return
        sequence = batch.take_sequence(slot, len(payload))
        header = pack_header(leg.config.send_payload_type, bool(batch.marker[slot]), sequence, timestamp, int(batch.ssrc[slot]))
        batch.marker[slot] = False
        leg.send(header + payload)

    def _drop(self) -> None:
        self._pending = []
        self._n_pending = 0


def packet_ms(ptime_ms: int, codec: Codec) -> int:
    """Duration of our packets of `codec` if the peer prefers `ptime_ms`: at most that, if the codec has such frames, and never so long that
    a packet would be fragmented.
    """
    wished = min(max(ptime_ms // 10 * 10, MIN_PTIME_MS), MAX_PTIME_MS)
    if codec is OPUS:
        return max(length for length in _OPUS_MS if length <= wished)
    return min(wished, MAX_PAYLOAD_BYTES * FRAME_MS // codec.frame_bytes // 10 * 10)
