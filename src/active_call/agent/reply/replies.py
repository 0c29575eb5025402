"""Makes the agent's replies: asks the model, says what comes, carries out what stands between the words, and sees that it happens.

In: what is to be answered, the model's text and tool calls, results of tools, playback events. Out: effects, through the outbox. There is
one reply at a time; its number is `number`, and a model's text for another number is dropped. When the caller has heard a reply to its end,
`on_done` is called. The conversation alone begins and cuts replies, except that one reply may lead to the next: a scene change, or the
result of a tool, which the model is to speak about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from active_call.agent.effects import (
    AbandonModel,
    AskModel,
    HttpAnswered,
    ModelDone,
    ModelText,
    ReplyNumber,
    Tell,
    ToolCall,
    ToolFinished,
)
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.actions import Actions
from active_call.agent.reply.model_stream import MODEL_PATIENCE_S, ModelStream
from active_call.agent.reply.queue import Cut, Playback, ReplyQueue
from active_call.agent.reply.scripted import plain_words, split_late
from active_call.agent.reply.steps import Remainder, Sentence, Step, spoken_s
from active_call.agent.reply.tags import (
    CollectTag,
    GotoTag,
    HangupTag,
    HttpTag,
    MessageTag,
    PlayTag,
    ReferTag,
    SetVarTag,
    Tag,
    UnknownTag,
    WaitInput,
)
from active_call.agent.stage import Stage
from active_call.agent.tools.calls import LATE, ToolCalls
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands, events

PLAYBACK_START_S = 10.0
"""A playback that has not begun by then is lost."""
PLAYBACK_SLACK_S = 8.0
"""A playback that has not ended so long after its text should be over is lost."""
FILE_MAX_S = 3600.0
"""A file, whose length is not known here, that has not ended by then is lost."""
MAX_TOOL_ROUNDS = 8
"""How often in a row, without a word of the caller, the model may answer with tool calls; then it is asked without tools."""
_MUTE = (State.PAUSED, State.AWAY, State.ENDED)
"""States in which nothing is said."""


class Replies:
    """The current reply and what becomes of it."""

    def __init__(
        self,
        stage: Stage,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        outbox: Outbox,
        registry: ToolRegistry,
        on_done: Callable[[float], None],
    ) -> None:
        self.sounding_since: float | None = None
        """When the caller began to hear the current reply."""
        self.wait_input_s: float | None = None
        """How long this reply wants to wait for the caller; None for the playbook's way."""
        self.actions = Actions(stage, outbox)
        self._stage = stage
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._outbox = outbox
        self._on_done = on_done
        self._queue = ReplyQueue(outbox.perform)
        self._tools = ToolCalls(registry, outbox, self.actions.set_variable)
        self._stream: ModelStream | None = None
        """The model's answer; None when no model is being waited for."""
        self._has_voice_failed = False
        """A reply could not be made to sound, and nothing has been heard since."""
        self._is_from_model = False
        self._has_acted = False
        self._hint: str | None = None
        """When the reply is done, the model is asked to go on, with this hint."""
        self._has_results = False
        """Results have come that no request to the model has contained."""
        self._n_tool_rounds = 0

    @property
    def number(self) -> ReplyNumber:
        """The number of the current reply."""
        return ReplyNumber(self._queue.number)

    @property
    def playback(self) -> Playback | None:
        """What sounds now, or is about to."""
        return self._queue.playback

    # -- beginning and ending ------------------------------------------------------------------------------------------------------------

    def begin(self, steps: list[Step], now: float) -> None:
        """Say `steps` as a new reply; the one before is over."""
        self._tools.detach()
        self._start(steps)
        self.pump(now)

    def say(self, template: str, now: float) -> None:
        """Say a text of the playbook as a new reply."""
        self.begin([Remainder(template)], now)

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model for a new reply to the conversation as it stands."""
        self._tools.detach()
        self._start([], is_complete=False)
        llm = self._stage.playbook.llm
        self._stream = ModelStream(now, is_prefilled=llm.thinking == "prefilled")
        self._is_from_model = True
        self._has_results = False
        prompts = self._stage.prompts(self._outbox.history.prompts(), hint)
        tools = self._tools.registry.schemas() if self._n_tool_rounds < MAX_TOOL_ROUNDS else ()
        self._outbox.put(AskModel(self.number, prompts, self._stage.scene.id, llm.temperature, llm.max_tokens, tools))
        self._phase.fire(Signal.ASK)
        self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)

    def resume(self, cut: Cut, heard_words: int, now: float) -> None:
        """Say again what was not heard of a reply that was cut; a model that had not finished is asked to go on. Its tools still run."""
        self._start(list(cut.unheard(heard_words)))
        if not cut.is_complete and self._stage.has_model:
            self._hint = self._stage.wording.continue_
        self.pump(now)

    def cut(self) -> Cut:
        """Stop where it is: nothing more leaves for this number. The caller of this method stops the sound. Tools run on for now."""
        self._abandon_model()
        cut = self._queue.drop()
        self._forget()
        self._phase.fire(Signal.CUT)
        return cut

    def interrupt_tools(self) -> None:
        """The caller has taken the turn: cancel the tools of the reply that was cut, where they are cancellable."""
        self._tools.interrupt()

    def stop(self) -> None:
        """Nothing more is said, and nothing waits for a tool."""
        self._abandon_model()
        self._queue.drop()
        self._tools.detach()
        self._forget()

    def close(self) -> None:
        """The call is over."""
        self.stop()
        self._tools.close()

    def _start(self, steps: list[Step], *, is_complete: bool = True) -> None:
        self._abandon_model()
        self._forget()
        self._timers.clear(Timer.FOLLOWUP, Timer.QUIET)
        self._queue.begin(tuple(steps), is_complete=is_complete)

    def _forget(self) -> None:
        self._timers.clear(Timer.MODEL, Timer.PLAYBACK, Timer.CUT)
        self._is_from_model = self._has_acted = False
        self._hint = None
        self.wait_input_s = None
        self.sounding_since = None

    def _abandon_model(self) -> None:
        if self._stream is not None:
            self._stream = None
            self._outbox.put(AbandonModel(self.number))

    # -- the model -----------------------------------------------------------------------------------------------------------------------

    def on_model_text(self, item: ModelText, now: float) -> None:
        """More text of the model."""
        if item.reply != self.number or self._stream is None:
            return
        steps = self._stream.feed(item.text, now)
        self._retract_reasoning(self._stream)
        self._timers.set(Timer.MODEL, self._stream.deadline)
        self._queue.add(steps)
        self.pump(now)

    def on_tool_call(self, item: ToolCall, now: float) -> None:
        """The model calls a tool: it starts now. When it takes time, the agent says what the tool says meanwhile, unless the model did."""
        if item.reply != self.number or self._stream is None:
            self._outbox.note("tool call dropped", tool=item.name, reason="it belongs to an older reply")
            return
        steps = self._stream.flush(now)
        self._retract_reasoning(self._stream)
        self._timers.set(Timer.MODEL, self._stream.deadline)
        self._queue.add(steps)
        tool = self._tools.call(item)
        self._has_acted = True
        if tool is None:
            self._has_results = True
        elif tool.say_meanwhile and not self._stream.has_written:
            self._stream.has_written = True
            self._queue.add([Sentence(tool.say_meanwhile)])
        self.pump(now)

    def on_model_done(self, item: ModelDone, now: float) -> None:
        """The model has said everything, or failed."""
        if item.reply != self.number or self._stream is None:
            return
        stream, self._stream = self._stream, None
        self._timers.clear(Timer.MODEL)
        if item.error:
            self._on_model_failed(item.error, now)
            return
        steps = stream.finish()
        self._retract_reasoning(stream)
        self._queue.add(steps)
        self._queue.complete()
        self.pump(now)

    def on_late_model(self, now: float) -> None:
        """The model, or a tool, has taken too long."""
        if self._stream is not None:
            self._abandon_model()
            self._on_model_failed(LATE, now)
        elif self._tools.is_waited_for:
            self._tools.give_up()
            self._take_result()
            self.pump(now)

    def _retract_reasoning(self, stream: ModelStream) -> None:
        """What was given out so far was reasoning: stop it, and keep nothing of it."""
        if not stream.take_retraction():
            return
        self._outbox.note("reasoning taken back", reply=self.number, advice="llm.thinking: prefilled")
        if self._queue.retract() is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._timers.clear(Timer.PLAYBACK)
        self.sounding_since = None

    def _on_model_failed(self, error: str, now: float) -> None:
        """Finish what was begun; when nothing was, apologise: the caller must not be left in silence."""
        self._outbox.note("model failed", reply=self.number, error=error)
        self._outbox.put(Tell(events.Error(sender="llm", error=error)))
        if self._queue.has_spoken:
            self._queue.complete()
            self.pump(now)
        else:
            self._apologise(now)

    def _apologise(self, now: float) -> None:
        self.begin(self._stage.read(self._stage.error_reply), now)

    # -- tools ---------------------------------------------------------------------------------------------------------------------------

    def on_http_answered(self, item: HttpAnswered, now: float) -> None:
        """The answer to an `<http>` request, of this reply or of an older one."""
        if self._tools.answered(item):
            self._take_result()
            self.pump(now)

    def on_tool_finished(self, item: ToolFinished, now: float) -> None:
        """The result of a tool, called by this reply or by an older one."""
        if self._tools.finished(item):
            self._take_result()
            self.pump(now)

    def _take_result(self) -> None:
        """The model is to speak about the result, when nothing else is to be said."""
        self._has_results = self._stage.has_model
        if not self._tools.is_waited_for and self._stream is None:
            self._timers.clear(Timer.MODEL)

    # -- playbacks -----------------------------------------------------------------------------------------------------------------------

    def on_track_start(self, play_id: str | None, now: float) -> bool:
        """A playback has begun to sound; False when it is not the current one."""
        if not self._queue.started(play_id):
            return False
        if self.sounding_since is None:
            self.sounding_since = now
        self._watch_playback(now)
        return True

    def on_track_end(self, play_id: str | None, now: float, heard: str | None = None) -> bool:
        """A playback is over, heard to its end or as far as `heard`; False when it is not the current one."""
        playback = self._queue.ended(play_id)
        if playback is None:
            return False
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.add(AgentItem(playback.text) if heard is None else AgentItem(heard, is_interrupted=True))
        self._has_voice_failed = self._has_voice_failed and heard is not None
        self.pump(now)
        return True

    def on_voice_failed(self, play_id: str | None, heard: str, now: float) -> None:
        """The rest of the current playback cannot be made: apologise, once. A goodbye or a transfer is carried out all the same."""
        is_first, is_ending = not self._has_voice_failed, self._phase.state is State.ENDING
        self._has_voice_failed = True
        if is_ending or self._queue.playback is None or self._queue.playback.play_id != play_id:
            self.on_track_end(play_id, now, heard)
            return
        self._outbox.note("reply could not be spoken", reply=self.number, heard=heard)
        self._outbox.add(AgentItem(heard, is_interrupted=True))
        self._abandon_model()
        self.begin(self._stage.read(self._stage.error_reply) if is_first else [], now)

    def on_lost_playback(self, now: float) -> None:
        """A playback that should be over has not been heard of: go on without it."""
        playback = self._queue.playback
        if playback is not None:
            self._outbox.note("playback lost", play_id=playback.play_id, has_started=playback.has_started)
            self._queue.ended(playback.play_id)
            self.pump(now)

    def caller_took_part(self) -> None:
        """The caller has said something, or is back: what was counted since then begins anew."""
        self.actions.caller_took_part()
        self._n_tool_rounds = 0
        self._has_voice_failed = False

    def go_on(self, now: float) -> None:
        """The caller is back from hold: take up what was under way."""
        if self._queue.playback is not None:
            self._phase.fire(Signal.SAY)
        if self._stream is not None or self._tools.is_waited_for:
            if self._phase.state is State.LISTENING:
                self._phase.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)
        self.pump(now)

    # -- saying and doing ----------------------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Say and do what can be said and done now."""
        while self._may_say():
            action = self._queue.pull()
            if action is None:
                break
            self._act(action, now)
        if self._phase.state in _MUTE:
            return
        if self._queue.playback is not None:
            self._phase.fire(Signal.SAY)
        if not self._may_say():
            return
        if self._queue.is_leaving:
            self._phase.fire(Signal.LEAVE)
        self._watch_playback(now)
        if self._queue.is_done:
            self._on_reply_done(now)

    def _may_say(self) -> bool:
        if self._phase.state in _MUTE:
            return False
        if self._tools.is_waited_for and not self._stage.has_model:
            return False  # a script goes on when the answer is there
        is_callers_floor = self._floor.is_claimed and self._phase.state is not State.ENDING
        return self._queue.has_spoken or not is_callers_floor

    def _on_reply_done(self, now: float) -> None:
        """All of the reply was said and heard."""
        if self._phase.state is State.ENDING:
            return
        if self._tools.is_waited_for:
            self._phase.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + self._tools.patience_s)
        elif self._hint is not None:
            self.ask(now, self._hint)
        elif self._has_results and not (self._floor.is_claimed or self._timers.is_set(Timer.SETTLE)):
            self._n_tool_rounds += 1
            self.ask(now)
        elif self._is_from_model and not self._queue.has_spoken and not self._has_acted:
            self._outbox.note("model said nothing", reply=self.number)
            self._apologise(now)
        else:
            self._phase.fire(Signal.DONE)
            self._on_done(now)

    def _watch_playback(self, now: float) -> None:
        """Set or clear the watch over what was given out to be played."""
        playback = self._queue.playback
        if playback is None or not playback.is_closed:
            self._timers.clear(Timer.PLAYBACK)
        elif playback.has_started:
            lasts_s = FILE_MAX_S if playback.is_file else spoken_s(playback.text) + PLAYBACK_SLACK_S
            self._timers.set(Timer.PLAYBACK, now + lasts_s)
        else:
            self._timers.set(Timer.PLAYBACK, now + PLAYBACK_START_S)

    def _act(self, action: Tag | Remainder, now: float) -> None:
        """Carry out what the reply asks for, in its turn."""
        match action:
            case Remainder():
                source, later = split_late(action.source)
                steps = self._stage.read(source)
                self._queue.put_first([*steps, later] if later else steps)
            case HangupTag():
                self._leave()
                self.actions.hang_up(action)
            case ReferTag():
                self._leave()
                self.actions.refer(action)
            case GotoTag():
                self._goto(action.scene)
            case SetVarTag():
                self.actions.set_variable(action.key, action.value)
            case HttpTag():
                self._send_http(action, now)
            case MessageTag():
                self.actions.message(action)
            case CollectTag():
                self._outbox.note("collect is not available", type=action.type)
                self._queue.put_first(plain_words(action.prompt))
            case WaitInput():
                self.wait_input_s = action.seconds
            case UnknownTag():
                self.actions.report(action)
            case PlayTag():
                pass  # the queue plays files itself
            case _:
                assert_never(action)

    def _leave(self) -> None:
        """Nothing of the reply comes after this."""
        self.stop()
        self._phase.fire(Signal.LEAVE)
        self._floor.release()
        self._timers.clear_all()

    def _goto(self, scene_id: str) -> None:
        """Enter another scene; what the reply would have said after this is dropped."""
        scene = self.actions.find_scene(scene_id)
        if scene is None:
            return
        if not self.actions.may_change_scene(scene):
            self._has_acted = True
            return
        self._phase.fire(Signal.STAY)  # a goodbye behind the goto is dropped with the rest
        self._tools.detach()
        self._start([])
        self._stage.enter(scene)
        self.actions.expect_phrases()
        self._queue.add(self.actions.entering(scene))
        self._hint = self._stage.wording.new_scene if self._stage.has_model else None

    def _send_http(self, tag: HttpTag, now: float) -> None:
        self._has_acted = True
        self._tools.request(self.number, tag)
        if not self._stage.has_model:
            self._timers.set(Timer.MODEL, now + self._tools.patience_s)
            if self._queue.playback is None:
                self._phase.fire(Signal.ASK)
