"""Make the agent's replies: ask the model, speak its text, execute the actions between the words, and supervise deadlines.

In: what to answer, the model's text and tool calls, results of tools, playback events. Out: effects, through the outbox. There is one reply
at a time, numbered by `number`; a model's text for another number is dropped. `on_done` is called when the caller has heard a reply to its
end. Only the conversation begins and cuts replies, with two exceptions where one reply leads to the next: a scene change, and a tool result
that the model speaks about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from active_call.agent.effects import EmitEvent, PauseReply, ReplyNumber, ToolCall
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook_context import PlaybookContext
from active_call.agent.reply.actions import Actions
from active_call.agent.reply.model_answers import ModelAnswers
from active_call.agent.reply.model_stream import MODEL_PATIENCE_S
from active_call.agent.reply.queue import Cut, Playback
from active_call.agent.reply.reply import Reply
from active_call.agent.reply.scripted import plain_words, split_late
from active_call.agent.reply.steps import Remainder, Step
from active_call.agent.reply.tags import (
    CallTag,
    CollectTag,
    DigitsTag,
    GotoTag,
    HangupTag,
    HoldTag,
    HttpTag,
    LanguageTag,
    MessageTag,
    PlayTag,
    ReferTag,
    SetVarTag,
    Tag,
    UnknownTag,
    WaitInput,
)
from active_call.agent.tools.calls import ToolCalls
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.base.weakly import weakly
from active_call.contract import commands, events

SEARCH = "search_knowledge"
"""The tool that `rag` means in the JSON form."""
_MUTE = (State.PAUSED, State.AWAY, State.ENDED)
"""States in which nothing is said."""


def _nothing(_: float) -> None:
    """For answers of a model to a conversation that is gone."""


class Replies:
    """The current reply and its progress."""

    def __init__(
        self,
        context: PlaybookContext,
        phase: Phase,
        timers: Timers,
        floor: Floor,
        outbox: Outbox,
        registry: ToolRegistry,
        on_done: Callable[[float], None],
    ) -> None:
        self.actions = Actions(context, outbox)
        self._context = context
        self._phase = phase
        self._timers = timers
        self._floor = floor
        self._outbox = outbox
        self._on_done = on_done
        self._tools = ToolCalls(registry, outbox, self.actions.set_variable, context.fill_with, context.sound_sources.checked)
        self._reply = Reply(outbox, timers, first_cut_words=context.first_cut_words)
        self.model = ModelAnswers(
            context, phase, timers, outbox, self._reply, self._tools, weakly(self.pump, _nothing), weakly(self._apologise, _nothing)
        )
        self._n_text_calls = 0
        self.on_collect: Callable[[CollectTag, tuple[Step, ...]], str | None] = lambda tag, rest: None
        """Starts a collector: the tag and the steps afterwards → the prompt, or None if the collector is unknown."""
        self.is_collecting: Callable[[], bool] = lambda: False
        """True while tool results must wait: input is collected, or the other side plays music."""
        self._has_voice_failed = False
        """A reply could not be synthesised, and nothing has been heard since."""

    @property
    def number(self) -> ReplyNumber:
        """The number of the current reply."""
        return self._reply.number

    @property
    def playback(self) -> Playback | None:
        """The playback that is playing or about to play."""
        return self._reply.playback

    @property
    def sounding_since(self) -> float | None:
        """When the caller began to hear the current reply."""
        return self._reply.sounding_since

    @property
    def wait_input_s(self) -> float | None:
        """How long the current reply waits for the caller; None: as the playbook says."""
        return self._reply.wait_input_s

    # -- beginning and ending ------------------------------------------------------------------------------------------------------------

    def begin(self, steps: list[Step], now: float) -> None:
        """Say `steps` as a new reply. The previous one is over."""
        self._tools.detach()
        self._reply.start(steps)
        self.pump(now)

    def say(self, template: str, now: float) -> None:
        """Say a text of the playbook as a new reply."""
        self.begin([Remainder(template)], now)

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model for a new reply to the current conversation."""
        self.model.ask(now, hint)

    def speculate(self, said: str, now: float) -> None:
        """The caller's turn is probably over with the words `said`: if a model answers, ask it now."""
        if self._context.has_model and not self.is_collecting():
            self.model.speculate(said, now)

    def stop_speculating(self, reason: str) -> None:
        """The caller's turn is not over: discard the speculative request."""
        self._reply.speculation.cancel(reason)
        self._timers.clear(Timer.SPECULATION)

    def resume(self, cut: Cut, heard_words: int, now: float) -> None:
        """Say the unheard part of an interrupted reply again.

        A model that had not finished is asked to continue. Its tools keep running.
        """
        self._reply.start(list(cut.unheard(heard_words)))
        if not cut.is_complete and self._context.has_model:
            self._reply.hint = self._context.wording.continue_
        self.pump(now)

    @property
    def is_paused(self) -> bool:
        """Whether the current reply is paused because the caller speaks over it."""
        return self._reply.is_paused

    def pause(self, effect: PauseReply) -> None:
        """Pause the playback at its sample, until `unpause` or the end of the reply."""
        self._reply.pause(effect)

    def unpause(self, now: float) -> None:
        """Resume the paused playback without synthesising it again."""
        self._reply.unpause()
        self.pump(now)

    def cut(self) -> Cut:
        """Stop the reply: nothing more is sent under this number. The caller of this method stops the playback. Tools keep running."""
        cut = self._reply.cut()
        self._phase.fire(Signal.CUT)
        return cut

    def interrupt_tools(self) -> None:
        """The caller has taken the turn: cancel the cancellable tools of the interrupted reply."""
        self._tools.interrupt()
        self.give_up()

    def give_up(self) -> None:
        """The interrupted reply is not resumed. No effect if no reply is active."""
        self._reply.outcome.interrupted()

    def stop(self) -> None:
        """Say nothing more, and wait for no tool."""
        self.give_up()
        self._reply.cut()
        self._tools.detach()

    def close(self) -> None:
        """The call is over."""
        self._reply.cut()
        self._tools.detach()
        self._tools.close()

    @property
    def waits_for(self) -> str:
        """What the caller waits for in silence: the model, a tool or the voice; empty if nothing is missing."""
        playback = self.playback
        if playback is not None and not playback.is_filler:
            return "" if playback.has_started else "voice"
        if self._tools.is_waited_for:
            return "tool"
        return "model" if self._reply.stream is not None else ""

    @property
    def waits_for_tool(self) -> bool:
        """Whether the answer needs the result of a tool that is running."""
        return self._tools.is_waited_for

    @property
    def is_coming(self) -> bool:
        """Whether an answer is under way of which the caller has heard nothing yet."""
        return self.playback is None and (self.waits_for in ("model", "tool") or not self._reply.queue.is_done)

    @property
    def is_filling(self) -> bool:
        """Whether a filler is playing."""
        return self.playback is not None and self.playback.is_filler

    def fill(self, text: str, now: float) -> bool:
        """Say `text` while the caller waits for the answer. False if the voice itself is late."""
        if self.waits_for == "voice":
            return False
        if text and self.playback is None:
            self._reply.queue.fill(text)
            self._phase.fire(Signal.SAY)
            self._reply.watch_playback(now)
        return True

    def on_voice_stuck(self, now: float) -> None:
        """Speech does not start: say the error reply once instead, else wait for the playback's own timeout."""
        if self._has_voice_failed or self.playback is None or self._phase.state is State.ENDING:
            return
        self._has_voice_failed = True
        self._outbox.put(EmitEvent(events.Error(sender="tts", error="the synthesiser produced no sound")))
        self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._reply.abandon_model()
        self.begin(self._context.read(self._context.error_reply), now)

    def _apologise(self, now: float) -> None:
        if self.is_filling:  # it is heard to its end first
            self._reply.abandon_model()
            self._reply.queue.add(self._context.read(self._context.error_reply))
            self._reply.queue.complete()
            self.pump(now)
            return
        self.begin(self._context.read(self._context.error_reply), now)

    # -- playbacks -----------------------------------------------------------------------------------------------------------------------

    def on_track_start(self, play_id: str | None, now: float) -> bool:
        """A playback has started. False if it is not the current one."""
        return self._reply.started(play_id, now)

    def on_track_end(self, play_id: str | None, now: float, heard: str | None = None) -> bool:
        """A playback has ended, completely or after the text `heard`. False if it is not the current one."""
        if not self._reply.ended(play_id, heard):
            return False
        self._has_voice_failed = self._has_voice_failed and heard is not None
        self.pump(now)
        return True

    def on_voice_failed(self, play_id: str | None, heard: str, now: float) -> None:
        """The rest of the current playback cannot be synthesised: apologise once. A goodbye or a transfer is still executed."""
        is_first, is_ending = not self._has_voice_failed, self._phase.state is State.ENDING
        self._has_voice_failed = True
        if is_ending or self.playback is None or self.playback.play_id != play_id:
            self.on_track_end(play_id, now, heard)
            return
        self._outbox.note("reply could not be spoken", reply=self.number, heard=heard)
        self._outbox.add(AgentItem(heard, is_interrupted=True))
        self._reply.abandon_model()
        self.begin(self._context.read(self._context.error_reply) if is_first else [], now)

    def on_lost_playback(self, now: float) -> None:
        """The end of a playback was not reported in time: continue without it."""
        if self._reply.lose_playback():
            self.pump(now)

    def caller_took_part(self) -> None:
        """The caller has spoken or is back: reset the counters."""
        self.actions.caller_took_part()
        self.model.caller_took_part()
        self._has_voice_failed = False

    def go_on(self, now: float) -> None:
        """The caller is back from hold: continue what was under way."""
        if self.playback is not None:
            self._phase.fire(Signal.SAY)
        if self._reply.stream is not None or self._tools.is_waited_for:
            if self._phase.state is State.LISTENING:
                self._phase.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)
        self.pump(now)

    # -- speaking and executing ----------------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Say and execute everything that is possible now."""
        while self._may_say():
            action = self._reply.queue.pull()
            if action is None:
                break
            self._act(action, now)
        if self._phase.state in _MUTE:
            return
        if self.playback is not None:
            self._phase.fire(Signal.SAY)
        if not self._may_say():
            return
        if self._reply.queue.is_leaving and not self._reply.is_paused:
            self._phase.fire(Signal.LEAVE)
        self._reply.watch_playback(now)
        if self._reply.queue.is_done:
            self._reply.unpause()
            self._on_reply_done(now)

    def _may_say(self) -> bool:
        if self._phase.state in _MUTE:
            return False
        if self._tools.is_waited_for and not self._context.has_model:
            return False  # a script continues when the answer has arrived
        is_callers_floor = self._floor.is_claimed and self._phase.state is not State.ENDING
        return self._reply.queue.has_spoken or not is_callers_floor

    def _on_reply_done(self, now: float) -> None:
        """All of the reply was said and heard."""
        if self._phase.state is State.ENDING:
            return
        if self._tools.is_waited_for:
            self._phase.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + self._tools.patience_s)
        elif self._reply.hint is not None:
            self.ask(now, self._reply.hint)
        elif self.model.has_results and not self.is_collecting() and not (self._floor.is_claimed or self._timers.is_set(Timer.SETTLE)):
            self.model.ask_about_results(now)
        elif self._reply.is_from_model and not self._reply.queue.has_spoken and not self._reply.has_acted:
            self._outbox.note("model said nothing", reply=self.number)
            self._apologise(now)
        else:
            self._phase.fire(Signal.DONE)
            self._reply.outcome.done()
            self._on_done(now)

    def _act(self, action: Tag | Remainder, now: float) -> None:
        """Execute the action of the reply whose turn has come."""
        match action:
            case Remainder():
                source, later = split_late(action.source)
                steps = self._context.read(source)
                self._reply.queue.put_first([*steps, later] if later else steps)
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
            case DigitsTag():
                self.actions.send_digits(action)
            case HoldTag():
                self.actions.hold(action, now)
            case LanguageTag():
                self.actions.switch_language(action)
                self._reply.queue.language, self._reply.queue.voice = self._context.language, self._context.voice
            case CollectTag():
                self._collect(action)
            case CallTag():
                self._call_tool(action, now)
            case WaitInput():
                self._reply.wait_input_s = action.seconds
            case UnknownTag():
                self.actions.report(action)
            case PlayTag():
                pass  # the queue plays files itself
            case _:
                assert_never(action)

    def _call_tool(self, tag: CallTag, now: float) -> None:
        """Start a tool that the model has called in text. The model gets the result or the error in text too."""
        if not self._context.has_model:
            self.actions.report(UnknownTag(tag.name))
            return
        self._reply.has_acted = True
        self._n_text_calls += 1
        name = SEARCH if tag.name.lower() == "rag" else tag.name
        started = self._tools.call(ToolCall(self.number, f"text-{self._n_text_calls}", name, tag.arguments), is_text=True)
        if started is None:
            self.model.has_results = True
        elif started.action is not None:
            self._reply.queue.put_first([started.action])
        elif started.tool.say_meanwhile and not self._reply.queue.has_spoken:
            self._reply.queue.put_first(plain_words(started.tool.say_meanwhile))

    def _collect(self, tag: CollectTag) -> None:
        """Collect input of the caller. Later steps of a script wait; later text of a model is dropped."""
        queue = self._reply.queue
        is_complete, rest = queue.is_complete, queue.take_rest()
        asked = self.on_collect(tag, () if self._context.has_model else rest)
        if asked is None:
            queue.put_first([*plain_words(tag.prompt), *rest])
            if not is_complete:
                queue.reopen()
            return
        self._reply.abandon_model()
        self._timers.clear(Timer.MODEL)
        self._reply.has_acted = True
        queue.put_first(plain_words(asked))

    def _leave(self) -> None:
        """Nothing of the reply follows after this."""
        self._reply.outcome.done()
        self.stop()
        self._phase.fire(Signal.LEAVE)
        self._floor.release()
        self._timers.clear_all()

    def _goto(self, scene_id: str) -> None:
        """Enter another scene. The rest of the reply is dropped."""
        scene = self.actions.find_scene(scene_id)
        if scene is None:
            return
        if not self.actions.may_change_scene(scene):
            self._reply.has_acted = True
            return
        self._phase.fire(Signal.STAY)  # a goodbye after the goto is dropped with the rest
        self._tools.detach()
        self._reply.start([])
        self._context.enter(scene)
        self.actions.expect_phrases()
        self._reply.queue.add(self.actions.entering(scene))
        self._reply.hint = self._context.wording.new_scene if self._context.has_model else None

    def _send_http(self, tag: HttpTag, now: float) -> None:
        self._reply.has_acted = True
        self._tools.request(self.number, tag)
        if not self._context.has_model:
            self._timers.set(Timer.MODEL, now + self._tools.patience_s)
            if self.playback is None:
                self._phase.fire(Signal.ASK)
