"""Statistics of the tick per second: lateness and CPU time go in, `Load` comes out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from active_call.media.link.messages import Load

REPORT_EVERY_S: Final = 1.0
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class LoadMeter:
    """The figures of the current second."""

    def __init__(self, now: float, cpu_s: float) -> None:
        self._since = now
        self._cpu_s = cpu_s
        self._late_ms: list[float] = []
        self._skipped = 0

    def note_tick(self, late_s: float, skipped: int) -> None:
        """A tick started `late_s` late, after `skipped` ticks were skipped."""
        self._late_ms.append(late_s * 1000)
        self._skipped += skipped

    def is_due(self, now: float) -> bool:
        """Whether a second has passed since the last report."""
        return now - self._since >= REPORT_EVERY_S

    def take(self, now: float, cpu_s: float, *, n_streams: int, dropped_audio: int) -> Load:
        """Return the figures and reset. `cpu_s` is the CPU time of the process so far; all of it is attributed to the ticks."""
        late_ms = sorted(self._late_ms)
        load = Load(
            streams=n_streams,
            tick_late_ms_p50=percentile(late_ms, 50),
            tick_late_ms_p90=percentile(late_ms, 90),
            tick_late_ms_p99=percentile(late_ms, 99),
            tick_late_ms_max=late_ms[-1] if late_ms else 0.0,
            tick_cpu_ms_mean=(cpu_s - self._cpu_s) * 1000 / max(len(late_ms), 1),
            skipped_ticks=self._skipped,
            rss_mb=resident_mb(),
            dropped_audio=dropped_audio,
            tick_late_ms=tuple(late_ms),
        )
        self._since, self._cpu_s = now, cpu_s
        self._late_ms = []
        self._skipped = 0
        return load


def percentile(ordered: list[float], percent: float) -> float:
    """The nearest-rank percentile of ascending values; 0 if there are none."""
    if not ordered:
        return 0.0
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank) - 1, 0)]


def resident_mb() -> float:
    """The resident memory of the process; 0 without /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * _PAGE_BYTES / 1e6
