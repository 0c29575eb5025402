"""Decides when the caller's turn is over. Pure: facts in, a verdict out; no state is kept between two questions.

In: `TurnFacts`, what is known of the caller's utterance so far (voice activity, texts, times, how it sounds), and `now`. Out: a verdict.

    EndOfTurn      the turn is over; the agent may speak
    WaitUntil(at)  the caller is silent; without a new fact ask again at `at`
    Undecided(at)  the caller still speaks; without a new fact ask again at `at`

The floor asks at every new fact and at the time that the last verdict named. A detector must answer EndOfTurn in the end when no new fact
comes. `RecogniserTurnDetector` relies on the recogniser: a final text ends the turn. `adaptive_detector` weighs everything that is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from active_call.agent.turn.expectation import NOTHING_EXPECTED, Expectation

SPEECH_MAX_S = 15.0
"""Speech that does not end: after this the turn counts as over."""
RECOGNITION_PATIENCE_S = 3.0
"""After the end of speech, how long a recogniser may take; then the sound was a noise."""
STILL_SPEAKING_S = 1.0
"""A final text has come while the caller goes on speaking: how long a reply waits for the end."""


@dataclass(frozen=True, slots=True)
class PauseSound:
    """How the last second before a pause sounded, and how the pause sounds. None: it could not be measured (too little voiced sound)."""

    silence_s: float
    """How long the pause had lasted when this was told, from the last voiced packet."""
    voice_probability: float = 0.0
    """The voice detector's highest probability in the last 100 ms of the pause, 0 to 1: breath and faint speech are not nothing."""
    energy_db: float = -90.0
    """The pause's energy relative to full scale, in dB."""
    pitch_change_st: float | None = None
    """The pitch of the last 200 ms against the median of the second, in semitones: negative falls, positive rises."""
    final_lengthening: float | None = None
    """The length of the last voiced stretch against the median of the others: 1 as long, 2 twice as long."""


class VendorTurn(StrEnum):
    """What a recogniser with a turn detector of its own has said last. A proposal: the detector decides."""

    NONE = "none"
    EAGER_END = "eager end"
    RESUMED = "resumed"
    ENDED = "ended"


class TurnFacts(msgspec.Struct, frozen=True):
    """What is known of the caller's utterance. Times are monotonic seconds; None: it has not happened since the voice began.

    A struct of msgspec and no dataclass, since each fact makes a new one (`dataclasses.replace` takes ten times as long).
    """

    since: float = 0.0
    """When the caller got the turn: the voice began, or the caller interrupted."""
    is_speaking: bool = False
    """The voice detector hears the caller now."""
    voice_ended_at: float | None = None
    """When the last voiced packet came."""
    partial: str = ""
    """The last partial text with words in it."""
    partial_at: float | None = None
    final: str = ""
    final_at: float | None = None
    confidence: float | None = None
    """The recogniser's in the last text, 0 to 1; None if it tells none."""
    said: str = ""
    """Final texts of this turn that came before the present utterance."""
    language: str | None = None
    """BCP 47, of the caller's words; None: as the detector was told."""
    expected: Expectation = NOTHING_EXPECTED
    """What the agent has asked for."""
    is_known_phrase: bool = False
    """The text is, as a whole, a phrase of the playbook, and the beginning of no longer one."""
    pause: PauseSound | None = None
    """The sound of the pause and of what came before it."""
    vendor: VendorTurn = VendorTurn.NONE
    vendor_confidence: float | None = None
    judged: float | None = None
    """What a model of the sound says: the probability that the turn is over, 0 to 1."""
    interrupts: bool = False
    """The caller has begun over the agent's voice: what interrupts is often said in pieces."""
    usual_pause_s: float = 0.0
    """How long this caller's pauses within a turn are, with some margin."""
    text_asked_at: float | None = None
    """When the recogniser was told to finish."""

    @property
    def text(self) -> str:
        """Everything of the turn so far: earlier texts, and the final text of the present utterance or else its partial."""
        return " ".join(part for part in (self.said, self.final or self.partial) if part)


@dataclass(frozen=True, slots=True)
class EndOfTurn:
    """The caller's turn is over."""


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """The caller is silent, and may have more to say or a text may still come. Ask again at `at`."""

    at: float
    probability: float = 0.0
    """How likely the turn is over already, 0 to 1: from a half on it is worth asking the model."""
    wants_text: bool = False
    """The recogniser is to finish now: its text decides."""
    wants_judgement: bool = False
    """A model of the sound is to be asked, where there is one: the cheap facts do not decide."""


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


@dataclass(frozen=True, slots=True)
class TurnTaking:
    """How the turns of one call are taken. `speculates`: the language model may be asked before a turn is over."""

    detector: TurnDetector
    speculates: bool = True
    language: str | None = None
    """BCP 47, of the words by which an end is judged; None: English."""


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
