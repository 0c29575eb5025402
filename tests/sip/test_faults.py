"""An error of ours ends the call in which it came up, and nothing else: in every alarm, answer of the resolver and failed transmit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from active_call.sip.events import CallEnded, IncomingCall, InternalFault, OutboundInvite, Target

RELIABLE = (("Require", "100rel"), ("Supported", "timer"), ("Session-Expires", "1800;refresher=uas"))


def ringing(bench: Any, wire: Any) -> str:
    bench.feed(wire.request("INVITE", call_id="ours", branch="z9hG4bKours", body=wire.OFFER, extra=RELIABLE))
    call = bench.of(IncomingCall)[-1].call
    bench.do(lambda now: bench.endpoint.ring(call, now))
    return str(call)


def answered(bench: Any, wire: Any) -> str:
    bench.feed(wire.request("INVITE", call_id="ours", branch="z9hG4bKours", body=wire.OFFER))
    call = bench.of(IncomingCall)[-1].call
    bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    return str(call)


def calling(bench: Any, wire: Any) -> str:
    handles: list[str] = []
    invite = OutboundInvite(to_uri="sip:+15550002@trunk.example", from_uri="sip:+15550001@us.example", sdp=wire.OFFER)
    bench.do(lambda now: handles.append(bench.endpoint.invite(invite, now)))
    return handles[0]


def moved(bench: Any, wire: Any) -> str:
    bench.resolves = False
    call = calling(bench, wire)
    (question,) = bench.endpoint.take_look_ups()
    places = tuple(Target("udp", f"192.0.2.{n}", 5060, name="trunk.example") for n in (1, 2, 3))
    bench.do(lambda now: bench.endpoint.handle_look_up(question.id, places, "", now))
    bench.advance(bench.config.next_hop_after_s + 0.1)
    assert {sent.transmit.destination.host for sent in bench.sent if sent.start.startswith("INVITE")} == {"192.0.2.1", "192.0.2.2"}
    return call


def cancelled(bench: Any, wire: Any) -> str:
    call = calling(bench, wire)
    bench.feed(wire.response(bench.sent[-1], 180))
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    return call


def connected(bench: Any, wire: Any) -> str:
    call = calling(bench, wire)
    extra = (("Session-Expires", "1800;refresher=uac"), ("Supported", "timer"))
    bench.feed(wire.response(bench.sent[-1], 200, body=wire.ANSWER, extra=extra))
    return call


def offering(bench: Any, wire: Any) -> str:
    call = connected(bench, wire)
    bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    return call


def colliding(bench: Any, wire: Any) -> str:
    call = offering(bench, wire)
    bench.feed(wire.response(bench.sent[-1], 491))
    return call


def transferring(bench: Any, wire: Any) -> str:
    call = connected(bench, wire)
    bench.do(lambda now: bench.endpoint.refer(call, "sip:+15550003@trunk.example", now))
    bench.feed(wire.response(bench.sent[-1], 202))
    return call


STATES = (ringing, answered, calling, moved, cancelled, connected, offering, colliding, transferring)


def fails(*_: object, **__: object) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_error_in_any_alarm_ends_the_call_that_has_set_it(wire: Any, state: Callable[[Any, Any], str]) -> None:
    n_alarms = index = 0
    while index <= n_alarms:
        bench = wire.Bench(may_fault=True)
        bench.feed(wire.request("INVITE", call_id="other", branch="z9hG4bKother", body=wire.OFFER))
        timers = bench.endpoint._core.layer.timers
        others = {id(entry[2]) for entry in timers._heap}
        call = state(bench, wire)
        alarms = [entry[2] for entry in sorted(timers._heap) if entry[2].action is not None and id(entry[2]) not in others]
        n_alarms = len(alarms) - 1
        alarms[index].action = fails
        for alarm in alarms:
            if alarm is not alarms[index]:
                timers.cancel(alarm)
        bench.advance(2000)
        (fault,) = bench.of(InternalFault)
        assert (fault.where, fault.call, type(fault.error)) == ("timer", call, ZeroDivisionError), index
        assert [(event.call, event.cause) for event in bench.of(CallEnded) if event.call == call] == [(call, "error")], index
        assert bench.endpoint.n_calls == 1, index
        index += 1
    assert n_alarms >= 0


def test_error_in_an_answer_of_the_resolver_ends_its_call(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = wire.Bench(may_fault=True)
    monkeypatch.setattr(bench.endpoint._core.layer.writer, "place", fails)
    call = calling(bench, wire)
    assert [(fault.where, fault.call) for fault in bench.of(InternalFault)] == [("look_up", call)]
    bench.advance(100)
    assert [(event.call, event.cause) for event in bench.of(CallEnded)] == [(call, "error")]


def test_error_after_a_failed_transmit_ends_its_call(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = wire.Bench(may_fault=True)
    call = calling(bench, wire)
    transmit = bench.sent[-1].transmit
    monkeypatch.setattr(type(bench.endpoint._calls.get(call)), "on_invite_failure", fails)
    bench.do(lambda now: bench.endpoint.handle_transport_error(transmit.id, "gone", now))
    assert next((fault.where, fault.call) for fault in bench.of(InternalFault)) == ("transport_error", call)
    bench.advance(100)
    assert [(event.call, event.cause) for event in bench.of(CallEnded)] == [(call, "error")]


def test_error_in_an_alarm_of_a_registration_or_of_a_call_that_is_over_is_told_alone(wire: Any) -> None:
    bench = wire.Bench(may_fault=True)
    call = connected(bench, wire)
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    timers = bench.endpoint._core.layer.timers
    for _, _, alarm in timers._heap:
        alarm.action = fails if alarm.action is not None else None
    bench.advance(100)
    assert {fault.call for fault in bench.of(InternalFault)} == {None}
    assert [event.cause for event in bench.of(CallEnded)] == ["local_bye"]
