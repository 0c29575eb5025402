"""The state machine of a call: its set-up, who talks with the caller, and holds. Pure: inputs enter, actions leave.

Three independent regions, and `is_ending`:

    stage     NEW ──> DECIDING ──accept──> ANSWERING ──leg answered──> ANSWERED          (inbound)
              NEW ──> DIALLING ────────────────────────leg answered──> ANSWERED          (outbound)
    talking   AGENT ──> JOINING ──joined──> BRIDGED ──ended──> AGENT
              AGENT ──> TRANSFER ──over──> AGENT          AGENT ──> TAKEOVER ──over──> AGENT
    hold      by us (requested, accepted), by the peer

| stage     | accept           | reject        | ring    | decision  | time          | failed          | leg answered |
|-----------|------------------|---------------|---------|-----------|---------------|-----------------|--------------|
| NEW       | ANSWERING        | ending        | ring    | carry out | -             | reject, ending  | ANSWERED     |
| DECIDING  | ANSWERING        | ending        | ring    | carry out | 408, ending   | reject, ending  | ANSWERED     |
| ANSWERING | refused          | ending        | ring    | too late  | -             | reject, ending  | ANSWERED     |
| DIALLING  | refused          | refused       | refused | too late  | -             | hang up         | ANSWERED     |
| ANSWERED  | refused          | refused       | refused | too late  | -             | hang up         | -            |
| ending    | refused          | refused       | refused | too late  | -             | -               | as above     |

| talking   | bridge, transfer or takeover begins   | joined  | bridge over | transfer over | takeover over |
|-----------|---------------------------------------|---------|-------------|---------------|---------------|
| AGENT     | JOINING, TRANSFER, TAKEOVER; refused before the answer | - | -       | -             | -             |
| JOINING   | refused                               | BRIDGED | AGENT       | -             | -             |
| BRIDGED   | refused                               | -       | AGENT       | -             | -             |
| TRANSFER  | refused                               | -       | -           | AGENT         | -             |
| TAKEOVER  | refused                               | -       | -           | -             | AGENT         |

Our hold takes effect, and is reported, only when the peer has accepted it. During a hold playback is paused. A refused input changes
nothing: the only action is `Refuse`.
"""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from active_call.call.parties.attention import Claim, Music, Why
from active_call.call.parties.machine_types import (
    Action,
    AnyInput,
    BlockedBy,
    CallStates,
    Do,
    EmitEvent,
    Failed,
    HangUp,
    Hold,
    HoldAnswered,
    HoldLeg,
    HoldNotAsked,
    Input,
    PeerHeld,
    Refuse,
    Reject,
    RejectLeg,
    Release,
    Stage,
    TalkingWith,
    TransferBegins,
)
from active_call.contract import events
from active_call.contract.bounds import HOLD_MODES

NO_ANSWER = 408
TIMEOUT_REASON = "Request Timeout"


