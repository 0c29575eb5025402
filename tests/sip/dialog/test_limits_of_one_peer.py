"""What one peer may make a dialog do: offers, answers that it never acknowledges, forks without end."""

from __future__ import annotations

import pytest

from active_call.sip.events import IncomingCall, OutboundInvite


def test_reinvites_whose_answers_are_never_acknowledged_are_refused_after_some(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa0", cseq=100, to=ok.get("To")))

    def offer(cseq):
        (*_, last) = bench.feed(wire.request("INVITE", branch=f"z9hG4bKre{cseq}", cseq=cseq, to=ok.get("To"), body=wire.OFFER))
        if last.code == 100:
            (last,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
        return last

    assert [offer(cseq).code for cseq in range(101, 105)] == [200] * 4
    refused = [offer(cseq) for cseq in range(105, 125)]
    assert {(message.code, bool(message.get("Retry-After"))) for message in refused} == {(500, True)}
    bench.feed(wire.request("ACK", branch="z9hG4bKa1", cseq=102, to=ok.get("To")))
    assert offer(125).code == 200


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offers_beyond_ten_a_second_are_refused_and_later_ones_are_taken(bench, wire, method):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa0", cseq=100, to=ok.get("To")))

    def offer(cseq):
        sent = bench.feed(wire.request(method, branch=f"z9hG4bKre{cseq}", cseq=cseq, to=ok.get("To"), body=wire.OFFER))
        if not sent or sent[-1].code == 100:
            sent = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
        if method == "INVITE":
            bench.feed(wire.request("ACK", branch=f"z9hG4bKa{cseq}", cseq=cseq, to=ok.get("To")))
        return sent[-1].code

    assert [offer(cseq) for cseq in range(101, 131)] == [200] * 10 + [500] * 20
    bench.advance(1.1)
    assert offer(140) == 200


def test_forks_without_end_leave_a_few_dialogs_and_the_first_answer_is_the_call(bench, wire):
    offer = OutboundInvite(to_uri="sip:+15550002@trunk.example", from_uri="sip:+15550001@us.example", sdp=wire.OFFER)
    calls = []
    (invite,) = bench.do(lambda now: calls.append(bench.endpoint.invite(offer, now)))
    for n in range(200):
        bench.feed(wire.response(invite, 180, tag=f"early-{n}"))
    assert bench.endpoint.n_dialogs == 32
    bench.feed(wire.response(invite, 200, tag="first", body=wire.ANSWER))
    sent = [message.method for n in range(200) for message in bench.feed(wire.response(invite, 200, tag=f"more-{n}", body=wire.ANSWER))]
    assert sent == ["ACK", "BYE"] * 31
    assert bench.endpoint.dialog_info(calls[0]).remote_tag == "first"
    assert [m.method for m in bench.feed(wire.response(invite, 200, tag="first", body=wire.ANSWER))] == ["ACK"]
