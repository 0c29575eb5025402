"""Executes the actions of the call's state machine: commands and events enter as inputs, orders to the leg and contract events leave."""

from __future__ import annotations

from typing import assert_never

import msgspec

from active_call.base.errors import ActiveCallError, LocalProtocolError, TransportError
from active_call.call.items import Fatal
from active_call.call.opening.options import merged
from active_call.call.opening.routing import Accepted, Decision, LeftOpen, Refused
from active_call.call.opening.setup import CallSetup
from active_call.call.parties import machine_types as states
from active_call.call.parties.attention import Claim, Why
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.parties.machine import CallMachine
from active_call.call.parties.machine_types import Action, AnyInput, CallStates, Do, Input, Stage
from active_call.call.ports import CallPorts, HangUp
from active_call.call.shared_state import CallState
from active_call.contract import commands
from active_call.contract.options import CallOption, RecorderOption
from active_call.legs.abilities import holdable

REFUSALS = {480: "Temporarily Unavailable", 500: "Server Internal Error", 503: "Service Unavailable"}


class CallExecutor:
    """Runs one call's machine."""

    def __init__(
        self, machine: CallMachine, state: CallState, ports: CallPorts, attention: AttentionExecutor, setup: CallSetup, hang_up: HangUp
    ) -> None:
        self._machine = machine
        self._state = state
        self._ports = ports
        self._attention = attention
        self._setup = setup
        self._hang_up = hang_up
        self._ringing = commands.Ringing()
        self._recorder: RecorderOption | None = None
        """Records the call if `ringing` asks for it."""
        self._decision: Decision = LeftOpen()
        self._failure = ""
        self._failure_cause = "error"
        self.deciding_until: float | None = None
        """The deadline of the decision about an inbound call, in monotonic seconds; None while none is awaited."""

    @property
    def now(self) -> CallStates:
        """The machine's state."""
        return self._machine.now

    def feed(self, item: AnyInput) -> None:
        """Pass an input to the machine and execute the actions. Raises LocalProtocolError if it is refused."""
        for action in self._machine.receive(item):
            self._do(action)

    # -- inputs with data

    def accept(self, option: CallOption) -> None:
        """Answer an inbound call. Raises LocalProtocolError if it is already answered or refused."""
        before = self._state.own_option
        recorder = option.recorder if self._recorder is None else self._recorder
        self._state.own_option = merged(msgspec.structs.replace(option, recorder=recorder), before)
        try:
            self.feed(Input.ACCEPT)
        except LocalProtocolError:
            self._state.own_option = before
            raise

    def accept_by_client(self, option: CallOption) -> None:
        """As `accept`, by a client, which may correct its options: while an engine is not available, the call goes on ringing.

        Raises ConfigError or ProviderError for such an engine, and LocalProtocolError.
        """
        if self.now.stage is Stage.DECIDING and not self.now.is_ending:
            self._setup.check_engines(option)
        self.accept(option)

    def ring(self, command: commands.Ringing) -> None:
        """Send ringing to the caller; for early media or a ringing tone the sound is opened before the answer.

        Raises LocalProtocolError if the call is already answered or refused.
        """
        self._ringing = command
        self.feed(Input.RING)
        self._recorder = command.recorder or self._recorder

    def decided(self, decision: Decision) -> None:
        """A router has decided. Does nothing if that is too late."""
        self._decision = decision
        self.feed(Input.DECIDED)

    def failed(self, failure: Fatal) -> None:
        """The call cannot continue: report the reason, and end it with the right code."""
        self._failure = str(failure.error)
        self._failure_cause = "transport" if isinstance(failure.error, TransportError) else "error"
        if not self.now.is_ending:
            self._state.facts.error = self._failure
        self.feed(states.Failed(self._failure, failure.code))

    def handle_timeout(self, now: float) -> None:
        """No decision came in time: 408. Does nothing at any other time."""
        if self.deciding_until is not None and now >= self.deciding_until:
            self.feed(Input.DECISION_DUE)

    # -- actions

    def _do(self, action: Action) -> None:
        match action:
            case Do():
                self._do_plain(action)
            case states.Refuse(reason):
                raise LocalProtocolError(reason)
            case states.RejectLeg():
                self._reject_leg(action)
            case states.HangUp(reason):
                self._hang_up(by="system", cause=self._failure_cause, reason=reason)
            case states.HoldLeg(on_hold, inactive):
                self._hold_leg(on_hold, inactive=inactive)
            case states.EmitEvent(event):
                self._ports.emit(event)
            case Claim(why, hears, music):
                self._attention.claim(why, hears=hears, music=music)
            case states.Release(why):
                self._attention.release(why)
            case _:
                assert_never(action)

    def _do_plain(self, action: Do) -> None:
        match action:
            case Do.ASK_WHO_TAKES_IT:
                self.deciding_until = self._ports.now() + self._setup.accept_timeout_s
                self._setup.ask_who_takes_it()
            case Do.DIAL:
                self._attention.claim(Why.UNANSWERED)
                self._setup.dial()
            case Do.ANSWER:
                self._setup.answer()
            case Do.RING:
                self._setup.ring(self._ringing)
            case Do.CARRY_OUT_DECISION:
                self._carry_out_decision(self._decision)
            case Do.DROP_DECISION:
                self._ports.log.info("decision comes too late", extra={"decision": type(self._decision).__name__})
            case Do.DROP_FAILURE:
                self._ports.log.info("failure of a call that is ending", extra={"error": self._failure})
            case Do.FORGET_DEADLINE:
                self.deciding_until = None
            case _:
                assert_never(action)

    def _carry_out_decision(self, decision: Decision) -> None:
        state = self._state
        match decision:
            case Accepted(playbook, option, variables):
                state.playbook = playbook
                state.facts.variables.update(variables)
                state.given_texts += [str(value) for value in variables.values()]
                self.accept(option)
            case Refused(code, reason):
                self.feed(states.Reject(code, reason))
            case LeftOpen():
                pass
            case _:
                assert_never(decision)

    def _reject_leg(self, action: states.RejectLeg) -> None:
        self._state.facts.error = action.error or self._state.facts.error
        try:
            self._state.leg.reject(action.code, action.reason or REFUSALS.get(action.code, ""))
        except ActiveCallError:
            self.feed(Input.NOT_REJECTED)
            raise

    def _hold_leg(self, on_hold: bool, *, inactive: bool) -> None:
        try:
            holdable(self._state.leg).hold(on_hold, inactive=inactive)
        except ActiveCallError:
            self.feed(states.HoldNotAsked(on_hold))
            raise
