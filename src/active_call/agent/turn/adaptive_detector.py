"""End-of-turn detection from all facts of a pause: words, prosody, the question asked, the habits of this caller.

In: TurnFacts. Out: a verdict. Theory: each piece of evidence adds to the log-odds that the turn is over. The longer the silence, the less
evidence is needed: the threshold falls linearly from `first_threshold` at `first_s` of silence to `last_threshold` at `max_s`. So the
evidence directly gives the time of the end, and the floor has one deadline, which every new fact moves.

| the caller | known facts | verdict |
|---|---|---|
| speaks | no final text since the voice began, or a partial after it | undecided, at most 15 s |
| speaks | a final text and nothing since | undecided for 1 s more |
| is silent | certain (a whole answer) | end at `sure_s` |
| is silent | final text | end at the time given by the evidence, not before this caller's usual pause |
| is silent | a partial that looks complete, or a probable end | ask the recogniser to finalise now; then as above |
| is silent | an incomplete number or address | wait up to `slot_max_s` |
| is silent | the recogniser was asked, but sent no final text in time | end: the partial is the text; without one the sound was noise |
"""

from __future__ import annotations

from math import exp, log
from typing import Final

from msgspec import Struct, field, structs
from msgspec.structs import replace

from active_call.agent.turn.backchannels import backchannels
from active_call.agent.turn.expectation import Completeness, announced_in, completeness_of
from active_call.agent.turn.turn_detector import (
    RECOGNITION_PATIENCE_S,
    SPEECH_MAX_S,
    STILL_SPEAKING_S,
    EndOfTurn,
    PauseSound,
    TurnFacts,
    TurnVerdict,
    Undecided,
    VendorTurn,
    WaitUntil,
)
from active_call.agent.turn.turn_words import spoken_words, turn_words

SURE = 0.95
"""From this probability on the turn ends as soon as silence is detected."""
LIKELY = 0.42
"""From this probability on the recogniser is asked to finalise, and the model is asked speculatively."""
BLIND_LIKELY = 0.4
"""The same without any text."""
INTERRUPTING_S = 0.45
"""Minimum silence after words over the agent's voice: "Sorry." … "That's enough." is one turn."""
STABLE_PARTIAL_S = 0.8
"""Maximum wait for the final text before the last partial is used, if that arrived after the end of the voice."""
OLD_PARTIAL_S = 2.0
"""The same if it arrived before the end of the voice, because the last words may be missing."""
_VENDOR = {VendorTurn.NONE: 0.0, VendorTurn.EAGER_END: 1.5, VendorTurn.RESUMED: -3.0, VendorTurn.ENDED: 4.0}
_JUDGED_EVEN = 0.1
"""The neutral probability of Smart Turn (published best thresholds: .05 to .21)."""
_JUDGED_MAX = 2.5
BREATH_FROM_S = 0.35
"""Before this much silence, the voice detector may still report the last syllable."""
LIKELY_WHOLE = 0.8
"""From this probability on, the caller's usual pause counts less, because long pauses follow unfinished words."""
SLOT_PAUSE_SHARE = 1.0
"""The share of this caller's usual pause between two groups that is waited for, while it is unknown whether more follow."""
LATER_PART_WORDS = 3
"""Fewer words may be an item of a list that continues: "one salad"."""
UNSURE = (0.25, 0.89)
"""Between these an audio turn model is worth its cost."""


class TurnWeights(Struct, frozen=True):
    """The evidence of each fact, in log-odds that the turn is over, and the thresholds. `benchmarks/turns.py` evaluates a set."""

    sure: float = 3.5
    """For the completeness of the words (`Completeness`)."""
    question: float = 2.6
    complete: float = 1.65
    told: float = 0.1
    answer: float = 0.5
    group: float = -0.7
    leading: float = -0.2
    attention: float = -0.9
    open: float = 0.0
    unfinished: float = -2.0
    later_part: float = 0.5
    """For a sentence that ends a turn which already had a pause."""
    comma: float = -0.7
    """For a comma at the end of the final text."""
    sure_confidence: float = 0.65
    """Recogniser confidence. Below it the words count less as evidence of an end; at `no_confidence` they do not count."""
    no_confidence: float = 0.3
    pronoun: float = -0.7
    """At most, for a pronoun at the end below `sure_pronoun`: "send it to" and "with the" are misheard as "send it" and "with this"."""
    sure_pronoun: float = 0.95
    without_text: float = -0.2
    falling: float = 0.5
    """Maximum for falling pitch: a third of this per semitone."""
    held: float = -0.8
    """For level pitch on a lengthened syllable."""
    breath: float = -0.5
    """For a pause in which the detector still finds voice."""
    habit_of_likely: float = 0.6
    """Share of the caller's usual pause that counts if the turn looks complete."""
    bias: float = 0.0
    """For every pause: below 0 the agent is more patient."""
    first_threshold: float = 0.9
    """The required probability at `TurnSettings.first_s` of silence."""
    last_threshold: float = 0.05
    """The same at `max_s`."""

    def of_text(self, completeness: Completeness) -> float:
        """The evidence of the words."""
        match completeness:
            case Completeness.SURE:
                return self.sure
            case Completeness.QUESTION:
                return self.question
            case Completeness.COMPLETE:
                return self.complete
            case Completeness.TOLD:
                return self.told
            case Completeness.ANSWER:
                return self.answer
            case Completeness.GROUP:
                return self.group
            case Completeness.LEADING:
                return self.leading
            case Completeness.ATTENTION:
                return self.attention
            case Completeness.OPEN:
                return self.open
            case Completeness.UNFINISHED:
                return self.unfinished


