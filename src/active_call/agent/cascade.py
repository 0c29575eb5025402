"""A cascade conversation: speech is recognised, a model or a script answers in text, the text is synthesised.

In: call events, a model's text and tool calls, results of tools, each with `now`. Out: effects (see `effects`). This file connects the
parts and dispatches inputs to them:

- `turn.phase` has the state of the conversation, `turn.floor` who has the turn; `turn.turn_detector` detects the end of the caller's turn;
- `turn.caller_turn` collects and answers the caller's turn; `turn.barge_in` stops and resumes the agent's reply;
- `reply.replies` makes the replies; `tools.calls` runs tools for them.

Rules:

- Replies are numbered. An interruption increments the number. Text and playback events of an older reply are dropped.
- The history contains only those of the agent's words that the caller heard. So after an interruption the caller's words wait up to 0.3 s
  until the call has reported how much that was.
- Someone always holds the turn, with a deadline. At the deadline the agent continues without what it waited for.
- A goodbye or a transfer that has begun cannot be interrupted. It is said to its end, and the action follows when it was heard.
- A running tool continues when the reply is interrupted, unless it is cancellable. The model gets its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from active_call.agent.answering.hold_wait import HoldWait
from active_call.agent.collect.collecting import Collecting
from active_call.agent.collect.port import CascadeCollectPort
from active_call.agent.effects import (
    AgentEffect,
    AgentInput,
    FromRealtime,
    Heard,
    HttpAnswered,
    ModelDone,
    ModelText,
    Paused,
    PausedOnVoice,
    PauseRefused,
    ReplyNumber,
    Summarised,
    ToolAnswered,
    ToolCall,
    ToolFinished,
    ToolsFound,
    TurnJudged,
    TurnProposed,
)
from active_call.agent.external_items import data_item, said_item
from active_call.agent.items import AgentItem, pressed
from active_call.agent.playbook.scenes import DtmfAction, Playbook
from active_call.agent.playbook_conversation import PlaybookConversation
from active_call.agent.presence import Presence
from active_call.agent.reply.heard import heard_text
from active_call.agent.reply.replies import Replies
from active_call.agent.reply.steps import Remainder, Step
from active_call.agent.reply.tags import GotoTag, HangupTag, ReferTag
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.caller_turn import CallerTurn, alternatives_of, whole_of
from active_call.agent.turn.dead_air import DeadAir
from active_call.agent.turn.floor import Floor, Holder
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.phase import Signal, State
from active_call.agent.turn.timers import Timer
from active_call.agent.turn.turn_detector import RecogniserTurnDetector, TurnTaking
from active_call.agent.turn.voice_pauses import VoicePauses
from active_call.base.weakly import weakly
from active_call.contract import commands, events


class CascadeConversation(PlaybookConversation):
    """One conversation under one playbook.

    `variables` has the built-ins (`session_id, call_type, caller, callee, start_time`), overridden by the variables passed in for the call.
    `sip_headers` are those of the INVITE; the playbook decides which of them templates see. `tools`: what a model may call.
    `has_functions`: the agent's own actions are among them. `calls_tools`: the model calls tools natively, else in JSON. `turns`: how the
    end of the caller's turn is detected; without it the recogniser's final text ends the turn.
    """

    def __init__(
        self,
        playbook: Playbook,
        variables: Mapping[str, Any],
        sip_headers: Mapping[str, str] | None = None,
        *,
        tools: ToolRegistry | None = None,
        has_functions: bool = False,
        calls_tools: bool = True,
        turns: TurnTaking | None = None,
        says_clauses: bool = False,
    ) -> None:
        super().__init__(playbook, variables, sip_headers, has_functions=has_functions, says_clauses=says_clauses)
        turns = turns or TurnTaking(RecogniserTurnDetector(), language=playbook.llm.language)
        self._floor = Floor(self._phase, self._timers, turns.detector)
        self._tools = tools or ToolRegistry()
        self._replies = Replies(
            self._context,
            self._phase,
            self._timers,
            self._floor,
            self._outbox,
            self._tools,
            weakly(self._await_input, lambda now: None),
        )
        context = self._context
        self._barge_in = BargeIn(
            Interruptions(playbook.interruption),
            self._phase,
            self._timers,
            self._floor,
            self._replies,
            self._outbox,
            lambda: context.language or turns.language,
        )
        self._voice_pauses = VoicePauses(self._barge_in, self._timers, self._outbox)
        self._hold_wait = HoldWait()
        self._dead_air = DeadAir(self._context, self._phase, self._timers, self._floor, self._replies, self._outbox)
        self._caller = CallerTurn(
            self._context,
            self._phase,
            self._timers,
            self._floor,
            self._replies,
            self._barge_in,
            self._outbox,
            turns,
            self._dead_air,
        )
        port = CascadeCollectPort(self._context, self._floor, self._replies, self._barge_in, self._caller, self._outbox)
        self._collecting = Collecting(self._context, self._timers, self._outbox, port, lambda: context.language or turns.language)
        self._replies.model.calls_tools = calls_tools
        self._caller.collects = weakly(self._collects_turn, lambda text, now: False)
        self._replies.on_collect = weakly(self._collecting.begin, lambda tag, rest: None)
        self._replies.is_collecting = weakly(self._is_collecting, lambda: False)
        self._presence = Presence(
            self._context, self._phase, self._timers, self._floor, self._replies, self._barge_in, self._caller, self._outbox
        )

    # -- what the call uses --------------------------------------------------------------------------------------------------------------

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the call."""
        return self._context.variables

    @property
    def turn(self) -> Holder:
        """Who has the turn."""
        return self._floor.holder

    @property
    def reply(self) -> ReplyNumber:
        """The number of the current reply."""
        return self._replies.number

    def start(self, now: float) -> list[AgentEffect]:
        """Enter the first scene. The greeting waits until the call has sound."""
        self._context.enter(self.playbook.start)
        self._replies.actions.expect_phrases()
        return self._outbox.take()

    def _on_input(self, item: AgentInput, now: float) -> None:
        match item:
            case Heard():
                self._hear(item.event, now)
            case ModelText():
                self._replies.model.on_text(item, now)
            case ModelDone():
                self._replies.model.on_done(item, now)
            case ToolCall():
                self._replies.model.on_tool_call(item, now)
            case ToolFinished() | ToolAnswered():
                self._replies.model.on_tool_finished(item, now)
            case ToolsFound(found):
                self._tools.offer(found, self._outbox.note)
            case Summarised():
                self._replies.model.on_summary(item)
            case HttpAnswered():
                self._replies.model.on_http_answered(item, now)
            case Paused(sound):
                self._caller.on_paused(sound, now)
            case TurnProposed(turn, text, confidence):
                self._caller.on_proposed(turn, text, confidence, now)
            case PauseRefused():
                self._barge_in.on_pause_refused(now)
            case PausedOnVoice():
                self._voice_pauses.on_paused(now)
            case TurnJudged(question, probability):
                self._caller.on_judged(question, probability, now)
            case FromRealtime():
                self._outbox.note("realtime event dropped", reason="this conversation is a cascade")
            case _:
                assert_never(item)

    def _take(self, now: float) -> list[AgentEffect]:
        if self.state is not State.ENDED:
            self._voice_pauses.review(now, is_collecting=self._collecting.is_active and not self._collecting.takes_turn)
        return self._outbox.take()

    def close(self, heard: tuple[str, str] | None) -> list[AgentEffect]:
        """The call is over. The last history items are what was heard of the current reply (`heard`: its play id and text) and what the
        caller had said by then."""
        if self.state is State.ENDED:
            return []
        playback = self._barge_in.settling or self._replies.playback
        if heard is not None and playback is not None and heard[0] == playback.play_id:
            self._outbox.add(AgentItem(heard[1], is_interrupted=True))
        self._caller.write_down()
        if self._timers.is_set(Timer.UNHOLD):
            self._outbox.perform(commands.Unhold())  # no other party would end the agent's own hold
        self._on_hangup()
        return self._outbox.take()

    def _hear(self, event: events.Event, now: float) -> None:
        if event.refer:
            return  # the far leg of a transfer is not the caller
        if self._hold_wait.is_waiting and self._wait_through(event, now):
            return
        if self._collecting.is_active and self._collect(event, now):
            return
        match event:
            case events.MediaReady():
                self._greet(now)
            case events.Speaking():
                self._caller.on_voice(now, is_filler=bool(event.is_filler), spoken_s=_told_after_s(event))
            case events.Silence():
                self._caller.on_silence(now, _ended_at(event, now))
            case events.Eou(completed=True):
                self._caller.on_utterance_ended(now)
            case events.AsrDelta():
                self._caller.on_partial(event.text, now, event.index, event.confidence)
            case events.AsrFinal():
                self._context.confidence = event.confidence
                if event.is_lost:
                    self._caller.on_lost(now)
                else:
                    self._caller.on_final(event.text.strip(), now, event.index, event.confidence, whole_of(event), alternatives_of(event))
            case events.TrackStart():
                if self._replies.on_track_start(event.play_id, now):
                    self._dead_air.sounded()
            case events.TrackEnd():
                self._on_track_end(event, now)
            case events.Interruption():
                self._on_interruption(event, now)
            case events.Dtmf():
                self._on_digit(event, now)
            case events.AnswerMachineDetection():
                if self._hold_wait.answered_by(event.kind, event.confidence) and self._hold_wait.is_waiting:
                    self._collecting.cancel()
                    self._presence.wait_through_music(now)
            case events.Hold():
                self._presence.on_hold(event, now)
            case events.Transfer():
                self._presence.on_transfer(event, now)
            case events.Bridge():
                self._presence.on_bridge(event, now)
            case events.AddHistory():
                self._outbox.remember(said_item(event.speaker, event.text))
            case events.Custom():
                self._outbox.remember(data_item(event.data, event.sender))
            case events.Hangup():
                self._on_hangup()
            case _:
                pass  # nothing that a conversation answers

    def _wait_through(self, event: events.Event, now: float) -> bool:
        """Take an event while the other side plays music. False if the conversation must handle it."""
        match event:
            case events.AsrFinal() if not event.is_lost and self._hold_wait.is_person(event.text):
                self._come_back_from_music(event.text, now)
            case events.AnswerMachineDetection() if self._hold_wait.answered_by(event.kind, event.confidence):
                if event.kind == "human":
                    self._come_back_from_music(event.text, now)
            case events.Speaking() | events.Silence() | events.Eou() | events.AsrDelta() | events.AsrFinal():
                pass
            case events.AnswerMachineDetection():
                pass
            case _:
                return False
        return True

    def _come_back_from_music(self, text: str, now: float) -> None:
        """A person has answered after hold music and said `text`."""
        self._outbox.note("a person speaks after the hold music")
        self._caller.on_voice(now, is_filler=False)
        self._caller.on_silence(now)
        self._caller.on_final(text.strip(), now)

    def _collect(self, event: events.Event, now: float) -> bool:
        """Take an event as collected input. False if it is not input."""
        is_here = self.state in (State.LISTENING, State.SPEAKING, State.THINKING)
        if isinstance(event, events.Speaking):
            self._collecting.on_voice(now)
        elif isinstance(event, events.Silence):
            self._collecting.on_silence()
        is_turn = self._collecting.takes_turn
        match event:
            case events.Speaking() | events.Silence() | events.AsrDelta() | events.AsrFinal() if is_turn:
                return False
            case events.Speaking():
                pass
            case events.Silence():
                self._floor.voice_ended(now)
            case events.AsrDelta():
                pass
            case events.AsrFinal() if is_here and event.is_lost:
                self._collecting.on_lost(now)
            case events.AsrFinal() if is_here:
                self._collecting.on_words(event.text.strip(), now)
            case events.Dtmf() if is_here:
                self._collecting.on_key(event.digit.upper(), now)
            case events.Transfer() | events.Bridge():
                self._collecting.cancel()
                return False
            case _:
                return False
        return True

    def _collects_turn(self, text: str, now: float) -> bool:
        """Take the words of a whole turn as collected input. False if it is not input."""
        if not self._collecting.takes_turn:
            return False
        self._collecting.on_words(text, now)
        return True

    def _is_collecting(self) -> bool:
        return self._collecting.is_active or self._hold_wait.is_waiting

    def _await_input(self, now: float) -> None:
        """The agent has nothing more to say: start the timers of the caller's silence."""
        if self._hold_wait.is_waiting:
            return
        if self._collecting.is_active:
            self._collecting.on_asked(now)
        else:
            self._caller.silence.begin(now)

    # -- digits --------------------------------------------------------------------------------------------------------------------------

    def _on_digit(self, event: events.Dtmf, now: float) -> None:
        digit = event.digit.upper()
        if self.state in (State.IDLE, State.PAUSED, State.AWAY, State.ENDING):
            self._outbox.note("digit dropped", reason=str(self.state))
            return
        action = self._context.digit_action(digit)
        answer = self._context.digit_answer(digit)
        may_ask = self._context.has_model and not (self.state is State.SPEAKING and self._barge_in.rules.is_off)
        if action is None and not answer and not may_ask:
            self._outbox.note("digit without a meaning", scene=self.scene)
            return
        self._barge_in.cut(now)
        self._barge_in.forget()
        self._floor.release()
        self._caller.add_key(pressed(digit), event.timestamp)
        if action is None and not answer:
            if self._barge_in.settling is None:
                self._caller.take_turn(now)
            return
        self._caller.write_down()
        self._barge_in.is_greeting = False
        self._replies.interrupt_tools()
        if action is None:
            self._replies.say(answer, now)
        else:
            self._replies.begin([self._digit_step(action)], now)

    def _digit_step(self, action: DtmfAction) -> Step:
        if action.action == "goto":
            return GotoTag(action.scene)
        return ReferTag(self._context.fill_address(action.target)) if action.action == "transfer" else HangupTag()

    # -- the end, playback ---------------------------------------------------------------------------------------------------------------

    def _on_hangup(self) -> None:
        self._collecting.cancel()
        self._replies.close()
        self._phase.fire(Signal.OVER)
        self._timers.clear_all()

    def _greet(self, now: float) -> None:
        if self.state is not State.IDLE:
            return  # a re-INVITE
        self._presence.call_begins()
        steps: list[Step] = [Remainder(self.playbook.greeting)] if self.playbook.greeting.strip() else []
        self._barge_in.is_greeting = bool(steps)
        self._replies.begin([*steps, *self._replies.actions.entering(self._context.scene)], now)

    def _on_track_end(self, event: events.TrackEnd, now: float) -> None:
        settling = self._barge_in.settling
        if settling is not None and settling.play_id == event.play_id:
            # it ended before the order to stop arrived
            self._caller.settled(settling.text if event.subtitle is None else event.subtitle.strip(), now)
        elif event.subtitle is not None:
            self._replies.on_voice_failed(event.play_id, event.subtitle.strip(), now)
        else:
            is_filler = self._replies.is_filling
            if self._replies.on_track_end(event.play_id, now):
                self._dead_air.went_silent(now)
                if not is_filler:
                    self._caller.was_answered()

    def _on_interruption(self, event: events.Interruption, now: float) -> None:
        settling = self._barge_in.settling
        if settling is not None and settling.play_id == event.play_id:
            self._caller.settled(heard_text(event, settling), now)
            return
        playback = self._replies.playback
        if playback is None or playback.play_id != event.play_id:
            return
        # a client of the call has stopped the agent
        heard = heard_text(event, playback)
        if self.state is State.ENDING:
            self._replies.on_track_end(event.play_id, now, heard)  # the goodbye was stopped, but the call still ends
        else:
            self._replies.cut()
            if not self._replies.model.is_yielding:
                self._replies.interrupt_tools()
            self._outbox.add(AgentItem(heard, is_interrupted=True))
            if heard:
                self._caller.was_answered()
            self._await_input(now)
            self._replies.pump(now)  # an urgent tool result has stopped it

    # -- timers --------------------------------------------------------------------------------------------------------------------------

    def _on_timer(self, timer: Timer, now: float) -> None:
        match timer:
            case Timer.ARM:
                pass  # `_take` handles it
            case Timer.CUT:
                self._barge_in.on_cut_due(now)
            case Timer.SETTLE:
                self._caller.settled("", now)
            case Timer.OVERLAP:
                self._barge_in.decide(now)
            case Timer.FLOOR:
                self._caller.on_deadline(now)
            case Timer.DEAD_AIR:
                self._dead_air.on_due(now)
            case Timer.MODEL:
                self._replies.model.on_late(now)
            case Timer.SPECULATION:
                self._replies.stop_speculating("it has become too old")
            case Timer.PLAYBACK:
                self._replies.on_lost_playback(now)
            case Timer.FOLLOWUP:
                if not self._collecting.is_active:
                    self._caller.silence.follow_up(now)
            case Timer.QUIET:
                self._caller.silence.on_quiet(now)
            case Timer.COLLECT:
                self._collecting.on_time(now)
            case Timer.UNHOLD:
                self._outbox.perform(commands.Unhold())
            case _:
                assert_never(timer)


MAX_REPORT_DELAY_S = 1.0
"""Maximum delay between the start of speech or silence and its report. A larger difference is not a measurement."""


def _ended_at(event: events.Silence, now: float) -> float:
    """When the last voiced packet arrived, by the times in the event."""
    return now - _told_after_s(event)


def _told_after_s(event: events.Silence | events.Speaking) -> float:
    """How long after the start of speech or silence it was reported."""
    delay_s = (event.timestamp - event.start_time) / 1000 if event.start_time and event.timestamp else 0.0
    return delay_s if 0 <= delay_s <= MAX_REPORT_DELAY_S else 0.0
