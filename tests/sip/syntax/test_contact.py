"""A Contact that names another place than our own address, in every message of the call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from active_call.sip.events import CallAnswered, EndpointConfig, IncomingCall, OutboundInvite


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


def bracketless(value):
    return value.strip("<>")


BY_SIP, BY_SIPS = "sip:us@198.51.100.1:5061;transport=tls", "sips:us@198.51.100.1:5061"
TWO_ROUTES = (("Record-Route", "<sips:edge.example;lr>, <sip:in.example;lr>"),)
ONE_ROUTE = (("Record-Route", "<sip:edge.example;lr>"),)


@pytest.mark.parametrize(
    ("uri", "extra", "contact", "expected"),
    [
        ("sip:us@us.example;transport=tls", (), "<sip:peer@192.0.2.9;transport=tls>", BY_SIP),
        ("sips:us@us.example", (), "<sips:peer@192.0.2.9>", BY_SIPS),
        ("sip:us@us.example", TWO_ROUTES, "<sip:peer@10.0.0.1>", BY_SIPS),
        ("sip:us@us.example", ONE_ROUTE, "<sips:peer@10.0.0.1>", BY_SIP),
        ("sip:us@us.example", (), '"Peer" <sips:peer@10.0.0.1>', BY_SIPS),
    ],
    ids=["sip", "Request-URI", "top Record-Route", "Contact behind a Record-Route", "Contact"],
)
def test_answer_to_who_came_by_sips_has_a_sips_contact_3261_12_1_1(wire, uri, extra, contact, expected):
    bench = wire.Bench(flow=wire.TLS)
    via = ("SIP/2.0/TLS 192.0.2.9:5061;branch=z9hG4bKs",)
    bench.feed(wire.request("INVITE", uri=uri, extra=extra, contact=contact, via=via, body=wire.OFFER))
    bench.do(lambda now: bench.endpoint.answer(bench.of(IncomingCall)[0].call, wire.ANSWER, now))
    assert bracketless(bench.sent[-1].get("Contact")) == expected


def test_answer_to_sips_over_tcp_names_the_tls_listener_where_there_is_one(wire):
    for transports, expected in ((("tcp", "tls"), BY_SIPS), (("tcp",), "sip:us@198.51.100.1:5060;transport=tcp")):
        bench = wire.Bench(EndpointConfig(listeners=wire.listeners(*transports), user_agent="us"), wire.TCP)
        via = ("SIP/2.0/TCP 192.0.2.9:5060;branch=z9hG4bKs",)
        bench.feed(wire.request("INVITE", uri="sips:us@us.example", via=via, body=wire.OFFER))
        bench.do(lambda now: bench.endpoint.answer(bench.of(IncomingCall)[0].call, wire.ANSWER, now))  # noqa: B023 (called at once)
        assert bracketless(bench.sent[-1].get("Contact")) == expected


@pytest.mark.parametrize(
    ("uri", "proxy", "expected"),
    [
        ("sip:callee@192.0.2.9;transport=tls", None, BY_SIP),
        ("sips:callee@192.0.2.9", None, BY_SIPS),
        ("sip:callee@192.0.2.9", "sips:proxy.example", BY_SIPS),
    ],
    ids=["sip", "Request-URI", "Route"],
)
def test_request_to_sips_has_a_sips_contact_and_goes_over_tls_3261_8_1_1_8(wire, uri, proxy, expected):
    bench = wire.Bench(flow=wire.TLS)
    (invite,) = bench.do(bench.endpoint.invite, OutboundInvite(uri, "sip:us@example.com", wire.OFFER, proxy=proxy))
    assert bracketless(invite.get("Contact")) == expected
    assert invite.all("Via")[0].startswith("SIP/2.0/TLS ")


def test_requests_inside_a_sips_dialog_keep_the_sips_contact(wire):
    bench = wire.Bench(flow=wire.TLS)
    call = bench.endpoint.invite(OutboundInvite("sips:callee@192.0.2.9", "sip:us@example.com", wire.OFFER), bench.now)
    bench.drain()
    bench.feed(wire.response(bench.sent[-1], 200, contact="<sips:callee@192.0.2.9>", body=wire.ANSWER))
    (again,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    assert (again.uri, bracketless(again.get("Contact"))) == ("sips:callee@192.0.2.9", BY_SIPS)


# -- tests/cases/01-contact-addr-spec-with-quoted-angle-brackets ---------------------------------------------------------------------------

CASE = Path(__file__).parents[2] / "cases" / "01-contact-addr-spec-with-quoted-angle-brackets"
PLACE = "sip:xpto@127.0.0.1:5070"


def case(name):
    return re.sub(rb"\r?\n", b"\r\n", (CASE / name).read_bytes())


def test_caller_s_contact_without_brackets_is_where_the_bye_goes(wire):
    bench = wire.Bench()
    invite = case("invite.sip")
    body = invite.partition(b"\r\n\r\n")[2]
    bench.feed(re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), invite))
    call = bench.of(IncomingCall)[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert ok.code == 200
    sender = "<sip:alice@127.0.0.1>;tag=1"
    bench.feed(wire.request("ACK", call_id="case@127.0.0.1", cseq=1, sender=sender, to=ok.get("To"), branch="z9hG4bKa"))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert (bye.method, bye.uri) == ("BYE", PLACE)


def test_contact_of_an_answer_without_brackets_is_where_ack_and_bye_go(wire):
    bench = wire.Bench()
    call = bench.endpoint.invite(OutboundInvite("sip:bob@192.0.2.9", "sip:us@example.com", wire.OFFER), bench.now)
    bench.drain()
    contact = re.search(rb"Contact: (.*)\r\n", case("200-ok.sip"))[1].decode()
    (ack,) = bench.feed(wire.response(bench.sent[-1], 200, body=wire.ANSWER, contact=contact))
    assert (ack.method, ack.uri) == ("ACK", PLACE)
    assert bench.of(CallAnswered)[-1].unreadable_contact == ""
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert (bye.method, bye.uri) == ("BYE", PLACE)


@pytest.mark.parametrize("contact", ["nobody", "<sip:a b@c>", "<>", None, '"x <sip:a@b> <sip:c@d>'])
def test_contact_of_an_answer_that_cannot_be_read_is_told_and_the_call_goes_on(wire, contact):
    bench = wire.Bench()
    call = bench.endpoint.invite(OutboundInvite("sip:bob@192.0.2.9", "sip:us@example.com", wire.OFFER), bench.now)
    bench.drain()
    (ack,) = bench.feed(wire.response(bench.sent[-1], 200, body=wire.ANSWER, contact=contact))
    assert (ack.method, ack.uri) == ("ACK", "sip:bob@192.0.2.9")
    assert bench.of(CallAnswered)[-1].unreadable_contact == (contact or "none")
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.uri == "sip:bob@192.0.2.9"


@pytest.mark.parametrize(
    "line",
    ["Reason", "no colon here", "X Bad: 1", 'Reason: ;;"', "Warning: \udce9", "Server: \x00", "Date: never", 'P-Asserted-Identity: "<'],
)
def test_line_that_only_informs_drops_no_response(wire, line):
    bench = wire.Bench()
    bench.endpoint.invite(OutboundInvite("sip:bob@192.0.2.9", "sip:us@example.com", wire.OFFER), bench.now)
    bench.drain()
    answer = wire.response(bench.sent[-1], 200, body=wire.ANSWER)
    raw = answer.replace(b"CSeq:", line.encode("utf-8", "surrogateescape") + b"\r\nCSeq:", 1)
    assert [m.method for m in bench.feed(raw)] == ["ACK"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Contact", "<sip:caller@192.0.2.9>;"),
        ("Contact", "<sip:caller@192.0.2.9>;;q = 0.5 ; ;"),
        ("Contact", 'J"rg <sip:caller@192.0.2.9>'),
        ("Contact", "<sip:caller@192.0.2.9>;+sip.instance=<urn:x>;a=b c"),
        ("From", '"Bob <sip:a@192.0.2.9>;tag=peer_1'),
        ("From", "J\udcf6rg, (Ltd); <sip:a@192.0.2.9>;tag=peer_1;"),
        ("From", "sip:100@pbx <sip:100@192.0.2.9>;tag=peer_1"),
        ("Record-Route", '<sip:edge.example.com;lr>;x="<a,b>";'),
        ("P-Asserted-Identity", '"<sip:x'),
        ("Diversion", '<<>>;"'),
        ("Remote-Party-ID", "\udcff"),
        ("Supported", ",,;;"),
        ("Date", "\x07"),
    ],
)
def test_value_that_is_hard_to_read_refuses_no_call(wire, name, value):
    bench = wire.Bench()
    raw = wire.request("INVITE", body=wire.OFFER)
    line = f"{name}: {value}".encode("utf-8", "surrogateescape")
    pattern = rb"(?m)^%s: [^\r]*" % name.encode()
    raw = re.sub(pattern, lambda _: line, raw, count=1) if re.search(pattern, raw) else raw.replace(b"CSeq:", line + b"\r\nCSeq:", 1)
    assert [m.code for m in bench.feed(raw)] == [100]
