"""Whether the cores of this server can take one more call. CPU times enter, `has_room` leaves. Pure.

Theory. Control and media processes may share a core, and other programs may use the machine. So the load is the CPU time of all our
processes divided by the available time: the allowed cores, or the quota of the control group, less the time that the host gave to other
machines (steal), and less half of what other programs use, because the kernel divides a contended core between them and us. The control
process has one thread, so it is also measured separately. The load grows by about the same for every call: calls that began since the last
measurement are counted as average calls. The control process's time does not grow like that: it is mostly spent on call set-up, which
`NewCallPace` limits. A measurement covers at least a second: the first call after a pause loads what it needs, which says nothing about
later ones.

`NewCallPace` limits the rate of new calls. The set-up of a call costs as much as several seconds of its sound, and all of it falls on the
control process: a wave of INVITEs delays all answers, including refusals. Each punctual beat of the loop adds an allowance, so that calls
are accepted as fast as the loop keeps up, and no faster.

| more calls are refused when                                                                         | because                      |
|-----------------------------------------------------------------------------------------------------|------------------------------|
| with one call more, the load would be over `MAX_SHARE`                                              | sound would begin to be late |
| the control process alone is over `MAX_CONTROL_SHARE`                                               | events and answers are late  |
| the allowance is used up; it returns with each beat, slowly while beats are over `LATE_BEAT_S` late | the loop is behind           |

With fewer than `MIN_CALLS` no rule applies: another program fills the cores then, and refusing would not help the existing calls.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

MAX_SHARE: Final = 0.85
MAX_CONTROL_SHARE: Final = 0.95
STRAINED_SHARE: Final = 0.93
"""Above this load optional work is switched off, because less remains than the rare long tick needs."""
NEIGHBOURS_WEIGHT: Final = 0.5
MIN_CALLS: Final = 20
WINDOW_S: Final = 1.0
MIN_WINDOW_S: Final = 0.9
BEAT_S: Final = 0.02
IDLE_BEAT_S: Final = 0.25
LATE_BEAT_S: Final = 0.08
"""Answers delayed this long, including refusals, are still in time for callers, who retransmit after 500 ms (RFC 3261 timer A)."""
BURST: Final = 30
"""New calls at once: as many as the loop handles in about 0.2 s."""
PER_BEAT: Final = 10
"""500 new calls a second, more than one core sets up."""
PER_LATE_BEAT: Final = 2
"""A late loop still accepts callers who come one after another, as on a machine that is slow for other reasons."""


@dataclass(frozen=True, slots=True)
class CoreSample:
    """CPU times so far, in seconds. `n_cores` is how many cores, or parts of one, this server may use."""

    at: float
    n_cores: float
    control_s: float
    ours_s: float
    """Control and media processes together."""
    idle_s: float
    """All allowed cores together."""
    steal_s: float
    n_allowed: int = 0
    """The number of cores summed in `idle_s` and `steal_s`; 0: the same as `n_cores`."""


class CoreAdmission:
    """The decision by cores. Without samples there is always room."""

    def __init__(self) -> None:
        self._samples: deque[CoreSample] = deque()
        self._n_known = 0
        self.share = 0.0
        """The share of the available time that our processes used in the last second."""
        self.control_share = 0.0
        """The share of one core that the control process used."""

    def take(self, sample: CoreSample, n_calls: int) -> None:
        """Add a measurement of the cores, with the number of calls."""
        samples = self._samples
        if samples and sample.at - samples[-1].at > WINDOW_S:
            samples.clear()  # there were no calls, and no measurements
            self.share = self.control_share = 0.0
        samples.append(sample)
        while len(samples) > 2 and sample.at - samples[1].at >= WINDOW_S:
            samples.popleft()
        first = samples[0]
        if sample.at - first.at >= MIN_WINDOW_S:
            self.share = _share(first, sample)
            self.control_share = (sample.control_s - first.control_s) / (sample.at - first.at)
            self._n_known = n_calls

    def expected_share(self, n_calls: int) -> float:
        """The expected load of `n_calls`."""
        if self._n_known < MIN_CALLS:
            return self.share
        return self.share + (n_calls - self._n_known) * self.share / self._n_known

    def has_room(self, n_calls: int) -> bool:
        """Whether one more call beside `n_calls` may be accepted."""
        if n_calls < MIN_CALLS:
            return True
        return self.expected_share(n_calls + 1) <= MAX_SHARE and self.control_share <= MAX_CONTROL_SHARE

    def is_strained(self, n_calls: int) -> bool:
        """Whether optional work is switched off."""
        return n_calls >= MIN_CALLS and max(self.share, self.control_share) > STRAINED_SHARE


def _share(first: CoreSample, last: CoreSample) -> float:
    wall_s = last.at - first.at
    ours_s, steal_s = max(last.ours_s - first.ours_s, 0.0), last.steal_s - first.steal_s
    idle_s = last.idle_s - first.idle_s
    all_s = wall_s * (last.n_allowed or last.n_cores)
    neighbours_s = max(all_s - idle_s - steal_s - ours_s, 0.0)
    there_s = min(all_s - steal_s - NEIGHBOURS_WEIGHT * neighbours_s, wall_s * last.n_cores)
    return ours_s / max(there_s, 0.01 * wall_s)


class NewCallPace:
    """How many calls may begin now. Call `beat` every `BEAT_S`, or every `IDLE_BEAT_S` while there are few calls."""

    def __init__(self) -> None:
        self._allowance = BURST
        self._n_begun = 0
        self._is_late = False

    def beat(self, late_s: float, n_begun: int) -> None:
        """The loop reached this beat `late_s` late. `n_begun`: calls begun so far, in total.

        One late beat is a pause of the loop, such as a garbage collection. Two in a row are a queue.
        """
        self._settle(n_begun)
        was_late, self._is_late = self._is_late, late_s > LATE_BEAT_S
        is_queue = was_late and self._is_late
        self._allowance = min(max(self._allowance, 0) + (PER_LATE_BEAT if is_queue else PER_BEAT), BURST)

    def may_begin(self, n_calls: int, n_begun: int) -> bool:
        """Whether one more call may begin beside `n_calls`."""
        self._settle(n_begun)
        return n_calls < MIN_CALLS or self._allowance > 0

    def _settle(self, n_begun: int) -> None:
        self._allowance -= n_begun - self._n_begun
        self._n_begun = n_begun
