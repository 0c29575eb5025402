"""Decides when the caller's turn is over. Pure: facts in, a verdict out; no state is kept between two questions.

In: `TurnFacts`, what is known of the caller's utterance so far (voice activity, texts, times), and `now`. Out: a verdict.

    EndOfTurn      the turn is over; the agent may speak
    WaitUntil(at)  the caller is silent; without a new fact ask again at `at`
    Undecided(at)  the caller still speaks; without a new fact ask again at `at`

The floor asks at every new fact and at the time that the last verdict named. A detector must answer EndOfTurn in the end when no new fact
comes. `RecogniserTurnDetector` relies on the recogniser: a final text ends the turn. A detector with a model of its own implements the same
Protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

SPEECH_MAX_S = 15.0
"""Speech that does not end: after this the turn counts as over."""
RECOGNITION_PATIENCE_S = 3.0
"""After the end of speech, how long a recogniser may take; then the sound was a noise."""
STILL_SPEAKING_S = 1.0
"""A final text has come while the caller goes on speaking: how long a reply waits for the end."""


@dataclass(frozen=True, slots=True)
class TurnFacts:
    """What is known of the caller's utterance. Times are monotonic seconds; None: it has not happened since the voice began."""

    since: float = 0.0
    """When the caller got the turn: the voice began, or the caller interrupted."""
    is_speaking: bool = False
    """The voice detector hears the caller now."""
    voice_ended_at: float | None = None
    partial: str = ""
    """The last partial text with words in it."""
    partial_at: float | None = None
    final: str = ""
    final_at: float | None = None


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The caller's turn is over."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """The caller is silent, and may have more to say or a text may still come. Ask again at `at`."""

    at: float


@dataclass(frozen=True, slots=True)
class Undecided:
    """The caller speaks. Ask again at `at`."""

    at: float


TurnVerdict = EndOfTurn | WaitUntil | Undecided


class TurnDetector(Protocol):
    """Decides whether the caller's turn is over."""

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        """The verdict at `now`. Must be EndOfTurn some time after the last fact."""
        ...


class RecogniserTurnDetector:
    """A final text ends the turn once the caller is silent; silence without a text ends it after 3 s.

    | the caller | text | verdict |
    |---|---|---|
    | speaks | no final since the caller got the turn | undecided, at most 15 s |
    | speaks | final | undecided for 1 s more |
    | is silent | no final | wait 3 s from the end of speech or the last partial |
    | is silent | final | end of turn |
    """

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        """The verdict by the table above."""
        if facts.is_speaking:
            is_answered = facts.final_at is not None and facts.final_at >= facts.since
            at = (facts.final_at or 0.0) + STILL_SPEAKING_S if is_answered else facts.since + SPEECH_MAX_S
            return Undecided(at) if now < at else EndOfTurn()
        if facts.final_at is not None:
            return EndOfTurn()
        at = max(facts.since, facts.voice_ended_at or 0.0, facts.partial_at or 0.0) + RECOGNITION_PATIENCE_S
        return WaitUntil(at) if now < at else EndOfTurn()
