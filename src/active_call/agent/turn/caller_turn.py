"""The caller's turn: from the first sound to the answer that it gets.

In: what the voice detector and the recogniser say. Out: an answer is asked for (a model) or said (a script), a reply that a noise has
stopped is resumed, or the agent speaks up because the caller is silent. `floor` says whose turn it is; `barge_in` stops the agent's reply.
"""

from __future__ import annotations

from active_call.agent.context import PlaybookContext
from active_call.agent.items import UserItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.replies import Replies
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, State
from active_call.agent.turn.timers import Timer, Timers

MAX_NOT_UNDERSTOOD = 3
"""How often in a row a sound without words is answered: a noisy line must not make the agent talk for ever."""
QUIET_S = 60.0
"""Where no follow-up is due, the agent looks after so long whether something is left to say."""


class CallerTurn:
    """What the caller has said and not been answered."""

    def __init__(
        self, context: PlaybookContext, phase: Phase, timers: Timers, floor: Floor, replies: Replies, barge_in: BargeIn, outbox: Outbox
    ) -> None:
        self._waiting: list[tuple[str, int]] = []
        """Said while it is not known how much of the reply that was cut was heard; with its time in Unix ms, 0 for now."""
        self._unanswered: list[str] = []
        """What the caller said and has heard no answer to."""
        self._n_followups = 0
        self._n_not_understood = 0
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._replies = replies
        self._barge_in = barge_in
        self._outbox = outbox

    # -- what is heard of the caller

    def on_voice(self, now: float, *, is_filler: bool) -> None:
        """The caller begins to speak."""
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self._floor.voice_began(now, may_claim=self._phase.state in (State.LISTENING, State.THINKING))
        self._barge_in.on_voice(now, is_filler=is_filler)

    def on_silence(self, now: float) -> None:
        """The caller stops speaking."""
        self._floor.voice_ended(now)
        self._barge_in.on_silence()
        if not self._floor.is_claimed:
            self.await_caller(now)
        elif self._floor.is_over(now):
            self.on_nothing_more(now)

    def on_partial(self, text: str, now: float) -> None:
        """The recogniser has heard `text` so far."""
        if self._barge_in.rules.is_sure_word(text):
            self._floor.partial(text, now)
            self._barge_in.on_partial_words(now)

    def on_final(self, text: str, now: float) -> None:
        """The recogniser has decided on what was said."""
        self._floor.final(text, now)
        if self._phase.state in (State.IDLE, State.PAUSED, State.AWAY):
            self._outbox.note("speech dropped", reason=str(self._phase.state))
        elif not self._barge_in.rules.is_answer(text):
            self._on_noise(text, now)
        else:
            self._on_words(text, now)

    def _on_words(self, text: str, now: float) -> None:
        self.took_part()
        if self._phase.state is State.ENDING:
            self._outbox.add(UserItem(text))
            return
        if self._phase.state is State.SPEAKING:
            if not self._barge_in.may_cut_by_words(now):
                self._outbox.add(UserItem(text))
                self._outbox.note("speech not answered", reason="the reply is not to be interrupted")
                return
            self._barge_in.cut(now)
        self._floor.yield_after_words(now)
        self._waiting.append((text, 0))
        if self._barge_in.settling is None:
            self.take_turn(now)

    def _on_noise(self, text: str, now: float) -> None:
        """There was a sound, but no words in it."""
        if self._barge_in.is_undecided:
            self._barge_in.want_resume(now)
        elif self._phase.state is State.LISTENING and not self._waiting:
            self._floor.yield_after_words(now)
            self._on_not_understood(text, now)
        elif self._floor.is_claimed:
            self.on_nothing_more(now)

    def _on_not_understood(self, text: str, now: float) -> None:
        self._n_not_understood += 1
        if text or self._n_not_understood > MAX_NOT_UNDERSTOOD:  # a filler, or a noisy line
            self._outbox.note("sound without words not answered", in_a_row=self._n_not_understood)
            self._replies.pump(now)
            self.await_caller(now)
            return
        self._replies.say(self._context.wording.not_understood if self._context.has_model else self._context.fallback(), now)

    # -- the end of the turn

    def on_deadline(self, now: float) -> None:
        """The turn detector's time has come."""
        if self._floor.lapse(now):
            self.on_nothing_more(now)

    def on_nothing_more(self, now: float) -> None:
        """Nothing (more) comes of what the caller began to say."""
        self._floor.release()
        if self._barge_in.is_undecided and not self._waiting:
            self._barge_in.want_resume(now)
            return
        self._replies.pump(now)
        self.await_caller(now)

    def take_turn(self, now: float) -> None:
        """Answer what the caller has said."""
        self._barge_in.forget()
        self._barge_in.is_greeting = False
        self._replies.interrupt_tools()
        self._unanswered.extend(self.write_down())
        if self._context.has_model:
            self._replies.ask(now, self._context.repair_hint(self._outbox.history.items, now))
        else:
            self._replies.say(self._context.answer(self._unanswered), now)

    def add_key(self, text: str, at_ms: int) -> None:
        """The caller has pressed a key, which takes the turn like words."""
        self.took_part()
        self._waiting.append((text, at_ms))

    def settled(self, heard: str, now: float) -> None:
        """It is known how much of the reply that was cut was heard: answer, or resume."""
        self._barge_in.settle(heard)
        if heard:
            self.was_answered()
        if self._waiting:
            self.take_turn(now)
        else:
            self._barge_in.resume_if_due(now)

    def write_down(self) -> list[str]:
        """What waited becomes items of the history, each with its own time. Returns the texts."""
        waiting, self._waiting = self._waiting, []
        for text, at_ms in waiting:
            self._outbox.add(UserItem(text), at_ms)
        return [text for text, _ in waiting]

    def was_answered(self) -> None:
        """The caller has heard something of an answer."""
        self._unanswered.clear()

    def forget(self) -> None:
        """The caller is with somebody else: what was said is kept in the history, and gets no answer."""
        self.write_down()
        self._unanswered = []

    def took_part(self) -> None:
        """The caller has said something, or is back: what was counted since then begins anew."""
        self._n_followups = self._n_not_understood = 0
        self._barge_in.caller_took_part()
        self._replies.caller_took_part()
        self._context.caller_took_part()
        self._timers.clear(Timer.FOLLOWUP)

    # -- silence

    def await_caller(self, now: float) -> None:
        """The agent has spoken, or nothing came of a sound: from here the caller's silence counts."""
        if self._phase.state is not State.LISTENING:
            return
        found = self._context.followup()
        if self._replies.wait_input_s is not None:
            found = (self._replies.wait_input_s, found[1] if found else 1)
        if found is not None and not self._floor.is_caller_speaking and self._n_followups < found[1]:
            self._timers.set(Timer.FOLLOWUP, now + found[0])
        else:
            self._timers.set(Timer.QUIET, now + QUIET_S)

    def on_quiet(self, now: float) -> None:
        """Nobody has spoken for a minute: say what may be left to say."""
        self._replies.pump(now)
        self.await_caller(now)

    def follow_up(self, now: float) -> None:
        """The caller has been silent for too long: speak up."""
        if self._phase.state is not State.LISTENING:
            return
        self._n_followups += 1
        if self._context.has_model:
            self._replies.ask(now, self._context.wording.silent)
        else:
            self._replies.say(self._context.silence(), now)
