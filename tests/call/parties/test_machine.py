"""The machine of a call: its tables row by row, and its invariants over all pairs of states and inputs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from active_call.call.parties.attention import Attention, Claim, Music, Why
from active_call.call.parties.machine import CallMachine
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

INPUTS: list[AnyInput] = [
    *Input,
    Reject(486, "Busy Here"),
    Failed("no engine", 500),
    Hold(),
    Hold("inactive"),
    Hold("mute"),
    HoldNotAsked(True),
    HoldNotAsked(False),
    HoldAnswered(True, 200),
    HoldAnswered(False, 200),
    HoldAnswered(True, 500),
    HoldAnswered(False, 488),
    PeerHeld(True),
    PeerHeld(False),
    TransferBegins(),
    TransferBegins(hears=True),
]
STATES = [
    CallStates(is_inbound, stage, is_ending, talking_with, wants, by_us, by_peer)
    for is_inbound, stage, is_ending, talking_with, wants, by_us, by_peer in itertools.product(
        (True, False), Stage, (False, True), TalkingWith, (False, True), (False, True), (False, True)
    )
]


def machine_in(state: CallStates) -> CallMachine:
    machine = CallMachine(is_inbound=state.is_inbound)
    machine.now = state
    return machine


@pytest.mark.parametrize("item", INPUTS, ids=repr)
def test_any_input_in_any_state_refuses_and_changes_nothing_or_acts(item: AnyInput) -> None:
    for state in STATES:
        machine = machine_in(state)
        actions = machine.receive(item)
        refused = [action for action in actions if isinstance(action, Refuse)]
        if refused:
            assert actions == refused
            assert len(refused) == 1
            assert machine.now == state
        assert machine.now.is_inbound == state.is_inbound
        assert not (state.stage is Stage.ANSWERED and machine.now.stage is not Stage.ANSWERED)
        assert state.is_ending <= machine.now.is_ending or item in (Input.LEG_REPLACED, Input.NOT_REJECTED)
        if machine.now.talking_with is not state.talking_with:
            assert TalkingWith.AGENT in (state.talking_with, machine.now.talking_with) or item is Input.BRIDGE_JOINED
        assert sum(isinstance(action, RejectLeg | HangUp) for action in actions) <= 1
        assert _held(actions, state) == machine.now.is_on_hold


def _held(actions: list[Action], before: CallStates) -> bool:
    """Whether the claim of a hold stands after `actions`."""
    state = Attention((Claim(Why.HOLD),) if before.is_on_hold else ())
    for action in actions:
        if isinstance(action, Claim):
            state = state.with_claim(action)
        elif isinstance(action, Release):
            state = state.without(action.why)
    return state.has(Why.HOLD)


@given(st.booleans(), st.lists(st.sampled_from(INPUTS), max_size=40))
def test_claims_follow_the_company_along_any_path(is_inbound: bool, items: list[AnyInput]) -> None:
    machine, attention = CallMachine(is_inbound=is_inbound), Attention()
    for item in items:
        for action in machine.receive(item):
            if isinstance(action, Claim):
                attention = attention.with_claim(action)
            elif isinstance(action, Release):
                attention = attention.without(action.why)
        assert attention.has(Why.BRIDGE) == (machine.now.talking_with is TalkingWith.BRIDGED)
        assert attention.has(Why.TAKEOVER) == (machine.now.talking_with is TalkingWith.TAKEOVER)
        assert attention.has(Why.HOLD) == machine.now.is_on_hold


def answered(*, is_inbound: bool = True) -> CallMachine:
    return machine_in(CallStates(is_inbound, Stage.ANSWERED))


def test_inbound_call_is_accepted_once() -> None:
    machine = CallMachine(is_inbound=True)
    assert machine.receive(Input.BEGIN) == [Do.ASK_WHO_TAKES_IT]
    assert machine.receive(Input.ACCEPT) == [Do.FORGET_DEADLINE, Do.ANSWER]
    assert machine.receive(Input.ACCEPT) == [Refuse("the call is already being answered")]
    assert machine.receive(Input.DECIDED) == [Do.DROP_DECISION]
    assert machine.receive(Input.DECISION_DUE) == []
    assert machine.receive(Input.LEG_ANSWERED) == [Release(Why.RINGBACK), Release(Why.UNANSWERED)]
    assert machine.receive(Input.ACCEPT) == [Refuse("the call is already answered")]


def test_inbound_call_that_nobody_takes_is_a_408() -> None:
    machine = CallMachine(is_inbound=True, accept_timeout_s=30)
    machine.receive(Input.BEGIN)
    error = "nobody accepted the call within 30 s"
    assert machine.receive(Input.DECISION_DUE) == [Do.FORGET_DEADLINE, RejectLeg(408, "Request Timeout", error)]
    assert machine.receive(Input.DECISION_DUE) == []
    assert machine.receive(Input.DECIDED) == [Do.DROP_DECISION]


def test_reject_that_the_leg_cannot_carry_out_leaves_the_call_open() -> None:
    machine = CallMachine(is_inbound=True)
    machine.receive(Input.BEGIN)
    actions = machine.receive(Reject(200, ""))
    assert actions == [RejectLeg(200), Do.FORGET_DEADLINE, EmitEvent(events.Reject(code=200, reason=""))]
    assert machine.receive(Input.ACCEPT) == [Refuse("the call is over or ending")]
    machine.receive(Input.NOT_REJECTED)
    assert machine.receive(Input.ACCEPT) == [Do.FORGET_DEADLINE, Do.ANSWER]


def test_failure_refuses_an_inbound_call_and_hangs_up_any_other() -> None:
    told = EmitEvent(events.Error(sender="call", error="no engine", code=500))
    inbound, outbound = CallMachine(is_inbound=True), CallMachine(is_inbound=False)
    assert outbound.receive(Input.BEGIN) == [Do.DIAL]
    assert outbound.receive(Failed("no engine", 500)) == [told, HangUp("no engine")]
    assert inbound.receive(Failed("no engine", 500)) == [told, Do.FORGET_DEADLINE, RejectLeg(500, error="no engine")]
    assert inbound.receive(Failed("again", 500)) == [Do.DROP_FAILURE]


@pytest.mark.parametrize("item", [Input.ACCEPT, Input.RING, Reject(486, "")])
def test_outbound_call_cannot_be_accepted_refused_or_let_ring(item: AnyInput) -> None:
    assert CallMachine(is_inbound=False).receive(item) == [Refuse("only an inbound call can be accepted, rejected or ringing")]


def test_hold_is_told_when_the_peer_has_agreed_and_plays_music() -> None:
    machine = answered()
    assert machine.receive(Hold("sendonly", "m.wav")) == [HoldLeg(True)]
    assert not machine.now.is_on_hold
    told = EmitEvent(events.Hold(on_hold=True, initiator="system"))
    assert machine.receive(HoldAnswered(True, 200)) == [Claim(Why.HOLD_MUSIC, music=Music("m.wav")), Claim(Why.HOLD), told]
    assert machine.receive(Hold()) == [Refuse("the call is already on hold")]
    assert machine.receive(Input.UNHOLD) == [HoldLeg(False)]
    back = EmitEvent(events.Hold(on_hold=False, initiator="system"))
    assert machine.receive(HoldAnswered(False, 200)) == [Release(Why.HOLD_MUSIC), Release(Why.HOLD), back]


def test_hold_that_is_refused_may_be_tried_again() -> None:
    machine = answered()
    machine.receive(Hold("inactive"))
    (told,) = machine.receive(HoldAnswered(False, 488))
    assert told == EmitEvent(events.Error(sender="hold", error="the peer refuses to be put on hold (488)", code=488))
    assert machine.receive(Hold("inactive")) == [HoldLeg(True, inactive=True)]
    assert machine.receive(HoldAnswered(True, 200)) == [Claim(Why.HOLD), EmitEvent(events.Hold(on_hold=True, initiator="system"))]


def test_hold_by_both_sides_lasts_until_both_have_ended_it() -> None:
    machine = answered(is_inbound=False)
    machine.receive(Hold("inactive"))
    machine.receive(HoldAnswered(True, 200))
    assert machine.receive(PeerHeld(True)) == [Claim(Why.HOLD), EmitEvent(events.Hold(on_hold=True, initiator="callee"))]
    machine.receive(Input.UNHOLD)
    assert machine.receive(HoldAnswered(False, 200))[1] == Claim(Why.HOLD)
    assert machine.receive(PeerHeld(False))[0] == Release(Why.HOLD)


def test_leg_that_is_replaced_takes_its_holds_with_it() -> None:
    machine = machine_in(replace(answered().now, held_by_peer=True, is_ending=True))
    told = EmitEvent(events.Hold(on_hold=False, initiator="caller"))
    assert machine.receive(Input.LEG_REPLACED) == [Release(Why.HOLD_MUSIC), Release(Why.HOLD), told]
    assert machine.now == answered().now
    assert machine.receive(Input.LEG_REPLACED) == [Release(Why.HOLD_MUSIC)]


@pytest.mark.parametrize(
    ("talking_with", "blocked_by"),
    [
        (TalkingWith.JOINING, BlockedBy.BRIDGED),
        (TalkingWith.BRIDGED, BlockedBy.BRIDGED),
        (TalkingWith.TRANSFER, BlockedBy.TRANSFER),
        (TalkingWith.TAKEOVER, BlockedBy.TAKEOVER),
    ],
)
@pytest.mark.parametrize("item", [Input.BRIDGE_BEGINS, Input.TAKEOVER_BEGINS, TransferBegins()])
def test_caller_talks_with_one_party_at_a_time(talking_with: TalkingWith, blocked_by: BlockedBy, item: AnyInput) -> None:
    assert machine_in(replace(answered().now, talking_with=talking_with)).receive(item) == [Refuse(blocked_by)]
    assert CallMachine(is_inbound=True).receive(item) == [Refuse(BlockedBy.NOT_ANSWERED)]


def test_transfer_gives_the_caller_back_before_it_is_over() -> None:
    machine = answered()
    assert machine.receive(TransferBegins(hears=True)) == [Claim(Why.TRANSFER, hears=True)]
    assert machine.receive(Input.CALLER_RETURNED) == [Release(Why.TRANSFER)]
    assert machine.now.talking_with is TalkingWith.TRANSFER
    assert machine.receive(Input.TRANSFER_OVER) == []
    assert machine.receive(Input.TRANSFER_OVER) == []
    assert machine.receive(Input.BRIDGE_BEGINS) == []
    assert machine.receive(Input.BRIDGE_JOINED) == [Claim(Why.BRIDGE)]
    assert machine.receive(Input.BRIDGE_OVER) == [Release(Why.BRIDGE)]
