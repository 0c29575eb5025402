"""The latency trace of a turn: from the caller's last voiced packet in to our first voiced packet out, and who owned each wait.

All marks are CLOCK_MONOTONIC seconds; those at the sockets come from the media process.

    last voiced packet in -> turn closed -> recognised -> model's first sentence -> audible sound made -> first voiced packet out
                       wait           recognition     model                 synthesis           (the rest: ours)

What a model, a web server or an engine took is theirs, also where two of them work at the same time; so is the silence that an engine's
sound begins with (`leading_silence`). The wait for the end of the turn is a setting. Only what is left counts as added by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from active_call.contract.events import Turn


@dataclass(slots=True)
class TurnClock:
    """Collects the marks of the turn that is under way."""

    index: int = 0
    last_voiced_at: float | None = None
    closed_at: float | None = None
    recognised_at: float | None = None
    model_asked_at: float | None = None
    model_spoke_at: float | None = None
    synthesis_asked_at: float | None = None
    synthesised_at: float | None = None
    """When the first audible sound could have left; may lie ahead, while the silence before it is played."""
    _waits: list[tuple[float, float]] = field(default_factory=list)
    """When others worked beside those: web servers, and models that were asked again."""

    def caller_stopped(self, at: float) -> None:
        """The caller's speech ended at `at`; whatever was measured before belongs to no turn any more."""
        self.last_voiced_at = at
        self.closed_at = self.recognised_at = None
        self.model_asked_at = self.model_spoke_at = None
        self.synthesis_asked_at = self.synthesised_at = None
        self._waits.clear()

    def model_wrote(self, asked_at: float, now: float) -> None:
        """A piece of a reply has come that was asked for at `asked_at`; until its first sentence is complete, the time is the model's."""
        if self.last_voiced_at is None or self.synthesis_asked_at is not None:
            return
        if asked_at == self.model_asked_at:
            self.model_spoke_at = now
        else:
            self.waited(asked_at, now)

    def waited(self, start: float, end: float) -> None:
        """Somebody else worked for this turn from `start` to `end`."""
        if self.last_voiced_at is not None:
            self._waits = [wait for wait in self._waits if wait[0] != start] + [(start, end)]

    def mark(self, name: str, now: float) -> None:
        """Note `now` for the first time that `name` happens in this turn."""
        if self.last_voiced_at is not None and getattr(self, name) is None:
            setattr(self, name, now)

    def agent_voiced(self, at: float, text: str) -> Turn | None:
        """Our first voiced packet left at `at`: the finished trace, or None when no turn of the caller came before."""
        if self.last_voiced_at is None or self.recognised_at is None or at <= self.last_voiced_at:
            return None
        self.index += 1
        latency = at - self.last_voiced_at
        wait = _between(self.last_voiced_at, self.closed_at)
        recognition = _between(self.closed_at, self.recognised_at)
        model = _between(self.model_asked_at, self.model_spoke_at)
        synthesised_at = None if self.synthesised_at is None else min(self.synthesised_at, at)
        synthesis = _between(self.synthesis_asked_at, synthesised_at)
        theirs = _covered(
            [
                (self.last_voiced_at, self.closed_at),
                (self.closed_at, self.recognised_at),
                (self.model_asked_at, self.model_spoke_at),
                (self.synthesis_asked_at, synthesised_at),
                *self._waits,
            ],
            self.last_voiced_at,
            at,
        )
        trace = Turn(
            index=self.index,
            text=text,
            latency=_ms(latency),
            end_of_turn_wait=_ms(wait),
            recognition=_ms(recognition),
            model=_ms(model),
            synthesis=_ms(synthesis),
            added=_ms(max(0.0, latency - theirs)),
        )
        self.last_voiced_at = None
        return trace


def _covered(spans: Sequence[tuple[float | None, float | None]], start: float, end: float) -> float:
    """How much of the time from `start` to `end` lies in at least one of `spans`; one without both ends is none."""
    known = sorted((max(begin, start), min(stop, end)) for begin, stop in spans if begin is not None and stop is not None)
    total, reached = 0.0, start
    for begin, stop in known:
        if stop > reached:
            total += stop - max(begin, reached)
            reached = stop
    return total


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
