"""Named points in time at which a conversation wants to be woken; setting one again moves it. Times are monotonic seconds."""

from __future__ import annotations

from enum import StrEnum


class Timer(StrEnum):
    """What is waited for. In the order in which timers that are due together are handled."""

    ARM = "arm"
    """From here on voice pauses the agent: the protected beginning is over, or words are needed no longer."""
    CUT = "cut"
    """The caller has spoken long enough to interrupt (`minSpeechMs`)."""
    SETTLE = "settle"
    """How much was heard of an interrupted reply should be known by now."""
    OVERLAP = "overlap"
    """It is to be decided whether the caller who speaks over the agent takes the turn."""
    FLOOR = "floor"
    """The turn detector is to be asked again whether the caller's turn is over."""
    DEAD_AIR = "dead air"
    """The caller should have heard something by now."""
    MODEL = "model"
    """The model, or a tool, has been silent for too long."""
    PLAYBACK = "playback"
    """What was given out to be played should have been heard by now."""
    SPECULATION = "speculation"
    """What the model was asked before the turn is over has become too old."""
    COLLECT = "collect"
    """The caller has entered nothing (more)."""
    FOLLOWUP = "followup"
    """The caller has been silent for too long."""
    UNHOLD = "unhold"
    """The caller, whom the agent has put on hold for a moment, is to be taken back."""
    QUIET = "quiet"
    """Nobody has spoken for a minute, and no follow-up is due."""


_IN_ORDER = tuple(Timer)


class Timers:
    """The running timers."""

    def __init__(self) -> None:
        self._due: dict[Timer, float] = {}

    def set(self, timer: Timer, at: float) -> None:
        """Run `timer` until `at`; one that runs already is moved."""
        self._due[timer] = at

    def clear(self, *timers: Timer) -> None:
        """Stop these timers."""
        for timer in timers:
            self._due.pop(timer, None)

    def clear_all(self) -> None:
        """Stop all timers."""
        self._due.clear()

    def is_set(self, timer: Timer) -> bool:
        """Whether `timer` runs."""
        return timer in self._due

    def next_at(self) -> float | None:
        """When the first is due."""
        return min(self._due.values(), default=None)

    def take_due(self, now: float) -> Timer | None:
        """The first timer that is due, which is no longer set then."""
        due = self._due
        if not due or min(due.values()) > now:
            return None
        timer = next(timer for timer in _IN_ORDER if due.get(timer, now + 1) <= now)
        del due[timer]
        return timer
