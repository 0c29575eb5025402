"""Executes transfers: connects the states of `transfer` with the legs, the music and the events of the call.

`refer` commands and what happens on both legs enter; REFER, calls to the target, bridges and `transfer` events leave. One transfer at a
time. An attended one, to a party of another of our calls, asks the peer to replace us there (Replaces), or else bridges the two calls.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, LimitReached, LocalProtocolError, NotAllowed
from active_call.call.handle import CallHandle
from active_call.call.opening.options import merged
from active_call.call.parties.attention import Music, Why
from active_call.call.parties.machine_types import BlockedBy, TransferBegins
from active_call.call.parties.machine_types import Input as CallInput
from active_call.call.parties.parties import CONNECTED, CONNECTED_HEARD, WAITING, Mix
from active_call.call.sound.digits import send_digits, way_of
from active_call.call.transfer.machine import (
    DEFAULT_TIMEOUT_S,
    Briefed,
    CallerGone,
    Do,
    EmitEvent,
    FarEnded,
    Input,
    Mode,
    ReferProgress,
    ReferRefused,
    State,
    Transfer,
    Withdrawn,
)
from active_call.call.transfer.ports import TargetListener, TransferPorts
from active_call.call.transfer.preparation import TransferPreparation, mode_of
from active_call.call.transfer.record import TransferRecords, TransferTarget
from active_call.call.transfer.replaces import ReplacesExecutor
from active_call.call.transfer.target_call import TargetCall
from active_call.call.transfer.target_leg import TargetLeg
from active_call.contract import commands, events, wire
from active_call.contract.options import BriefingOption, ReferOption
from active_call.legs.abilities import transferable
from active_call.legs.events import LegTransferProgress, LegTransferRequested
from active_call.legs.leg import Leg
from active_call.legs.trunks.outbound_guard import ANYTHING, Asker, OutboundRequest


class TransferExecutor:
    """The transfers of one call."""

    def __init__(self, ports: TransferPorts) -> None:
        self._ports = ports
        self._state = ports.state
        self._call = ports.call
        self._current: Transfer | None = None
        self._option = ReferOption()
        self._command = commands.Refer(callee="")
        self._request = ANYTHING
        self._preparation = TransferPreparation(ports.state, ports.network)
        self._other: CallHandle | None = None
        """Our call whose party is the target of an attended transfer."""
        self._far: TransferTarget | None = None
        self._takeover: ReplacesExecutor | None = None
        self._takeovers: list[ReplacesExecutor] = []
        self._has_talked = False
        self._caller_is_silent = False
        """The caller has put us on hold, without its own music."""
        self._far_is_silent = False
        """The target has put the caller on hold, without its own music."""
        self._records = TransferRecords()

    @property
    def is_under_way(self) -> bool:
        """Another party than the agent is, or will be, connected to the caller."""
        return self._current is not None or self._takeover is not None

    @property
    def mix(self) -> Mix | None:
        """Who hears whom during a transfer; None if there is none."""
        if self._current is None:
            return WAITING if self._takeover is not None else None
        if not self._is_connected:
            return WAITING
        return CONNECTED_HEARD if self._option.pause_parent_asr is False else CONNECTED

    # -- commands

    def start(self, command: commands.Refer, *, asked_by: Asker = "api") -> None:
        """Begin a transfer. Raises LocalProtocolError if another one is in progress, or for invalid options.

        Raises NotAllowed for a target that `asked_by` may not call.
        """
        self._check_free()
        option = merged(command.options or ReferOption(), self._state.option.refer or ReferOption())
        try:
            wire.check_command(command)
            if (shown := self._preparation.shown_caller(command.caller, asked_by)) != command.caller:
                self._call.log.warning("caller of a transfer left out", extra={"why": "neither a party of the call nor in the playbook"})
                command = msgspec.structs.replace(command, caller=shown)
            option = self._preparation.briefed(option, command.options)
            mode, self._other = mode_of(option), self._preparation.find_attended(option, asked_by)
            request = ANYTHING if self._other is not None else self._preparation.check_target(command.callee, asked_by)
        except (LocalProtocolError, NotAllowed, wire.ContractError) as error:
            code = 403 if isinstance(error, NotAllowed) else 400
            self._call.emit(events.Transfer(state="failed", target=command.callee, code=code, reason=str(error), returned=True))
            raise
        self._begin(command, option, mode, request)

    def requested(self, event: LegTransferRequested) -> None:
        """The peer asks us to call another party (REFER): declined, unless the call's options allow it."""
        option = self._state.option.refer or ReferOption()
        self._call.emit(events.TransferRequest(refer_to=event.refer_to, referred_by=event.referred_by))
        try:
            self._check_free()
            is_welcome = option.on_request == "bridge"
            request = self._preparation.check_target(event.refer_to, "peer") if is_welcome else ANYTHING
        except ActiveCallError as error:
            self._call.log.info("transfer of the peer declined", extra={"why": str(error)})
            is_welcome, request = False, ANYTHING
        transferable(self._state.leg).answer_transfer(is_welcome)
        if is_welcome:
            self._other = None
            command = commands.Refer(callee=event.refer_to)
            request = replace(request, headers=event.headers)
            self._begin(command, msgspec.structs.replace(option, call_id=None), Mode.BRIDGE, request)

    def taken_over(self, leg: Leg) -> None:
        """A new leg asks to replace ours (Replaces); refused unless only the agent has the caller."""
        try:
            self._check_free()
        except LocalProtocolError as error:
            self._call.log.info("call not taken over", extra={"why": str(error)})
            leg.reject(486, "Busy Here")
            return
        record = self._records.begin(leg.caller, self._ports.time.utc_now())
        self._takeover = ReplacesExecutor(self._ports, leg, record, self.end_takeover)
        self._takeovers.append(self._takeover)
        self._takeover.begin()

    def end_takeover(self) -> None:
        """The takeover is complete, or has failed. If the call's own leg has ended meanwhile without a successor, the call ends."""
        self._takeover = None
        self._ports.end_if_gone()

    def _check_free(self) -> None:
        """Raise LocalProtocolError unless only the agent has the caller."""
        blocked_by = self._ports.machine.now.blocked_by
        if blocked_by is BlockedBy.TRANSFER:
            raise LocalProtocolError(f"a transfer to {self._command.callee!r} is already in progress")
        if blocked_by is not None:
            raise LocalProtocolError(blocked_by)

    def _begin(self, command: commands.Refer, option: ReferOption, mode: Mode, request: OutboundRequest) -> None:
        asked_by_peer = request.by == "peer"
        self._command, self._option, self._request, self._has_talked = command, option, request, False
        self._current = Transfer(
            mode,
            timeout_s=float(option.timeout or DEFAULT_TIMEOUT_S),
            auto_hangup=bool(option.auto_hangup),
            asked_by_peer=asked_by_peer,
        )
        self._records.begin(command.callee, self._ports.time.utc_now())
        self._ports.machine.feed(TransferBegins(hears=option.pause_parent_asr is False))
        self._current.begin(self._call.now(), can_refer=self._preparation.can_refer(self._other))
        self._carry_out()

    def withdraw(self) -> None:
        """End only the target's side (`hangup` with `refer`). Raises LocalProtocolError if there is none."""
        if self._current is None or not self._current.has_far_leg:
            raise LocalProtocolError("there is no far leg to hang up")
        self._feed(Withdrawn())

    def send_message(self, command: commands.Message) -> None:
        """Send a text to the target. Raises LocalProtocolError if there is no far leg."""
        if not isinstance(self._far, TargetLeg):
            raise LocalProtocolError("there is no far leg to send a message to")
        self._far.send_message(command)

    # -- events

    def progress(self, report: LegTransferProgress) -> None:
        """The peer has reported the progress of a REFER."""
        told = ReferProgress(report.code, report.reason, report.final)
        self._feed(ReferRefused(report.code, report.reason) if report.refused else told)

    def caller_gone(self) -> bool:
        """The caller's own call has ended; returns whether the call continues, or may continue, with the target."""
        before = self._state.leg
        self._feed(CallerGone())
        return self._state.leg is not before or self.is_alone or self._takeover is not None

    @property
    def is_alone(self) -> bool:
        """The peer's call has ended, and the call to the target, which will replace it, is not answered yet."""
        return self._current is not None and self._current.is_alone

    @property
    def is_timed(self) -> bool:
        """`handle_timeout` must be called: a transfer is in progress, or the caller is connected to a target."""
        return self._current is not None or self._far is not None

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        if self._current is None and self._far is None:
            return None
        times = [self._current.next_timeout() if self._current is not None else None]
        times.append(self._far.next_timeout() if self._far is not None else None)
        return min((at for at in times if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Handle due timers; does nothing at any other time."""
        if self._far is not None:
            self._far.handle_timeout(now)
        if self._current is not None:
            self._current.handle_timeout(now)
            self._carry_out()

    def forward_digit(self, digit: str, *, from_far: bool) -> None:
        """A digit of one side, to be forwarded to the other if requested."""
        if not self._option.forward_dtmf or not isinstance(self._far, TargetLeg) or not self._is_connected:
            return
        leg = self._state.leg if from_far else self._far.leg
        try:
            send_digits(leg, digit, way_of(leg, None))
        except ActiveCallError as error:
            self._call.log.info("digit not forwarded", extra={"why": str(error)})

    def caller_held(self, on_hold: bool, *, is_silent: bool) -> None:
        """The caller has put us on hold: the target hears music, unless the caller sends some."""
        self._caller_is_silent = on_hold and is_silent
        self._set_hold_music()

    def far_held(self, on_hold: bool, is_silent: bool) -> None:
        """The target has put the caller on hold."""
        self._far_is_silent = on_hold and is_silent
        self._set_hold_music()

    def _set_hold_music(self) -> None:
        """Each of the two connected parties hears music while the other is on hold, whether the hold began before or after connecting."""
        if isinstance(self._far, TargetLeg):
            if self._is_connected and self._caller_is_silent:
                self._far.music.start("held", self._option.moh)
            else:
                self._far.music.stop("held")
        if self._is_connected and self._far_is_silent:
            self._ports.attention.claim(Why.PARTNER_HOLD, music=Music(self._option.moh))
        else:
            self._ports.attention.release(Why.PARTNER_HOLD)

    async def close(self) -> None:
        """The caller's call has ended, and every far leg with it."""
        for takeover in self._takeovers:
            takeover.close()
            await takeover.release()
        is_asked_by_peer = self._current is not None and self._current.asked_by_peer
        self._feed(Withdrawn() if is_asked_by_peer else CallerGone())
        for far in self._records.targets():
            far.close()
        for far in self._records.targets():
            await far.release()

    def records(self) -> list[dict[str, Any]]:
        """The transfers of the call, for its record."""
        return self._records.as_json()

    # -- executing actions

    @property
    def _is_connected(self) -> bool:
        return self._current is not None and self._current.state is State.CONNECTED

    def _feed(self, item: Input) -> None:
        if self._current is not None:
            self._current.receive(item, self._call.now())
            self._carry_out()

    def _carry_out(self) -> None:
        current = self._current
        while current is not None and self._current is current and (actions := current.take_actions()):
            for action in actions:
                if isinstance(action, EmitEvent):
                    self._report(action)
                else:
                    self._do(action)

    def _report(self, told: EmitEvent) -> None:
        by_peer = self._current is not None and self._current.asked_by_peer
        if told.state == "connected":
            self._has_talked = True
            self._set_hold_music()
        self._records.note(told, self._ports.time.utc_now())
        if by_peer:
            self._notify(told)
        if told.final:
            self._current = None
            self._ports.machine.feed(CallInput.TRANSFER_OVER)
            self._set_hold_music()
        if told.final or told.state == "connected":
            fields = {
                **self._state.facts.who(),
                "state": told.state,
                "target": self._command.callee,
                "code": told.code or None,
                "reason": told.reason,
            }
            self._call.log.info("transfer", extra={**fields, "returned": told.returned if told.final else None})
        self._call.emit(
            events.Transfer(
                state=told.state,
                target=self._command.callee,
                code=told.code or None,
                reason=told.reason or None,
                returned=told.returned if told.final else None,
                initiator=self._state.peer_role if by_peer else None,
            )
        )

    def _notify(self, told: EmitEvent) -> None:
        """Notify the peer that requested it; its subscription ends when the target has answered or failed."""
        leg = transferable(self._state.leg)
        if told.state == "progress":
            leg.notify_transfer(told.code, "Ringing" if told.code == 180 else "Session Progress", final=False)
        elif told.state == "connected":
            leg.notify_transfer(200, "OK", final=True)
        elif told.state in ("failed", "cancelled"):
            leg.notify_transfer(told.code if told.code >= 300 else 500, "Transfer Failed", final=True)

    def _do(self, action: Do) -> None:
        ports, far = self._ports, self._far
        match action:
            case Do.REFER:
                self._refer()
            case Do.CALL:
                self._call_target()
            case Do.MUSIC:
                ports.attention.claim(Why.TRANSFER_MUSIC, music=Music(self._option.moh))
            case Do.SILENCE:
                ports.attention.release(Why.TRANSFER_MUSIC)
            case Do.LISTEN:
                if far is not None:
                    far.listen()
            case Do.BRIEF:
                self._brief(far)
            case Do.JOIN:
                if far is not None:
                    far.join()
            case Do.END_FAR:
                self._far = None
                if far is not None:
                    far.hang_up(cause="cancelled")
            case Do.END_PEER:
                self._state.leg.hang_up(headers={}, by="system", cause="transferred", reason="the transfer it requested is complete")
            case Do.HANG_UP:
                if self._has_talked:
                    ports.hang_up(by="callee", cause="far_hangup")
                else:
                    ports.hang_up(by="agent", cause="transferred")
            case Do.RETURN:
                self._far = None
                ports.machine.feed(CallInput.CALLER_RETURNED)
            case Do.ADOPT:
                self._far = None
                if isinstance(far, TargetLeg):
                    self._caller_is_silent = False
                    ports.adopt(far.hand_over(), is_held=far.is_held)
                ports.machine.feed(CallInput.CALLER_RETURNED)
            case Do.END:
                self._far = None
                ports.end_if_gone()
            case _:
                assert_never(action)

    def _brief(self, far: TransferTarget | None) -> None:
        """Brief the target. The party of another of our calls was briefed by that call's agent."""
        if isinstance(far, TargetLeg):
            far.brief(self._option.briefing or BriefingOption())
        else:
            self._feed(Briefed(accepted=True))

    def _refer(self) -> None:
        own_target = self._other.describe().attended_target if self._other is not None else ""
        if self._other is not None and not own_target:  # the command's target was not checked: the other call's party was to be the target
            self._feed(ReferRefused(481, "the other call is over"))
            return
        target = own_target or self._preparation.refer_target(self._command)
        headers = {**(self._option.sip.headers if self._option.sip is not None else {}), **self._option.extra_headers}
        try:
            transferable(self._state.leg).refer(target, headers, is_own_call=bool(own_target))
        except ActiveCallError as error:
            self._feed(ReferRefused(503 if isinstance(error, LimitReached) else 400, str(error)))

    def _call_target(self) -> None:
        """Call the target. Its events count as long as it is the current far leg."""
        if self._other is not None:
            party = TargetCall(self._call, self._ports.bridging, self._other, lambda item: self._feed(item) if self._far is party else None)
            self._take(party)
            party.call()
            return
        option = self._preparation.option_for(self._command, self._option)
        try:
            leg = self._ports.network.new_leg(option, self._request)
        except ActiveCallError as error:
            self._call.emit(events.Error(sender="refer", error=str(error)))
            code = 503 if isinstance(error, LimitReached) else 403 if isinstance(error, NotAllowed) else 484
            self._feed(FarEnded(code, str(error)))
            return
        listener = TargetListener(
            feed=lambda item: self._feed(item) if self._far is far else None,
            held=lambda on_hold, is_silent: self.far_held(on_hold, is_silent) if self._far is far else None,
            digit=lambda digit: self.forward_digit(digit, from_far=True),
        )
        far = TargetLeg(self._ports, leg, self._option, listener)
        self._take(far)
        far.call(option, self._option.call_id or "")

    def _take(self, far: TransferTarget) -> None:
        self._far, self._far_is_silent = far, False
        self._records.add_target(far)
