"""A turn's latency, cut by who is waited for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from active_call.call.speech.latency import TurnClock
from active_call.call.speech.waterfall import Work, waits_between

OWNERS = ("turn", "recogniser", "model", "synthesiser", "web", "server")


def test_model_that_was_asked_before_the_end_of_the_turn_costs_only_what_is_left_of_it() -> None:
    clock = TurnClock()
    clock.caller_stopped(10.0)
    clock.mark("closed_at", 10.2)
    clock.mark("model_asked_at", 10.2)
    clock.mark("recognised_at", 10.25)
    clock.model_wrote(10.2, 10.4)
    clock.mark("decided_at", 10.35)
    clock.model_wrote(10.2, 10.5)
    clock.mark("synthesis_asked_at", 10.5)
    clock.mark("synthesised_at", 10.58)
    turn = clock.agent_voiced(10.6, "Hello.")
    assert turn is not None
    assert [(wait.owner, wait.start, wait.duration) for wait in turn.waits] == [
        ("turn", 0.0, 200.0),
        ("recogniser", 200.0, 50.0),
        ("turn", 250.0, 100.0),
        ("model", 350.0, 150.0),
        ("synthesiser", 500.0, 80.0),
        ("server", 580.0, 20.0),
    ]
    assert (turn.end_of_turn_wait, turn.recognition, turn.model, turn.synthesis, turn.added) == (300.0, 50.0, 150.0, 80.0, 20.0)
    assert turn.marks["firstToken"] == 400.0
    assert turn.marks["firstSentence"] == 500.0


def test_request_that_was_given_up_does_not_count() -> None:
    clock = TurnClock()
    clock.caller_stopped(10.0)
    clock.mark("model_asked_at", 10.2)
    clock.model_abandoned(10.2)
    clock.mark("model_asked_at", 10.6)
    clock.mark("decided_at", 10.6)
    clock.model_wrote(10.6, 10.7)
    turn = clock.agent_voiced(10.8, "Hello.")
    assert turn is not None
    assert (turn.marks["modelAsked"], turn.model) == (600.0, 100.0)


TIMES = st.none() | st.floats(0, 5)
SPANS = st.tuples(TIMES, TIMES)


@given(end=st.floats(0.1, 5), turn_ended_at=TIMES, spans=st.tuples(SPANS, SPANS, SPANS), web=st.lists(SPANS, max_size=3))
def test_waits_follow_each_other_without_a_gap_and_add_up(end, turn_ended_at, spans, web) -> None:
    waits = waits_between(0.0, end, Work(turn_ended_at, *spans, web))
    assert waits[0].start == 0
    assert abs(sum(wait.duration for wait in waits) - end * 1000) <= 0.1 * len(waits)
    for one, other in pairwise(waits):
        assert abs(one.start + one.duration - other.start) <= 0.21
        assert one.owner != other.owner
    assert {wait.owner for wait in waits} <= set(OWNERS)
