"""Barge-in: the caller speaks over the agent, from the first sound to the outcome.

In: the caller's voice and words, and what was heard. Out: the reply is paused at once, and is then resumed at the same sample (`overlap`
decides) or cut. Theory of the cut: two things are unknown, how much of the reply was heard (the call reports it within `SETTLE_S`) and
whether more words follow. The reply is kept until the second is known. If no words follow, it is said again from the interrupted sentence
on; else the caller takes the turn.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.agent.effects import EndUtterance, PauseOnVoice, PauseReply
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.queue import Cut, Playback
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.steps import count_words
from active_call.agent.turn.backchannels import Kind, OverlapText, backchannels
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.overlap import (
    ENOUGH_WORDS,
    FALSE_START_S,
    FIRST_S,
    LAST_MS,
    AskAgain,
    Overlap,
    Resume,
    Yield,
    decide,
    is_doubtful,
    is_unsure,
)
from active_call.agent.turn.overlap_words import Alternatives, OverlapWords
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

SETTLE_S = 0.3
"""How long the caller's words wait for the report of how much of the reply was heard."""
MAX_RESUMES = 2
"""After this many consecutive false interruptions (a television, an echo), only words interrupt for a while."""
WORDS_NEEDED_S = 60.0
"""Duration of that period."""


