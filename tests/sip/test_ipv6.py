"""IPv6 in SIP (RFC 5118, RFC 5954): brackets where they belong, our address in the peer's family."""

from __future__ import annotations

import pytest

from active_call.base.errors import ParseError
from active_call.sip.events import Address, EndpointConfig, Flow, Listener, OutboundInvite
from active_call.sip.syntax.headers import parse_via
from active_call.sip.syntax.message import parse_message
from active_call.sip.syntax.uri import parse_uri

V6 = Flow("udp", Address("2001:db8::1", 5060), Address("2001:db8::9", 5062))
V6_TLS = Flow("tls", Address("2001:db8::1", 5061), Address("2001:db8::9", 40000), 7)
V4 = Flow("udp", Address("198.51.100.1", 5060), Address("192.0.2.9", 5060))


def dual(wire, public=None):
    """Listening on `::`, so on both families."""
    ports = {"udp": 5060, "tcp": 5060, "tls": 5061}
    listeners = tuple(Listener(t, Address("::", p), Address(public or "::", p)) for t, p in ports.items())
    return wire.Bench(EndpointConfig(listeners=listeners, user_agent="u"))


def call(bench, wire, flow, via, contact):
    request = wire.request("INVITE", via=(via,), contact=contact, body=wire.OFFER, uri="sip:+1@[2001:db8::1]")
    bench.feed(request, flow)
    handle = bench.events[-1].call
    (ok,) = [m for m in bench.do(lambda now: bench.endpoint.answer(handle, wire.ANSWER, now)) if m.code == 200]
    return handle, ok


@pytest.mark.parametrize("flow", [V6, V6_TLS])
def test_call_over_ipv6_is_answered_with_a_bracketed_contact_and_a_bare_received(wire, flow):
    bench = dual(wire)
    name = flow.transport.upper()
    via = f"SIP/2.0/{name} [2001:db8::9]:5099;branch=z9hG4bKv6;rport"
    _, ok = call(bench, wire, flow, via, "<sip:caller@[2001:db8::9]:5062>")
    port, suffix = (5061, ";transport=tls") if flow.transport == "tls" else (5060, "")
    assert ok.get("Contact") == f"<sip:+1@[2001:db8::1]:{port}{suffix}>"
    assert ok.get("Via").startswith(f"SIP/2.0/{name} [2001:db8::9]:5099;")
    assert "received=2001:db8::9" in ok.get("Via")


@pytest.mark.parametrize(("flow", "host"), [(V6, "[2001:db8::1]"), (V4, "203.0.113.7")])
def test_public_address_of_the_other_family_is_not_told_to_a_peer(wire, flow, host):
    """external_ip is an IPv4 address in front of a NAT; a caller by IPv6 sees us as we are."""
    bench = dual(wire, public="203.0.113.7")
    peer = flow.remote.host
    via = f"SIP/2.0/UDP {f'[{peer}]' if ':' in peer else peer}:5062;branch=z9hG4bKv6;rport"
    _, ok = call(bench, wire, flow, via, "<sip:caller@192.0.2.9>")
    assert ok.get("Contact") == f"<sip:+1@{host}:5060>"


def test_request_to_an_ipv6_address_says_our_ipv6_address(wire):
    bench = dual(wire, public="203.0.113.7")
    spec = OutboundInvite("sip:a@[2001:db8::9]", "sip:b@us.example", wire.OFFER, local_host="2001:db8::1")
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    assert invite.get("Via").startswith("SIP/2.0/UDP [2001:db8::1]:5060;")
    assert invite.get("Contact") == "<sip:b@[2001:db8::1]:5060>"
    assert invite.transmit.destination.host == "2001:db8::9"


def test_two_listeners_of_one_transport_speak_each_for_its_family(wire):
    listeners = (
        Listener("udp", Address("0.0.0.0", 5060), Address("198.51.100.1", 5060)),
        Listener("udp", Address("2001:db8::1", 5080), Address("2001:db8::1", 5080)),
    )
    bench = wire.Bench(EndpointConfig(listeners=listeners, user_agent="u"))
    for uri, via in (("sip:a@[2001:db8::9]", "[2001:db8::1]:5080"), ("sip:a@192.0.2.9", "198.51.100.1:5060")):
        spec = OutboundInvite(uri, "sip:b@us.example", wire.OFFER)
        (invite,) = bench.do(lambda now, spec=spec: bench.endpoint.invite(spec, now))
        assert invite.get("Via").startswith(f"SIP/2.0/UDP {via};")
    # The port alone does not make the IPv4 wildcard the listener of an IPv6 flow.
    flow = Flow("udp", Address("2001:db8::1", 5060), Address("2001:db8::9", 5060))
    _, ok = call(bench, wire, flow, "SIP/2.0/UDP [2001:db8::9];branch=z9hG4bKv6", "<sip:c@[2001:db8::9]>")
    assert "[2001:db8::1]" in ok.get("Contact")


@pytest.mark.parametrize("received", ["2001:db8::9:255", "[2001:db8::9:255]"])
def test_received_may_be_bare_or_bracketed_5118_4_5(received):
    via = parse_via(f"SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111")
    assert via.received == "2001:db8::9:255"
    assert via.host.strip("[]") == "2001:db8::9:1"


def options(uri="sip:user@[2001:db8::10]", via="[2001:db8::9:1]", contact="sip:caller@[2001:db8::1]", call_id="one@x"):
    return (
        f"OPTIONS {uri} SIP/2.0\r\nTo: sip:user@example.com\r\nFrom: sip:user@example.com;tag=81x2\r\n"
        f"Via: SIP/2.0/UDP {via};branch=z9hG4bKas3-111\r\nCall-ID: {call_id}\r\nContact: <{contact}>\r\n"
        "Max-Forwards: 70\r\nCSeq: 8612 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def test_reference_in_the_request_uri_is_read_5118_4_1():
    message = parse_message(options())
    assert (message.parsed_uri.host.strip("[]"), message.parsed_uri.port) == ("2001:db8::10", None)


def test_reference_without_brackets_is_refused_5118_4_2(wire):
    bench = dual(wire)
    (refusal,) = bench.feed(options(uri="sip:2001:db8::10"), V6)
    assert refusal.code == 400


def test_port_inside_the_brackets_belongs_to_the_address_5118_4_3():
    uri = parse_uri("sip:user@[2001:db8::10:5070]")
    assert (uri.host.strip("[]"), uri.port) == ("2001:db8::10:5070", None)


def test_port_behind_the_brackets_is_the_port_5118_4_4():
    uri = parse_uri("sip:user@[2001:db8::10]:5070")
    assert (uri.host.strip("[]"), uri.port) == ("2001:db8::10", 5070)


def test_call_id_may_hold_an_address_in_any_form_5118_4_7_4_8():
    assert parse_message(options(call_id="SSG9559905523997077@[2001:db8::1]")).call_id.endswith("@[2001:db8::1]")
    assert parse_message(options(call_id="SSG9559905523997077@2001:db8::1")).call_id.endswith("@2001:db8::1")


def test_mapped_ipv4_address_is_read_5118_4_9():
    assert parse_uri("sip:u@[::ffff:192.0.2.10]:19823").host.strip("[]") == "::ffff:192.0.2.10"


@pytest.mark.parametrize("uri", ["sip:u@[2001:db8:::1]", "sip:u@[::1", "sip:u@[::1]x", "sip:u@[fe80::1%eth0]"])
def test_malformed_reference_is_refused_5118_4_10_5954(uri):
    with pytest.raises(ParseError):
        parse_uri(uri)
