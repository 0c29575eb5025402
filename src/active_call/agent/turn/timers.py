"""The named timers of a conversation. Setting one again moves it. Times are monotonic seconds."""

from __future__ import annotations

from enum import StrEnum


class Timer(StrEnum):
    """What a timer is for. Timers that are due together fire in this order."""

    ARM = "arm"
    """From now on voice pauses the agent: the protected beginning is over, or words are no longer required."""
    CUT = "cut"
    """The caller has spoken long enough to interrupt (`minSpeechMs`)."""
    SETTLE = "settle"
    """How much was heard of an interrupted reply should have been reported by now."""
    OVERLAP = "overlap"
    """Decide whether the caller who speaks over the agent takes the turn."""
    FLOOR = "floor"
    """Ask the turn detector again whether the caller's turn is over."""
    DEAD_AIR = "dead air"
    """The caller should have heard something by now."""
    MODEL = "model"
    """The model or a tool has not answered in time."""
    PLAYBACK = "playback"
    """The queued playback should have ended by now."""
    SPECULATION = "speculation"
    """The speculative request has become too old."""
    COLLECT = "collect"
    """The caller has entered nothing more in time."""
    FOLLOWUP = "followup"
    """The caller has been silent for too long."""
    UNHOLD = "unhold"
    """End the hold that the agent has started."""
    QUIET = "quiet"
    """Nobody has spoken for a minute, and no follow-up is due."""


_IN_ORDER = tuple(Timer)


class Timers:
    """The running timers."""

    def __init__(self) -> None:
        self._due: dict[Timer, float] = {}

    def set(self, timer: Timer, at: float) -> None:
        """Set `timer` to fire at `at`. A running one is moved."""
        self._due[timer] = at

    def clear(self, *timers: Timer) -> None:
        """Stop these timers."""
        for timer in timers:
            self._due.pop(timer, None)

    def clear_all(self) -> None:
        """Stop all timers."""
        self._due.clear()

    def is_set(self, timer: Timer) -> bool:
        """Whether `timer` is set."""
        return timer in self._due

    def next_at(self) -> float | None:
        """When the first one is due."""
        return min(self._due.values(), default=None)

    def take_due(self, now: float) -> Timer | None:
        """The first due timer. It is cleared."""
        due = self._due
        if not due or min(due.values()) > now:
            return None
        timer = next(timer for timer in _IN_ORDER if due.get(timer, now + 1) <= now)
        del due[timer]
        return timer
