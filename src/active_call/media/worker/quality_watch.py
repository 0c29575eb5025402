"""Periodic quality of one stream: the counters since the previous report.

Counters of the leg and its RTCP go in, QualityReported comes out. It is called twice a second.
"""

from __future__ import annotations

from typing import Final

from active_call.base.pcm import FRAME_MS
from active_call.media.link.messages import QUALITY_EVERY_S, QualityReported
from active_call.media.receive.leg import Leg
from active_call.media.receive.rtcp import RtcpSession
from active_call.rtp.quality import Losses, estimate_mos, one_way_delay_ms

MIN_JUDGED_PACKETS: Final = 50
"""A second of sound."""


class QualityWatch:
    """The quality of one stream since its configuration."""

    __slots__ = ("_before", "_due_at", "_n_judged", "_sum_lost")

    def __init__(self) -> None:
        self._before = Losses(0, 0, 0)
        self._due_at = 0.0
        self._n_judged = 0
        self._sum_lost = 0

    def look(self, stream: int, leg: Leg, control: RtcpSession, now: float) -> QualityReported | None:
        """The due report; None most of the time."""
        if now < self._due_at:
            return None
        is_first, self._due_at = self._due_at == 0.0, now + QUALITY_EVERY_S
        if is_first:
            return None
        losses, self._before = leg.losses - self._before, leg.losses
        n_judged, self._n_judged = control.n_judged - self._n_judged, control.n_judged
        sum_lost, self._sum_lost = control.sum_lost - self._sum_lost, control.sum_lost
        return QualityReported(
            stream,
            now,
            packets_received=losses.received,
            packets_lost=max(losses.lost, 0),
            packets_late=max(losses.late, 0),
            jitter_ms=leg.reception.jitter_ms if leg.reception else 0.0,
            round_trip_ms=control.round_trip_ms,
            mos=mos_of_losses(losses, leg, control),
            peer_loss_percent=sum_lost * 100 / 256 / n_judged if n_judged > 0 else -1.0,
        )


def mos_of_losses(losses: Losses, leg: Leg, control: RtcpSession) -> float:
    """The E-model's estimate of the quality of the peer's sound for the interval of `losses`; -1 if there is too little data."""
    if leg.config is None or losses.received < MIN_JUDGED_PACKETS:
        return -1.0
    delay_ms = one_way_delay_ms(
        round_trip_ms=max(control.round_trip_ms, 0.0), buffered_ms=FRAME_MS * leg.sound.jitter.depth, packet_ms=leg.config.ptime_ms
    )
    return estimate_mos(leg.sound.codec.name, losses, delay_ms)
