"""The agent: hears what happens in a call and decides what to say and do. Pure: no clock, no sockets, no model of its own.

In: call events, a model's text, HTTP answers, each with `now` (monotonic seconds). Out: effects (see `effects`). The caller of this class
feeds `receive`, calls `handle_timeout` when `next_timeout` is reached, and drains `take_effects` after each.

`turns` holds the states, `replies` makes what is said; this file listens, and decides who speaks. Worth knowing before reading on:

- A reply is numbered. Interrupting raises the number; text, answers and playback events that belong to an older one are dropped.
- The history holds of ours only what was heard. So after an interruption the caller's words wait (`SETTLE_S`) until the call has told how
  much that was.
- Nobody's turn does not exist. The caller has the floor from the start of speech until a result comes, or 3 s after the end of speech; a
  model has 10 s; a playback must begin within 10 s and end when its text is over. Whoever is late is passed over, and the agent goes on.
- A goodbye or a transfer that has begun is said to its end and acted on when it was heard: it cannot be interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from active_call.agent.effects import AgentEffect, AgentInput, Heard, HttpAnswered, ModelDone, ModelText, ReplyNumber
from active_call.agent.items import AGENT, SYSTEM, USER, Line, pressed
from active_call.agent.outbox import Outbox
from active_call.agent.outside import line_from_outside, news_from_outside
from active_call.agent.playbook.scenes import DtmfAction, Playbook
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.tags import GotoTag, HangupTag, ReferTag
from active_call.agent.reply.voice import Cut, Playback, Step, count_words
from active_call.agent.stage import Stage
from active_call.agent.turn.floor import Floor, Signal, State
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.timers import Timer, Timers
from active_call.contract import commands, events

SETTLE_S = 0.3
"""How long the caller's words wait for the news of how much of ours was heard."""
SPEECH_MAX_S = 15.0
"""Speech that does not end: after this the floor is ours again."""
RECOGNITION_PATIENCE_S = 3.0
"""After the end of speech, how long a recogniser may take; then it was a noise."""
STILL_SPEAKING_S = 1.0
"""A result has come while the caller goes on speaking: how long a reply waits for the end."""
MAX_NOT_UNDERSTOOD = 3
"""How often in a row a sound without words is answered: a noisy line must not make the agent talk for ever."""
MAX_RESUMES = 2
"""After so many noises in a row that stopped us in vain (a television, an echo), voice alone stops us no more; words do."""

_LAST_OF_TRANSFER = frozenset({"completed", "failed", "cancelled"})