class BargeIn:
    """The current interruption, and the rules for the next one."""

    def __init__(
        self,
        rules: Interruptions,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        replies: Replies,
        outbox: Outbox,
        language: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.rules = rules
        self.is_greeting = False
        """The current reply is the greeting, whose beginning is protected."""
        self.is_speech_ignored = False
        """The current speech of the caller does not interrupt: a filler, too short, or in the protected beginning."""
        self.settling: Playback | None = None
        """The playback that was cut, until it is known how much of it was heard."""
        self._cut: Cut | None = None
        """The reply that was cut, while it may still be resumed."""
        self._heard_words = 0
        self._is_resume_due = False
        self._paused_at = self._voice_began_at = self._spoken_since = 0.0
        self._is_early = False
        """The caller began to speak in the first second of the reply."""
        self._text = OverlapText(Kind.NOTHING)
        """What was said over the paused reply."""
        self._is_final = False
        self._spoke_s: float | None = None
        """How long the caller's last stretch of speech was before the present one; None: none has ended since the pause."""
        self._backchannel = 0.0
        """The highest confidence of an earlier text of the same sound that was a back-channel."""
        self._n_resumes = 0
        """Consecutive false interruptions."""
        self._words_needed_until: float | None = None
        self._language = language
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._outbox = outbox

    @property
    def is_undecided(self) -> bool:
        """Whether a reply was paused or cut and may have to be resumed."""
        return self._cut is not None or self.is_overlapping

    @property
    def is_overlapping(self) -> bool:
        """Whether the current reply is paused because the caller speaks over it."""
        return self._replies.is_paused

    # -- whether the caller may interrupt

    def on_voice(self, now: float, *, is_filler: bool, spoken_s: float = 0.0) -> None:
        """The caller's voice begins over the agent's, reported after `spoken_s` of it: pause now, later, or not at all."""
        self.is_speech_ignored = False
        if self.is_overlapping:
            self._is_final = False
            self.decide(now)
            return
        if not (self._phase.state is State.SPEAKING and self.rules.by_voice) or self._needs_words(now):
            return
        self._voice_began_at, self._spoken_since = now, now - spoken_s
        delay = max(self._protected_s(now), self.rules.min_speech_s - spoken_s)
        if is_filler and self.rules.option.filler_word_filter:
            self.is_speech_ignored = True
        elif delay > 0:
            self._timers.set(Timer.CUT, now + delay)
        else:
            self.pause(now)

    def voice_pauses_in_s(self, now: float) -> float | None:
        """After how many seconds the caller's voice would pause the playback if it began then; None: never in this state."""
        playback = self._replies.playback
        is_open = self._phase.state is State.SPEAKING and self.rules.by_voice and not self.is_overlapping
        if not is_open or playback is None or not playback.has_started or self._floor.is_caller_speaking:
            return None
        words_needed_s = self._words_needed_until - now if self._needs_words(now) and self._words_needed_until is not None else 0.0
        return max(self._protected_s(now), words_needed_s)

    def pause_on_voice(self, least_ms: int) -> PauseOnVoice:
        """The pause on voice that the media process may do without asking."""
        return PauseOnVoice(max(least_ms, round(self.rules.min_speech_s * 1000)), LAST_MS, self.rules.fade_out_ms)

    def takes_pause(self, now: float) -> bool:
        """The media process has paused the playback because the caller speaks. False if it must resume."""
        if self.is_overlapping:
            return True
        is_open = self._phase.state is State.SPEAKING and self.rules.by_voice and not self._needs_words(now)
        if not is_open or self._replies.playback is None or self._protected_s(now) > 0:
            return False
        self._timers.clear(Timer.CUT)
        self.pause(now)
        return True

    def on_silence(self, now: float) -> None:
        """The caller's voice ends, possibly before it has interrupted."""
        if self._timers.is_set(Timer.CUT):
            self._timers.clear(Timer.CUT)
            self.is_speech_ignored = True
        facts = self._floor.facts
        self._spoke_s = None if facts.voice_ended_at is None else facts.voice_ended_at - facts.since
        if self.is_overlapping and self._text.kind is Kind.NOTHING and facts.text_asked_at is None:
            self._floor.text_asked(now)
            self._outbox.put(EndUtterance())  # the words decide, so ask the recogniser to finalise now
        self.decide(now)

    def on_partial_words(self, text: str, now: float, confidence: float | None = None) -> None:
        """A partial text with words. With `asr` and `both`, or while words are required, it interrupts a reply that is not paused.

        `confidence`: the recogniser's, if it reports one.
        """
        if self.is_overlapping:
            self._text = self._read(text)
            if self._text.kind is Kind.BACKCHANNEL:
                self._backchannel = max(self._backchannel, confidence or 0.0)
            is_perhaps_one = self._text.kind is Kind.WORDS and self._may_be_backchannel(text)
            if is_perhaps_one or is_unsure(self._text, confidence, self._spoke_for_s(now)):
                self._text = OverlapText(Kind.NOTHING)
            self.decide(now)
        elif self._phase.state is State.SPEAKING and self.may_cut_by_words(now):
            read = self._read(text)
            enough = 1 if self.rules.by_partial_words else ENOUGH_WORDS
            may_cut = self.rules.by_partial_words or self._needs_words(now)
            if may_cut and (read.kind is Kind.STOP or (read.kind is Kind.WORDS and read.n_content >= enough)):
                self.cut(now)

    def _spoke_for_s(self, now: float) -> float:
        """How long the caller's speech over the reply is so far, in seconds."""
        facts = self._floor.facts
        ended_at = now if facts.is_speaking or facts.voice_ended_at is None else facts.voice_ended_at
        return ended_at - self._spoken_since

    def likelier_text(self, text: str, alternatives: Alternatives) -> str:
        """What the caller has said over the agent: the final text, or a short reply that is nearly as likely by its sound."""
        return text if self._floor.facts.is_known_phrase else self._words.likelier_text(text, alternatives)

    def takes_turn(self, text: str, now: float, confidence: float | None = None, alternatives: Alternatives = None) -> bool:
        """A final text with words arrives while the reply plays or is paused. True if it takes the turn, else the reply continues.

        `confidence`: the recogniser's, if it reports one.
        """
        read = self._read(text)
        if self._is_doubtful(read, confidence, has_rival=self._words.has_rival(text, alternatives)):
            self._outbox.note("speech over the agent not answered", reason="short and doubtful", confidence=confidence)
            if self.is_overlapping and not self._floor.is_caller_speaking:
                self.go_on(now)
            return False
        read = self._words.without_beginning(text, read)
        if read.kind in (Kind.WORDS, Kind.STOP):
            return True
        self._outbox.note("speech over the agent not answered", reason=str(read.kind))
        if self.is_overlapping:
            self._text, self._is_final = read, True
            self.decide(now)
        return False

    def _is_doubtful(self, read: OverlapText, confidence: float | None, *, has_rival: bool) -> bool:
        """Also for a text of speech before the caller spoke again: the rest of it decides."""
        facts = self._floor.facts
        spoke_s = self._spoke_s if facts.is_speaking or facts.voice_ended_at is None else facts.voice_ended_at - facts.since
        if self._words.is_question or spoke_s is None:
            return False
        return is_doubtful(read, confidence, spoke_s, backchannel=self._backchannel, has_rival=has_rival)

    def on_cut_due(self, now: float) -> None:
        """The caller has spoken long enough to interrupt."""
        if self._phase.state is State.SPEAKING and self._floor.is_caller_speaking and not self.is_overlapping:
            self.pause(now)

    def may_cut_by_words(self, now: float) -> bool:
        """Whether words can interrupt the agent now."""
        return not self.rules.is_off and not self.is_speech_ignored and self._protected_s(now) <= 0

    def _protected_s(self, now: float) -> float:
        """The remaining protected time of this reply, in seconds."""
        whole = self.rules.ignored_s(is_greeting=self.is_greeting)
        since = self._replies.sounding_since
        return whole if since is None else max(0.0, since + whole - now)

    def _needs_words(self, now: float) -> bool:
        return self._words_needed_until is not None and now < self._words_needed_until

    @property
    def _own_text(self) -> str:
        playback = self._replies.playback
        return playback.text if playback is not None else ""

    @property
    def _words(self) -> OverlapWords:
        return OverlapWords(self._own_text, self._language())

    def _may_be_backchannel(self, text: str) -> bool:
        return not self._words.is_question and backchannels(self._language()).may_become_one(text)

    def _read(self, text: str) -> OverlapText:
        return self._words.read(text)

    # -- the pause

    def pause(self, now: float) -> None:
        """Pause the reply until it is decided whether the caller takes the turn."""
        since = self._replies.sounding_since
        self._paused_at, self._is_early = now, since is None or now - since < FIRST_S
        self._text, self._is_final, self._backchannel, self._spoke_s = OverlapText(Kind.NOTHING), False, 0.0, None
        self._floor.barge_in(now)
        self._replies.pause(PauseReply(LAST_MS, self.rules.fade_out_ms, resumes_at_word=self.rules.option.resume_at == "word"))
        self.decide(now)

    def on_pause_refused(self, now: float) -> None:
        """The reply is about to end, so it is not paused: the caller has the turn after it.

        If the caller began to speak when the reply did, the caller's turn was not over: the reply is cut.
        """
        since = None if self.is_greeting else self._replies.sounding_since
        if self.is_overlapping and since is not None and self._spoken_since - since <= FALSE_START_S:
            self.cut(now)
        elif self.is_overlapping:
            self._floor.release()
            self._replies.unpause(now)

    def decide(self, now: float) -> None:
        """A new fact of the overlap, or its deadline: cut the reply, resume it, or wait."""
        if not self.is_overlapping or self._phase.state is not State.SPEAKING:
            return
        facts = self._floor.facts
        ended_at = None if facts.is_speaking else max(facts.voice_ended_at or now, self._voice_began_at)
        overlap = Overlap(self._paused_at, self._voice_began_at, self._text, self._is_final, ended_at, self._is_early)
        match decide(overlap, now):
            case Yield():
                self.cut(now)
            case Resume():
                self.go_on(now)
            case AskAgain(at):
                self._timers.set(Timer.OVERLAP, at)

    def go_on(self, now: float) -> None:
        """The sound over the reply does not take the turn: resume the reply where it is paused."""
        self._outbox.note("reply goes on", after_ms=round((now - self._paused_at) * 1000), said=str(self._text.kind))
        self._note_false_one(now)
        self._floor.release()
        self._replies.unpause(now)

    def _note_false_one(self, now: float) -> None:
        self._n_resumes += 1
        if self._n_resumes >= MAX_RESUMES:
            self._n_resumes = 0
            self._words_needed_until = now + WORDS_NEEDED_S
            self._outbox.note("words are needed to interrupt", seconds=WORDS_NEEDED_S)

    # -- from the cut to its outcome

    def cut(self, now: float) -> None:
        """Stop the current reply in any state, also a paused one, and keep the part that was not heard."""
        if self._phase.state not in (State.THINKING, State.SPEAKING, State.PAUSED):
            return
        if self._replies.playback is not None:  # before the end of the reply ends the pause
            self._outbox.perform(commands.Interrupt(fade_out_ms=self.rules.fade_out_ms))
        was_overlapping = self.is_overlapping
        self._cut = self._replies.cut()
        self._heard_words = 0
        self._is_resume_due = False
        if not was_overlapping:
            self._floor.barge_in(now)
        if self._cut.playback is not None:
            self.settling = self._cut.playback
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def settle(self, heard: str) -> None:
        """It is now known how much of the cut reply was heard. `outcome_due` returns what follows."""
        self.settling = None
        self._heard_words = count_words(heard)
        self._timers.clear(Timer.SETTLE)
        self._outbox.add(AgentItem(heard, is_interrupted=True))

    def await_settling(self, now: float) -> None:
        """All timers were stopped: restart the wait for the report of what was heard."""
        if self.settling is not None:
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def want_resume(self, now: float) -> None:
        """The sound was noise: resume the reply. A cut one is resumed when it is known how much of it was heard."""
        if self.is_overlapping:
            self.go_on(now)
            return
        self._is_resume_due = True
        if self.settling is None:
            self.resume(now)

    def resume_if_due(self, now: float) -> None:
        """It is now known how much was heard: resume if the sound was noise."""
        if self._is_resume_due:
            self.resume(now)

    def resume(self, now: float) -> None:
        """Say the part of the cut reply that was not heard."""
        cut = self._cut
        self._drop_cut()
        if cut is not None:
            self._note_false_one(now)
            self._floor.release()
            self._replies.resume(cut, self._heard_words, now)

    def forget(self) -> None:
        """The cut reply is not resumed: the caller takes the turn."""
        if self._cut is not None:
            self._replies.give_up()
        self._drop_cut()

    def _drop_cut(self) -> None:
        self._cut = None
        self._is_resume_due = False

    def caller_took_part(self) -> None:
        """The caller has spoken words: reset the count of false interruptions."""
        self._n_resumes = 0
