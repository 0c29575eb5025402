"""Following a 3xx: where to, with what, and by which transport."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from active_call.base.addresses import Reach
from active_call.sip.events import CallEnded, Credentials, HopRules, OutboundInvite, Redirection, RedirectRefused, Target

SECRETS = (("X-Account", "7"), ("P-Asserted-Identity", "<sip:a@b>"), ("Subject", "hello"), ("Privacy", "id"))
CHALLENGE = (("Proxy-Authenticate", 'Digest realm="r", nonce="n"'),)


def placed(wire, *, to="sip:+15550002@trunk.example", **options):
    bench = wire.Bench()
    options.setdefault("credentials", (Credentials("us", "secret"),))
    spec = OutboundInvite(to_uri=to, from_uri="sip:+15550001@us.example", sdp=wire.OFFER, headers=SECRETS, **options)
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    return bench, invite


def invites(sent):
    return [message for message in sent if message.method == "INVITE"]


def test_without_a_judge_only_the_host_that_was_called_is_called_again(wire):
    bench, invite = placed(wire)
    assert invites(bench.feed(wire.response(invite, 302, contact="<sip:+15550002@other.example>"))) == []
    (refused,) = bench.of(RedirectRefused)
    assert refused.rule == "outbound_domain"
    assert bench.of(CallEnded)[0].code == 302
    bench, invite = placed(wire)
    (second,) = invites(bench.feed(wire.response(invite, 302, contact="<sip:+15550009@trunk.example:5070>")))
    assert second.uri == "sip:+15550009@trunk.example:5070"


@pytest.mark.parametrize("keeps", [True, False])
def test_secrets_go_along_only_where_they_belong(wire, keeps):
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri), keeps_secrets=keeps))
    (second,) = invites(bench.feed(wire.response(invite, 302, contact="<sip:x@other.example>")))
    names = {name for name, _ in second.headers}
    assert ("X-Account" in names, "P-Asserted-Identity" in names) == (keeps, keeps)
    assert {"Subject", "Privacy"} <= names
    answered = invites(bench.feed(wire.response(second, 407, extra=CHALLENGE)))
    assert len(answered) == keeps


def test_credentials_that_were_given_before_stay_behind(wire):
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri)))
    (second,) = invites(bench.feed(wire.response(invite, 407, extra=CHALLENGE)))
    assert second.get("Proxy-Authorization")
    (third,) = invites(bench.feed(wire.response(second, 302, contact="<sip:x@other.example>")))
    assert third.all("Proxy-Authorization") == []


@pytest.mark.parametrize("contact", ["<sip:x@other.example>", "<sip:x@other.example;transport=udp>", "<sip:x@192.0.2.77:5060>"])
def test_call_over_tls_is_redirected_over_tls(wire, contact):
    bench, invite = placed(wire, to="sip:+1@trunk.example;transport=tls", redirects=lambda uri, _: Redirection(str(uri)))
    assert invite.transmit.destination.transport == "tls"
    (second,) = invites(bench.feed(wire.response(invite, 302, contact=contact), replace(wire.TLS)))
    assert second.transmit.destination.transport == "tls"


@pytest.mark.parametrize(
    "contact",
    ["<sip:x@other.example;method=BYE>", "<sip:x@other.example?X=1>", "<tel:+1>", "<http://other.example>", "<sip:>", "*", "junk"],
)
def test_contact_that_wants_something_else_is_passed_over(wire, contact):
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri)))
    assert invites(bench.feed(wire.response(invite, 302, contact=contact))) == []
    assert len(bench.of(CallEnded)) == 1


def test_method_invite_is_taken_off(wire):
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri)))
    (second,) = invites(bench.feed(wire.response(invite, 302, contact="<sip:x@other.example;method=INVITE;a=b>")))
    assert second.uri == "sip:x@other.example;a=b"


def test_contact_where_the_call_has_been_is_a_loop(wire):
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri)))
    assert invites(bench.feed(wire.response(invite, 302, contact="<sip:+15550002@trunk.example>"))) == []
    assert bench.of(RedirectRefused)[0].rule == "outbound_loop"


@pytest.mark.parametrize(
    "places",
    [
        (Target("udp", "127.0.0.1", 5060),),
        (Target("udp", "10.0.0.1", 5060), Target("udp", "169.254.169.254", 5060)),
        (Target("udp", "198.51.100.1", 5060),),
        (Target("udp", "203.0.113.99", 5060, local="203.0.113.99"),),
    ],
)
def test_name_that_leads_inside_or_to_ourselves_is_not_called(wire, places):
    rules = HopRules(Reach.WORLD, not_ourselves=True)
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri), rules=rules))
    bench.resolves = False
    bench.feed(wire.response(invite, 302, contact="<sip:x@rebound.example>"))
    bench.endpoint.handle_look_up(2, places, "", bench.now)
    bench.drain()
    assert len(invites(bench.sent)) == 1
    (ended,) = bench.of(CallEnded)
    assert ended.cause == "transport"
    assert bench.counts[0] == 0


@pytest.mark.parametrize("host", ["10.0.0.1", "127.0.0.1:5060", "[::1]", "0.0.0.0"])
def test_address_inside_is_not_called_even_where_the_judge_has_let_it_pass(wire, host):
    rules = HopRules(Reach.WORLD, not_ourselves=True)
    bench, invite = placed(wire, redirects=lambda uri, _: Redirection(str(uri), rules=rules))
    bench.feed(wire.response(invite, 302, contact=f"<sip:x@{host}>"))
    bench.advance(1)
    assert len(invites(bench.sent)) == 1
    assert bench.of(CallEnded)[0].cause == "transport"


# -- large requests


def test_place_without_tcp_hears_large_requests_by_udp_for_ten_minutes(wire):
    bench = wire.Bench()
    headers = (("X-Long", "x" * 1300),)
    spec = OutboundInvite("sip:a@192.0.2.50", "sip:us@us.example", wire.OFFER, headers=headers)

    def transport_of_next():
        (sent,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
        return sent.transmit.destination.transport, sent

    first, sent = transport_of_next()
    assert first == "tcp"
    bench.endpoint.handle_transport_error(sent.transmit.id, "no connection in time", bench.now)
    bench.drain()
    assert bench.sent[-1].transmit.destination.transport == "udp"
    assert transport_of_next()[0] == "udp"
    bench.advance(601)
    assert transport_of_next()[0] == "tcp"


def test_place_that_takes_tcp_and_stays_silent_is_tried_by_udp(wire):
    bench = wire.Bench()
    spec = OutboundInvite("sip:a@192.0.2.50", "sip:us@us.example", wire.OFFER, headers=(("X-Long", "x" * 1300),))
    bench.do(lambda now: bench.endpoint.invite(spec, now))
    again = bench.advance(4.1)
    assert [message.transmit.destination.transport for message in again] == ["udp"]


def test_trunk_that_keeps_to_udp_hears_everything_by_udp(wire):
    bench = wire.Bench()
    rules = HopRules(large_by_tcp=False)
    spec = OutboundInvite("sip:a@192.0.2.50", "sip:us@us.example", wire.OFFER, headers=(("X-Long", "x" * 1300),), rules=rules)
    calls = []
    (invite,) = bench.do(lambda now: calls.append(bench.endpoint.invite(spec, now)))
    assert invite.transmit.destination.transport == "udp"
    bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    (message,) = bench.do(lambda now: bench.endpoint.request(calls[0], "MESSAGE", now, body=b"x" * 1400))
    assert message.transmit.destination.transport == "udp"
