"""The cost of a call in local engines, and whether one more call fits. The CPU time of requests enters, a yes or no leaves. Pure.

Theory. Speech comes in bursts, so the load of one second says little about the next. Averaged over ten seconds and all calls it is stable:
each call costs a certain share of a core. That share is learnt and kept, so that a wave of calls is stopped before the first caller has
spoken, while the queues (`engine_pool`) are still empty. CPU time is counted, not wall time, so that a busy machine does not make calls
look more expensive. Optional work (partial texts, which run when no other request waits) and one-time work (loading a model) do not count.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 10.0
"""A turn of a conversation: some seconds of speech, and the reply."""
MIN_CALLS: Final = 4
"""With fewer calls, one long sentence would distort the cost of a call; and any machine can serve this many."""
MAX_SHARE: Final = 0.85
"""Of all cores. The rest is for media and signalling, and for moments in which many callers speak at once."""
RISE: Final = 0.5
FALL: Final = 0.1
"""How fast the learnt cost follows a more expensive or a cheaper window. Silence on the lines must not make calls look cheap."""


class CallCost:
    """The cost of all calls together in the engines of this machine; `now` is monotonic seconds."""

    def __init__(self, n_cores: int) -> None:
        self.of_one = 0.0
        """Cores that a call takes on average; 0 until it is known."""
        self._n_cores = n_cores
        self._spent_s = 0.0
        self._since: float | None = None
        self._n_calls_then = 0

    def spend(self, cpu_s: float) -> None:
        """A request has taken this much CPU time."""
        self._spent_s += cpu_s

    def has_room(self, now: float, n_calls: int) -> bool:
        """Whether one more call fits beside `n_calls`."""
        self._learn(now, n_calls)
        return n_calls < MIN_CALLS or (n_calls + 1) * self.of_one <= MAX_SHARE * self._n_cores

    def _learn(self, now: float, n_calls: int) -> None:
        if self._since is not None and now - self._since < WINDOW_S:
            return
        if self._since is not None:
            n_mean = (self._n_calls_then + n_calls) / 2
            if n_mean >= MIN_CALLS:
                seen = self._spent_s / (now - self._since) / n_mean
                self.of_one += (seen - self.of_one) * (RISE if seen > self.of_one else FALL)
        self._since, self._n_calls_then, self._spent_s = now, n_calls, 0.0
