"""The machine of the bench: the core of each process, the CPU time of a process, and the load from other programs.

Everything is read from /proc. If the kernel does not provide or permit something, the figures are 0 and nothing is pinned.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Columns of /proc/stat."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which process runs where. `media` is None when nothing can be pinned (one core, or not permitted)."""

    media: int | None
    peers: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        """All cores: where the processes ran before, and where this one runs afterwards."""
        return self.peers if self.media is None else (*self.peers, self.media)


def choose_cores() -> Cores:
    """The last core for the media process, the others for all other processes: most interrupts are handled on the first."""
    try:
        available = sorted(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return Cores(None, ())
    return Cores(None, ()) if len(available) < 2 else Cores(available[-1], tuple(available[:-1]))


def pin(pid: int, cores: tuple[int, ...]) -> bool:
    """Pin every thread of `pid` to `cores`; returns whether that was permitted."""
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), cores)
    except (OSError, AttributeError):
        return False
    return True


def prioritise(pid: int) -> None:
    """Give a newly started program the priority that a media process requests, if permitted."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time in seconds so far. `waited_s`: runnable but not scheduled; for the process's first thread."""

    user_s: float
    system_s: float
    waited_s: float


def usage(pid: int) -> Usage:
    """The usage of one process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    waited_s = 0.0
    with contextlib.suppress(OSError, IndexError):
        waited_s = int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) * 1e-9
    return Usage(int(fields[11]) / _TICKS_PER_S, int(fields[12]) / _TICKS_PER_S, waited_s)


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Seconds of one core so far. Idle time is exact; busy time would be sampled in step with a process that wakes on a grid."""

    idle_s: float
    steal_s: float


def core_times(core: int) -> CoreTimes:
    """The times of `core`. `steal_s` is what the host gave to other machines."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
            if line.startswith(f"cpu{core} "):
                ticks = [int(field) for field in line.split()[1:9]]
                return CoreTimes((ticks[_IDLE] + ticks[_IOWAIT]) / _TICKS_PER_S, ticks[_STEAL] / _TICKS_PER_S)
    return CoreTimes(0.0, 0.0)


def dropped_by_kernel(ports: set[int]) -> int:
    """Datagrams that found the receive buffer of one of these local UDP ports full."""
    count = 0
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) in ports:
                count += int(fields[-1])
    return count
