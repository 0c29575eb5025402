"""Carries out transfers: the states of `transfer` on one side, the legs, the music and the events of the call on the other.

`refer` commands and what happens on both legs enter; REFER, calls to the target, bridges and `transfer` events leave. One transfer at a
time. An attended one, to a party of another call of ours, asks the peer to take our place there (Replaces), or else bridges the two calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, assert_never

import msgspec

from active_call.base.errors import ActiveCallError, LimitReached, LocalProtocolError, NotAllowed
from active_call.call.bridging import check_free
from active_call.call.digits import send_digits, way_of
from active_call.call.options import merged
from active_call.call.state import Phase
from active_call.call.transfer.addressing import OwnCall, caller_for, credentials_for, dialable
from active_call.call.transfer.allowed_targets import author_texts, been_at, is_listed
from active_call.call.transfer.machine import (
    DEFAULT_TIMEOUT_S,
    CallerGone,
    Do,
    FarEnded,
    Input,
    Mode,
    ReferRefused,
    ReferTold,
    State,
    Tell,
    Transfer,
    Withdrawn,
)
from active_call.call.transfer.replaces import ReplacesExecutor
from active_call.call.transfer.target_call import TargetCall
from active_call.call.transfer.target_leg import TargetLeg
from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption, ReferOption
from active_call.legs.events import LegTransferProgress, LegTransferRequested
from active_call.legs.trunks.outbound_guard import ANYTHING, Asker, OutboundRequest

if TYPE_CHECKING:
    from active_call.call.call import Call
    from active_call.call.leg import Leg

SUSPENSION = "transfer"
MAX_ASKED_BY_PEER = 8
"""REFERs that are carried out for the peers of one call: who asks more often goes in circles."""


class TransferTarget(Protocol):
    """The target's side of a transfer that we make ourselves."""

    def listen(self) -> None: ...
    def join(self) -> None: ...
    def hang_up(self, *, cause: str = "hangup") -> None: ...
    def close(self) -> None: ...
    async def release(self) -> None: ...
    def facts(self) -> dict[str, Any]: ...
    def next_timeout(self) -> float | None: ...
    def handle_timeout(self, now: float) -> None: ...


