"""The latency trace of a turn: from the caller's last voiced packet in to our first voiced packet out, and the cause of each wait.

All marks are CLOCK_MONOTONIC seconds; those at the sockets come from the media process.

    last voiced packet in -> recogniser asked -> final words -> end of turn decided -> model asked -> its first token -> its first sentence
        -> synthesis asked -> first audible sample -> first voiced packet out

The model may be asked before the end of the turn is decided, which shortens its wait. The time of a model, a web server or an engine counts
as theirs, including leading silence in an engine's sound (`leading_silence`). The wait for the end of the turn counts as the turn
detector's. Only the rest counts as added by us.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from active_call.call.speech.waterfall import Work, waits_between
from active_call.contract.events import Turn, TurnWait


@dataclass(slots=True)
class TurnClock:
    """Collects the marks of the current turn."""

    index: int = 0
    last_voiced_at: float | None = None
    decided_at: float | None = None
    """When the agent decided that the turn has ended."""
    closed_at: float | None = None
    """When the recogniser was told to finish."""
    recognised_at: float | None = None
    model_asked_at: float | None = None
    first_token_at: float | None = None
    model_spoke_at: float | None = None
    """When the piece came that completed the first sentence."""
    synthesis_asked_at: float | None = None
    synthesised_at: float | None = None
    """When the first audible sound could have left; may be in the future while the silence before it plays."""
    _waits: list[tuple[float, float]] = field(default_factory=list)
    """When other services worked as well: web servers, and repeated model requests."""

    def caller_stopped(self, at: float) -> None:
        """The caller's speech ended at `at`; earlier marks no longer belong to a turn."""
        self.last_voiced_at = at
        self.decided_at = self.closed_at = self.recognised_at = None
        self.model_asked_at = self.first_token_at = self.model_spoke_at = None
        self.synthesis_asked_at = self.synthesised_at = None
        self._waits.clear()

    def model_wrote(self, asked_at: float, now: float) -> None:
        """Part of a reply requested at `asked_at` has come; until its first sentence is complete, the time counts as the model's."""
        if self.last_voiced_at is None or self.synthesis_asked_at is not None:
            return
        if asked_at == self.model_asked_at:
            self.first_token_at = self.first_token_at or now
            self.model_spoke_at = now
        else:
            self.waited(asked_at, now)

    def model_abandoned(self, asked_at: float) -> None:
        """The answer requested at `asked_at` is no longer needed: another request counts."""
        if asked_at == self.model_asked_at:
            self.model_asked_at = self.first_token_at = self.model_spoke_at = None

    def waited(self, start: float, end: float) -> None:
        """Another service worked for this turn from `start` to `end`."""
        if self.last_voiced_at is not None:
            self._waits = [wait for wait in self._waits if wait[0] != start] + [(start, end)]

    def mark(self, name: str, now: float) -> None:
        """Set mark `name` to now, once in each turn."""
        if self.last_voiced_at is not None and getattr(self, name) is None:
            setattr(self, name, now)

    def agent_voiced(self, at: float, text: str) -> Turn | None:
        """Our first voiced packet left at `at`: returns the finished trace, or None if there was no caller's turn before."""
        last_voiced_at = self.last_voiced_at
        if last_voiced_at is None or at <= last_voiced_at or (self.recognised_at is None and self.decided_at is None):
            return None
        self.index += 1
        synthesised_at = None if self.synthesised_at is None else min(self.synthesised_at, at)
        work = Work(
            turn_ended_at=self.closed_at if self.decided_at is None else self.decided_at,
            recogniser=(self.closed_at, self.recognised_at),
            model=(self.model_asked_at, self.model_spoke_at),
            synthesiser=(self.synthesis_asked_at, synthesised_at),
            web=self._waits,
        )
        waits = waits_between(last_voiced_at, at, work)
        marks = {name: round((mark - last_voiced_at) * 1000, 1) for name, mark in self._marks(at, synthesised_at) if mark is not None}
        self.last_voiced_at = None
        return Turn(
            index=self.index,
            text=text,
            latency=round((at - last_voiced_at) * 1000, 1),
            end_of_turn_wait=_sum(waits, "turn"),
            recognition=_sum(waits, "recogniser"),
            model=_sum(waits, "model"),
            synthesis=_sum(waits, "synthesiser"),
            added=_sum(waits, "server") or 0.0,
            marks=marks,
            waits=waits,
        )

    def _marks(self, voiced_at: float, synthesised_at: float | None) -> list[tuple[str, float | None]]:
        return [
            ("recogniserAsked", self.closed_at),
            ("finalWords", self.recognised_at),
            ("turnDecided", self.decided_at),
            ("modelAsked", self.model_asked_at),
            ("firstToken", self.first_token_at),
            ("firstSentence", self.model_spoke_at),
            ("synthesisAsked", self.synthesis_asked_at),
            ("firstSample", synthesised_at),
            ("firstPacket", voiced_at),
        ]


def _sum(waits: Sequence[TurnWait], owner: str) -> float | None:
    """The sum of the waits of `owner`, in ms; None if there are none."""
    found = [wait.duration for wait in waits if wait.owner == owner]
    return round(sum(found), 1) if found else None
