"""An interruption of the agent's reply, from the cut to its outcome.

In: the order to cut, what was heard, the decision. Out: the reply is stopped; then it is resumed from the sentence that was interrupted, or
forgotten because the caller takes the turn. Theory: after the cut two things are unknown, how much of the reply was heard (the call tells
it within `SETTLE_S`) and whether the sound was words. The reply is kept until the second is known, and resumed when both are.
"""

from __future__ import annotations

from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.queue import Cut, Playback
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.steps import count_words
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

SETTLE_S = 0.3
"""How long the caller's words wait for the news of how much of the reply was heard."""
MAX_RESUMES = 2
"""After so many noises in a row that stopped the agent in vain (a television, an echo), voice alone stops it no more; words do."""


class BargeIn:
    """The interruption under way, and the rules by which the next one is allowed."""

    def __init__(self, rules: Interruptions, phase: Phase, timers: Timers, floor: Floor, replies: Replies, outbox: Outbox) -> None:
        self.rules = rules
        self.is_greeting = False
        """The current reply is the greeting, whose beginning is protected."""
        self.is_speech_ignored = False
        """What the caller says now does not interrupt: a filler, or it was too short, or fell into the protected beginning."""
        self.settling: Playback | None = None
        """The playback that was cut, until it is known how much of it was heard."""
        self._cut: Cut | None = None
        """The reply that was cut short, as long as it may have to be resumed."""
        self._heard_words = 0
        self._is_resume_due = False
        self._n_resumes = 0
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._outbox = outbox

    @property
    def is_undecided(self) -> bool:
        """A reply was cut, and may have to be resumed."""
        return self._cut is not None

    # -- may the caller interrupt

    def on_voice(self, now: float, *, is_filler: bool) -> None:
        """The caller's voice begins over the agent's: interrupt now, later, or not at all."""
        self.is_speech_ignored = False
        if not (self._phase.state is State.SPEAKING and self.rules.by_voice and self._n_resumes < MAX_RESUMES):
            return
        delay = max(self._protected_s(now), self.rules.min_speech_s)
        if is_filler and self.rules.option.filler_word_filter:
            self.is_speech_ignored = True
        elif delay > 0:
            self._timers.set(Timer.CUT, now + delay)
        else:
            self.cut(now)

    def on_silence(self) -> None:
        """The caller's voice ends before it has interrupted."""
        if self._timers.is_set(Timer.CUT):
            self._timers.clear(Timer.CUT)
            self.is_speech_ignored = True

    def on_partial_words(self, now: float) -> None:
        """A partial text with words in it."""
        if self._phase.state is State.SPEAKING and self.rules.by_partial_words and self.may_cut_by_words(now):
            self.cut(now)

    def on_cut_due(self, now: float) -> None:
        """The caller has spoken long enough."""
        if self._phase.state is State.SPEAKING and self._floor.is_caller_speaking:
            self.cut(now)

    def may_cut_by_words(self, now: float) -> bool:
        """Whether words interrupt the agent at this moment."""
        return not self.rules.is_off and not self.is_speech_ignored and self._protected_s(now) <= 0

    def _protected_s(self, now: float) -> float:
        """How much longer the beginning of this reply is protected, in seconds."""
        whole = self.rules.ignored_s(is_greeting=self.is_greeting)
        since = self._replies.sounding_since
        return whole if since is None else max(0.0, since + whole - now)

    # -- from the cut to its outcome

    def cut(self, now: float) -> None:
        """Stop the current reply, whatever it is doing, and keep what was not heard of it. One that a hold has frozen is stopped, too."""
        if self._phase.state not in (State.THINKING, State.SPEAKING, State.PAUSED):
            return
        self._cut = self._replies.cut()
        self._heard_words = 0
        self._is_resume_due = False
        self._floor.barge_in(now)
        if self._cut.playback is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=self.rules.fade_out_ms))
            self.settling = self._cut.playback
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def settle(self, heard: str) -> None:
        """It is known how much of the reply that was cut was heard. `outcome_due` tells what follows."""
        self.settling = None
        self._heard_words = count_words(heard)
        self._timers.clear(Timer.SETTLE)
        self._outbox.add(AgentItem(heard, is_interrupted=True))

    def await_settling(self, now: float) -> None:
        """All timers were stopped: go on waiting for the news of what was heard."""
        if self.settling is not None:
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def want_resume(self, now: float) -> None:
        """It was a noise: resume the reply, as soon as it is known how much of it was heard."""
        self._is_resume_due = True
        if self.settling is None:
            self.resume(now)

    def resume_if_due(self, now: float) -> None:
        """It is known now how much was heard: resume when the sound was a noise."""
        if self._is_resume_due:
            self.resume(now)

    def resume(self, now: float) -> None:
        """Say what was not heard."""
        cut = self._cut
        self.forget()
        if cut is not None:
            self._n_resumes += 1
            self._floor.release()
            self._replies.resume(cut, self._heard_words, now)

    def forget(self) -> None:
        """The reply that was cut is not resumed: the caller takes the turn."""
        self._cut = None
        self._is_resume_due = False

    def caller_took_part(self) -> None:
        """The caller has spoken words: noises are counted anew."""
        self._n_resumes = 0