class CallMachine:
    """One call. Pass inputs to `receive`, and execute the returned actions in order."""

    def __init__(self, *, is_inbound: bool, accept_timeout_s: float = 60.0) -> None:
        self.now = CallStates(is_inbound)
        self._accept_timeout_s = accept_timeout_s
        self._hold_music: Music | None = None
        """The sound of the requested hold."""

    def receive(self, item: AnyInput) -> list[Action]:
        """The actions for an input. An input that does not apply to the state changes nothing."""
        match item:
            case Input():
                return self._on_plain(item)
            case Reject(code, reason):
                return self._on_reject(code, reason)
            case Failed(reason, code):
                return self._on_failed(reason, code)
            case Hold(mode, moh):
                return self._on_hold(mode, moh)
            case HoldNotAsked(on_hold):
                self._become(wants_hold=not on_hold)
                return []
            case HoldAnswered(on_hold, code):
                return self._on_hold_answered(on_hold, code)
            case PeerHeld(on_hold):
                return self._on_peer_held(on_hold)
            case TransferBegins(hears):
                return self._begin(TalkingWith.TRANSFER, Claim(Why.TRANSFER, hears))
            case _:
                assert_never(item)

    def _become(self, **changed: object) -> None:
        self.now = replace(self.now, **changed)

    def _on_plain(self, item: Input) -> list[Action]:
        match item:
            case Input.BEGIN:
                return self._on_begin()
            case Input.ACCEPT:
                return self._on_accept()
            case Input.RING:
                return self._unless_settled([Do.RING])
            case Input.DECIDED:
                is_open = self.now.stage in (Stage.NEW, Stage.DECIDING) and not self.now.is_ending
                return [Do.CARRY_OUT_DECISION if is_open else Do.DROP_DECISION]
            case Input.DECISION_DUE:
                return self._on_decision_due()
            case Input.LEG_ANSWERED:
                return self._on_leg_answered()
            case Input.ENDING:
                self._become(is_ending=True)
                return []
            case Input.NOT_REJECTED:
                self._become(is_ending=False)
                return []
            case Input.UNHOLD:
                return self._on_unhold()
            case Input.LEG_REPLACED:
                return self._on_leg_replaced()
            case _:
                return self._on_talking_with(item)

    # -- set-up

    def _on_begin(self) -> list[Action]:
        if self.now.stage is not Stage.NEW:
            return []
        if not self.now.is_inbound:
            self._become(stage=Stage.DIALLING)
            return [Do.DIAL]
        self._become(stage=Stage.DECIDING)
        return [Do.ASK_WHO_TAKES_IT]

    def _unless_settled(self, actions: list[Action]) -> list[Action]:
        """`actions` if this is an inbound call that is neither answered nor ended."""
        if not self.now.is_inbound:
            return [Refuse("only an inbound call can be accepted, rejected or ringing")]
        if self.now.is_ending:
            return [Refuse("the call is over or ending")]
        if self.now.stage is Stage.ANSWERED:
            return [Refuse("the call is already answered")]
        return actions

    def _on_accept(self) -> list[Action]:
        refused = self._unless_settled([])
        if refused:
            return refused
        if self.now.stage is Stage.ANSWERING:
            return [Refuse("the call is already being answered")]
        self._become(stage=Stage.ANSWERING)
        return [Do.FORGET_DEADLINE, Do.ANSWER]

    def _on_reject(self, code: int, reason: str) -> list[Action]:
        actions = self._unless_settled([RejectLeg(code, reason), Do.FORGET_DEADLINE, EmitEvent(events.Reject(code=code, reason=reason))])
        if not isinstance(actions[0], Refuse):
            self._become(is_ending=True)
        return actions

    def _on_decision_due(self) -> list[Action]:
        if self.now.stage is not Stage.DECIDING or self.now.is_ending:
            return []
        self._become(is_ending=True)
        error = f"nobody accepted the call within {self._accept_timeout_s:g} s"
        return [Do.FORGET_DEADLINE, RejectLeg(NO_ANSWER, TIMEOUT_REASON, error)]

    def _on_failed(self, reason: str, code: int) -> list[Action]:
        if self.now.is_ending:
            return [Do.DROP_FAILURE]
        told = EmitEvent(events.Error(sender="call", error=reason, code=code))
        if self.now.stage is Stage.ANSWERED or not self.now.is_inbound:
            return [told, HangUp(reason)]
        self._become(is_ending=True)
        return [told, Do.FORGET_DEADLINE, RejectLeg(code, error=reason)]

    def _on_leg_answered(self) -> list[Action]:
        self._become(stage=Stage.ANSWERED)
        return [Release(Why.RINGBACK), Release(Why.UNANSWERED)]

    # -- hold

    def _on_hold(self, mode: str, moh: str | None) -> list[Action]:
        if mode not in HOLD_MODES:
            return [Refuse(f"unknown mode {mode!r}; expected {', '.join(HOLD_MODES)}")]
        if self.now.stage is not Stage.ANSWERED:
            return [Refuse(BlockedBy.NOT_ANSWERED)]
        if self.now.wants_hold:
            return [Refuse("the call is already on hold")]
        self._become(wants_hold=True)
        self._hold_music = Music(moh) if mode == "sendonly" else None
        return [HoldLeg(True, inactive=mode == "inactive")]

    def _on_unhold(self) -> list[Action]:
        if not self.now.wants_hold:
            return [Refuse("this server has not put the call on hold")]
        self._become(wants_hold=False)
        return [HoldLeg(False)]

    def _on_hold_answered(self, on_hold: bool, code: int) -> list[Action]:
        actions: list[Action] = []
        if code >= 300:
            self._become(wants_hold=on_hold)
            state = "taken back from hold" if on_hold else "put on hold"
            actions.append(EmitEvent(events.Error(sender="hold", error=f"the peer refuses to be {state} ({code})", code=code)))
        if on_hold == self.now.held_by_us:
            return actions
        self._become(held_by_us=on_hold)
        if not on_hold:
            actions.append(Release(Why.HOLD_MUSIC))
        elif self._hold_music is not None:
            actions.append(Claim(Why.HOLD_MUSIC, music=self._hold_music))
        return [*actions, self._hold_claim(), EmitEvent(events.Hold(on_hold=on_hold, initiator="system"))]

    def _on_peer_held(self, on_hold: bool) -> list[Action]:
        if on_hold == self.now.held_by_peer:
            return []
        self._become(held_by_peer=on_hold)
        return [self._hold_claim(), EmitEvent(events.Hold(on_hold=on_hold, initiator=self.now.peer_role))]

    def _hold_claim(self) -> Action:
        return Claim(Why.HOLD) if self.now.is_on_hold else Release(Why.HOLD)

    def _on_leg_replaced(self) -> list[Action]:
        before = self.now
        self._become(wants_hold=False, held_by_us=False, held_by_peer=False, is_ending=False)
        actions: list[Action] = [Release(Why.HOLD_MUSIC)]
        if before.wants_hold != before.held_by_us:
            actions.append(EmitEvent(events.Error(sender="hold", error="the call now uses another leg")))
        if before.is_on_hold:
            initiator = before.peer_role if before.held_by_peer else "system"
            actions += [Release(Why.HOLD), EmitEvent(events.Hold(on_hold=False, initiator=initiator))]
        return actions

    # -- who talks with the caller

    def _begin(self, talking_with: TalkingWith, *claims: Claim) -> list[Action]:
        blocked_by = self.now.blocked_by
        if blocked_by is not None:
            return [Refuse(blocked_by)]
        self._become(talking_with=talking_with)
        return list(claims)

    def _on_talking_with(self, item: Input) -> list[Action]:
        talking_with = self.now.talking_with
        match item, talking_with:
            case Input.BRIDGE_BEGINS, _:
                return self._begin(TalkingWith.JOINING)
            case Input.TAKEOVER_BEGINS, _:
                return self._begin(TalkingWith.TAKEOVER, Claim(Why.TAKEOVER))
            case Input.BRIDGE_JOINED, TalkingWith.JOINING:
                self._become(talking_with=TalkingWith.BRIDGED)
                return [Claim(Why.BRIDGE)]
            case Input.CALLER_RETURNED, TalkingWith.TRANSFER:
                return [Release(Why.TRANSFER)]
            case Input.BRIDGE_OVER, TalkingWith.JOINING | TalkingWith.BRIDGED:
                self._become(talking_with=TalkingWith.AGENT)
                return [Release(Why.BRIDGE)]
            case Input.TRANSFER_OVER, TalkingWith.TRANSFER:
                self._become(talking_with=TalkingWith.AGENT)
                return []
            case Input.TAKEOVER_OVER, TalkingWith.TAKEOVER:
                self._become(talking_with=TalkingWith.AGENT)
                return [Release(Why.TAKEOVER)]
            case _:
                return []
