"""The current reply: its queue, the model's stream, and what was heard.

In: steps, a model's answer, playback events. Out: playback commands (by the queue), the heard items of the history, the timers MODEL and
PLAYBACK. There is one reply at a time, identified by `number`. `replies` decides what is said and when.
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
"""Timeout for the start of a playback."""
PLAYBACK_SLACK_S = 8.0
"""A playback that has not ended this long after its estimated end is lost."""
FILE_MAX_S = 3600.0
"""Timeout for the end of a file, whose length is not known here."""


class Reply:
    """The current reply."""

    def __init__(self, outbox: Outbox, timers: Timers, *, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self.queue = ReplyQueue(outbox.perform)
        self.speculation = Speculation(outbox, self.queue.option_of, first_cut_words=first_cut_words)
        """The request to the model before the end of the caller's turn."""
        self.outcome = ReplyOutcome(outbox)
        self.stream: ModelStream | None = None
        """The model's answer; None if no model is awaited."""
        self.is_from_model = False
        self.has_acted = False
        """Whether it has executed an action, even without words."""
        self.hint: str | None = None
        """If set, the model is asked to continue with this hint after the reply."""
        self.wait_input_s: float | None = None
        """How long this reply waits for the caller; None: as the playbook says."""
        self.sounding_since: float | None = None
        """When the caller began to hear it."""
        self.is_paused = False
        """Whether its playback is paused because the caller speaks over it."""
        self._outbox = outbox
        self._timers = timers

    @property
    def number(self) -> ReplyNumber:
        """Its number."""
        return ReplyNumber(self.queue.number)

    @property
    def playback(self) -> Playback | None:
        """The playback that is playing or about to play."""
        return self.queue.playback

    # -- start and end

    def start(self, steps: list[Step], *, is_complete: bool = True, number: ReplyNumber | None = None) -> None:
        """Start a new reply; more steps follow unless `is_complete`. The previous one is over. `number`: that of an adopted request."""
        self.abandon_model()
        self.speculation.cancel("another reply begins")
        self._forget()
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self.queue.begin(tuple(steps), is_complete=is_complete, number=number)
        self.outcome.begin(self.number)

    def cut(self) -> Cut:
        """Stop the reply: nothing more is sent under this number. The caller of this method stops the playback."""
        self.abandon_model()
        self.speculation.cancel("the reply was cut")
        cut = self.queue.drop()
        self._forget()
        return cut

    def abandon_model(self) -> None:
        """The model's answer is no longer needed."""
        if self.stream is not None:
            self.stream = None
            self._outbox.put(AbandonModel(self.number))

    def pause(self, effect: PauseReply) -> None:
        """Pause the playback at its sample. The end of the reply also ends the pause."""
        self.is_paused = True
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.put(effect)

    def unpause(self) -> None:
        """Resume the playback. No effect if it is not paused."""
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
        """If the text so far turned out to be reasoning, stop and discard it."""
        if not stream.take_retraction():
            return
        self._outbox.note("reasoning taken back", reply=self.number, advice="llm.thinking: prefilled")
        if self.queue.retract() is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._timers.clear(Timer.PLAYBACK)
        self.sounding_since = None

    # -- playback events

    def started(self, play_id: str | None, now: float) -> bool:
        """A playback has started. False if it is not the current one."""
        if not self.queue.started(play_id):
            return False
        if self.sounding_since is None:
            self.sounding_since = now
        self.watch_playback(now)
        return True

    def ended(self, play_id: str | None, heard: str | None) -> bool:
        """A playback has ended, completely or after the text `heard`. False if it is not the current one."""
        playback = self.queue.ended(play_id)
        if playback is None:
            return False
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.add(AgentItem(playback.text) if heard is None else AgentItem(heard, is_interrupted=True))
        if heard is None or heard:
            self.outcome.heard()
        return True

    def lose_playback(self) -> bool:
        """The end of the playback was not reported in time. False if there is none."""
        playback = self.queue.playback
        if playback is None:
            return False
        self._outbox.note("playback lost", play_id=playback.play_id, has_started=playback.has_started)
        self.queue.ended(playback.play_id)
        return True

    def watch_playback(self, now: float) -> None:
        """Set or clear the timeout of the current playback."""
        playback = self.queue.playback
        if playback is None or not playback.is_closed or self.is_paused:
            self._timers.clear(Timer.PLAYBACK)
        elif playback.has_started:
            lasts_s = FILE_MAX_S if playback.is_file else spoken_s(playback.text) + PLAYBACK_SLACK_S
            self._timers.set(Timer.PLAYBACK, now + lasts_s)
        else:
            self._timers.set(Timer.PLAYBACK, now + PLAYBACK_START_S)
