"""The sound quality of a call over time: one sample every five seconds, fewer if the call is long.

Reports of the media process enter, samples for the record leave. If there are too many, neighbours are merged and the worse value is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from active_call.media.link.messages import QualityReported
from active_call.store.records import QualitySample

MAX_SAMPLES: Final = 360
"""Half an hour at five seconds each."""


class QualitySeries:
    """The series of one call. `to_epoch_ms` converts the monotonic time of a report."""

    def __init__(self) -> None:
        self._samples: list[QualitySample] = []
        self._pending: list[QualitySample] = []
        self._n_merged = 1
        """How many reports form one sample."""

    def take(self, report: QualityReported, to_epoch_ms: Callable[[float], int]) -> None:
        """One more report."""
        self._pending.append(_sample(report, to_epoch_ms(report.at)))
        if len(self._pending) < self._n_merged:
            return
        self._samples.append(_merged(self._pending))
        self._pending = []
        if len(self._samples) >= MAX_SAMPLES:
            self._samples = [_merged(self._samples[at : at + 2]) for at in range(0, len(self._samples), 2)]
            self._n_merged *= 2

    def samples(self) -> tuple[QualitySample, ...]:
        """All of them, in order."""
        return (*self._samples, *([_merged(self._pending)] if self._pending else ()))


def _sample(report: QualityReported, timestamp: int) -> QualitySample:
    return QualitySample(
        timestamp=timestamp,
        received=report.packets_received,
        lost=report.packets_lost,
        late=report.packets_late,
        jitter_ms=round(report.jitter_ms, 2),
        round_trip_ms=_known(report.round_trip_ms),
        mos=_known(report.mos),
        peer_loss_percent=_known(report.peer_loss_percent),
    )


def _known(value: float) -> float | None:
    return round(value, 2) if value >= 0 else None


def _merged(samples: Sequence[QualitySample]) -> QualitySample:
    """Counts are added; of delays, jitter and MOS the worse is kept. The time is that of the later one."""
    if len(samples) == 1:
        return samples[0]
    return QualitySample(
        timestamp=samples[-1].timestamp,
        received=sum(sample.received for sample in samples),
        lost=sum(sample.lost for sample in samples),
        late=sum(sample.late for sample in samples),
        jitter_ms=max(sample.jitter_ms for sample in samples),
        round_trip_ms=max((sample.round_trip_ms for sample in samples if sample.round_trip_ms is not None), default=None),
        mos=min((sample.mos for sample in samples if sample.mos is not None), default=None),
        peer_loss_percent=max((sample.peer_loss_percent for sample in samples if sample.peer_loss_percent is not None), default=None),
    )