class TransferExecutor:
    """The transfers of one call."""

    def __init__(self, session: Call) -> None:
        self._session = session
        self._current: Transfer | None = None
        self._option = ReferOption()
        self._command = commands.Refer(callee="")
        self._request = ANYTHING
        self._n_asked_by_peer = 0
        self._other: Call | None = None
        """The call of ours whose party is the target of an attended transfer."""
        self._far: TransferTarget | None = None
        self._takeover: ReplacesExecutor | None = None
        self._takeovers: list[ReplacesExecutor] = []
        self._has_talked = False
        self._records: list[tuple[dict[str, Any], list[TransferTarget]]] = []
        """Each transfer of the call, and the far legs that it had."""

    @property
    def is_under_way(self) -> bool:
        """Somebody else than the agent is with the caller, or about to be."""
        return self._current is not None or self._takeover is not None

    # -- commands

    def start(self, command: commands.Refer, *, asked_by: Asker = "api") -> None:
        """Begin a transfer. Raises LocalProtocolError while another one is under way, or for options that make no sense.

        Raises NotAllowed for a target that whoever asks may not have called.
        """
        self._check_free()
        option = merged(command.options or ReferOption(), self._session.option.refer or ReferOption())
        try:
            wire.check_command(command)
            mode, self._other = _mode_of(option), self._attended(option)
            request = ANYTHING if self._other is not None else self._checked(command.callee, asked_by)
        except (LocalProtocolError, NotAllowed, wire.ContractError) as error:
            code = 403 if isinstance(error, NotAllowed) else 400
            self._session.emit(events.Transfer(state="failed", target=command.callee, code=code, reason=str(error), returned=True))
            raise
        self._begin(command, option, mode, request)

    def requested(self, event: LegTransferRequested) -> None:
        """The peer asks us to go elsewhere (REFER): declined, unless the call's options say otherwise."""
        session, option = self._session, self._session.option.refer or ReferOption()
        session.emit(events.TransferRequest(refer_to=event.refer_to, referred_by=event.referred_by))
        try:
            self._check_free()
            is_welcome = option.on_request == "bridge"
            request = self._checked(event.refer_to, "peer") if is_welcome else ANYTHING
        except ActiveCallError as error:
            session.log.info("transfer of the peer declined", extra={"why": str(error)})
            is_welcome, request = False, ANYTHING
        session.leg.answer_transfer(is_welcome)
        if is_welcome:
            self._other = None
            command = commands.Refer(callee=event.refer_to)
            self._begin(command, msgspec.structs.replace(option, call_id=None), Mode.BRIDGE, request)

    def taken_over(self, leg: Leg) -> None:
        """A new leg wants to take the place of ours (Replaces); refused where the caller is not the agent's alone."""
        try:
            self._check_free()
        except LocalProtocolError as error:
            self._session.log.info("call not taken over", extra={"why": str(error)})
            leg.reject(486, "Busy Here")
            return
        record: dict[str, Any] = {}
        self._records.append((record, []))
        self._takeover = ReplacesExecutor(self._session, leg, record)
        self._takeovers.append(self._takeover)
        self._takeover.begin()

    def end_takeover(self) -> None:
        """It has come about, or not; a call whose own leg has ended meanwhile, with nobody in its place, is over."""
        self._takeover = None
        self._session.end_if_gone()

    def _check_free(self) -> None:
        """Raise LocalProtocolError where the caller is not the agent's alone."""
        if self._session.facts.phase is not Phase.ANSWERED:
            raise LocalProtocolError("the call is not answered")
        if self._current is not None:
            raise LocalProtocolError(f"a transfer to {self._command.callee!r} is under way")
        if self._takeover is not None:
            raise LocalProtocolError("the call is being taken over")
        if self._session.bridging.current is not None:
            raise LocalProtocolError("the call is bridged")

    def _checked(self, target: str, asked_by: Asker) -> OutboundRequest:
        """Who wants `target` called, once it is clear that they may. Raises NotAllowed."""
        session, own = self._session, self._own_call()
        if asked_by == "peer":
            self._n_asked_by_peer += 1
            if self._n_asked_by_peer > MAX_ASKED_BY_PEER:
                raise NotAllowed(f"the peer has asked for {self._n_asked_by_peer} transfers in one call", rule="outbound_loop")
        allowed = (session.option.refer or ReferOption()).allow or ()
        request = OutboundRequest(
            asked_by,
            trunk=session.leg.trunk,
            peer=session.leg.peer_address,
            is_listed=is_listed(target, own, allowed, author_texts(session.playbook, session.given_texts) if asked_by == "agent" else ""),
            been_at=been_at(session.leg.headers) if asked_by == "peer" else (),
        )
        try:
            session.check_outbound(dialable(target, own), request)
        except NotAllowed:
            raise
        except ActiveCallError:
            if asked_by == "peer":
                raise  # no address; any other transfer finds out when it is made
        return request

    def _begin(self, command: commands.Refer, option: ReferOption, mode: Mode, request: OutboundRequest) -> None:
        session, asked_by_peer = self._session, request.by == "peer"
        self._command, self._option, self._request, self._has_talked = command, option, request, False
        self._current = Transfer(
            mode,
            timeout_s=float(option.timeout or DEFAULT_TIMEOUT_S),
            auto_hangup=bool(option.auto_hangup),
            asked_by_peer=asked_by_peer,
        )
        self._records.append(({"target": command.callee, "startTime": session.utc_now().isoformat()}, []))
        session.presence.step_aside(SUSPENSION, hears=option.pause_parent_asr is False)
        self._current.begin(session.now(), can_refer=self._can_refer())
        self._carry_out()

    def withdraw(self) -> None:
        """End the target's side only (`hangup` with `refer`). Raises LocalProtocolError when there is none."""
        if self._current is None or not self._current.has_far_leg:
            raise LocalProtocolError("there is no far leg to hang up")
        self._feed(Withdrawn())

    def send_message(self, command: commands.Message) -> None:
        """Send a text to the target. Raises LocalProtocolError when there is no far leg."""
        if not isinstance(self._far, TargetLeg):
            raise LocalProtocolError("there is no far leg to send a message to")
        self._far.send_message(command)

    # -- what happens

    def progress(self, report: LegTransferProgress) -> None:
        """The peer has told how a REFER goes."""
        told = ReferTold(report.code, report.reason, report.final)
        self._feed(ReferRefused(report.code, report.reason) if report.refused else told)

    def caller_gone(self) -> bool:
        """The caller's own call is over; whether the call goes on, or may go on, with the target."""
        before = self._session.leg
        self._feed(CallerGone())
        return self._session.leg is not before or self.is_alone or self._takeover is not None

    @property
    def is_alone(self) -> bool:
        """The peer's call is over; that to the target, which is to take its place, is not answered yet."""
        return self._current is not None and self._current.is_alone

    def next_timeout(self) -> float | None:
        times = [self._current.next_timeout() if self._current is not None else None]
        times.append(self._far.next_timeout() if self._far is not None else None)
        return min((at for at in times if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        if self._far is not None:
            self._far.handle_timeout(now)
        if self._current is not None:
            self._current.handle_timeout(now)
            self._carry_out()

    def forward_digit(self, digit: str, *, from_far: bool) -> None:
        """A digit of one side, to be sent on to the other where that was asked for."""
        if not self._option.forward_dtmf or not isinstance(self._far, TargetLeg) or not self._is_connected:
            return
        leg = self._session.leg if from_far else self._far.leg
        try:
            send_digits(leg, digit, way_of(leg, None))
        except ActiveCallError as error:
            self._session.log.info("digit not forwarded", extra={"why": str(error)})

    def caller_held(self, on_hold: bool, *, is_silent: bool) -> None:
        """The caller has put us on hold: who talks with it hears music, unless the caller plays some."""
        if isinstance(self._far, TargetLeg):
            if on_hold and is_silent and self._is_connected:
                self._far.music.start("held", self._option.moh)
            else:
                self._far.music.stop("held")

    def far_held(self, on_hold: bool, *, is_silent: bool) -> None:
        """The target has put the caller on hold."""
        if on_hold and is_silent and self._is_connected:
            self._session.music.start("held", self._option.moh)
        else:
            self._session.music.stop("held")

    async def close(self) -> None:
        """The caller's call is over, and with it every far leg."""
        for takeover in self._takeovers:
            takeover.close()
            await takeover.release()
        is_asked_by_peer = self._current is not None and self._current.asked_by_peer
        self._feed(Withdrawn() if is_asked_by_peer else CallerGone())
        for _, legs in self._records:
            for far in legs:
                far.close()
        for _, legs in self._records:
            for far in legs:
                await far.release()

    def records(self) -> list[dict[str, Any]]:
        """The transfers of the call, for its record."""
        return [{**record, "farLegs": [far.facts() for far in legs]} if legs else record for record, legs in self._records]

    # -- carrying out

    @property
    def _is_connected(self) -> bool:
        return self._current is not None and self._current.state is State.CONNECTED

    def _feed(self, item: Input) -> None:
        if self._current is not None:
            self._current.receive(item, self._session.now())
            self._carry_out()

    def _carry_out(self) -> None:
        current = self._current
        while current is not None and self._current is current and (actions := current.take_actions()):
            for action in actions:
                if isinstance(action, Tell):
                    self._tell(action)
                else:
                    self._do(action)

    def _tell(self, told: Tell) -> None:
        session, by_peer = self._session, self._current is not None and self._current.asked_by_peer
        if told.state == "connected":
            self._has_talked = True
        self._note(told)
        if by_peer:
            self._notify(told)
        if told.final:
            self._current = None
            session.music.stop("held")
        if told.final or told.state == "connected":
            fields = {
                **session.journal.who(),
                "state": told.state,
                "target": self._command.callee,
                "code": told.code or None,
                "reason": told.reason,
            }
            session.log.info("transfer", extra={**fields, "returned": told.returned if told.final else None})
        session.emit(
            events.Transfer(
                state=told.state,
                target=self._command.callee,
                code=told.code or None,
                reason=told.reason or None,
                returned=told.returned if told.final else None,
                initiator=session.peer_role if by_peer else None,
            )
        )

    def _notify(self, told: Tell) -> None:
        """To the peer that has asked for it; its subscription ends when the target has answered, or cannot."""
        leg = self._session.leg
        if told.state == "progress":
            leg.notify_transfer(told.code, "Ringing" if told.code == 180 else "Session Progress", final=False)
        elif told.state == "connected":
            leg.notify_transfer(200, "OK", final=True)
        elif told.state in ("failed", "cancelled"):
            leg.notify_transfer(told.code if told.code >= 300 else 500, "Transfer Failed", final=True)

    def _note(self, told: Tell) -> None:
        """Into the record."""
        (record, _), now = self._records[-1], self._session.utc_now()
        if told.state == "connected":
            record["connectTime"] = now.isoformat()
        if told.final:
            record |= {"state": told.state, "code": told.code or None, "reason": told.reason or None, "endTime": now.isoformat()}

    def _do(self, action: Do) -> None:
        session, far = self._session, self._far
        match action:
            case Do.REFER:
                self._refer()
            case Do.CALL:
                self._call()
            case Do.MUSIC:
                session.music.start(SUSPENSION, self._option.moh)
            case Do.SILENCE:
                session.music.stop(SUSPENSION)
            case Do.LISTEN:
                if far is not None:
                    far.listen()
            case Do.JOIN:
                if far is not None:
                    far.join()
            case Do.END_FAR:
                self._far = None
                if far is not None:
                    far.hang_up(cause="cancelled")
            case Do.HANG_UP:
                if self._has_talked:
                    session.hang_up(by="callee", cause="far_hangup")
                else:
                    session.hang_up(by="agent", cause="transferred")
            case Do.RETURN:
                self._far = None
                session.presence.step_back(SUSPENSION)
            case Do.ADOPT:
                self._far = None
                if isinstance(far, TargetLeg):
                    session.adopt(far.give_away())
                session.presence.step_back(SUSPENSION)
            case Do.END:
                self._far = None
                session.end_if_gone()
            case _:
                assert_never(action)

    def _refer(self) -> None:
        target, own_target = self._command.callee, self._other.leg.attended_target if self._other is not None else ""
        headers = self._option.sip.headers if self._option.sip is not None else {}
        try:
            self._session.leg.refer(own_target or target, headers, is_own_call=bool(own_target))
        except ActiveCallError as error:
            self._feed(ReferRefused(503 if isinstance(error, LimitReached) else 400, str(error)))

    def _can_refer(self) -> bool:
        leg = self._session.leg
        return leg.kind == "sip" and leg.allows("REFER") and (self._other is None or bool(self._other.leg.attended_target))

    def _call(self) -> None:
        """Call the target. What is heard of it counts as long as it is the current far leg."""
        session = self._session
        if self._other is not None:
            party = TargetCall(session, self._other, lambda item: self._feed(item) if self._far is party else None)
            self._take(party)
            party.call()
            return
        option = self._far_option()
        try:
            leg = session.new_leg(option, self._request)
        except ActiveCallError as error:
            session.emit(events.Error(sender="refer", error=str(error)))
            code = 503 if isinstance(error, LimitReached) else 403 if isinstance(error, NotAllowed) else 484
            self._feed(FarEnded(code, str(error)))
            return
        far = TargetLeg(session, leg, self._option, lambda item: self._feed(item) if self._far is far else None)
        self._take(far)
        far.call(option, self._option.call_id or "")

    def _take(self, far: TransferTarget) -> None:
        self._far = far
        self._records[-1][1].append(far)

    def _far_option(self) -> CallOption:
        command, own = self._command, self._own_call()
        callee = dialable(command.callee, own)
        return CallOption(
            callee=callee,
            caller=caller_for(own, command.caller),
            sip=credentials_for(self._option.sip, callee, own),
            handshake_timeout=(self._option.timeout or int(DEFAULT_TIMEOUT_S)) + 5,
            rtp_timeout=self._session.option.rtp_timeout,
        )

    def _own_call(self) -> OwnCall:
        session = self._session
        return OwnCall(session.facts.direction, session.leg.caller, session.leg.callee, session.option.sip, session.way_out)

    def _attended(self, option: ReferOption) -> Call | None:
        """The call of ours that `callId` names. Raises LocalProtocolError when it cannot be bridged."""
        other = self._session.find_call(option.call_id) if option.call_id else None
        if other is not None:
            check_free(other)
        return other if other is not self._session else None


def _mode_of(option: ReferOption) -> Mode:
    try:
        return Mode(option.mode or Mode.AUTO)
    except ValueError:
        raise LocalProtocolError(f"a transfer cannot be made by {option.mode!r}; expected {', '.join(Mode)}") from None