class Conversation:
    """One conversation under one playbook.

    `variables` holds the built-ins (`session_id, call_type, caller, callee, start_time`) and, over them, what was passed in for the call.
    `sip_headers` are those of the INVITE; the playbook decides which of them templates see.
    """

    def __init__(self, playbook: Playbook, variables: Mapping[str, Any], sip_headers: Mapping[str, str] | None = None) -> None:
        self.playbook = playbook
        self._outbox = Outbox()
        self._stage = Stage(playbook, variables, sip_headers or {}, self._outbox.note)
        self._interruptions = Interruptions(playbook.interruption)
        self._turns = Floor()
        self._timers = Timers()
        self._replies = Replies(self._stage, self._turns, self._timers, self._outbox, self._arm_followup)
        self._is_greeting = False
        self._is_caller_speaking = False
        self._has_result = False
        """A result has come since the caller began to speak."""
        self._is_speech_ignored = False
        self._waiting: list[str] = []
        """What the caller said while it is not known how much of ours was heard."""
        self._waiting_at_ms: list[int] = []
        """When that was; 0 for now."""
        self._unanswered: list[str] = []
        """What the caller said and has heard no answer to."""
        self._cut: Cut | None = None
        """The reply that was cut short, as long as it may have to be resumed."""
        self._settling: Playback | None = None
        """The playback that was cut, until it is known how much of it was heard."""
        self._heard_words = 0
        self._is_resume_due = False
        self._n_followups = 0
        self._n_not_understood = 0
        self._n_resumes = 0
        self._is_on_hold = False
        self._stage.enter(playbook.start)
        self._replies.expect_phrases()

    # -- the door ------------------------------------------------------------------------------------------------------------------------

    @property
    def scene(self) -> str:
        """The name of the current scene."""
        return self._stage.scene.id

    @property
    def variables(self) -> dict[str, Any]:
        return self._stage.variables

    @property
    def history(self) -> list[Line]:
        """What was said and heard so far."""
        return self._outbox.history.lines

    @property
    def state(self) -> State:
        return self._turns.state

    @property
    def reply(self) -> ReplyNumber:
        """The number of the current reply."""
        return self._replies.number

    def set_variable(self, key: str, value: Any) -> None:
        """A variable from outside; keys `X-*` become headers of our BYE."""
        self._stage.set_variable(key, value)

    def hangup_headers(self) -> dict[str, str]:
        """The headers of our BYE, as they are now."""
        return self._stage.hangup_headers()

    def receive(self, item: AgentInput, now: float) -> None:
        """Take one input."""
        if self.state is State.ENDED:
            return
        match item:
            case Heard():
                self._hear(item.event, now)
            case ModelText():
                self._replies.on_model_text(item, now)
            case ModelDone():
                self._replies.on_model_done(item, now)
            case HttpAnswered():
                self._replies.on_http_answered(item, now)
            case _:
                assert_never(item)

    def close(self, heard: tuple[str, str] | None) -> None:
        """The call is over. What was heard of the reply under way (`heard`: its play id and text), and what the caller had said by then,
        become the last lines."""
        if self.state is State.ENDED:
            return
        playback = self._settling or self._replies.playback
        if heard is not None and playback is not None and heard[0] == playback.play_id:
            self._outbox.add_line(AGENT, heard[1])
        self._write_down_waiting()
        self._waiting = []
        self._on_hangup()

    def handle_timeout(self, now: float) -> None:
        """Do what is due at `now`; to be called when `next_timeout` is reached, harmless at any other time."""
        while (timer := self._timers.take_due(now)) is not None:
            self._on_timer(timer, now)

    def next_timeout(self) -> float | None:
        """When to call `handle_timeout`, in monotonic seconds; None when only an input can change anything."""
        return self._timers.next_at()

    def take_effects(self) -> list[AgentEffect]:
        """What is to be done, in order; each effect is handed out once."""
        return self._outbox.take()

    def _hear(self, event: events.Event, now: float) -> None:
        if event.refer:
            return  # the far leg of a transfer is not our caller
        match event:
            case events.MediaReady():
                self._greet(now)
            case events.Speaking():
                self._on_speaking(event, now)
            case events.Silence():
                self._on_silence(now)
            case events.AsrDelta():
                self._on_partial_words(event.text, now)
            case events.AsrFinal():
                self._on_words(event.text.strip(), now)
            case events.TrackStart():
                if self._replies.on_track_start(event.play_id, now):
                    self._unanswered.clear()
            case events.TrackEnd():
                self._on_track_end(event, now)
            case events.Interruption():
                self._on_interruption(event, now)
            case events.Dtmf():
                self._on_digit(event, now)
            case events.Hold():
                self._on_hold(event, now)
            case events.Transfer():
                self._on_transfer(event, now)
            case events.Bridge():
                self._on_bridge(event, now)
            case events.AddHistory():
                self._outbox.history.add(*line_from_outside(event.speaker, event.text))
            case events.Custom():
                self._outbox.history.add(SYSTEM, news_from_outside(event.data, event.sender))
            case events.Hangup():
                self._on_hangup()
            case _:
                pass  # nothing that a conversation would answer

    # -- the caller speaks ---------------------------------------------------------------------------------------------------------------

    def _on_speaking(self, event: events.Speaking, now: float) -> None:
        self._is_caller_speaking = True
        self._has_result = False
        self._is_speech_ignored = False
        self._timers.clear(Timer.FOLLOWUP)
        if self.state is State.SPEAKING and self._interruptions.by_voice and self._n_resumes < MAX_RESUMES:
            delay = max(self._protected_s(now), self._interruptions.min_speech_s)
            if event.is_filler and self._interruptions.option.filler_word_filter:
                self._is_speech_ignored = True
            elif delay > 0:
                self._timers.set(Timer.CUT, now + delay)
            else:
                self._cut_in(now)
        if self.state in (State.LISTENING, State.THINKING):
            self._timers.set(Timer.FLOOR, now + SPEECH_MAX_S)

    def _on_silence(self, now: float) -> None:
        self._is_caller_speaking = False
        if self._timers.is_set(Timer.CUT):  # too short, or into the protected beginning
            self._timers.clear(Timer.CUT)
            self._is_speech_ignored = True
        if not self._timers.is_set(Timer.FLOOR):
            self._arm_followup(now)
        elif self._has_result:
            self._take_floor(now)
        else:
            self._timers.set(Timer.FLOOR, now + RECOGNITION_PATIENCE_S)

    def _on_partial_words(self, text: str, now: float) -> None:
        if not self._interruptions.is_sure_word(text):
            return
        if self._timers.is_set(Timer.FLOOR) and not self._is_caller_speaking:
            self._timers.set(Timer.FLOOR, now + RECOGNITION_PATIENCE_S)
        if self.state is State.SPEAKING and self._interruptions.by_partial_words and self._may_cut_by_words(now):
            self._cut_in(now)
            if not self._is_caller_speaking:
                self._timers.set(Timer.FLOOR, now + RECOGNITION_PATIENCE_S)

    def _on_words(self, text: str, now: float) -> None:
        """The recogniser's final word on something that was said."""
        self._has_result = True
        if self.state in (State.IDLE, State.PAUSED, State.AWAY):
            self._outbox.note("speech dropped", reason=str(self.state))
            return
        if not self._interruptions.is_answer(text):
            self._on_nothing_said(text, now)
            return
        self._caller_took_part()
        if self.state is State.ENDING:
            self._outbox.add_line(USER, text)
            return
        if self.state is State.SPEAKING:
            if not self._may_cut_by_words(now):
                self._outbox.add_line(USER, text)
                self._outbox.note("speech not answered", reason="the reply is not to be interrupted")
                return
            self._cut_in(now)
        self._yield_floor(now)
        self._waiting.append(text)
        self._waiting_at_ms.append(0)
        if self._settling is None:
            self._take_turn(now)

    def _on_nothing_said(self, text: str, now: float) -> None:
        """There was a sound, but no words in it."""
        if self._cut is not None:
            self._is_resume_due = True
            if self._settling is None:
                self._resume(now)
        elif self.state is State.LISTENING and not self._waiting:
            self._yield_floor(now)
            self._on_not_understood(text, now)
        elif self._timers.is_set(Timer.FLOOR):
            self._take_floor(now)

    def _on_not_understood(self, text: str, now: float) -> None:
        self._n_not_understood += 1
        if text or self._n_not_understood > MAX_NOT_UNDERSTOOD:  # a filler, or a noisy line
            self._outbox.note("sound without words not answered", in_a_row=self._n_not_understood)
            self._arm_followup(now)
            return
        self._replies.say(self._stage.wording.not_understood if self._stage.has_model else self._stage.fallback(), now)

    def _take_turn(self, now: float) -> None:
        """Answer what the caller has said."""
        self._cut = None
        self._is_resume_due = False
        self._is_greeting = False
        self._write_down_waiting()
        self._unanswered.extend(self._waiting)
        self._waiting = []
        if self._stage.has_model:
            self._replies.ask(now)
        else:
            self._replies.say(self._stage.answer(self._unanswered), now)

    def _write_down_waiting(self) -> None:
        """What waited becomes lines of the conversation, each of its own time."""
        for text, at_ms in zip(self._waiting, self._waiting_at_ms, strict=True):
            self._outbox.add_line(USER, text, at_ms)
        self._waiting_at_ms = []

    def _caller_took_part(self) -> None:
        self._n_followups = self._n_not_understood = self._n_resumes = 0
        self._replies.caller_took_part()
        self._stage.caller_took_part()
        self._timers.clear(Timer.FOLLOWUP)

    def _yield_floor(self, now: float) -> None:
        """A result is there; when the caller goes on speaking, a reply waits a little for the end."""
        if self._is_caller_speaking:
            self._timers.set(Timer.FLOOR, now + STILL_SPEAKING_S)
        else:
            self._timers.clear(Timer.FLOOR)

    def _take_floor(self, now: float) -> None:
        """Nothing (more) comes of what the caller began to say."""
        self._timers.clear(Timer.FLOOR)
        if self._cut is not None and not self._waiting:
            self._is_resume_due = True
            if self._settling is None:
                self._resume(now)
            return
        self._replies.pump(now)
        self._arm_followup(now)

    # -- digits, hold, transfer, the end -------------------------------------------------------------------------------------------------

    def _on_digit(self, event: events.Dtmf, now: float) -> None:
        digit = event.digit.upper()
        if self.state in (State.IDLE, State.PAUSED, State.AWAY, State.ENDING):
            self._outbox.note("digit dropped", reason=str(self.state))
            return
        action = self._stage.digit_action(digit)
        answer = self._stage.digit_answer(digit)
        may_ask = self._stage.has_model and not (self.state is State.SPEAKING and self._interruptions.is_off)
        if action is None and not answer and not may_ask:
            self._outbox.note("digit without a meaning", scene=self.scene)
            return
        self._caller_took_part()
        self._cut_in(now)
        self._cut = None
        self._timers.clear(Timer.FLOOR)
        self._waiting.append(pressed(digit))
        self._waiting_at_ms.append(event.timestamp)
        if action is None and not answer:
            if self._settling is None:
                self._take_turn(now)
            return
        self._write_down_waiting()
        self._waiting = []
        self._is_greeting = False
        if action is None:
            self._replies.say(answer, now)
        else:
            self._replies.begin([self._digit_step(action)], now)

    def _digit_step(self, action: DtmfAction) -> Step:
        if action.action == "goto":
            return GotoTag(action.scene)
        return ReferTag(self._stage.fill_address(action.target)) if action.action == "transfer" else HangupTag()

    def _on_hold(self, event: events.Hold, now: float) -> None:
        self._is_on_hold = event.on_hold
        by_us = event.initiator == "system"
        if event.on_hold and self._turns.fire(Signal.HOLD):
            self._timers.clear_all()
            self._is_caller_speaking = False
            self._outbox.history.add(SYSTEM, "[You have put the caller on hold.]" if by_us else "[The caller has put the call on hold.]")
            if self._replies.playback is not None:
                self._outbox.perform(commands.Pause())
        elif not event.on_hold and self._turns.fire(Signal.UNHOLD):
            self._outbox.history.add(SYSTEM, "[The caller is back.]")
            self._return_from_hold(now)

    def _return_from_hold(self, now: float) -> None:
        if self._replies.playback is not None:
            self._outbox.perform(commands.Resume())
        if self._settling is not None:
            self._is_resume_due = True
            self._settle("", now)
        elif self._cut is not None:
            self._resume(now)
        self._replies.go_on(now)

    def _on_transfer(self, event: events.Transfer, now: float) -> None:
        """The caller goes to somebody else, or is back; how it went is told by the last event of a transfer."""
        if event.state not in _LAST_OF_TRANSFER:
            self._part(now)
        elif not (event.state == "failed" if event.returned is None else event.returned):
            pass  # the call is over, or hung up next
        elif event.initiator is not None and event.state == "completed":
            greeting = self.playbook.greeting or self._stage.wording.back
            self._come_back(self._stage.wording.is_transferred.format(target=event.target), greeting, now)
        elif event.initiator is not None or event.state == "completed":
            self._come_back(self._stage.wording.has_returned.format(target=event.target), self._stage.wording.back, now)
        else:
            hint = self._stage.wording.has_failed.format(target=event.target, code=event.code or 0, reason=event.reason or event.state)
            self._come_back(hint, self._stage.wording.not_connected, now)

    def _on_bridge(self, event: events.Bridge, now: float) -> None:
        if event.state == "joined":
            self._part(now)
        elif self.state is State.AWAY:
            self._come_back(self._stage.wording.has_returned.format(target="another caller"), self._stage.wording.back, now)

    def _part(self, now: float) -> None:
        """The caller is with somebody else from now on: stop, keep what was said, and wait."""
        if self.state in (State.AWAY, State.ENDED) or self._replies.has_hung_up:
            return
        self._cut_in(now)
        self._replies.stop()
        self._timers.clear_all()
        if self._settling is not None:
            self._timers.set(Timer.SETTLE, now + SETTLE_S)
        self._write_down_waiting()
        self._waiting, self._unanswered = [], []
        self._cut = None
        self._is_resume_due = self._is_caller_speaking = self._is_greeting = False
        self._turns.fire(Signal.PART)

    def _come_back(self, hint: str, text: str, now: float) -> None:
        """The caller is back: a model is told why and speaks; a script says `text`. On hold, it waits until that is over."""
        if self._replies.has_hung_up or not (self._turns.fire(Signal.BACK) or self._turns.fire(Signal.STAY)):
            return
        if self._settling is not None:
            self._settle("", now)
        self._caller_took_part()
        if self._is_on_hold:
            self._turns.fire(Signal.HOLD)
        self._outbox.history.add(SYSTEM, hint)
        if self._stage.has_model:
            self._replies.ask(now)
        else:
            self._replies.say(text, now)

    def _on_hangup(self) -> None:
        self._replies.stop()
        self._turns.fire(Signal.OVER)
        self._timers.clear_all()

    # -- our own voice -------------------------------------------------------------------------------------------------------------------

    def _greet(self, now: float) -> None:
        if self.state is not State.IDLE:
            return  # a re-INVITE
        steps = self._stage.read(self.playbook.greeting)
        self._is_greeting = bool(steps)
        self._replies.begin([*steps, *self._replies.entering(self._stage.scene)], now)

    def _on_track_end(self, event: events.TrackEnd, now: float) -> None:
        if self._settling is not None and self._settling.play_id == event.play_id:
            # it ended before the order to stop arrived
            self._settle(self._settling.text if event.subtitle is None else event.subtitle.strip(), now)
        elif event.subtitle is not None:
            self._replies.on_voice_failed(event.play_id, event.subtitle.strip(), now)
        elif self._replies.on_track_end(event.play_id, now):
            self._unanswered.clear()

    def _on_interruption(self, event: events.Interruption, now: float) -> None:
        if self._settling is not None and self._settling.play_id == event.play_id:
            self._settle(_heard_text(event, self._settling), now)
            return
        playback = self._replies.playback
        if playback is None or playback.play_id != event.play_id:
            return
        # somebody else has stopped us: a client of the call
        heard = _heard_text(event, playback)
        if self.state is State.ENDING:
            self._replies.on_track_end(event.play_id, now, heard)  # the goodbye was stopped, not the wish to end
        else:
            self._replies.cut()
            self._outbox.add_line(AGENT, heard)
            self._arm_followup(now)

    def _settle(self, heard: str, now: float) -> None:
        """It is known how much of the reply that was cut was heard."""
        self._settling = None
        self._heard_words = count_words(heard)
        self._timers.clear(Timer.SETTLE)
        if heard:
            self._unanswered.clear()
        self._outbox.add_line(AGENT, heard)
        if self._waiting:
            self._take_turn(now)
        elif self._is_resume_due:
            self._resume(now)

    def _protected_s(self, now: float) -> float:
        """How much longer the beginning of this reply is protected, in seconds."""
        whole = self._interruptions.ignored_s(is_greeting=self._is_greeting)
        since = self._replies.sounding_since
        return whole if since is None else max(0.0, since + whole - now)

    def _may_cut_by_words(self, now: float) -> bool:
        return not self._interruptions.is_off and not self._is_speech_ignored and self._protected_s(now) <= 0

    def _cut_in(self, now: float) -> None:
        """Stop the current reply, whatever it is doing, and remember what was not heard of it."""
        if self.state not in (State.THINKING, State.SPEAKING):
            return
        self._cut = self._replies.cut()
        self._heard_words = 0
        self._is_resume_due = False
        self._timers.set(Timer.FLOOR, now + SPEECH_MAX_S)
        if self._cut.playback is not None:
            self._outbox.perform(commands.Interrupt(fade_out_ms=self._interruptions.fade_out_ms))
            self._settling = self._cut.playback
            self._timers.set(Timer.SETTLE, now + SETTLE_S)

    def _resume(self, now: float) -> None:
        """It was only a noise: say what was not heard."""
        cut, self._cut = self._cut, None
        self._is_resume_due = False
        if cut is not None:
            self._n_resumes += 1
            self._timers.clear(Timer.FLOOR)
            self._replies.resume(cut, self._heard_words, now)

    # -- timers --------------------------------------------------------------------------------------------------------------------------

    def _on_timer(self, timer: Timer, now: float) -> None:
        match timer:
            case Timer.CUT:
                if self.state is State.SPEAKING and self._is_caller_speaking:
                    self._cut_in(now)
            case Timer.SETTLE:
                self._settle("", now)
            case Timer.FLOOR:
                self._is_caller_speaking = False
                self._take_floor(now)
            case Timer.MODEL:
                self._replies.on_late_model(now)
            case Timer.PLAYBACK:
                self._replies.on_lost_playback(now)
            case Timer.FOLLOWUP:
                self._follow_up(now)
            case _:
                assert_never(timer)

    def _arm_followup(self, now: float) -> None:
        """The agent has spoken, or nothing came of a sound: from here the caller's silence counts."""
        found = self._stage.followup()
        if self._replies.wait_input_s is not None:
            found = (self._replies.wait_input_s, found[1] if found else 1)
        if found is not None and self.state is State.LISTENING and not self._is_caller_speaking and self._n_followups < found[1]:
            self._timers.set(Timer.FOLLOWUP, now + found[0])

    def _follow_up(self, now: float) -> None:
        if self.state is not State.LISTENING:
            return
        self._n_followups += 1
        if self._stage.has_model:
            self._replies.ask(now, self._stage.wording.silent)
        else:
            self._replies.say(self._stage.silence(), now)


def _heard_text(event: events.Interruption, playback: Playback) -> str:
    """What was heard of `playback`: the call's own account, else as many words as the position or the time say."""
    if event.subtitle is not None:
        return event.subtitle.strip()
    words = playback.text.split()
    if event.position is not None:
        return " ".join(words[: max(0, event.position)])
    if event.total_duration > 0:
        return " ".join(words[: int(len(words) * min(1.0, event.current / event.total_duration))])
    return ""
