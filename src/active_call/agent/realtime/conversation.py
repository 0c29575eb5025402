"""A conversation with a realtime model: it hears the caller's sound and answers with sound.

In: events of the model's session (`realtime.events`), contract events of the call, results of tools. Out: orders to the session and
contract commands. The sound does not pass through this module: it is played with its item's id as play id, and the call's events report
what was heard. The model decides when the caller's turn is over. This state machine decides what the caller's voice interrupts, and keeps
the model's conversation correct: an interruption stops the playback and cancels the response. When the call has reported how much was
heard, the item is truncated there, in the model's conversation (`TruncateItem`) and, by words, in the history.

The states are those of `turn.phase`. In listening, thinking and speaking a timer is always set. When it expires, the agent continues
without what it waited for. If the session fails, the call's own synthesiser says the playbook's error reply, and the call ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from active_call.agent.absence import CallerLeaves, CallerReturns, absence_by_bridge, absence_by_transfer
from active_call.agent.effects import (
    AgentEffect,
    AgentInput,
    EmitEvent,
    FromRealtime,
    Heard,
    HttpAnswered,
    ModelDone,
    ModelText,
    Paused,
    PausedOnVoice,
    PauseRefused,
    Summarised,
    ToolAnswered,
    ToolCall,
    ToolFinished,
    ToolsFound,
    TurnJudged,
    TurnProposed,
)
from active_call.agent.external_items import data_item, said_item
from active_call.agent.items import AgentItem, SystemItem, UserItem, pressed
from active_call.agent.playbook.scenes import DtmfAction, Playbook
from active_call.agent.playbook_conversation import PlaybookConversation
from active_call.agent.realtime import events as realtime
from active_call.agent.realtime.actions import RealtimeActions
from active_call.agent.realtime.playback import PLAYBACK_SLACK_S, RealtimePlayback
from active_call.agent.realtime.session import Session
from active_call.agent.realtime.turns import ANSWER_PATIENCE_S, TALKING, RealtimeTurns
from active_call.agent.tools.calls import ToolCalls
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.phase import Signal, State
from active_call.agent.turn.timers import Timer
from active_call.contract import commands, events

_APOLOGY = "realtime-failed"
"""The play id of the error reply."""


class RealtimeConversation(PlaybookConversation):
    """One conversation under one playbook, held by a realtime model. Arguments as those of the cascade."""

    def __init__(
        self,
        playbook: Playbook,
        variables: Mapping[str, Any],
        sip_headers: Mapping[str, str] | None = None,
        *,
        tools: ToolRegistry | None = None,
        has_functions: bool = False,
    ) -> None:
        super().__init__(playbook, variables, sip_headers, has_functions=has_functions)
        self._rules = Interruptions(playbook.interruption)
        self._registry = tools or ToolRegistry()
        context = self._context
        tool_calls = ToolCalls(self._registry, self._outbox, context.set_variable, context.fill_with, context.sound_sources.checked)
        self._session = Session(self._outbox, tool_calls)
        self._playback = RealtimePlayback(self._outbox, self._timers, self._session.order, self._rules.fade_out_ms)
        self._turns = RealtimeTurns(self._context, self._phase, self._timers, self._outbox, self._session, self._playback, self._rules)
        self._turns.act = RealtimeActions(self._context, self._outbox, self._leave, self._hang_up, self._enter).act
        self._is_on_hold = False
        self._has_greeted = False

    # -- what the call uses --------------------------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[AgentEffect]:
        """Open the session."""
        self._context.enter(self.playbook.start)
        self._session.order(realtime.OpenSession(self._instructions(), self._registry.schemas()))
        self._timers.set(Timer.MODEL, now + ANSWER_PATIENCE_S)
        return self._outbox.take()

    def _on_input(self, item: AgentInput, now: float) -> None:
        match item:
            case FromRealtime(event):
                self._on_session(event, now)
            case Heard(event=heard):
                self._hear(heard, now)
            case ToolFinished() | ToolAnswered():
                self._turns.tool_finished(item, now)
            case Paused() | TurnProposed() | TurnJudged():
                pass  # the realtime model detects the end of a turn itself
            case ToolsFound(found):
                self._registry.offer(found, self._outbox.note)
            case ModelText() | ModelDone() | ToolCall() | HttpAnswered() | Summarised():
                self._outbox.note("input dropped", reason="this conversation is a realtime one")
            case PausedOnVoice():
                self._turns.pause.on_paused(now, is_talking=self.state in TALKING)
            case PauseRefused():
                self._turns.pause.on_refused()
            case _:
                assert_never(item)

    def _take(self, now: float) -> list[AgentEffect]:
        del now
        self._turns.pause.review(is_talking=self.state in TALKING)
        return self._outbox.take()

    def close(self, heard: tuple[str, str] | None) -> list[AgentEffect]:
        """The call is over. `heard`: the play id of the current playback and the text heard of it."""
        if self.state is State.ENDED:
            return []
        if heard is not None and heard[0] == self._playback.sounding():
            self._outbox.add(AgentItem(heard[1], is_interrupted=True))
        self._on_hangup()
        return self._outbox.take()

    # -- the model's session -------------------------------------------------------------------------------------------------------------

    def _on_session(self, event: realtime.RealtimeEvent, now: float) -> None:
        match event:
            case realtime.SessionOpened():
                self._on_opened(now)
            case realtime.CallerBegan():
                self._turns.caller_began(now)
            case realtime.CallerEnded():
                self._turns.caller_ended(now)
            case realtime.CallerText(text):
                self._outbox.add(UserItem(text.strip()))
            case realtime.AgentSound(item, ms):
                self._turns.add_sound(item, ms, now)
            case realtime.AgentText(item, text):
                self._playback.add_text(item, text)
            case realtime.ItemDone(item):
                self._playback.complete(item)
            case realtime.FunctionCall():
                self._turns.call_tool(event)
            case realtime.ResponseDone(error):
                self._turns.response_done(error, now)
            case realtime.SessionFailed(error):
                self._fail(error, now)
            case _:
                assert_never(event)

    def _on_opened(self, now: float) -> None:
        if self._session.opened():
            self._timers.clear(Timer.MODEL)
            self._turns.go_on(now)
            self._greet(now)

    def _fail(self, error: str, now: float) -> None:
        """The session has failed: say so, and end the call."""
        self._outbox.note("realtime session failed", error=error)
        self._outbox.put(EmitEvent(events.Error(sender="realtime", error=error)))
        self._session.is_open = False
        self._turns.stop(now)
        if not self._phase.fire(Signal.LEAVE):
            return
        self._timers.clear_all()
        self._outbox.perform(commands.Tts(text=self._context.fill(self._context.error_reply), play_id=_APOLOGY))
        self._timers.set(Timer.PLAYBACK, now + PLAYBACK_SLACK_S)

    # -- the caller ----------------------------------------------------------------------------------------------------------------------

    def _on_digit(self, event: events.Dtmf, now: float) -> None:
        if self.state not in TALKING:
            self._outbox.note("digit dropped", reason=str(self.state))
            return
        digit = event.digit.upper()
        item, action = UserItem(pressed(digit)), self._context.digit_action(digit)
        self._turns.interrupt(now)
        self._outbox.add(item, event.timestamp)
        self._session.order(realtime.AddItem(item))
        if action is None:
            self._turns.ask(now)
        else:
            self._on_digit_action(action, now)

    def _on_digit_action(self, action: DtmfAction, now: float) -> None:
        if action.action == "goto":
            self._enter(action.scene, now)
        elif action.action == "transfer":
            self._leave()
            self._outbox.perform(commands.Refer(callee=self._context.fill_address(action.target)))
        else:
            self._leave()
            self._hang_up("goodbye")

    def _enter(self, name: str, now: float) -> None:
        """Go to another scene. The model speaks first there."""
        scene = self.playbook.scene(name)
        if scene is None:
            self._outbox.note("goto dropped", scene=name, reason="there is no such scene")
            self._turns.await_caller(now)
            return
        self._context.enter(scene)
        self._session.order(realtime.SetInstructions(self._instructions()))
        self._turns.ask(now, self._context.wording.new_scene)

    # -- the call ------------------------------------------------------------------------------------------------------------------------

    def _hear(self, event: events.Event, now: float) -> None:
        if event.refer:
            return  # the far leg of a transfer is not the caller
        match event:
            case events.MediaReady():
                if self.state is State.IDLE:
                    self._begin(now)
            case events.Speaking():
                self._turns.pause.on_voice(now, is_talking=self.state in TALKING)
            case events.Silence():
                self._turns.pause.on_silence(now)
            case events.TrackStart():
                self._playback.started(event.play_id, now)
            case events.TrackEnd():
                self._on_track_end(event, now)
            case events.Interruption():
                self._on_interruption(event, now)
            case events.Dtmf():
                self._on_digit(event, now)
            case events.Hold():
                self._on_hold(event, now)
            case events.Transfer():
                self._on_absence(absence_by_transfer(event, self._context.wording, self.playbook.greeting), now)
            case events.Bridge():
                if event.state == "joined" or self.state is State.AWAY:
                    self._on_absence(absence_by_bridge(event, self._context.wording), now)
            case events.AddHistory():
                self._session.tell(said_item(event.speaker, event.text))
            case events.Custom():
                self._session.tell(data_item(event.data, event.sender))
            case events.Hangup():
                self._on_hangup()
            case _:
                pass  # nothing that a conversation answers

    def _begin(self, now: float) -> None:
        """The call has sound. If it starts on hold, the greeting waits until the hold is over."""
        self._phase.fire(Signal.DONE)
        if self._is_on_hold:
            self._phase.fire(Signal.HOLD)
        else:
            self._turns.await_caller(now)
            self._greet(now)

    def _greet(self, now: float) -> None:
        """Make the model speak first, as soon as there are a session and sound."""
        if self._session.is_open and self.state is State.LISTENING and self.playbook.greeting and not self._has_greeted:
            self._has_greeted = True
            self._turns.ask(now, f'[The call begins. Say: "{self._context.fill(self.playbook.greeting)}"]')

    def _on_track_end(self, event: events.TrackEnd, now: float) -> None:
        if event.play_id == _APOLOGY:
            self._hang_up("error")
        elif self._playback.ended(event.play_id, _stripped(event.subtitle)) and self.state in TALKING:
            self._turns.playback_over(now)

    def _on_interruption(self, event: events.Interruption, now: float) -> None:
        heard = _stripped(event.subtitle) or None  # words whose text has not arrived yet are estimated by time
        if self._playback.cut(event.play_id, event.current, heard):
            self._turns.stopped_by_command(now)

    def _on_hold(self, event: events.Hold, now: float) -> None:
        self._is_on_hold = event.on_hold
        if event.on_hold and self._phase.fire(Signal.HOLD):
            self._turns.caller_left()
            by_us = event.initiator == "system"
            self._session.tell(SystemItem("[You have put the caller on hold.]" if by_us else "[The caller has put the call on hold.]"))
        elif not event.on_hold and self._phase.fire(Signal.UNHOLD):
            self._session.tell(SystemItem("[The caller is back.]"))
            self._turns.resume(now)
            self._greet(now)

    def _on_absence(self, decision: CallerLeaves | CallerReturns | None, now: float) -> None:
        match decision:
            case CallerLeaves() if self.state is not State.AWAY:
                self._turns.stop(now)
                self._turns.caller_left()
                self._playback.settle(0)
                self._phase.fire(Signal.PART)
            case CallerReturns(hint) if self._phase.fire(Signal.BACK) or self._phase.fire(Signal.STAY):
                self._session.tell(SystemItem(hint))
                self._has_greeted = True
                self._turns.ask_later()
                if self._is_on_hold:
                    self._phase.fire(Signal.HOLD)
                else:
                    self._turns.go_on(now)
            case _:
                pass

    def _on_hangup(self) -> None:
        self._session.close()
        self._phase.fire(Signal.OVER)
        self._timers.clear_all()

    def _leave(self) -> None:
        self._phase.fire(Signal.LEAVE)
        self._timers.clear_all()

    def _hang_up(self, reason: str) -> None:
        self._timers.clear_all()
        self._outbox.perform(commands.Hangup(reason=reason, initiator="agent", headers=self._context.hangup_headers()))

    def _on_timer(self, timer: Timer, now: float) -> None:
        match timer:
            case Timer.MODEL:
                if self._session.is_open:
                    self._turns.answer_late(now)
                else:
                    self._fail("the session did not open in time", now)
            case Timer.SETTLE:
                self._playback.settle(0)
            case Timer.FLOOR:
                self._turns.caller_timed_out(now)
            case Timer.PLAYBACK:
                if self.state is State.ENDING:
                    self._hang_up("error")
                else:
                    self._turns.playback_lost(now)
            case Timer.FOLLOWUP:
                self._turns.follow_up(now)
            case Timer.QUIET:
                self._turns.go_on(now)
            case Timer.DEAD_AIR:
                self._turns.on_dead_air(now)
            case Timer.OVERLAP:
                self._turns.pause.on_due(now)
            case Timer.ARM | Timer.CUT | Timer.UNHOLD | Timer.COLLECT | Timer.SPECULATION:
                pass  # the model decides about interruptions and prepares nothing
            case _:
                assert_never(timer)

    def _instructions(self) -> str:
        return "\n\n".join(prompt.text for prompt in self._context.prompts(()))


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