WEIGHTS = TurnWeights()


class TurnSettings(Struct, frozen=True):
    """Durations in seconds of silence since the last voiced packet. `has_judge`: an audio turn model is available."""

    sure_s: float = 0.1
    """The earliest end, for words that are certainly complete. The voice detector reports silence after 0.1 s."""
    first_s: float = 0.2
    max_s: float = 1.2
    slot_min_s: float = 0.8
    """While a number, a spelling or an address of unknown length is expected."""
    slot_group_s: float = 0.85
    """The same after a single group of digits."""
    slot_max_s: float = 2.0
    blind_text_s: float = 0.35
    """Without partials: the earliest request to the recogniser to finalise."""
    has_judge: bool = False
    language: str | None = None
    weights: TurnWeights = field(default_factory=lambda: WEIGHTS)


_DEFAULTS: Final = TurnSettings()


class AdaptiveTurnDetector:
    """Combines text, prosody, question and habit."""

    def __init__(self, settings: TurnSettings = _DEFAULTS) -> None:
        self._settings = settings

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        """The verdict by the table above."""
        if facts.is_speaking:
            at = _speaking_until(facts)
            return Undecided(at) if now < at else EndOfTurn()
        ended_at = facts.since if facts.voice_ended_at is None else facts.voice_ended_at
        facts = structs.replace(facts, expected=announced_in(facts.text, facts.expected, facts.language or self._settings.language))
        completeness = self._completeness(facts)
        probability = self.probability(facts, completeness)
        needed = self._silence_needed(facts, completeness, probability)
        due = ended_at + (max(needed, INTERRUPTING_S) if facts.interrupts else needed)
        if facts.final_at is not None:
            return EndOfTurn() if now >= due else self._wait(due, facts, probability)
        return self._without_final(facts, now, ended_at, due, probability)

    def _completeness(self, facts: TurnFacts) -> Completeness:
        text = facts.text if facts.final_at is not None else facts.text.rstrip(" ,.-…")  # where a partial is cut says nothing
        language = facts.language or self._settings.language
        if facts.interrupts and backchannels(language).only_stops(text):
            return Completeness.ATTENTION
        found = completeness_of(text, facts.expected, language)
        return Completeness.SURE if facts.is_known_phrase and text and found is not Completeness.UNFINISHED else found

    def _without_final(self, facts: TurnFacts, now: float, ended_at: float, due: float, probability: float) -> TurnVerdict:
        if facts.text_asked_at is not None:
            at = max(facts.text_asked_at + _patience(facts, ended_at), due if facts.partial else 0.0)
            return self._wait(at, facts, probability) if now < at else EndOfTurn()
        is_likely = bool(facts.partial) and probability >= LIKELY
        ask_at = min(due, ended_at + self._settings.first_s) if is_likely else due
        if not facts.partial:  # without text, wait for the recogniser, unless the prosody says that more follows
            is_ending = probability >= BLIND_LIKELY
            ask_at = ended_at + self._settings.blind_text_s if is_ending else max(due, ended_at + self._settings.blind_text_s)
        if now >= ask_at:
            return replace(self._wait(now + _patience(facts, ended_at), facts, probability), wants_text=True)
        return self._wait(ask_at, facts, probability)

    def _wait(self, at: float, facts: TurnFacts, probability: float) -> WaitUntil:
        is_unsure = UNSURE[0] < probability < UNSURE[1]
        wants = self._settings.has_judge and facts.judged is None and is_unsure
        return WaitUntil(at, probability, wants_judgement=wants)

    def probability(self, facts: TurnFacts, completeness: Completeness) -> float:
        """The probability that the turn is over, from all facts but the length of the silence."""
        weights = self._settings.weights
        language = facts.language or self._settings.language
        odds = weights.bias + (_of_words(facts, completeness, weights, language) if facts.text else weights.without_text)
        is_eager = facts.vendor is VendorTurn.EAGER_END and facts.vendor_confidence is not None
        odds += _VENDOR[facts.vendor] * ((facts.vendor_confidence or 0.0) if is_eager else 1.0)
        if facts.pause is not None:
            odds += _sound(facts.pause, weights, falls=facts.text == "" or completeness is not Completeness.TOLD)
        if facts.judged is not None:
            odds += max(-_JUDGED_MAX, min(_JUDGED_MAX, _logit(facts.judged) - _logit(_JUDGED_EVEN)))
        return 1 / (1 + exp(-odds))

    def _silence_needed(self, facts: TurnFacts, completeness: Completeness, probability: float) -> float:
        settings = self._settings
        if probability >= SURE or (facts.expected.is_slot and completeness is Completeness.SURE):
            return settings.sure_s
        if facts.final_at is not None and not facts.text:
            return settings.max_s  # a cough before the first words: the agent would ask for them
        is_missing = facts.expected.is_slot and completeness is Completeness.UNFINISHED
        longest = settings.slot_max_s if is_missing else settings.max_s
        if is_missing and facts.vendor is not VendorTurn.ENDED:
            return longest
        first, last = settings.weights.first_threshold, settings.weights.last_threshold
        share = (first - probability) / (first - last)
        needed = settings.first_s + max(0.0, min(1.0, share)) * (longest - settings.first_s)
        if facts.expected.is_slot and completeness not in (Completeness.COMPLETE, Completeness.QUESTION):
            least = settings.slot_group_s if completeness is Completeness.GROUP else settings.slot_min_s
            return max(needed, min(settings.slot_max_s, max(least, facts.usual_pause_s * SLOT_PAUSE_SHARE)))
        habit_share = settings.weights.habit_of_likely if probability >= LIKELY_WHOLE else 1.0
        return max(needed, facts.usual_pause_s * habit_share)


