"""What a process holds, sampled over time, and whether it grows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil


@dataclass
class Growth:
    """Samples of one process. Times are seconds from the first sample."""

    pid: int
    times_s: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    _begun_at: float = field(default_factory=time.monotonic)

    def sample(self) -> None:
        process = psutil.Process(self.pid)
        with process.oneshot():
            self.times_s.append(time.monotonic() - self._begun_at)
            self.rss_mb.append(process.memory_info().rss / 1e6)
            self.descriptors.append(process.num_fds())
            self.threads.append(process.num_threads())

    async def keep_sampling(self, every_s: float) -> None:
        while True:
            self.sample()
            await asyncio.sleep(every_s)

    def fitted(self, from_s: float) -> dict[str, Any]:
        """Memory from `from_s` on: a straight line by least squares, and how much it rises over that time."""
        times, rss = np.array(self.times_s), np.array(self.rss_mb)
        late = times >= from_s
        slope, _ = np.polyfit(times[late], rss[late], 1)
        span_s = float(np.ptp(times[late]))
        return {
            "seconds": round(span_s),
            "rss_mb_first": round(float(rss[late][0]), 1),
            "rss_mb_last": round(float(rss[late][-1]), 1),
            "rss_mb_max": round(float(rss.max()), 1),
            "rss_mb_by_tenth": [round(float(part.mean()), 2) for part in np.array_split(rss[late], min(10, int(late.sum())))],
            "slope_mb_per_hour": round(float(slope) * 3600, 2),
            "rise_mb": round(float(slope) * span_s, 2),
            "descriptors_max": max(self.descriptors),
            "descriptors_last": self.descriptors[-1],
            "threads_max": max(self.threads),
        }
