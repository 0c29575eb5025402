"""The received sound of one stream: its codec, its jitter buffer, and the frame of each tick.

Payloads enter the buffer, frames leave. G.711 is buffered as bytes, because the tick decodes it for all streams at once (`jitter.pop`). All
other codecs are decoded here, and so is G.711 that is still buffered after a change of codec: sound of the old codec is played to its end
before the new one starts, so that the change causes no gap.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.codec import g711
from active_call.codec.stream import new_decoder
from active_call.codec.table import PCMA, PCMU, Codec
from active_call.media.send.conversion import Conversion
from active_call.media.send.mixer import Samples
from active_call.rtp.jitter import JitterBuffer
from active_call.rtp.jitter_table import JitterTable
from active_call.rtp.playout import Playout
from active_call.rtp.quality import Losses

G711: Final = (PCMU, PCMA)
_ALAW: Final = (np.zeros(1, np.bool_), np.ones(1, np.bool_))
"""The law column for a single row, indexed by whether it is A-law."""


class _Draining:
    """The buffer of the previous codec, until it is empty."""

    __slots__ = ("_conversion", "_is_alaw", "_jitter")

    def __init__(self, jitter: JitterBuffer | Playout, before: Codec, now: Codec) -> None:
        self._jitter = jitter
        self._is_alaw = before is PCMA
        rates = before.sample_rate_hz, now.sample_rate_hz
        self._conversion = None if rates[0] == rates[1] else Conversion(*rates)

    def pop(self) -> Samples | None:
        """The next frame at the new rate; None when the buffer is empty."""
        if not self._jitter.depth:
            return None
        frame = self._jitter.pop()
        if frame is None:
            return None
        samples = decoded(frame, is_alaw=self._is_alaw) if isinstance(frame, bytes) else frame
        return samples if self._conversion is None else self._conversion.process(samples)


class CodecInput:
    """The received sound of one stream. `use` changes `codec` and `jitter`. G.711 is buffered in the stream's row of `table`, if given."""

    __slots__ = ("_before", "_draining", "_place", "codec", "jitter")

    def __init__(self, table: JitterTable | None = None, row: int = 0) -> None:
        self.codec = PCMU
        self._place = table, row
        self.jitter: JitterBuffer | Playout = JitterBuffer(table, row)
        self._draining: _Draining | None = None
        self._before = Losses(0, 0, 0)
        self._fit_law()

    @property
    def is_batched(self) -> bool:
        """Whether `jitter` yields G.711 frames that are decoded in the batch."""
        return self._draining is None and self.codec in G711

    @property
    def rate_hz(self) -> int:
        """Sample rate of the frames."""
        return self.codec.sample_rate_hz

    def use(self, codec: Codec) -> None:
        """Take packets of `codec` from now on. Raises OpusError, with nothing changed, if libopus is missing."""
        if codec is self.codec:
            return
        before, jitter = self.codec, self.jitter
        playout = None if codec in G711 else Playout(new_decoder(codec.name), codec.rtp_clock_hz)
        self._before += _losses_of(jitter)
        if isinstance(jitter, JitterBuffer) and jitter.depth:
            jitter.leave_table()
        # A-law and mu-law cannot share a buffer: the same byte means another sample.
        self.jitter = playout or JitterBuffer(*self._place)
        self.codec = codec
        self._draining = _Draining(jitter, before, codec) if jitter.depth else None
        self._fit_law()

    def _fit_law(self) -> None:
        if isinstance(self.jitter, JitterBuffer):
            is_alaw = self.codec is PCMA
            self.jitter.use_codec(g711.SILENCE[is_alaw][0], g711.QUIET_PCMA if is_alaw else g711.QUIET_PCMU)

    def reset(self) -> None:
        """Reset for another source."""
        self._draining = None
        self.jitter.reset()

    def pop(self) -> Samples | None:
        """The frame of this tick at the codec's rate, None if there is none. Call once per 20 ms, unless `is_batched`."""
        if self._draining is not None:
            frame = self._draining.pop()
            if frame is not None:
                return frame
            self._draining = None
        taken = self.jitter.pop()
        return decoded(taken, is_alaw=self.codec is PCMA) if isinstance(taken, bytes) else taken

    @property
    def losses(self) -> Losses:
        """The loss counters over all codecs so far."""
        return self._before + _losses_of(self.jitter)

    def skip(self) -> None:
        """Skip the frame of a tick in which it is not needed."""
        self._draining = None
        self.jitter.pop()


def _losses_of(jitter: JitterBuffer | Playout) -> Losses:
    buffer = jitter.buffer if isinstance(jitter, Playout) else jitter
    return Losses(buffer.received, buffer.lost, buffer.loss_runs, buffer.late, buffer.duplicate)


def decoded(frame: bytes, *, is_alaw: bool) -> Samples:
    """Decode one frame of G.711."""
    samples: Samples = g711.decode(np.frombuffer(frame, np.uint8)[None], _ALAW[is_alaw])[0]
    return samples
