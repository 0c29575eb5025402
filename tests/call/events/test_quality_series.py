"""The quality of a call over time: kept as told, bounded, and the worst is never averaged away."""

from __future__ import annotations

from active_call.call.events.quality_series import MAX_SAMPLES, QualitySeries
from active_call.media.link.messages import QualityReported


def report(at: float, **figures: float) -> QualityReported:
    told = {"packets_received": 250, "packets_lost": 0, "packets_late": 0, "jitter_ms": 2.0, **figures}
    return QualityReported(1, at, **told)  # type: ignore[arg-type]


def to_ms(at: float) -> int:
    return int(at * 1000)


def test_sample_says_what_was_told_and_leaves_open_what_is_not_known() -> None:
    series = QualitySeries()
    series.take(report(5.0, packets_lost=3, mos=4.123, round_trip_ms=30.0), to_ms)
    (sample,) = series.samples()
    assert (sample.timestamp, sample.received, sample.lost, sample.mos, sample.round_trip_ms) == (5000, 250, 3, 4.12, 30.0)
    assert sample.peer_loss_percent is None


def test_long_call_keeps_few_samples_all_packets_and_its_worst_moment() -> None:
    series = QualitySeries()
    n_reports = 5 * MAX_SAMPLES + 3
    for number in range(n_reports):
        is_bad = number == 777
        figures = {"packets_lost": 100, "mos": 1.5, "jitter_ms": 90.0} if is_bad else {"mos": 4.4}
        series.take(report(5.0 * number, **figures), to_ms)
        assert len(series.samples()) <= MAX_SAMPLES
    samples = series.samples()
    assert len(samples) > MAX_SAMPLES / 4
    assert sum(sample.received for sample in samples) == 250 * n_reports
    assert sum(sample.lost for sample in samples) == 100
    assert min(sample.mos for sample in samples if sample.mos is not None) == 1.5
    assert max(sample.jitter_ms for sample in samples) == 90.0
    times = [sample.timestamp for sample in samples]
    assert times == sorted(set(times))
    assert times[-1] == to_ms(5.0 * (n_reports - 1))
