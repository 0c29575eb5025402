"""The current reply: what is being said, what the model still writes of it, and what was heard.

In: steps, a model's answer, playback events. Out: playback commands (by the queue), the items of the history that were heard, the timers
MODEL and PLAYBACK. There is one reply at a time; `number` names it. `replies` decides what is said and when.
"""

from __future__ import annotations

from active_call.agent.effects import AbandonModel, PauseReply, ReplyNumber, ResumeReply
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.model_stream import ModelStream
from active_call.agent.reply.outcome import ReplyOutcome
from active_call.agent.reply.queue import Cut, Playback, ReplyQueue
from active_call.agent.reply.sentences import FIRST_CUT_WORDS
from active_call.agent.reply.speculation import Speculation
from active_call.agent.reply.steps import Step, spoken_s
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands

PLAYBACK_START_S = 10.0
"""A playback that has not begun by then is lost."""
PLAYBACK_SLACK_S = 8.0
"""A playback that has not ended so long after its text should be over is lost."""
FILE_MAX_S = 3600.0
"""A file, whose length is not known here, that has not ended by then is lost."""


class Reply:
    """The current reply."""

    def __init__(self, outbox: Outbox, timers: Timers, *, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self.queue = ReplyQueue(outbox.perform)
        self.speculation = Speculation(outbox, self.queue.option_of, first_cut_words=first_cut_words)
        """What the model was asked before the caller's turn is over."""
        self.outcome = ReplyOutcome(outbox)
        self.stream: ModelStream | None = None
        """The model's answer; None when no model is being waited for."""
        self.is_from_model = False
        self.has_acted = False
        """It has done something, even when it says nothing."""
        self.hint: str | None = None
        """When the reply is done, the model is asked to go on, with this hint."""
        self.wait_input_s: float | None = None
        """How long this reply wants to wait for the caller; None for the playbook's way."""
        self.sounding_since: float | None = None
        """When the caller began to hear it."""
        self.is_paused = False
        """What sounds of it stands still, since the caller speaks over it."""
        self._outbox = outbox
        self._timers = timers

    @property
    def number(self) -> ReplyNumber:
        """Its number."""
        return ReplyNumber(self.queue.number)

    @property
    def playback(self) -> Playback | None:
        """What sounds now, or is about to."""
        return self.queue.playback

    # -- beginning and ending

    def start(self, steps: list[Step], *, is_complete: bool = True, number: ReplyNumber | None = None) -> None:
        """Begin a new reply, of which more comes unless `is_complete`; the one before is over. `number`: that of an adopted request."""
        self.abandon_model()
        self.speculation.cancel("another reply begins")
        self._forget()
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self.queue.begin(tuple(steps), is_complete=is_complete, number=number)
        self.outcome.begin(self.number)

    def cut(self) -> Cut:
        """Stop where it is: nothing more leaves for this number. The sound is stopped by the caller of this method."""
        self.abandon_model()
        self.speculation.cancel("the reply was cut")
        cut = self.queue.drop()
        self._forget()
        return cut

    def abandon_model(self) -> None:
        """Nobody waits for the model any more."""
        if self.stream is not None:
            self.stream = None
            self._outbox.put(AbandonModel(self.number))

    def pause(self, effect: PauseReply) -> None:
        """Let what sounds stand still at its sample. Whatever ends the reply ends the pause."""
        self.is_paused = True
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.put(effect)

    def unpause(self) -> None:
        """What sounds goes on; harmless where it does."""
        if self.is_paused:
            self.is_paused = False
            self._timers.clear(Timer.OVERLAP)
            self._outbox.put(ResumeReply())

    def _forget(self) -> None:
        self.unpause()
        self._timers.clear(Timer.MODEL, Timer.PLAYBACK, Timer.CUT, Timer.SPECULATION)
        self.is_from_model = self.has_acted = False
        self.hint = None
        self.wait_input_s = None
        self.sounding_since = None

    def retract_reasoning(self, stream: ModelStream) -> None:
        """What was given out so far may turn out to be reasoning: then stop it, and keep nothing of it."""
        if not stream.take_retraction():
            return
        self._outbox.note("reasoning taken back", reply=self.number, advice="llm.thinking: prefilled")
        if self.queue.retract() is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._timers.clear(Timer.PLAYBACK)
        self.sounding_since = None

    # -- what is heard

    def started(self, play_id: str | None, now: float) -> bool:
        """A playback has begun to sound; False when it is not the current one."""
        if not self.queue.started(play_id):
            return False
        if self.sounding_since is None:
            self.sounding_since = now
        self.watch_playback(now)
        return True

    def ended(self, play_id: str | None, heard: str | None) -> bool:
        """A playback is over, heard to its end or as far as `heard`; False when it is not the current one."""
        playback = self.queue.ended(play_id)
        if playback is None:
            return False
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.add(AgentItem(playback.text) if heard is None else AgentItem(heard, is_interrupted=True))
        if heard is None or heard:
            self.outcome.heard()
        return True

    def lose_playback(self) -> bool:
        """The playback that should be over was not heard of; False when there is none."""
        playback = self.queue.playback
        if playback is None:
            return False
        self._outbox.note("playback lost", play_id=playback.play_id, has_started=playback.has_started)
        self.queue.ended(playback.play_id)
        return True

    def watch_playback(self, now: float) -> None:
        """Set or clear the watch over what was given out to be played."""
        playback = self.queue.playback
        if playback is None or not playback.is_closed or self.is_paused:
            self._timers.clear(Timer.PLAYBACK)
        elif playback.has_started:
            lasts_s = FILE_MAX_S if playback.is_file else spoken_s(playback.text) + PLAYBACK_SLACK_S
            self._timers.set(Timer.PLAYBACK, now + lasts_s)
        else:
            self._timers.set(Timer.PLAYBACK, now + PLAYBACK_START_S)
