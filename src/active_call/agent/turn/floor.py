"""Who has the turn. Someone always has it, with a deadline.

In: events of the voice detector and the recogniser about the caller, and interruptions. Out: the holder of the turn, and the timer FLOOR,
which runs while the caller claims the turn. `reply` handles what the agent says.

    holder     meaning                                                               until
    caller     the caller speaks, or has spoken and its text is awaited              the turn detector's deadline
    undecided  a sound has stopped the agent's reply, which is kept: it is resumed   the turn detector's deadline
               if the sound had no words, else the caller takes the turn
    agent      a reply is requested, plays, or is about to be requested              the timeout of model, playback or tool
    nobody     either may begin                                                      the follow-up, or a minute
    elsewhere  no sound yet, on hold, transferred, ending or over                    the call's own limits

The caller's claim (none, caller, undecided) is stored here, by `TABLE`. The other holders follow from the state of the conversation.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec.structs import replace

from active_call.agent.turn.expectation import Expectation
from active_call.agent.turn.pauses import Pauses
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.turn_detector import EndOfTurn, PauseSound, TurnDetector, TurnFacts, TurnVerdict, VendorTurn, WaitUntil


class Holder(StrEnum):
    """Who has the turn."""

    CALLER = "caller"
    UNDECIDED = "undecided"
    AGENT = "agent"
    NOBODY = "nobody"
    ELSEWHERE = "elsewhere"


class Claim(StrEnum):
    """Whether the caller claims the turn."""

    NONE = "none"
    CALLER = "caller"
    UNDECIDED = "undecided"


class FloorEvent(StrEnum):
    """The events that change the claim."""

    VOICE = "voice"
    """The caller's voice begins while the agent is silent."""
    BARGE_IN = "barge_in"
    """The caller has interrupted the agent's reply."""
    WORDS = "words"
    """The recogniser's final text has arrived."""
    RELEASE = "release"
    """The caller's turn is over."""


TABLE: dict[Claim, dict[FloorEvent, Claim]] = {
    Claim.NONE: {
        FloorEvent.VOICE: Claim.CALLER,
        FloorEvent.BARGE_IN: Claim.UNDECIDED,
        FloorEvent.WORDS: Claim.CALLER,
        FloorEvent.RELEASE: Claim.NONE,
    },
    Claim.CALLER: {
        FloorEvent.VOICE: Claim.CALLER,
        FloorEvent.BARGE_IN: Claim.UNDECIDED,
        FloorEvent.WORDS: Claim.CALLER,
        FloorEvent.RELEASE: Claim.NONE,
    },
    Claim.UNDECIDED: {
        FloorEvent.VOICE: Claim.UNDECIDED,
        FloorEvent.BARGE_IN: Claim.UNDECIDED,
        FloorEvent.WORDS: Claim.CALLER,
        FloorEvent.RELEASE: Claim.NONE,
    },
}

TELLING = 0.3
"""A pause after an incomplete phrase is no evidence of the caller's other pauses."""
_AGENT_HAS_IT = (State.THINKING, State.SPEAKING)


