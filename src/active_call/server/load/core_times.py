"""Reads the inputs of `core_admission` from /proc and the control group. If the kernel does not provide a value, there is no sample."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from active_call.server.load.core_admission import CoreSample

CPU_MAX: Final = Path("/sys/fs/cgroup/cpu.max")
"""`quota period` in µs, or `max period` (Linux, control groups version 2)."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Columns of /proc/stat (proc(5))."""


def read_cores(media_pids: Iterable[int]) -> CoreSample | None:
    """The CPU times so far; `media_pids` are our media processes."""
    try:
        cores = os.sched_getaffinity(0)
        idle_s, steal_s = core_times(Path("/proc/stat").read_text(encoding="ascii"), cores)
    except (AttributeError, OSError, ValueError, IndexError):
        return None
    control_s = time.process_time()
    waited_s = _thread_times(os.getpid())[1]
    ours_s = control_s + sum(_thread_times(pid)[0] for pid in media_pids)
    return CoreSample(time.monotonic(), min(len(cores), _quota()), control_s, ours_s, idle_s, steal_s, len(cores), waited_s)


def core_times(stat: str, cores: set[int]) -> tuple[float, float]:
    """Idle and stolen seconds of `cores`, from the text of /proc/stat. Raises ValueError and IndexError for invalid text."""
    names = {f"cpu{core}" for core in cores}
    idle = steal = 0
    for line in stat.splitlines():
        name, *fields = line.split()
        if name in names:
            idle += int(fields[_IDLE]) + int(fields[_IOWAIT])
            steal += int(fields[_STEAL])
    return idle / _TICKS_PER_S, steal / _TICKS_PER_S


def quota_of(text: str) -> float:
    """Cores that `cpu.max` allows; infinite without a limit, or if the text has another form."""
    quota, _, period = text.strip().partition(" ")
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return float("inf")


def _quota() -> float:
    with contextlib.suppress(OSError, ValueError):
        return quota_of(CPU_MAX.read_text(encoding="ascii"))
    return float("inf")


def _thread_times(pid: int) -> tuple[float, float]:
    """CPU time of a process's first thread, which does the work, and the time it waited for a core; 0 if it has ended."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        used, waited, *_ = Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()
        return int(used) * 1e-9, int(waited) * 1e-9
    return 0.0, 0.0
