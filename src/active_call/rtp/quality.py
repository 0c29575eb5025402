"""Call quality as one number: MOS estimated by the E-model (ITU-T G.107, G.113 appendix I) from counters.

Counters and delays go in, R and MOS come out. The sound itself is not analysed: this is an estimate for the operator, for the direction
from the peer to us.

Theory. R = R0 - Idd - Ie_eff. R0 = 93.2 is what is left of 100 with all other parameters of G.107 (table 2) at their defaults. Idd is the
impairment by delay alone (equations 7-27, 7-28). Ie_eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl) is that of the codec under packet loss
(7-29): Ppl in percent; BurstR is the mean loss run length relative to random loss. MOS is a cubic of R (annex B).
"""

from __future__ import annotations

from math import log2
from typing import Final

from msgspec import Struct

_R0: Final = 93.2
_LARGEST_IMPAIRMENT: Final = 95.0
_TOLERATED_DELAY_MS: Final = 100.0
_OUR_END_MS: Final = 20.0
"""A frame is collected before it is sent, and one waits for its tick."""

_LOSS_ROBUSTNESS: Final = {"pcmu": 25.1, "pcma": 25.1, "g722": 25.1, "l16_8000": 25.1, "l16_16000": 25.1, "opus": 25.1}
"""Bpl by codec. G.113 table I.4 has 25.1 for G.711 with the concealment of its appendix I, which is similar to ours (4.3 without). It has
no value for Opus, and none for the others with this concealment. Opus FEC is already reflected in the losses."""
_CODEC_IMPAIRMENT: Final = 0.0
"""Ie of G.711 (G.113 table I.1). The others are at least as good on this narrow-band scale, whose maximum is 4.4 for all."""


class Losses(Struct, frozen=True):
    """The counters of a jitter buffer over a call and all its sources: packets, and runs of lost ones."""

    received: int
    lost: int
    runs: int
    late: int = 0
    duplicate: int = 0

    def __add__(self, other: Losses) -> Losses:
        return Losses(
            self.received + other.received,
            self.lost + other.lost,
            self.runs + other.runs,
            self.late + other.late,
            self.duplicate + other.duplicate,
        )

    def __sub__(self, earlier: Losses) -> Losses:
        """The difference to the `earlier` counters."""
        return Losses(
            self.received - earlier.received,
            self.lost - earlier.lost,
            self.runs - earlier.runs,
            self.late - earlier.late,
            self.duplicate - earlier.duplicate,
        )

    @property
    def share(self) -> float:
        """Share of the sound that was lost or late, 0 to 1."""
        return self._share_of(self.lost + self.late)

    @property
    def burst_ratio(self) -> float:
        """Mean length of a loss run relative to random loss of the same share; at least 1 (BurstR of G.107)."""
        if not self.runs:
            return 1.0
        return max(1.0, self.lost / self.runs * (1.0 - self._share_of(self.lost)))

    def _share_of(self, n_packets: int) -> float:
        due = self.received - self.duplicate + self.lost
        return min(1.0, n_packets / due) if due > 0 else 0.0


def one_way_delay_ms(*, round_trip_ms: float, buffered_ms: float, packet_ms: float = 20.0) -> float:
    """The age of the sound when it is played: half the round trip, a packet, the jitter buffer, and our own end."""
    return round_trip_ms / 2 + packet_ms + buffered_ms + _OUR_END_MS


def delay_impairment(delay_ms: float) -> float:
    """Return Idd for a one-way delay (G.107 equations 7-27 and 7-28); 0 up to 100 ms."""
    if delay_ms <= _TOLERATED_DELAY_MS:
        return 0.0
    x = log2(delay_ms / _TOLERATED_DELAY_MS)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def loss_impairment(codec: str, losses: Losses) -> float:
    """Return Ie_eff for our name of a codec (G.107 equation 7-29). Raises KeyError for an unknown one."""
    percent = 100 * losses.share
    robustness = _LOSS_ROBUSTNESS[codec]
    return _CODEC_IMPAIRMENT + (_LARGEST_IMPAIRMENT - _CODEC_IMPAIRMENT) * percent / (percent / losses.burst_ratio + robustness)


def mos_of(r: float) -> float:
    """Return the mean opinion score of a rating (G.107 annex B): 1 to 4.5."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def estimate_mos(codec: str, losses: Losses, delay_ms: float) -> float:
    """Return the estimate for a call; 4.41 is the maximum. `delay_ms` comes from `one_way_delay_ms`."""
    return mos_of(_R0 - delay_impairment(delay_ms) - loss_impairment(codec, losses))
