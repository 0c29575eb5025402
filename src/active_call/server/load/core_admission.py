"""Whether the cores of this server can take one more call. CPU times enter, `has_room` leaves. Pure.

Theory. Control and media processes may share a core, and other programs may use the machine. So the load is the CPU time of all our
processes divided by the available time: the allowed cores, or the quota of the control group, less the time that the host gave to other
machines (steal), and less half of what other programs use, because the kernel divides a contended core between them and us. The control
process has one thread, so it is also measured separately. A measurement covers at least a second: the first call after a pause loads what
it needs, which says nothing about later ones.

The load has two components. Each established call uses about the same CPU time per second. This component limits the number of calls;
calls that began since the last measurement are counted as average calls. The set-up of a call costs as much as several seconds of its
sound, once, and all of it falls on the control process (`control_cost` estimates both costs). This component limits the number of new
calls per second to the time that established calls leave. So a burst of new calls does not make a server count as full, and does not take
CPU time from established calls.

`NewCallPace` limits the rate of new calls: a burst of INVITEs delays all answers, including refusals. Each punctual beat of the loop adds
an allowance, so that calls are accepted as fast as the loop keeps up and the cores allow, and no faster.

| more calls are refused when                                                                         | because                      |
|-----------------------------------------------------------------------------------------------------|------------------------------|
| with one call more, the load of established calls would be over `MAX_SHARE`                         | sound would begin to be late |
| with one call more, the control process would be over `MAX_SHARE` of one core                        | its one thread serves all    |
| it uses a core for more than `MAX_CONTROL_SHARE` of the time; or uses one or waits for one, for     | events and answers are late  |
| established calls                                                                                   |                              |
| sound has been waiting to be handled for `MAX_BEHIND_S`, without a break                            | the loop cannot keep up      |
| the allowance is used up; it returns with each beat, slowly while beats are over `LATE_BEAT_S` late | the loop is behind           |
| as many calls wait for their first step as can be set up in `WAIT_S`                                | the loop is behind           |

With fewer than `MIN_CALLS` no rule applies: another program fills the cores then, and refusing would not help the existing calls.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final

from msgspec import Struct

from active_call.server.load.control_cost import ControlCost

MAX_SHARE: Final = 0.85
MAX_CONTROL_SHARE: Final = 0.95
MAX_BEHIND_S: Final = 0.5
"""After a pause of 0.3 s, such as a full garbage collection, a loop with room has caught up by then."""
MAX_WHOLE_SHARE: Final = 0.95
"""The limit of the load including call set-up: above it, set-up delays sound too often."""
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
FREE_CORE: Final = 0.5
"""While at least this share of a core is free, only the loop limits the rate of new calls."""
MIN_BURST: Final = 2
BURST_S: Final = 0.2
"""If the cores limit the rate of new calls, a burst is at most the number that they allow in this time."""
WAIT_S: Final = 0.15
"""How long a new call may wait for its first step. A refusal waits for one such step and not for all (`base/urgent_input`)."""
MIN_WAITING: Final = 4
MAX_WAITING: Final = 24
"""The limits of the number of calls that wait; in between, as many as are set up in `WAIT_S`."""
PER_BEAT: Final = 10
"""500 new calls a second, more than one core sets up."""
PER_LATE_BEAT: Final = 2
"""A late loop still accepts callers who come one after another, as on a machine that is slow for other reasons."""


class CoreSample(Struct, frozen=True):
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
    control_wait_s: float = 0.0
    """How long the control process's thread could run but had no core."""


class _Look(Struct, frozen=True):
    """A sample, with the number of calls and the number of calls begun so far."""

    sample: CoreSample
    n_calls: int
    n_begun: int


