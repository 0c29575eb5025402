"""End-of-turn detection: decide when the caller's turn is over. Pure: facts in, a verdict out, no state between two questions.

In: `TurnFacts`, the known facts of the caller's utterance so far (voice activity, texts, times, prosody), and `now`. Out: a verdict.

    EndOfTurn      the turn is over; the agent may speak
    WaitUntil(at)  the caller is silent; without a new fact ask again at `at`
    Undecided(at)  the caller still speaks; without a new fact ask again at `at`

The floor asks at every new fact and at the time of the last verdict. Without new facts a detector must finally answer EndOfTurn.
`RecogniserTurnDetector` relies on the recogniser: a final text ends the turn. `adaptive_detector` combines all facts.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec
from msgspec import Struct

from active_call.agent.turn.expectation import NOTHING_EXPECTED, Expectation

SPEECH_MAX_S = 15.0
"""Maximum duration of speech: after this the turn counts as over."""
RECOGNITION_PATIENCE_S = 3.0
"""Maximum wait for the recogniser after the end of speech. After this the sound counts as noise."""
STILL_SPEAKING_S = 1.0
"""Maximum wait for the end of speech after a final text."""


class PauseSound(Struct, frozen=True):
    """The prosody of the last second before a pause, and the pause itself. None: not measurable (too little voiced sound)."""

    silence_s: float
    """Duration of the pause at the time of the report, from the last voiced packet."""
    voice_probability: float = 0.0
    """The voice detector's highest probability in the last 100 ms of the pause, 0 to 1. It is above 0 for breath and faint speech."""
    energy_db: float = -90.0
    """Energy of the pause relative to full scale, in dB."""
    pitch_change_st: float | None = None
    """Pitch of the last 200 ms relative to the median of the second, in semitones: negative falls, positive rises."""
    final_lengthening: float | None = None
    """Length of the last voiced stretch relative to the median of the others: 1 equal, 2 twice as long."""


class VendorTurn(StrEnum):
    """The last report of a recogniser's own turn detector. It is a proposal: our detector decides."""

    NONE = "none"
    EAGER_END = "eager end"
    RESUMED = "resumed"
    ENDED = "ended"


class TurnFacts(msgspec.Struct, frozen=True):
    """The known facts of the caller's utterance. Times are monotonic seconds; None: it has not happened since the voice began.

    A msgspec struct: each new fact creates a copy, and `dataclasses.replace` takes ten times as long.
    """

    since: float = 0.0
    """When the caller got the turn: the voice began, or the caller interrupted."""
    is_speaking: bool = False
    """The voice detector hears the caller now."""
    voice_ended_at: float | None = None
    """When the last voiced packet arrived."""
    partial: str = ""
    """The last partial text with words."""
    partial_at: float | None = None
    final: str = ""
    final_at: float | None = None
    confidence: float | None = None
    """The recogniser's confidence in the last text, 0 to 1; None if it reports none."""
    said: str = ""
    """Final texts of this turn before the current utterance."""
    language: str | None = None
    """Language of the caller's words, BCP 47; None: the detector's default."""
    expected: Expectation = NOTHING_EXPECTED
    """What the agent has asked for."""
    is_known_phrase: bool = False
    """The whole text is a phrase of the playbook, and no longer phrase begins with it."""
    pause: PauseSound | None = None
    """The prosody of the pause and of the speech before it."""
    vendor: VendorTurn = VendorTurn.NONE
    vendor_confidence: float | None = None
    judged: float | None = None
    """The result of an audio turn model: the probability of end of turn, 0 to 1."""
    interrupts: bool = False
    """The caller began over the agent's voice. Interruptions are often said in pieces."""
    usual_pause_s: float = 0.0
    """The usual length of this caller's pauses within a turn, with a margin."""
    text_asked_at: float | None = None
    """When the recogniser was asked to finalise."""

    @property
    def text(self) -> str:
        """All text of the turn so far: earlier texts, and the final text of the current utterance or else its partial."""
        return " ".join(part for part in (self.said, self.final or self.partial) if part)


class EndOfTurn(Struct, frozen=True):
    """The caller's turn is over."""


class WaitUntil(Struct, frozen=True):
    """The caller is silent and may continue, or a text may still arrive. Ask again at `at`."""

    at: float
    probability: float = 0.0
    """The current probability that the turn is over, 0 to 1. From 0.5 on a speculative request is worthwhile."""
    wants_text: bool = False
    """Ask the recogniser to finalise now, because its text decides."""
    wants_judgement: bool = False
    """Ask an audio turn model if available, because the cheap facts do not decide."""


class Undecided(Struct, frozen=True):
    """The caller speaks. Ask again at `at`."""

    at: float


TurnVerdict = EndOfTurn | WaitUntil | Undecided


class TurnDetector(Protocol):
    """Decides whether the caller's turn is over."""

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        """The verdict at `now`. Must be EndOfTurn some time after the last fact."""
        ...


class TurnTaking(Struct, frozen=True):
    """The turn-taking settings of one call. `speculates`: speculative requests are allowed."""

    detector: TurnDetector
    speculates: bool = True
    language: str | None = None
    """Language of the words by which an end is detected, BCP 47; None: English."""


class RecogniserTurnDetector:
    """A final text ends the turn once the caller is silent; silence without a text ends it after 3 s.

    | the caller | text | verdict |
    |---|---|---|
    | speaks | no final since the caller got the turn | undecided, at most 15 s |
    | speaks | final | undecided for 1 s more |
    | is silent | no final | wait 3 s from the end of speech or the last partial |
    | is silent | final | end of turn; over the agent's voice not before `silence_s` after the end of speech |

    The last row: over the agent's voice the final text is asked for as soon as the caller is silent, because it decides about the reply.
    """

    def __init__(self, silence_s: float = 0.0) -> None:
        self._silence_s = silence_s

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        """The verdict by the table above."""
        if facts.is_speaking:
            is_answered = facts.final_at is not None and facts.final_at >= facts.since
            at = (facts.final_at or 0.0) + STILL_SPEAKING_S if is_answered else facts.since + SPEECH_MAX_S
            return Undecided(at) if now < at else EndOfTurn()
        if facts.final_at is not None:
            at = (facts.voice_ended_at or 0.0) + (self._silence_s if facts.interrupts else 0.0)
            return WaitUntil(at) if now < at else EndOfTurn()
        at = max(facts.since, facts.voice_ended_at or 0.0, facts.partial_at or 0.0) + RECOGNITION_PATIENCE_S
        return WaitUntil(at) if now < at else EndOfTurn()
