"""Every state of the INVITE usage, its timers and transfers, met by every input: what `history.Story.assert_over` says must hold.

The states are reached by a short history each; then comes one input, then the leg lets go, the peer falls silent and time runs out. Where
the input is a timer, time passes instead. `test_invite_property` goes further from there, at random.
"""

from __future__ import annotations

import pytest
from history import BREAKS, CODES, LEG_STEPS, PEER_REQUESTS, WAITS, Story

from active_call.sip.dialog.usage import CallState

Step = tuple[str, str | int | float, int | bool]
ANSWERED: tuple[Step, ...] = (("leg", "answer", False),)
ACTIVE: tuple[Step, ...] = (*ANSWERED, ("peer", "ACK", 0))
PLACED: tuple[Step, ...] = (("reply", 200, 1),)

INPUTS: list[Step] = [
    *(("leg", what, flag) for what in LEG_STEPS for flag in (False, True)),
    *(("peer", what, ahead) for what in PEER_REQUESTS for ahead in (-1, 0, 1)),
    *(("reply", code, back) for code in CODES for back in (1, 2)),
    *(("wait", seconds, 0) for seconds in WAITS),
    *(("break", what, number) for what in BREAKS for number in (1, 2)),
]

# name: (the peer called, with a description, requires and times everything, steps, the call's state then)
STATES: dict[str, tuple[bool, bool, bool, tuple[Step, ...], CallState | None]] = {
    "offered": (True, True, False, (), CallState.OFFERED),
    "offered without a description": (True, False, False, (), CallState.OFFERED),
    "ringing": (True, True, False, (("leg", "ring", False),), CallState.OFFERED),
    "ringing, its PRACK due": (True, True, True, (("leg", "ring", False),), CallState.OFFERED),
    "early media, its PRACK due": (True, True, True, (("leg", "early media", False),), CallState.OFFERED),
    "two reliable responses, one waits": (True, True, True, (("leg", "ring", False), ("leg", "early media", False)), CallState.OFFERED),
    "answer waits for a PRACK": (True, True, True, (("leg", "early media", False), *ANSWERED), CallState.ANSWERED),
    "early offer, its PRACK due": (True, False, True, (("leg", "early media", False),), CallState.OFFERED),
    "PRACK with an offer is open": (True, True, True, (("leg", "early media", False), ("peer", "PRACK sdp", 1)), CallState.OFFERED),
    "answered": (True, True, False, ANSWERED, CallState.ANSWERED),
    "answered, to be hung up": (True, True, False, (*ANSWERED, ("leg", "hang up", False)), CallState.ANSWERED),
    "active": (True, True, False, ACTIVE, CallState.ACTIVE),
    "active with a session timer that they keep": (
        True,
        True,
        True,
        (*ANSWERED, ("peer", "ACK", 0), ("peer", "UPDATE", 1)),
        CallState.ACTIVE,
    ),
    "active with a session timer that we keep": (True, True, True, ACTIVE, CallState.ACTIVE),
    "our refresh is out": (True, True, True, (*ACTIVE, ("wait", 46.0, 0)), CallState.ACTIVE),
    "our offer is out": (True, True, False, (*ACTIVE, ("leg", "offer", False)), CallState.ACTIVE),
    "our offer has rung": (True, True, False, (*ACTIVE, ("leg", "offer", False), ("reply", 180, 1)), CallState.ACTIVE),
    "our offer waits after a 491": (True, True, False, (*ACTIVE, ("leg", "offer", False), ("reply", 491, 1)), CallState.ACTIVE),
    "we have asked for an offer": (True, True, False, (*ACTIVE, ("leg", "ask", False)), CallState.ACTIVE),
    "their offer by INVITE is open": (True, True, False, (*ACTIVE, ("peer", "INVITE sdp", 1)), CallState.ACTIVE),
    "their offer by UPDATE is open": (True, True, False, (*ACTIVE, ("peer", "UPDATE sdp", 1)), CallState.ACTIVE),
    "they ask for an offer": (True, True, False, (*ACTIVE, ("peer", "INVITE", 1)), CallState.ACTIVE),
    "their offer is answered, its ACK due": (
        True,
        True,
        False,
        (*ACTIVE, ("peer", "INVITE sdp", 1), ("leg", "answer offer", False)),
        CallState.ACTIVE,
    ),
    "our INFO is out": (True, True, False, (*ACTIVE, ("leg", "info", False)), CallState.ACTIVE),
    "their INFO is open": (True, True, False, (*ACTIVE, ("peer", "INFO", 1)), CallState.ACTIVE),
    "our REFER is out": (True, True, False, (*ACTIVE, ("leg", "refer", False)), CallState.ACTIVE),
    "our REFER is accepted": (True, True, True, (*ACTIVE, ("leg", "refer", False), ("reply", 202, 1)), CallState.ACTIVE),
    "their REFER is open": (True, True, True, (*ACTIVE, ("peer", "REFER", 1)), CallState.ACTIVE),
    "their REFER is accepted": (True, True, True, (*ACTIVE, ("peer", "REFER", 1), ("leg", "answer refer", True)), CallState.ACTIVE),
    "hung up by us": (True, True, False, (*ACTIVE, ("leg", "hang up", False)), None),
    "hung up by them": (True, True, False, (*ACTIVE, ("peer", "BYE", 1)), None),
    "cancelled by them": (True, True, False, (("peer", "CANCEL", 0),), None),
    "rejected by us": (True, True, False, (("leg", "reject", False),), None),
    "calling": (False, True, False, (), CallState.CALLING),
    "calling without a description": (False, False, False, (), CallState.CALLING),
    "trying": (False, True, False, (("reply", 100, 1),), CallState.CALLING),
    "their phone rings": (False, True, False, (("reply", 180, 1),), CallState.CALLING),
    "two early dialogs": (False, True, False, (("reply", 183, 1), ("reply", 180, 1)), CallState.CALLING),
    "reliable progress, our PRACK out": (False, True, True, (("reply", 183, 1),), CallState.CALLING),
    "reliable progress with an offer": (False, False, True, (("reply", 183, 1),), CallState.CALLING),
    "challenged": (False, True, False, (("reply", 401, 1),), CallState.CALLING),
    "interval raised": (False, True, False, (("reply", 422, 1),), CallState.CALLING),
    "given up before anything came": (False, True, False, (("leg", "hang up", False),), CallState.CANCELLING),
    "given up while it rang": (False, True, False, (("reply", 180, 1), ("leg", "hang up", False)), CallState.CANCELLING),
    "answered by them": (False, True, False, PLACED, CallState.ACTIVE),
    "answered by them with an offer": (False, False, False, PLACED, CallState.ACTIVE),
    "answered by them with a session timer": (False, True, True, PLACED, CallState.ACTIVE),
    "refused by them": (False, True, False, (("reply", 404, 1),), None),
}


def story_in(wire: type, state: str, flow: object) -> Story:
    inbound, sdp, rich, steps, _ = STATES[state]
    story = Story(wire, flow, inbound=inbound, sdp=sdp, rich=rich)
    for step in steps:
        story.tell(*step)
    return story


@pytest.mark.parametrize("state", STATES)
def test_state_is_reached_by_its_steps(wire, state):  # type: ignore[no-untyped-def]
    story = story_in(wire, state, wire.UDP)
    call = story.bench.endpoint._calls.get(story.call)
    assert (None if call is None else call.state) == STATES[state][4]


@pytest.mark.parametrize("stream", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("state", STATES)
def test_any_input_in_any_state_ends_in_one_end_and_nothing_left(wire, state, stream):  # type: ignore[no-untyped-def]
    for step in INPUTS:
        story = story_in(wire, state, wire.TCP if stream else wire.UDP)
        try:
            story.tell(*step)
            story.finish()
            story.assert_over()
        except Exception as error:
            raise AssertionError(f"{state}, then {step}") from error
