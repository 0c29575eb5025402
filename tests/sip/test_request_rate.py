"""A peer that floods its own call with requests: a limited number a second is handled, and the call goes on."""

from __future__ import annotations

import pytest

from active_call.sip.events import CallEnded, IncomingCall, MessageDropped, RequestReceived


def answered(wire, flow):
    """A call over `flow`, and the To of its dialog."""
    bench = wire.Bench(flow=flow)
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    (ok,) = bench.do(lambda now: bench.endpoint.answer(bench.of(IncomingCall)[0].call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To")))
    return bench, ok.get("To")


def flood(bench, wire, to, method, n_requests, first=200):
    return [
        message.code
        for cseq in range(first, first + n_requests)
        for message in bench.feed(wire.request(method, branch=f"z9hG4bK{cseq}", cseq=cseq, to=to))
    ]


def n_dropped(bench):
    return sum(event.why == "request_rate" for event in bench.of(MessageDropped))


@pytest.mark.parametrize("method", ["INFO", "MESSAGE", "OPTIONS", "UPDATE", "NOTIFY", "PRACK", "REFER"])
def test_flood_over_udp_is_handled_in_part_and_the_rest_left_to_its_repetition(wire, method):
    bench, to = answered(wire, wire.UDP)
    flood(bench, wire, to, method, 300)
    assert len(bench.of(RequestReceived)) <= 50
    assert bench.endpoint.n_transactions <= 52
    assert n_dropped(bench) == 250
    bench.now += 1.0
    flood(bench, wire, to, method, 1, first=499)
    assert n_dropped(bench) == 250, "a repetition a second later is handled"


def test_request_beyond_the_limit_on_a_stream_is_refused_because_nobody_repeats_it(wire):
    bench, to = answered(wire, wire.TCP)
    codes = flood(bench, wire, to, "INFO", 60)
    assert codes == [503] * 10
    assert bench.sent[-1].get("Retry-After") == "1"


def test_call_that_is_flooded_can_be_ended(wire):
    bench, to = answered(wire, wire.UDP)
    flood(bench, wire, to, "INFO", 60)
    sent = bench.feed(wire.request("BYE", branch="z9hG4bKbye", cseq=900, to=to))
    assert [message.code for message in sent if message.get("CSeq") == "900 BYE"] == [200]
    assert bench.of(CallEnded)


def test_digits_of_a_machine_are_all_taken(wire):
    """Ten INFO a second, for a long number."""
    bench, to = answered(wire, wire.UDP)
    for n in range(100):
        flood(bench, wire, to, "INFO", 1, first=200 + n)
        bench.now += 0.1
    assert len(bench.of(RequestReceived)) == 100
