"""Makes the agent's replies: asks the model, says what comes, carries out what stands between the words, and sees that it happens.

In: what is to be answered, the model's text, HTTP answers, playback events. Out: effects, through the outbox. One reply at a time; its
number is `number`, and whatever belongs to another number is dropped here. When a reply was heard to its end, `on_done` is called. Who may
speak when is the dialogue's business: it alone cuts replies and begins them, except that one may lead to the next (a scene change, an HTTP
answer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from active_call.agent.effects import AbandonModel, AskModel, ExpectPhrases, HttpAnswered, ModelDone, ModelText, ReplyNumber, SendHttp, Tell
from active_call.agent.items import AGENT, SYSTEM
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import Scene
from active_call.agent.reply.parser import ReplyParser, is_progress, plain_words, split_late
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
from active_call.agent.reply.voice import Cut, Playback, Remainder, ReplyQueue, Step
from active_call.agent.stage import Stage
from active_call.agent.turn.floor import Floor, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands, events

MODEL_PATIENCE_S = 10.0
"""A model that has said nothing for so long has failed."""
REASONING_PATIENCE_S = 30.0
"""A model that goes on writing, but nothing for the caller, has failed after so long."""
HTTP_PATIENCE_S = 12.0
"""The session answers within 10 s, with an error if need be."""
PLAYBACK_START_S = 10.0
"""A playback that has not begun by then is lost."""
PLAYBACK_SLACK_S = 8.0
"""A playback that has not ended so long after its text should be over is lost."""
_MUTE = (State.PAUSED, State.AWAY, State.ENDED)
"""States in which nothing is said."""
MAX_SCENE_CHANGES = 5
"""Without a word from the caller; more is a loop."""


class Replies:
    """The current reply and what becomes of it."""

    def __init__(self, stage: Stage, turns: Floor, timers: Timers, outbox: Outbox, on_done: Callable[[float], None]) -> None:
        self.sounding_since: float | None = None
        """When the caller began to hear the current reply."""
        self.wait_input_s: float | None = None
        """How long this reply wants to wait for the caller; None for the playbook's way."""
        self.has_hung_up = False
        self._n_scene_changes = 0
        """Since the caller last took part."""
        self._has_voice_failed = False
        """A reply could not be made to sound, and nothing has been heard since."""
        self._stage = stage
        self._turns = turns
        self._timers = timers
        self._outbox = outbox
        self._on_done = on_done
        self._voice = ReplyQueue(outbox.perform)
        self._reader: ReplyParser | None = None
        """Reads the model's text; None when no model is being waited for."""
        self._is_prefilled = stage.playbook.llm.thinking == "prefilled"
        self._progress_due_at = 0.0
        """When the model must have written something for the caller."""
        self._is_from_model = False
        self._has_acted = False
        self._hint: str | None = None
        """When the reply is done, the model is asked to go on, with this hint."""
        self._requests: dict[int, str] = {}
        """Open HTTP requests, and the variables that wait for them."""
        self._n_requests = 0

    @property
    def number(self) -> ReplyNumber:
        return ReplyNumber(self._voice.number)

    @property
    def playback(self) -> Playback | None:
        """What sounds now, or is about to."""
        return self._voice.playback

    @property
    def is_asking(self) -> bool:
        """A model's text is being waited for, or the rest of it."""
        return self._reader is not None

    # -- beginning and ending ------------------------------------------------------------------------------------------------------------

    def begin(self, steps: list[Step], now: float) -> None:
        """Say `steps` as a new reply; the one before is over."""
        self._start(steps)
        self.pump(now)

    def say(self, template: str, now: float) -> None:
        """Say a text of the playbook as a new reply."""
        self.begin([Remainder(template)], now)

    def ask(self, now: float, hint: str = "") -> None:
        """Ask the model for a new reply to the conversation as it stands."""
        self._start([], is_complete=False)
        self._reader = ReplyParser(is_prefilled=self._is_prefilled)
        self._progress_due_at = now + REASONING_PATIENCE_S
        self._is_from_model = True
        llm = self._stage.playbook.llm
        prompts = self._stage.prompts(self._outbox.history.prompts(), hint)
        self._outbox.put(AskModel(self.number, prompts, self._stage.scene.id, llm.temperature, llm.max_tokens))
        self._turns.fire(Signal.ASK)
        self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)

    def resume(self, cut: Cut, heard_words: int, now: float) -> None:
        """Say again what was not heard of a reply that was cut; a model that had not finished is asked to go on."""
        self._start(list(cut.unheard(heard_words)))
        if not cut.is_complete and self._stage.has_model:
            self._hint = self._stage.wording.continue_
        self.pump(now)

    def cut(self) -> Cut:
        """Stop where it is: nothing more leaves for this number. Stopping the sound is the caller's part."""
        self._abandon_model()
        cut = self._voice.drop()
        self._forget()
        self._turns.fire(Signal.CUT)
        return cut

    def stop(self) -> None:
        """The call is over."""
        self._abandon_model()
        self._voice.drop()
        self._forget()

    def _start(self, steps: list[Step], *, is_complete: bool = True) -> None:
        self._abandon_model()
        self._forget()
        self._timers.clear(Timer.FOLLOWUP)
        self._voice.begin(tuple(steps), is_complete=is_complete)

    def _forget(self) -> None:
        self._requests.clear()
        self._timers.clear(Timer.MODEL, Timer.PLAYBACK, Timer.CUT)
        self._is_from_model = self._has_acted = False
        self._hint = None
        self.wait_input_s = None
        self.sounding_since = None

    def _abandon_model(self) -> None:
        if self._reader is not None:
            self._reader = None
            self._outbox.put(AbandonModel(self.number))

    # -- what comes in -------------------------------------------------------------------------------------------------------------------

    def on_model_text(self, item: ModelText, now: float) -> None:
        if item.reply != self.number or self._reader is None:
            return
        steps = self._reader.feed(item.text)
        self._retract_reasoning(self._reader)
        if is_progress(steps):
            self._progress_due_at = now + REASONING_PATIENCE_S
        self._timers.set(Timer.MODEL, min(now + MODEL_PATIENCE_S, self._progress_due_at))
        self._voice.add(steps)
        self.pump(now)

    def on_model_done(self, item: ModelDone, now: float) -> None:
        if item.reply != self.number or self._reader is None:
            return
        reader, self._reader = self._reader, None
        self._timers.clear(Timer.MODEL)
        if item.error:
            self._on_model_failed(item.error, now)
            return
        steps = reader.finish()
        self._retract_reasoning(reader)
        self._voice.add(steps)
        self._voice.complete()
        self.pump(now)

    def _retract_reasoning(self, reader: ReplyParser) -> None:
        """What was given out so far was reasoning: stop it, and keep nothing of it."""
        if not reader.take_retraction():
            return
        self._outbox.note("reasoning taken back", reply=self.number, advice="llm.thinking: prefilled")
        if self._voice.retract() is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=0))
        self._timers.clear(Timer.PLAYBACK)
        self.sounding_since = None

    def on_http_answered(self, item: HttpAnswered, now: float) -> None:
        if item.reply != self.number or item.request not in self._requests:
            return
        variable = self._requests.pop(item.request)
        if variable:
            self._set_variable(variable, item.text)
        self._take_answer(item.text, now)

    def on_late_model(self, now: float) -> None:
        """The model, or a web server, has taken too long."""
        if self._reader is not None:
            self._abandon_model()
            self._on_model_failed("no answer in time", now)
        elif self._requests:
            self._outbox.note("http answer missing", requests=len(self._requests))
            self._requests.clear()
            self._take_answer("no answer in time", now)

    def on_track_start(self, play_id: str | None, now: float) -> bool:
        """A playback has begun to sound; False when it is not ours."""
        if not self._voice.started(play_id):
            return False
        if self.sounding_since is None:
            self.sounding_since = now
        self._watch_playback(now)
        return True

    def on_track_end(self, play_id: str | None, now: float, heard: str | None = None) -> bool:
        """A playback is over, heard to its end or as far as `heard`; False when it is not the current one."""
        playback = self._voice.ended(play_id)
        if playback is None:
            return False
        self._timers.clear(Timer.PLAYBACK)
        self._outbox.add_line(AGENT, playback.text if heard is None else heard)
        self._has_voice_failed = self._has_voice_failed and heard is not None
        self.pump(now)
        return True

    def on_voice_failed(self, play_id: str | None, heard: str, now: float) -> None:
        """The rest of the current playback cannot be made: apologise, once. A goodbye or a transfer is carried out all the same."""
        is_first, is_ending = not self._has_voice_failed, self._turns.state is State.ENDING
        self._has_voice_failed = True
        if is_ending or self._voice.playback is None or self._voice.playback.play_id != play_id:
            self.on_track_end(play_id, now, heard)
            return
        self._outbox.note("reply could not be spoken", reply=self.number, heard=heard)
        self._outbox.add_line(AGENT, heard)
        self._abandon_model()
        self.begin(self._stage.read(self._stage.error_reply) if is_first else [], now)

    def caller_took_part(self) -> None:
        """The caller has said something, or is back: what was counted since then begins anew."""
        self._n_scene_changes = 0
        self._has_voice_failed = False

    def on_lost_playback(self, now: float) -> None:
        """A playback that should be over has not been heard of: go on without it."""
        playback = self._voice.playback
        if playback is not None:
            self._outbox.note("playback lost", play_id=playback.play_id, has_started=playback.has_started)
            self._voice.ended(playback.play_id)
            self.pump(now)

    def go_on(self, now: float) -> None:
        """The caller is back from hold: take up what was under way."""
        if self._voice.playback is not None:
            self._turns.fire(Signal.SAY)
        if self._reader is not None or self._requests:
            if self._turns.state is State.LISTENING:
                self._turns.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + MODEL_PATIENCE_S)
        self.pump(now)

    def _on_model_failed(self, error: str, now: float) -> None:
        """Finish what was begun; when nothing was, apologise: the caller must not be left in silence."""
        self._outbox.note("model failed", reply=self.number, error=error)
        self._outbox.put(Tell(events.Error(sender="llm", error=error)))
        if self._voice.has_spoken:
            self._voice.complete()
            self.pump(now)
        else:
            self._apologise(now)

    def _apologise(self, now: float) -> None:
        self.begin(self._stage.read(self._stage.error_reply), now)

    def _take_answer(self, text: str, now: float) -> None:
        self._outbox.history.add(SYSTEM, f"HTTP Response: {text}")
        if self._stage.has_model:
            self._hint = ""  # the model is to speak about it
        if not self._requests and self._reader is None:
            self._timers.clear(Timer.MODEL)
        self.pump(now)

    # -- saying and doing ----------------------------------------------------------------------------------------------------------------

    def pump(self, now: float) -> None:
        """Say and do what can be said and done now."""
        while self._may_say():
            action = self._voice.pull()
            if action is None:
                break
            self._act(action, now)
        if self._turns.state in _MUTE:
            return
        if self._voice.playback is not None:
            self._turns.fire(Signal.SAY)
        if not self._may_say():
            return
        if self._voice.is_leaving:
            self._turns.fire(Signal.LEAVE)
        self._watch_playback(now)
        if self._voice.is_done:
            self._on_reply_done(now)

    def _may_say(self) -> bool:
        if self._turns.state in _MUTE:
            return False
        if self._requests and not self._stage.has_model:
            return False  # a script goes on when the answer is there
        is_callers_floor = self._timers.is_set(Timer.FLOOR) and self._turns.state is not State.ENDING
        return self._voice.has_spoken or not is_callers_floor

    def _on_reply_done(self, now: float) -> None:
        """All of the reply was said and heard."""
        if self._turns.state is State.ENDING:
            return
        if self._requests:
            self._turns.fire(Signal.ASK)
            self._timers.set(Timer.MODEL, now + HTTP_PATIENCE_S)
        elif self._hint is not None:
            self.ask(now, self._hint)
        elif self._is_from_model and not self._voice.has_spoken and not self._has_acted:
            self._outbox.note("model said nothing", reply=self.number)
            self._apologise(now)
        else:
            self._turns.fire(Signal.DONE)
            self._on_done(now)

    def _watch_playback(self, now: float) -> None:
        """Set or clear the watch over what was given out to be played."""
        playback = self._voice.playback
        if playback is None or not playback.is_closed or (playback.is_file and playback.has_started):
            self._timers.clear(Timer.PLAYBACK)
        elif playback.has_started:
            self._timers.set(Timer.PLAYBACK, now + _spoken_s(playback.text) + PLAYBACK_SLACK_S)
        else:
            self._timers.set(Timer.PLAYBACK, now + PLAYBACK_START_S)

    def _act(self, action: Tag | Remainder, now: float) -> None:
        """Carry out what the reply asks for, in its turn."""
        match action:
            case Remainder():
                source, later = split_late(action.source)
                steps = self._stage.read(source)
                self._voice.put_first([*steps, later] if later else steps)
            case HangupTag():
                self._hang_up(action.reason)
            case ReferTag():
                self._leave()
                self._outbox.perform(commands.Refer(callee=action.to, caller=action.caller, options=action.options))
            case GotoTag():
                self._goto(action.scene)
            case SetVarTag():
                self._set_variable(action.key, action.value)
            case HttpTag():
                self._send_http(action, now)
            case MessageTag():
                self._outbox.perform(commands.Message(body=action.body, content_type=action.content_type, refer=action.refer))
            case CollectTag():
                self._outbox.note("collect is not available", type=action.type)
                self._voice.put_first(plain_words(action.prompt))
            case WaitInput():
                self.wait_input_s = action.seconds
            case UnknownTag():
                self._outbox.note("tag dropped", tag=action.text, reason=action.reason)
            case PlayTag():
                pass  # the voice plays files itself
            case _:
                assert_never(action)

    def _hang_up(self, reason: str) -> None:
        headers = self._stage.hangup_headers()
        self.has_hung_up = True
        self._leave()
        self._outbox.perform(commands.Hangup(reason=reason or "goodbye", initiator="agent", headers=headers))

    def _leave(self) -> None:
        """Nothing of the reply comes after this."""
        self.stop()
        self._turns.fire(Signal.LEAVE)
        self._timers.clear_all()

    def _goto(self, scene_id: str) -> None:
        """Enter another scene; what the reply would have said after this is dropped."""
        scene = self._stage.playbook.scene(scene_id)
        if scene is None:
            self._outbox.note("goto dropped", scene=scene_id, reason="there is no such scene")
            return
        self._n_scene_changes += 1
        if self._n_scene_changes > MAX_SCENE_CHANGES:
            self._outbox.note("goto dropped", scene=scene_id, reason="the scenes lead into one another without end")
            self._has_acted = True
            return
        self._turns.fire(Signal.STAY)  # a goodbye behind the goto is dropped with the rest
        self._start([])
        self._stage.enter(scene)
        self.expect_phrases()
        self._voice.add(self.entering(scene))
        self._hint = self._stage.wording.new_scene if self._stage.has_model else None

    def entering(self, scene: Scene) -> list[Step]:
        """What is said or played on entering `scene`."""
        steps: list[Step] = [PlayTag(file) for file in scene.play]
        if not self._stage.has_model and scene.text:
            steps.append(Remainder(scene.text))
        return steps

    def expect_phrases(self) -> None:
        """Tell the recogniser what the caller may say in this scene; only a script knows."""
        if not self._stage.has_model:
            self._outbox.put(ExpectPhrases(self._stage.phrases()))

    def _set_variable(self, key: str, value: str) -> None:
        self._stage.set_variable(key, value)
        self._outbox.perform(commands.SetVar(key=key, value=value))

    def _send_http(self, tag: HttpTag, now: float) -> None:
        self._n_requests += 1
        self._has_acted = True
        self._requests[self._n_requests] = tag.set_var
        self._outbox.put(SendHttp(self.number, self._n_requests, tag.url, tag.method, tag.body))
        if not self._stage.has_model:
            self._timers.set(Timer.MODEL, now + HTTP_PATIENCE_S)
            if self._voice.playback is None:
                self._turns.fire(Signal.ASK)


def _spoken_s(text: str) -> float:
    """About how long `text` takes to be spoken, slowly: a CJK character is a syllable, a Latin one a tenth of a second."""
    return sum(0.1 if char.isascii() else 0.35 for char in text)
