"""Makes the agent's replies: asks the model, says what comes, carries out what stands between the words, and sees that it happens.

In: what is to be answered, the model's text and tool calls, results of tools, playback events. Out: effects, through the outbox. There is
one reply at a time; its number is `number`, and a model's text for another number is dropped. When the caller has heard a reply to its end,
`on_done` is called. The conversation alone begins and cuts replies, except that one reply may lead to the next: a scene change, or the
result of a tool, which the model is to speak about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from active_call.agent.context import PlaybookContext
from active_call.agent.effects import PauseReply, ReplyNumber, Tell, ToolCall
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
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
from active_call.contract import commands, events

SEARCH = "search_knowledge"
"""The tool that is meant by `rag` in the JSON form."""
_MUTE = (State.PAUSED, State.AWAY, State.ENDED)
"""States in which nothing is said."""


class Replies:
    """The current reply and what becomes of it."""

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
        self._tools = ToolCalls(registry, outbox, self.actions.set_variable, context.fill_with)
        self._reply = Reply(outbox, timers, first_cut_words=context.first_cut_words)
        self.model = ModelAnswers(context, phase, timers, outbox, self._reply, self._tools, self.pump, self._apologise)
        self._n_text_calls = 0
        self.on_collect: Callable[[CollectTag, tuple[Step, ...]], str | None] = lambda tag, rest: None
        """Begins to collect input: the tag and what is said afterwards → the question; None when there is no such collector."""
        self.is_collecting: Callable[[], bool] = lambda: False
        """Results of tools wait: input is collected, or the other side plays music."""
        self._has_voice_failed = False
        """A reply could not be made to sound, and nothing has been heard since."""

    @property
    def number(self) -> ReplyNumber:
        """The number of the current reply."""
        return self._reply.number

    @property
    def playback(self) -> Playback | None:
        """What sounds now, or is about to."""
        return self._reply.playback

    @property
    def sounding_since(self) -> float | None:
        """When the caller began to hear the current reply."""
        return self._reply.sounding_since

    @property
    def wait_input_s(self) -> float | None:
        """How long the current reply wants to wait for the caller; None for the playbook's way."""
        return self._reply.wait_input_s

    # -- beginning and ending ------------------------------------------------------------------------------------------------------------

    def begin(self, steps: list[Step], now: float) -> None:
        """Say `steps` as a new reply; the one before is over."""
        self._tools.detach()
        self._reply.start(steps)
        self.pump(now)

    def say(self, template: str, now: float) -> None:
        """Say a text of the playbook as a new reply."""
        self.begin([Remainder(template)], now)

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model for a new reply to the conversation as it stands."""
        self.model.ask(now, hint)

    def speculate(self, said: str, now: float) -> None:
        """The caller's turn is likely to be over with the words `said`: ask the model before it is, where a model answers."""
        if self._context.has_model:
            self.model.speculate(said, now)

    def stop_speculating(self, reason: str) -> None:
        """The caller's turn is not over after all: what the model was asked is not wanted."""
        self._reply.speculation.cancel(reason)
        self._timers.clear(Timer.SPECULATION)

    def resume(self, cut: Cut, heard_words: int, now: float) -> None:
        """Say again what was not heard of a reply that was cut; a model that had not finished is asked to go on. Its tools still run."""
        self._reply.start(list(cut.unheard(heard_words)))
        if not cut.is_complete and self._context.has_model:
            self._reply.hint = self._context.wording.continue_
        self.pump(now)

    @property
    def is_paused(self) -> bool:
        """What sounds of the current reply stands still, since the caller speaks over it."""
        return self._reply.is_paused

    def pause(self, effect: PauseReply) -> None:
        """Let what sounds stand still at its sample, until `unpause`, or until the reply ends."""
        self._reply.pause(effect)

    def unpause(self, now: float) -> None:
        """What was paused goes on, without being made again."""
        self._reply.unpause()
        self.pump(now)

    def cut(self) -> Cut:
        """Stop where it is: nothing more leaves for this number. The caller of this method stops the sound. Tools run on for now."""
        cut = self._reply.cut()
        self._phase.fire(Signal.CUT)
        return cut

    def interrupt_tools(self) -> None:
        """The caller has taken the turn: cancel the tools of the reply that was cut, where they are cancellable."""
        self._tools.interrupt()
        self.give_up()

    def give_up(self) -> None:
        """What was cut is not said any more. Harmless when no reply is under way."""
        self._reply.outcome.interrupted()

    def stop(self) -> None:
        """Nothing more is said, and nothing waits for a tool."""
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
        """What the caller waits for in silence: the model, a tool or the voice; empty when nothing is missing."""
        playback = self.playback
        if playback is not None and not playback.is_filler:
            return "" if playback.has_started else "voice"
        if self._tools.is_waited_for:
            return "tool"
        return "model" if self._reply.stream is not None else ""

    @property
    def is_filling(self) -> bool:
        """What sounds only says that the answer takes time."""
        return self.playback is not None and self.playback.is_filler

    def fill(self, text: str, now: float) -> bool:
        """Say `text` while the caller waits for the answer. False where the voice is what is waited for."""
        if self.waits_for == "voice":
            return False
        if text and self.playback is None:
            self._reply.queue.fill(text)
            self._phase.fire(Signal.SAY)
            self._reply.watch_playback(now)
        return True

    def on_voice_stuck(self, now: float) -> None:
        """What is to be said does not sound: say the error reply instead, once; else wait for the playback's own deadline."""
        if self._has_voice_failed or self.playback is None or self._phase.state is State.ENDING:
            return
        self._has_voice_failed = True
        self._outbox.put(Tell(events.Error(sender="tts", error="the synthesiser produced no sound")))
        self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._reply.abandon_model()
        self.begin(self._context.read(self._context.error_reply), now)

    def _apologise(self, now: float) -> None:
        if self.is_filling:  # heard to its end first
            self._reply.abandon_model()
            self._reply.queue.add(self._context.read(self._context.error_reply))
            self._reply.queue.complete()
            self.pump(now)
            return
        self.begin(self._context.read(self._context.error_reply), now)

    # -- playbacks -----------------------------------------------------------------------------------------------------------------------

    def on_track_start(self, play_id: str | None, now: float) -> bool:
        """A playback has begun to sound; False when it is not the current one."""
        return self._reply.started(play_id, now)

    def on_track_end(self, play_id: str | None, now: float, heard: str | None = None) -> bool:
        """A playback is over, heard to its end or as far as `heard`; False when it is not the current one."""
        if not self._reply.ended(play_id, heard):
            return False
        self._has_voice_failed = self._has_voice_failed and heard is not None
        self.pump(now)
        return True

    def on_voice_failed(self, play_id: str | None, heard: str, now: float) -> None:
        """The rest of the current playback cannot be made: apologise, once. A goodbye or a transfer is carried out all the same."""
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
        """A playback that should be over has not been heard of: go on without it."""
        if self._reply.lose_playback():
            self.pump(now)

    def caller_took_part(self) -> None:
        """The caller has said something, or is back: what was counted since then begins anew."""
        self.actions.caller_took_part()
        self.model.caller_took_part()
        self._has_voice_failed = False

    def go_on(self, now: float) -> None:
        """The caller is back from hold: take up what was under way."""
        if self.playback is not None:
            self._phase.fire(Signal.SAY)
        if self._reply.stream is not None or self._tools.is_waited_for:
            if self._phase.state is State.LISTENING:
                self._phase.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)
        self.pump(now)

    # -- saying and doing ----------------------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Say and do what can be said and done now."""
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
            return False  # a script goes on when the answer is there
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
        """Carry out what the reply asks for, in its turn."""
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
        """Start a tool that the model has called in text; the model is told the result, or why there is none, in text too."""
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
        """Ask for input of the caller. What a script says behind it waits; what a model has written behind it is dropped."""
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
        """Nothing of the reply comes after this."""
        self._reply.outcome.done()
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
            self._reply.has_acted = True
            return
        self._phase.fire(Signal.STAY)  # a goodbye behind the goto is dropped with the rest
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