def _of_words(facts: TurnFacts, completeness: Completeness, weights: TurnWeights, language: str | None) -> float:
    """The log-odds of the text. They are reduced for low recogniser confidence if the text indicates an end."""
    odds = weights.of_text(completeness)
    is_sentence = len(spoken_words(facts.final or facts.partial)) >= LATER_PART_WORDS
    is_weak = facts.confidence is not None and facts.confidence < weights.sure_pronoun
    if is_weak and completeness is not Completeness.SURE and turn_words(language).ends_with_pronoun(spoken_words(facts.text)):
        odds = min(odds, weights.pronoun)
    if facts.said and is_sentence and completeness in (Completeness.TOLD, Completeness.COMPLETE):
        odds += weights.later_part
    if odds > 0 and facts.confidence is not None and completeness is not Completeness.SURE:
        share = (facts.confidence - weights.no_confidence) / (weights.sure_confidence - weights.no_confidence)
        odds *= max(0.0, min(1.0, share))
    return odds + (weights.comma if facts.final.rstrip().endswith(",") else 0.0)


def _patience(facts: TurnFacts, ended_at: float) -> float:
    """Maximum wait for a recogniser that was asked to finalise."""
    if not facts.partial:
        return RECOGNITION_PATIENCE_S
    return STABLE_PARTIAL_S if (facts.partial_at or 0.0) >= ended_at else OLD_PARTIAL_S


def _speaking_until(facts: TurnFacts) -> float:
    """Maximum wait for the end of speech. Words recognised after the final text show that the voice is the caller's."""
    is_answered = facts.final_at is not None and facts.final_at >= facts.since
    goes_on = is_answered and (facts.partial_at or 0.0) > (facts.final_at or 0.0)
    return (facts.final_at or 0.0) + STILL_SPEAKING_S if is_answered and not goes_on else facts.since + SPEECH_MAX_S


def _sound(pause: PauseSound, weights: TurnWeights, *, falls: bool) -> float:
    """The log-odds of the prosody: falling pitch ends the turn, level pitch on a long syllable holds it.

    `falls`: falling pitch counts. After a whole statement it says no more than the words: the sentence is over.
    """
    odds = 0.0
    change, length = pause.pitch_change_st, pause.final_lengthening
    if change is not None:
        if change <= -1.0 and falls:
            odds += min(1.0, -change / 3) * weights.falling
        elif abs(change) < 0.8 and length is not None and length >= 1.6:
            odds += weights.held
    if pause.voice_probability >= 0.3 and pause.silence_s >= BREATH_FROM_S:
        odds += weights.breath
    return odds


def _logit(probability: float) -> float:
    clipped = max(1e-4, min(1 - 1e-4, probability))
    return log(clipped / (1 - clipped))
