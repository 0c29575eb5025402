"""A Contact that names another place than our own address, in every message of the call."""

from __future__ import annotations

import pytest

from active_call.sip.events import OutboundInvite


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        (None, "<sip:+15550100@198.51.100.1:5060>"),
        ("desk", "<sip:desk@198.51.100.1:5060>"),
        ("desk@172.25.225.2", "<sip:desk@172.25.225.2:5060>"),
        ("desk@172.25.225.2:5099", "<sip:desk@172.25.225.2:5099>"),
        ("@sbc.example.com", "<sip:sbc.example.com:5060>"),
        ("desk@[2001:db8::1]:5099", "<sip:desk@[2001:db8::1]:5099>"),
    ],
)
def test_contact_of_the_call_stands_in_the_invite_in_re_invites_and_in_answers_to_them(wire, contact, expected):
    bench = wire.Bench()
    call = bench.endpoint.invite(
        OutboundInvite("sip:callee@192.0.2.9", "sip:+15550100@example.com", wire.OFFER, contact=contact), bench.now
    )
    bench.drain()
    invite = bench.sent[-1]
    assert invite.get("Contact") == expected
    bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    bench.do(bench.endpoint.offer, call, wire.OFFER)
    again = bench.sent[-1]
    assert (again.method, again.get("Contact")) == ("INVITE", expected)
    bench.feed(wire.response(again, 200, body=wire.ANSWER))
    theirs = wire.request(
        "UPDATE",
        call_id=invite.get("Call-ID"),
        sender="<sip:callee@192.0.2.9>;tag=callee1",
        to=invite.get("From"),
        cseq=7,
        contact="<sip:c@192.0.2.9>",
    )
    (answer,) = bench.feed(theirs)
    assert (answer.code, answer.get("Contact")) == (200, expected)


def test_call_may_ask_for_no_session_timer_and_offer_fewer_extensions(wire):
    bench = wire.Bench()
    spec = OutboundInvite("sip:callee@192.0.2.9", "sip:us@example.com", wire.OFFER, session_expires_s=0, unsupported=("timer", "100rel"))
    bench.do(bench.endpoint.invite, spec)
    assert bench.sent[-1].all("Session-Expires") == []
    assert bench.sent[-1].get("Supported") == "replaces, norefersub"
    bench.do(bench.endpoint.invite, OutboundInvite("sip:callee@192.0.2.9", "sip:us@example.com", wire.OFFER))
    assert bench.sent[-1].get("Session-Expires") == "1800"
    assert "timer" in bench.sent[-1].get("Supported")