class CoreAdmission:
    """The decision by cores. Without samples there is always room."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()
        self._n_known = 0.0
        """The mean number of calls in the last second."""
        self._steady_share = 0.0
        self._steady_control = 0.0
        """The share of one core that established calls use in the control process."""
        self._n_there = 1.0
        """The number of cores available to this server."""
        self.cost = ControlCost()
        self.share = 0.0
        """The share of the available time that our processes used in the last second."""
        self.control_share = 0.0
        """The share of one core that the control process used."""
        self._steady_demand = 0.0
        """The share of the time in which it used a core, or waited for one, for established calls."""

    def take(self, sample: CoreSample, n_calls: int, n_begun: int = 0) -> None:
        """Add a measurement of the cores, with the number of calls and the number of calls begun so far."""
        looks = self._looks
        looks.append(_Look(sample, n_calls, n_begun))
        while len(looks) > 2 and sample.at - looks[1].sample.at >= WINDOW_S:
            looks.popleft()
        if sample.at - looks[0].sample.at >= MIN_WINDOW_S:
            self._judge(looks[0], looks[-1])

    def forget(self) -> None:
        """There are no calls, so nothing is measured: the next measurement starts anew."""
        self._looks.clear()
        self.share = self.control_share = self._steady_share = self._steady_control = self._steady_demand = 0.0

    def _judge(self, first: _Look, last: _Look) -> None:
        wall_s = last.sample.at - first.sample.at
        ours_s = max(last.sample.ours_s - first.sample.ours_s, 0.0)
        control_s = last.sample.control_s - first.sample.control_s
        n_begun = last.n_begun - first.n_begun
        n_ended = max(first.n_calls + n_begun - last.n_calls, 0)
        self._n_known = (first.n_calls + last.n_calls) / 2
        self.cost.take(self._n_known * wall_s, n_begun, n_ended, control_s)
        new_s = min(self.cost.of_changes(n_begun, n_ended), control_s)
        there_s = _there_s(first.sample, last.sample, ours_s)
        self._n_there = there_s / wall_s
        self.share = ours_s / there_s
        waited_s = max(last.sample.control_wait_s - first.sample.control_wait_s, 0.0)
        self.control_share = control_s / wall_s
        self._steady_control = (control_s - new_s) / wall_s
        waits = 1 + waited_s / control_s if control_s > 0 else 1.0
        self._steady_demand = self._steady_control * waits
        self._steady_share = (ours_s - new_s) / there_s

    def expected_share(self, n_calls: int) -> float:
        """The expected load of `n_calls` after their set-up."""
        return self._steady_share * self._growth(n_calls)

    def expected_control_share(self, n_calls: int) -> float:
        """The share of one core that the control process is expected to use for `n_calls` after their set-up."""
        return self._steady_control * self._growth(n_calls)

    def _growth(self, n_calls: int) -> float:
        """The load of `n_calls`, as a multiple of that of the measured calls."""
        return 1.0 if self._n_known < MIN_CALLS else n_calls / self._n_known

    def has_room(self, n_calls: int) -> bool:
        """Whether one more call beside `n_calls` may be accepted."""
        if n_calls < MIN_CALLS:
            return True
        if max(self.control_share, self._steady_demand) > MAX_CONTROL_SHARE:
            return False
        return max(self.expected_share(n_calls + 1), self.expected_control_share(n_calls + 1)) <= MAX_SHARE

    def n_free(self, n_calls: int) -> float:
        """How many more calls fit beside `n_calls`; infinite while that cannot be told, as with few calls."""
        expected = max(self.expected_share(n_calls), self.expected_control_share(n_calls))
        if n_calls < MIN_CALLS or expected <= 0:
            return inf
        return max(n_calls * (MAX_SHARE / expected - 1), 0.0)

    def new_calls_per_s(self, n_calls: int) -> float:
        """How many calls may begin per second in the CPU time that `n_calls` leave. Infinite if half a core is free."""
        free = self._free(n_calls)
        return inf if free >= FREE_CORE else max(free, 0.0) / self.cost.per_new_call

    def max_waiting(self, n_calls: int) -> int:
        """How many calls may wait for their first step: with much free time, those that arrive during a pause of the loop."""
        free = min(self._free(n_calls), 1.0)
        return min(max(int(free * WAIT_S / self.cost.per_new_call), MIN_WAITING), MAX_WAITING)

    def _free(self, n_calls: int) -> float:
        """The cores that `n_calls` leave for set-up, which happens in the thread of the control process."""
        free_of_all = (MAX_WHOLE_SHARE - self.expected_share(n_calls)) * self._n_there
        return min(free_of_all, MAX_WHOLE_SHARE - self.expected_control_share(n_calls))

    def is_strained(self, n_calls: int) -> bool:
        """Whether optional work is switched off."""
        return n_calls >= MIN_CALLS and max(self.share, self.control_share) > STRAINED_SHARE


def _there_s(first: CoreSample, last: CoreSample, ours_s: float) -> float:
    """The available CPU time of all cores."""
    wall_s, steal_s, idle_s = last.at - first.at, last.steal_s - first.steal_s, last.idle_s - first.idle_s
    all_s = wall_s * (last.n_allowed or last.n_cores)
    neighbours_s = max(all_s - idle_s - steal_s - ours_s, 0.0)
    there_s = min(all_s - steal_s - NEIGHBOURS_WEIGHT * neighbours_s, wall_s * last.n_cores)
    return max(there_s, 0.01 * wall_s)


class NewCallPace:
    """How many calls may begin now. Call `beat` every `BEAT_S`, or every `IDLE_BEAT_S` while there are few calls."""

    def __init__(self) -> None:
        self._allowance: float = BURST
        self._max_waiting = MAX_WAITING
        self._n_begun = 0
        self._is_late = False

    def beat(self, late_s: float, n_begun: int, *, per_s: float = inf, elapsed_s: float = BEAT_S, max_waiting: int = MAX_WAITING) -> None:
        """The loop reached this beat `late_s` late, `elapsed_s` after the last one.

        `n_begun`: calls begun so far, in total; `per_s`: how many new calls the cores allow per second; `max_waiting`: how many may wait.
        One late beat is a pause of the loop, such as a garbage collection. Two in a row are a queue.
        """
        self._settle(n_begun)
        self._max_waiting = max_waiting
        was_late, self._is_late = self._is_late, late_s > LATE_BEAT_S
        is_queue = was_late and self._is_late
        more: float = PER_LATE_BEAT if is_queue else PER_BEAT
        if per_s < inf:
            more = min(more, per_s * elapsed_s)
        at_most = min(max(per_s * BURST_S, MIN_BURST), BURST)
        self._allowance = min(max(self._allowance, 0.0) + more, at_most)

    def may_begin(self, n_calls: int, n_begun: int, n_waiting: int = 0) -> bool:
        """Whether one more call may begin beside `n_calls`, of which `n_waiting` still wait for their first step."""
        self._settle(n_begun)
        return n_calls < MIN_CALLS or (self._allowance >= 1 and n_waiting < self._max_waiting)

    def _settle(self, n_begun: int) -> None:
        self._allowance -= n_begun - self._n_begun
        self._n_begun = n_begun
