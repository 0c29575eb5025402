"""What a call costs in engines of this machine, and whether one more fits: the processor time of requests enters, a yes or no leaves. Pure.

Theory. Speech comes in bursts, so what the engines do this second says little about the next. Over ten seconds and all calls it does: a
call costs so much of a core, on average. That is learnt, and remembered: a wave of calls is stopped before the first has said a word,
when queues (`engine_pool`) are still empty. Processor time is counted, not time on the clock: a busy machine does not make calls dearer.
What is optional (texts so far, served when no other request waits) and what is done once (loading a model) does not count.
"""

from __future__ import annotations

from typing import Final

WINDOW_S: Final = 10.0
"""A turn of a conversation: some seconds of speech, and the answer to it."""
MIN_CALLS: Final = 4
"""With fewer, one long sentence would pass for what calls cost; and so many any machine can take."""
MAX_SHARE: Final = 0.85
"""Of all cores. The rest is for media and signalling, and for the moment in which many speak at once."""
RISE: Final = 0.5
FALL: Final = 0.1
"""How far what is learnt follows a window that was dearer, or cheaper: silence in the line must not open the door to too many."""


class CallCost:
    """Of all calls together that this machine's engines serve; `now` is monotonic seconds."""

    def __init__(self, n_cores: int) -> None:
        self.of_one = 0.0
        """Cores that a call takes, on average; 0 until it is known."""
        self._n_cores = n_cores
        self._spent_s = 0.0
        self._since: float | None = None
        self._n_calls_then = 0

    def spend(self, cpu_s: float) -> None:
        """A request has taken so much processor time."""
        self._spent_s += cpu_s

    def has_room(self, now: float, n_calls: int) -> bool:
        """Whether one more fits beside `n_calls`."""
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
