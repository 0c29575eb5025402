"""Any order of what a peer may send and a leg may ask: one CallEnded per call, nothing behind it, nothing left over."""

from __future__ import annotations

import pytest
from history import BREAKS, CODES, LEG_STEPS, PEER_REQUESTS, WAITS, Story
from hypothesis import given
from hypothesis import strategies as st

from active_call.sip.events import IncomingCall, OutboundInvite, TransferRequested
from searches import searching

STEPS = st.one_of(
    st.tuples(st.just("leg"), st.sampled_from(LEG_STEPS), st.booleans()),
    st.tuples(st.just("peer"), st.sampled_from(PEER_REQUESTS), st.integers(-1, 2)),
    st.tuples(st.just("reply"), st.sampled_from(CODES), st.integers(1, 3)),
    st.tuples(st.just("wait"), st.sampled_from(WAITS), st.just(0)),
    st.tuples(st.just("break"), st.sampled_from(BREAKS), st.integers(1, 3)),
)


@searching(120)
@given(steps=st.lists(STEPS, max_size=14), inbound=st.booleans(), sdp=st.booleans(), stream=st.booleans(), rich=st.booleans())
def test_any_history_ends_each_call_once_and_frees_everything(wire, steps, inbound, sdp, stream, rich):
    story = Story(wire, wire.TCP if stream else wire.UDP, inbound=inbound, sdp=sdp, rich=rich)
    for step in steps:
        story.tell(*step)
    story.finish()
    story.assert_over()


@searching(80)
@given(data=st.data())
def test_no_bytes_make_an_input_raise(wire, data):
    """Damaged requests and responses, whole and byte by byte."""
    bench = wire.Bench()
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    valid = data.draw(
        st.sampled_from([wire.request("INVITE", branch="z9hG4bKz", call_id="z"), wire.request("BYE"), wire.request("CANCEL")])
    )
    start = data.draw(st.integers(0, len(valid)))
    length = data.draw(st.integers(0, 12))
    damaged = valid[:start] + data.draw(st.binary(max_size=12)) + valid[start + length :]
    bench.endpoint.receive_datagram(damaged, wire.UDP, bench.now)
    for n in range(len(damaged)):
        bench.endpoint.receive_stream(damaged[n : n + 1], wire.TCP, bench.now)
    assert all(isinstance(transmit.data, bytes) for transmit in bench.endpoint.take_transmits())


@pytest.mark.hypothesis
def test_no_damaged_message_inside_a_call_makes_an_input_raise(wire):
    """The messages of session timers, reliable progress and transfers, with a piece replaced anywhere."""
    refresh = (("Supported", "timer, 100rel"), ("Session-Expires", "90;refresher=uac"), ("Min-SE", "90"))
    notify = (("Event", "refer;id=3"), ("Subscription-State", "active;expires=60"))
    target = (
        ("Refer-To", "<sip:a@b.example?Replaces=c%3Bto-tag%3Dd%3Bfrom-tag%3De>"),
        ("Referred-By", "<sip:f@g>"),
        ("Refer-Sub", "false"),
    )
    reliable = (("Require", "100rel"), ("RSeq", "1"))
    requests = (("UPDATE", refresh), ("PRACK", (("RAck", "1 1 INVITE"),)), ("NOTIFY", notify), ("REFER", target), ("INVITE", refresh))
    responses = ((183, reliable), (200, refresh), (422, (("Min-SE", "90"),)), (202, (("Refer-Sub", "false"),)))

    @searching(120)
    @given(data=st.data())
    def check(data):
        bench = wire.Bench()
        invite = wire.request("INVITE", body=wire.OFFER, extra=(("Supported", "100rel, timer"), ("Require", "100rel"), *refresh))
        bench.feed(invite)
        call = bench.of(IncomingCall)[0].call
        (ringing,) = bench.do(lambda now: bench.endpoint.ring(call, now))
        if data.draw(st.booleans()):
            bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
            bench.feed(wire.request("ACK", branch="z9hG4bKack", to=ringing.get("To")))
            bench.do(lambda now: bench.endpoint.refer(call, "sip:x@y.example", now))
            bench.advance(50)
        else:
            spec = OutboundInvite("sip:+2@192.0.2.9", "sip:+1@us.example", wire.OFFER)
            bench.do(lambda now: bench.endpoint.invite(spec, now))
        ours = data.draw(st.sampled_from([m for m in bench.sent if not m.code]))
        if data.draw(st.booleans()):
            method, extra = data.draw(st.sampled_from(requests))
            valid = wire.request(method, branch="z9hG4bKd", cseq=101, to=ringing.get("To"), extra=extra, body=b"SIP/2.0 200 OK")
        else:
            code, extra = data.draw(st.sampled_from(responses))
            valid = wire.response(ours, code, extra=extra, body=wire.ANSWER)
        start, length = data.draw(st.integers(0, len(valid))), data.draw(st.integers(0, 8))
        piece = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from((b"", b";", b"\r\n", b"=", b"<", b'"', b"0", b"99999999999"))))
        bench.feed(valid[:start] + piece + valid[start + length :])
        for event in bench.of(TransferRequested):
            bench.do(lambda now, token=event.token: bench.endpoint.respond(token, 202, "Accepted", now))
        bench.advance(200)

    check()
