"""The latency trace of a turn: from the caller's last voiced packet in to our first voiced packet out, and who owned each wait.

All marks are CLOCK_MONOTONIC seconds; those at the sockets come from the media process.

    last voiced packet in -> turn closed -> recognised -> model's first words -> first sound made -> first voiced packet out
                       wait           recognition     model              synthesis           (the rest: ours)
"""

from __future__ import annotations

from dataclasses import dataclass

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

    def caller_stopped(self, at: float) -> None:
        """The caller's speech ended at `at`; whatever was measured before belongs to no turn any more."""
        self.last_voiced_at = at
        self.closed_at = self.recognised_at = None
        self.model_asked_at = self.model_spoke_at = None
        self.synthesis_asked_at = self.synthesised_at = None

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
        synthesis = _between(self.synthesis_asked_at, self.synthesised_at)
        owned = sum(part for part in (wait, recognition, model, synthesis) if part is not None)
        trace = Turn(
            index=self.index,
            text=text,
            latency=_ms(latency),
            end_of_turn_wait=_ms(wait),
            recognition=_ms(recognition),
            model=_ms(model),
            synthesis=_ms(synthesis),
            added=_ms(latency - owned),
        )
        self.last_voiced_at = None
        return trace


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else max(0.0, end - start)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