class Floor:
    """The caller's claim to the turn with its deadline, and the facts of the caller's utterance."""

    def __init__(self, phase: Phase, timers: Timers, detector: TurnDetector) -> None:
        self._phase = phase
        self._timers = timers
        self._detector = detector
        self._claim = Claim.NONE
        self._facts = TurnFacts()
        self._is_earlier_text_due = False
        """The caller continued before the recogniser had finalised the earlier speech."""
        self.pauses = Pauses()
        self.slot_pauses = Pauses()
        """Those between the groups of a number or a spelling."""
        self.verdict: TurnVerdict | None = None
        """The detector's last verdict."""

    @property
    def holder(self) -> Holder:
        """Who has the turn."""
        state = self._phase.state
        if state not in (State.LISTENING, *_AGENT_HAS_IT):
            return Holder.ELSEWHERE
        if self._claim is not Claim.NONE:
            return Holder(self._claim.value)
        is_settling = self._timers.is_set(Timer.SETTLE)
        return Holder.AGENT if state in _AGENT_HAS_IT or is_settling else Holder.NOBODY

    @property
    def is_claimed(self) -> bool:
        """Whether the caller has the turn or it is undecided: a new reply must wait."""
        return self._claim is not Claim.NONE

    @property
    def is_caller_speaking(self) -> bool:
        """Whether the voice detector hears the caller."""
        return self._facts.is_speaking

    @property
    def usual_pauses(self) -> Pauses:
        """The caller's pauses in turns like the current one."""
        return self.slot_pauses if self._facts.expected.is_slot else self.pauses

    @property
    def facts(self) -> TurnFacts:
        """The known facts of the caller's utterance."""
        return self._facts

    # -- facts

    def voice_began(self, now: float, *, may_claim: bool, expected: Expectation | None = None, language: str | None = None) -> None:
        """The caller's voice begins. `may_claim`: the agent is silent, so the caller gets the turn.

        If the turn is not over, it continues: its texts are kept, and the pause is learnt.
        """
        before = self._facts
        has_paused = not before.is_speaking and before.voice_ended_at is not None
        is_text_due = has_paused and before.final_at is None and before.text_asked_at is not None
        self._is_earlier_text_due = is_text_due and self._claim in (Claim.CALLER, Claim.UNDECIDED)
        pauses = self.slot_pauses if (before.expected if expected is None else expected).is_slot else self.pauses
        facts = TurnFacts(since=now, is_speaking=True, language=language, usual_pause_s=pauses.usual_s)
        if self._claim is Claim.CALLER and has_paused and before.voice_ended_at is not None:
            is_telling = isinstance(self.verdict, WaitUntil) and self.verdict.probability >= TELLING
            if is_telling or pauses is self.slot_pauses:
                pauses.went_on(now - before.voice_ended_at)
            said = " ".join(part for part in (before.said, before.final) if part)
            partial = before.partial if before.final_at is None else ""
            facts = replace(facts, said=said, partial=partial, interrupts=before.interrupts, usual_pause_s=pauses.usual_s)
        else:
            # the media process pauses the reply before it reports the voice
            facts = replace(facts, interrupts=self._claim is Claim.UNDECIDED and before.interrupts)
        self._facts = replace(facts, expected=before.expected if expected is None else expected)
        if may_claim:
            self._change(FloorEvent.VOICE, now)

    def voice_ended(self, now: float) -> None:
        """The caller's voice ended at `now`. `is_over` decides what that means."""
        self._facts = replace(self._facts, is_speaking=False, voice_ended_at=now, pause=None, judged=None)

    def partial(self, text: str, now: float, confidence: float | None = None) -> None:
        """A partial text with words. During silence it moves the deadline of a claim."""
        facts = self._facts
        if facts.is_speaking and facts.final_at is not None:  # that was the final text of earlier words
            facts = replace(facts, said=f"{facts.said} {facts.final}".strip(), final="", final_at=None)
        self._facts = replace(facts, partial=text, partial_at=now, confidence=confidence)
        if self.is_claimed and not self.is_caller_speaking:
            self._ask(now)

    def final(self, text: str, now: float, confidence: float | None = None) -> None:
        """A final text, with or without words. It may belong to speech before the caller continued."""
        if self._is_earlier_text_due and self.is_caller_speaking:
            self._is_earlier_text_due = False
            self._facts = replace(self._facts, said=f"{self._facts.said} {text}".strip(), partial="")
            return
        self._facts = replace(self._facts, final=text, final_at=now, confidence=confidence)

    def paused(self, sound: PauseSound, now: float) -> None:
        """The media process reports the prosody of a pause and when it began."""
        ended_at = self._facts.voice_ended_at
        if not self._facts.is_speaking and ended_at is not None:
            self._facts = replace(self._facts, pause=sound, voice_ended_at=min(ended_at, now - sound.silence_s))

    def proposed(self, turn: VendorTurn, confidence: float | None) -> None:
        """The recogniser's own turn detector reports a proposal."""
        self._facts = replace(self._facts, vendor=turn, vendor_confidence=confidence)

    def judged(self, probability: float) -> None:
        """An audio turn model reports the probability of end of turn for the current pause."""
        if not self._facts.is_speaking:
            self._facts = replace(self._facts, judged=probability)

    def known(self, is_phrase: bool) -> None:
        """Whether the text so far is a phrase of the playbook."""
        self._facts = replace(self._facts, is_known_phrase=is_phrase)

    def text_asked(self, now: float) -> None:
        """The recogniser was asked to finalise. Only the first request counts."""
        if self._facts.text_asked_at is None:
            self._facts = replace(self._facts, text_asked_at=now)

    # -- the turn

    def barge_in(self, now: float) -> None:
        """The caller has interrupted the agent's reply: the turn is undecided from now on."""
        facts = replace(self._facts, since=now, interrupts=True)
        is_old = not facts.is_speaking and facts.final_at is not None and facts.final_at < now
        self._facts = replace(facts, final="", final_at=None) if is_old else facts
        self._change(FloorEvent.BARGE_IN, now)

    def yield_after_words(self, now: float) -> bool:
        """A final text has arrived. True if the turn is over, False if the detector waits for more."""
        self._claim = TABLE[self._claim][FloorEvent.WORDS]
        if not self._ask(now):
            return False
        self.release()
        return True

    def is_over(self, now: float) -> bool:
        """Ask the detector whether the caller's turn is over, and set the deadline if it is not.

        If it is, the caller of this method releases it.
        """
        return self._ask(now)

    def lapse(self, now: float) -> bool:
        """The deadline has passed. True if the turn is over; then the caller counts as silent."""
        if not self._ask(now):
            return False
        self._facts = replace(self._facts, is_speaking=False)
        return True

    def release(self) -> None:
        """End the caller's claim."""
        self._claim = TABLE[self._claim][FloorEvent.RELEASE]
        self._is_earlier_text_due = False
        self._timers.clear(Timer.FLOOR)

    def reset(self) -> None:
        """On hold or connected to somebody else: clear all facts about the caller."""
        self.release()
        self._facts = TurnFacts()

    def _change(self, event: FloorEvent, now: float) -> None:
        self._claim = TABLE[self._claim][event]
        if self._ask(now):
            self._timers.set(Timer.FLOOR, now)

    def _ask(self, now: float) -> bool:
        verdict = self.verdict = self._detector.decide(self._facts, now)
        if isinstance(verdict, EndOfTurn):
            return True
        self._timers.set(Timer.FLOOR, max(now, verdict.at))
        return False
