"""Converts the counts of both ends of a bench to its JSON object; the keys are explained in `bench`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from active_call.bench import host as bench_host
from active_call.bench.host import Cores, CoreTimes, Usage
from active_call.bench.media_judge import Judgement, spread
from active_call.media.link.messages import Load, StreamClosed


@dataclass(frozen=True, slots=True)
class Moment:
    """The values read at both ends of the measured time."""

    at: float
    process: Usage
    core: CoreTimes | None
    """None if the process is not pinned."""


def moment(pid: int, cores: Cores) -> Moment:
    """The values now, for the media process `pid` and its core."""
    core = None if cores.media is None else bench_host.core_times(cores.media)
    return Moment(time.monotonic(), bench_host.usage(pid), core)


@dataclass(frozen=True, slots=True)
class Run:
    """All observations of one run. `n_sent`: packets of the callers."""

    calls: int
    before: Moment
    after: Moment
    loads: list[Load]
    closed: list[StreamClosed]
    n_sent: int
    seen: Judgement


def figures(run: Run) -> dict[str, Any]:
    """The figures that do not depend on the workload."""
    wall_s = run.after.at - run.before.at
    user_s = run.after.process.user_s - run.before.process.user_s
    system_s = run.after.process.system_s - run.before.process.system_s
    per_call_second = 1000 / run.calls / wall_s
    return {
        "calls": run.calls,
        "seconds": round(wall_s, 2),
        "cpu_ms_per_call_second": round((user_s + system_s) * per_call_second, 3),
        "cpu_user_ms": round(user_s * per_call_second, 3),
        "cpu_system_ms": round(system_s * per_call_second, 3),
        "core_percent": round((user_s + system_s) / wall_s * 100, 1),
        "tick_late_ms": spread(np.array([late for load in run.loads for late in load.tick_late_ms])),
        "skipped_ticks": sum(load.skipped_ticks for load in run.loads),
        "packet_offset_ms": run.seen.packet_offset_ms,
        "lost": _lost(run),
        "wrong": run.seen.wrong + run.seen.repeated,
        "refused": sum(each.packets_dropped for each in run.closed),
        "rss_mb": round(max((load.rss_mb for load in run.loads), default=0.0), 1),
        "dropped_audio": run.loads[-1].dropped_audio if run.loads else 0,
        "sender_late_ms": run.seen.sender_late_ms,
        "host": _host(run, user_s + system_s, wall_s),
    }


def _lost(run: Run) -> int:
    to_us = run.n_sent - sum(each.packets_received for each in run.closed)
    from_us = sum(each.packets_sent for each in run.closed) - sum(run.seen.received_by_ssrc.values())
    return to_us + from_us


def _host(run: Run, used_s: float, wall_s: float) -> dict[str, float]:
    if run.before.core is None or run.after.core is None:
        return {}
    others_s = wall_s - (run.after.core.idle_s - run.before.core.idle_s) - used_s
    steal_s = run.after.core.steal_s - run.before.core.steal_s
    waited_s = run.after.process.waited_s - run.before.process.waited_s
    return {
        "steal_percent": round(steal_s / wall_s * 100, 2),
        "others_percent": round(max(others_s - steal_s, 0.0) / wall_s * 100, 2),
        "waited_percent": round(waited_s / wall_s * 100, 2),
    }
