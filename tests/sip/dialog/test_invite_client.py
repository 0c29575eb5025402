"""Calls that we place, judged by the text that goes out."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import (
    Address,
    CallAnswered,
    CallEnded,
    CallProgress,
    Credentials,
    EndpointConfig,
    Listener,
    MessageDropped,
    OfferAnswered,
    OfferReceived,
    OutboundInvite,
    Redirection,
    RequestCompleted,
    Target,
)

ROUTES = (("Record-Route", "<sip:192.0.2.9;r2=on;lr>"), ("Record-Route", "<sip:203.0.113.5;r2=on;lr>"))


def spec(wire, **options):
    options.setdefault("sdp", wire.OFFER)
    return OutboundInvite(to_uri="sip:+15550002@trunk.example", from_uri="sip:+15550001@us.example", from_display="Us", **options)


def place(bench, wire, **options):
    """A call on its way: its handle and the INVITE."""
    (invite,) = bench.do(lambda now: bench.calls.append(bench.endpoint.invite(spec(wire, **options), now)))
    return bench.calls[-1], invite


@pytest.fixture
def bench(wire):
    bench = wire.Bench()
    bench.calls = []
    return bench


def connect(bench, wire, **options):
    """A call that is answered: its handle, the INVITE and our ACK."""
    call, invite = place(bench, wire, **options)
    (ack,) = bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    return call, invite, ack


def test_invite_carries_what_8_1_1_asks_for(bench, wire):
    _, invite = place(bench, wire, headers=(("X-Account", "7"),))
    assert invite.start == "INVITE sip:+15550002@trunk.example SIP/2.0"
    assert invite.get("Via").startswith("SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK")
    assert invite.get("Via").endswith(";rport")
    assert invite.get("Max-Forwards") == "70"
    assert invite.get("From").startswith('"Us" <sip:+15550001@us.example>;tag=')
    assert invite.get("To") == "<sip:+15550002@trunk.example>"
    assert invite.get("CSeq") == "1 INVITE"
    assert invite.get("Contact") == "<sip:+15550001@198.51.100.1:5060>"
    assert invite.get("Content-Type") == "application/sdp"
    assert invite.get("X-Account") == "7"
    assert invite.get("User-Agent") == "active-call"
    assert invite.body == wire.OFFER
    assert invite.transmit.destination == Target("udp", "trunk.example", None)


@pytest.mark.parametrize(
    ("uri", "proxy", "transport", "target", "via"),
    [
        ("sip:a@h.example;transport=tcp", None, None, Target("tcp", "h.example", None), "TCP 198.51.100.1:5060"),
        ("sip:a@h.example;transport=TLS", None, None, Target("tls", "h.example", None), "TLS 198.51.100.1:5061"),
        ("sips:a@h.example:5099", None, None, Target("tls", "h.example", 5099), "TLS 198.51.100.1:5061"),
        ("sip:a@[2001:db8::1]:5070", None, None, Target("udp", "2001:db8::1", 5070), "UDP 198.51.100.1:5060"),
        ("sip:a@h.example", "sip:edge.example:5080;lr", None, Target("udp", "edge.example", 5080), "UDP 198.51.100.1:5060"),
        ("sip:a@h.example", "sip:edge.example", "tls", Target("tls", "edge.example", None), "TLS 198.51.100.1:5061"),
        ("tel:+15550002", "sip:edge.example;lr", None, Target("udp", "edge.example", None), "UDP 198.51.100.1:5060"),
    ],
)
def test_next_hop_and_transport(bench, wire, uri, proxy, transport, target, via):
    call = replace(spec(wire), to_uri=uri, proxy=proxy, transport=transport)
    (invite,) = bench.do(lambda now: bench.endpoint.invite(call, now))
    assert invite.uri == uri
    assert invite.transmit.destination == target
    assert via in invite.get("Via")
    assert bool(invite.all("Route")) == (proxy is not None)
    assert all(";lr" in route for route in invite.all("Route"))


def test_unroutable_target_raises_and_leaves_nothing_behind(bench, wire):
    for uri in ("tel:+15550002", "mailto:a@b", "sip:"):
        with pytest.raises(LocalProtocolError):
            bench.endpoint.invite(replace(spec(wire), to_uri=uri), bench.now)
    assert bench.counts == (0, 0, 0)


def test_ack_and_bye_follow_the_reversed_route_set_3261_13_2_2_4(bench, wire):
    call, invite = place(bench, wire)
    contact = "<sip:telnyx*17045502033**10.239.45.224*5070*udp@telnyx.com>"
    (ack,) = bench.feed(wire.response(invite, 200, body=wire.ANSWER, contact=contact, extra=ROUTES))
    assert ack.start == "ACK sip:telnyx*17045502033**10.239.45.224*5070*udp@telnyx.com SIP/2.0"
    assert ack.all("Route") == ["<sip:203.0.113.5;r2=on;lr>", "<sip:192.0.2.9;r2=on;lr>"]
    assert ack.get("CSeq") == "1 ACK"
    assert ack.get("To").endswith(";tag=callee1")
    assert ack.branch != invite.branch
    assert not ack.all("Contact")
    assert ack.transmit.destination == Target("udp", "203.0.113.5", None)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.uri == ack.uri
    assert bye.all("Route") == ack.all("Route")
    assert bye.get("CSeq") == "2 BYE"


def test_tls_dialog_stays_on_its_connection(bench, wire):
    """The Record-Route names the edge by address; the connection was verified by name."""
    call = replace(spec(wire), to_uri="sip:+1@trunk.pstn.example;transport=tls")
    (invite,) = bench.do(lambda now: bench.endpoint.invite(call, now))
    routes = (("Record-Route", "<sip:172.25.0.9;r2=on;lr>"), ("Record-Route", "<sip:54.172.60.0:5061;transport=tls;r2=on;lr>"))
    (ack,) = bench.feed(wire.response(invite, 200, body=wire.ANSWER, contact="<sip:172.25.0.9:5060>", extra=routes), wire.TLS)
    assert ack.transmit.destination == Target("tls", "54.172.60.0", 5061, wire.TLS)


def test_repeated_200_gets_the_same_ack_again_for_64_t1_3261_13_2_2_4(bench, wire):
    _, invite, ack = connect(bench, wire)
    ok = wire.response(invite, 200, body=wire.ANSWER)
    bench.advance(31)
    (again,) = bench.feed(ok)
    assert again.transmit.data == ack.transmit.data
    assert len(bench.of(CallAnswered)) == 1
    bench.advance(2)
    assert bench.feed(ok) == []
    assert bench.events[-1].why == "stray_response"


def test_progress_is_reported_with_early_media_from_several_forks(bench, wire):
    _, invite = place(bench, wire)
    bench.feed(wire.response(invite, 100, tag=None))
    bench.feed(wire.response(invite, 180, tag="fork-a"))
    bench.feed(wire.response(invite, 183, tag="fork-b", body=wire.ANSWER))
    events = bench.of(CallProgress)
    assert [(e.response.code, e.sdp) for e in events] == [(180, None), (183, wire.ANSWER)]
    assert bench.endpoint.n_dialogs == 2


def test_second_fork_that_answers_is_acknowledged_and_hung_up_3261_13_2_2_4(bench, wire):
    call, invite = place(bench, wire)
    bench.feed(wire.response(invite, 180, tag="fork-a"))
    bench.feed(wire.response(invite, 180, tag="fork-b"))
    bench.feed(wire.response(invite, 200, tag="fork-b", body=wire.ANSWER))
    ack, bye = bench.feed(wire.response(invite, 200, tag="fork-a", contact="<sip:a@192.0.2.30>", body=wire.ANSWER))
    assert (ack.method, ack.uri) == ("ACK", "sip:a@192.0.2.30")
    assert (bye.method, bye.uri) == ("BYE", "sip:a@192.0.2.30")
    assert bye.get("To").endswith(";tag=fork-a")
    assert [m.method for m in bench.feed(wire.response(invite, 200, tag="fork-a", body=wire.ANSWER))] == ["ACK"]
    bench.feed(wire.response(bye, 200))
    assert len(bench.of(CallAnswered)) == 1
    assert bench.endpoint.dialog_info(call).remote_tag == "fork-b"
    assert bench.endpoint.n_dialogs == 1


def test_route_set_of_the_early_dialog_is_computed_anew_by_the_200(bench, wire):
    _, invite = place(bench, wire)
    bench.feed(wire.response(invite, 180, extra=(("Record-Route", "<sip:old.example;lr>"),)))
    (ack,) = bench.feed(wire.response(invite, 200, extra=(("Record-Route", "<sip:new.example;lr>"),), body=wire.ANSWER))
    assert ack.all("Route") == ["<sip:new.example;lr>"]


def test_rejection_is_acknowledged_in_the_transaction_3261_17_1_1_3(bench, wire):
    call, invite = place(bench, wire, proxy="sip:192.0.2.9;lr")
    busy = wire.response(invite, 486, "Busy Here")
    (ack,) = bench.feed(busy)
    assert ack.start == "ACK sip:+15550002@trunk.example SIP/2.0"
    assert ack.get("Via") == invite.get("Via")
    assert ack.get("CSeq") == "1 ACK"
    assert ack.get("To").endswith(";tag=callee1")
    assert ack.all("Route") == invite.all("Route")
    assert [m.method for m in bench.feed(busy)] == ["ACK"]
    (ended,) = bench.of(CallEnded)
    assert (ended.call, ended.cause, ended.code, ended.reason) == (call, "rejected", 486, "Busy Here")
    bench.advance(33)
    assert bench.counts == (0, 0, 0)


def test_no_answer_at_all_ends_after_timer_b(bench, wire):
    call, _ = place(bench, wire)
    sent = bench.advance(31.9)
    assert [round(m.at - 1000.0, 1) for m in sent] == [0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    bench.advance(0.2)
    assert bench.events == [CallEnded(call, "timeout", 408, "Request Timeout")]
    assert bench.counts == (0, 0, 0)


def test_transport_error_ends_the_call(bench, wire):
    call, invite = place(bench, wire)
    bench.endpoint.handle_transport_error(invite.transmit.id, "no route to host", bench.now)
    bench.drain()
    assert bench.events == [CallEnded(call, "transport", 503, "no route to host")]
    assert bench.counts == (0, 0, 0)


def test_cancel_waits_for_a_provisional_3261_9_1(bench, wire):
    call, invite = place(bench, wire)
    assert bench.do(lambda now: bench.endpoint.hang_up(call, now, headers=(("Reason", "SIP;cause=487"),))) == []
    (cancel,) = bench.feed(wire.response(invite, 100, tag=None))
    assert cancel.start == "CANCEL sip:+15550002@trunk.example SIP/2.0"
    assert cancel.get("Via") == invite.get("Via")
    assert cancel.get("CSeq") == "1 CANCEL"
    assert cancel.get("To") == invite.get("To")
    assert cancel.get("From") == invite.get("From")
    assert cancel.get("Reason") == "SIP;cause=487"
    bench.feed(wire.response(cancel, 200))
    (ack,) = bench.feed(wire.response(invite, 487))
    assert ack.method == "ACK"
    (ended,) = bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("cancelled", 487)
    bench.advance(40)
    assert bench.counts == (0, 0, 0)


def test_cancel_crossing_200_is_acknowledged_and_hung_up_3261_9_1(bench, wire):
    call, invite = place(bench, wire)
    bench.feed(wire.response(invite, 180))
    (cancel,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    ack, bye = bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    assert (ack.method, bye.method) == ("ACK", "BYE")
    (ended,) = bench.of(CallEnded)
    assert ended.cause == "cancelled"
    bench.feed(wire.response(cancel, 481))
    bench.feed(wire.response(bye, 200))
    bench.advance(40)
    assert bench.counts == (0, 0, 0)


def test_cancel_that_is_never_answered_ends_after_64_t1_3261_9_1(bench, wire):
    call, invite = place(bench, wire)
    bench.feed(wire.response(invite, 180))
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    bench.advance(32.1)
    (ended,) = bench.of(CallEnded)
    assert ended.cause == "cancelled"
    assert bench.counts == (0, 0, 0)


def test_ring_timeout_cancels(bench, wire):
    _, invite = place(bench, wire, ring_timeout_s=20)
    bench.feed(wire.response(invite, 180))
    (cancel,) = bench.advance(20.1)
    assert cancel.method == "CANCEL"
    bench.feed(wire.response(cancel, 200))
    bench.feed(wire.response(invite, 487))
    (ended,) = bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("timeout", 487)


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def test_407_is_answered_with_digest_same_call_id_and_tag_next_cseq_3261_22_2(bench, wire):
    _, invite = place(bench, wire, credentials=(Credentials("u", "wrong", "other"), Credentials("u", "p", "sip.telnyx.com")))
    challenge = 'Digest realm="sip.telnyx.com", nonce="n1", algorithm=MD5, qop="auth", opaque="o/10.239.42.24"'
    ack, second = bench.feed(wire.response(invite, 407, extra=(("Proxy-Authenticate", challenge),)))
    assert ack.method == "ACK"
    assert (second.get("Call-ID"), second.from_tag) == (invite.get("Call-ID"), invite.from_tag)
    assert second.get("CSeq") == "2 INVITE"
    assert second.branch != invite.branch
    value = second.get("Proxy-Authorization")
    fields = {part.partition("=")[0].strip(): part.partition("=")[2].strip('"') for part in value.removeprefix("Digest ").split(", ")}
    assert fields["opaque"] == "o/10.239.42.24"
    ha1, ha2 = md5("u:sip.telnyx.com:p"), md5("INVITE:sip:+15550002@trunk.example")
    assert fields["response"] == md5(f"{ha1}:n1:00000001:{fields['cnonce']}:auth:{ha2}")
    assert fields["nc"] == "00000001"
    (ack2,) = bench.feed(wire.response(second, 200, body=wire.ANSWER))
    assert ack2.get("Proxy-Authorization") == value
    assert ack2.get("CSeq") == "2 ACK"


def test_challenge_without_qop_uses_the_2069_form(bench, wire):
    call, _, _ = connect(bench, wire, credentials=(Credentials("u", "p"),))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    (again,) = bench.feed(wire.response(bye, 401, extra=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),)))
    assert again.method == "BYE"
    assert again.get("CSeq") == "3 BYE"
    expected = md5(f"{md5('u:r:p')}:n:{md5('BYE:' + bye.uri)}")
    assert f'response="{expected}"' in again.get("Authorization")


def test_same_nonce_again_means_wrong_password(bench, wire):
    _, invite = place(bench, wire, credentials=(Credentials("u", "p"),))
    extra = (("WWW-Authenticate", 'Digest realm="r", nonce="n"'),)
    _, second = bench.feed(wire.response(invite, 401, extra=extra))
    sent = bench.feed(wire.response(second, 401, extra=extra))
    assert [m.method for m in sent] == ["ACK"]
    assert bench.events[-1].code == 401


def test_stale_nonce_is_retried_and_a_second_realm_joins_the_first(bench, wire):
    _, invite = place(bench, wire, credentials=(Credentials("u", "p"),))
    _, second = bench.feed(wire.response(invite, 407, extra=(("Proxy-Authenticate", 'Digest realm="p", nonce="n1"'),)))
    stale = 'Digest realm="p", nonce="n2", stale=TRUE'
    _, third = bench.feed(wire.response(second, 407, extra=(("Proxy-Authenticate", stale),)))
    assert 'nonce="n2"' in third.get("Proxy-Authorization")
    _, fourth = bench.feed(wire.response(third, 401, extra=(("WWW-Authenticate", 'Digest realm="w", nonce="n3"'),)))
    assert 'nonce="n2"' in fourth.get("Proxy-Authorization")
    assert 'nonce="n3"' in fourth.get("Authorization")
    assert fourth.get("CSeq") == "4 INVITE"


def test_endless_new_nonces_end_in_rejection(bench, wire):
    _, invite = place(bench, wire, credentials=(Credentials("u", "p"),))
    n_invites = 1
    for n in range(20):
        sent = bench.feed(wire.response(invite, 401, extra=(("WWW-Authenticate", f'Digest realm="r", nonce="n{n}"'),)))
        invites = [m for m in sent if m.method == "INVITE"]
        if not invites:
            break
        (invite,) = invites
        n_invites += 1
    assert n_invites <= 3
    assert bench.events[-1].cause == "rejected"


def test_redirection_is_followed_once_3261_8_1_3_4(bench, wire):
    _, invite = place(bench, wire, redirects=lambda uri, _: Redirection(str(uri)))
    _, second = bench.feed(wire.response(invite, 302, contact="<sip:+15550003@other.example>;q=0.9"))
    assert second.uri == "sip:+15550003@other.example"
    assert (second.get("Call-ID"), second.get("CSeq")) == (invite.get("Call-ID"), "2 INVITE")
    assert second.transmit.destination == Target("udp", "other.example", None)
    bench.feed(wire.response(second, 302, contact="<sip:x@third.example>"))
    ended = bench.events[-1]
    assert (ended.cause, ended.code) == ("rejected", 302)


def test_large_invite_goes_by_tcp_and_falls_back_to_udp_3261_18_1_1(bench, wire):
    _, invite = place(bench, wire, headers=(("X-Long", "x" * 1200),))
    assert invite.transmit.destination == Target("tcp", "trunk.example", None)
    assert invite.get("Via").startswith("SIP/2.0/TCP 198.51.100.1:5060;")
    assert invite.get("Contact") == "<sip:+15550001@198.51.100.1:5060;transport=tcp>"
    bench.endpoint.handle_transport_error(invite.transmit.id, "refused", bench.now)
    bench.drain()
    again = bench.sent[-1]
    assert again.transmit.destination == Target("udp", "trunk.example", None)
    assert again.get("Via").startswith("SIP/2.0/UDP 198.51.100.1:5060;")
    assert again.get("Contact") == "<sip:+15550001@198.51.100.1:5060>"
    assert [m.method for m in bench.advance(0.6)] == ["INVITE"]
    assert not bench.of(CallEnded)


def test_large_invite_stays_on_udp_without_a_tcp_listener(bench, wire):
    bench.endpoint.set_listeners(wire.listeners("udp"))
    _, invite = place(bench, wire, headers=(("X-Long", "x" * 1200),))
    assert invite.transmit.destination == Target("udp", "trunk.example", None)


def test_offer_is_sent_and_answered(bench, wire):
    call, _, _ = connect(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    assert (reinvite.uri, reinvite.get("CSeq")) == ("sip:callee@192.0.2.9:5060", "2 INVITE")
    assert reinvite.get("Contact")
    assert bench.endpoint.offer(call, wire.OFFER, bench.now) is False
    (ack,) = bench.feed(wire.response(reinvite, 200, body=wire.ANSWER, contact="<sip:moved@192.0.2.31>"))
    assert (ack.uri, ack.get("CSeq")) == ("sip:moved@192.0.2.31", "2 ACK")
    assert bench.events[-1] == OfferAnswered(call, 200, wire.ANSWER)
    assert [m.method for m in bench.feed(wire.response(reinvite, 200, body=wire.ANSWER))] == ["ACK"]
    assert len(bench.of(OfferAnswered)) == 1


def test_offer_refused_leaves_the_call_alone(bench, wire):
    call, _, _ = connect(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    bench.feed(wire.response(reinvite, 488))
    assert bench.events[-1] == OfferAnswered(call, 488, None)
    assert bench.endpoint.n_calls == 1


def test_offer_after_491_is_tried_again_later_when_we_own_the_call_id_3261_14_1(bench, wire):
    call, _, _ = connect(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    bench.feed(wire.response(reinvite, 491))
    assert bench.advance(2.09) == []
    (again,) = bench.advance(1.0)
    assert (again.method, again.get("CSeq"), again.body) == ("INVITE", "3 INVITE", wire.OFFER)
    bench.feed(wire.response(again, 200, body=wire.ANSWER))
    assert bench.of(OfferAnswered) == [OfferAnswered(call, 200, wire.ANSWER)]


@pytest.mark.parametrize(("code", "cause"), [(481, "remote_bye"), (408, "timeout")])
def test_offer_that_finds_the_peer_gone_ends_the_call_3261_12_2_1_2(bench, wire, code, cause):
    call, _, _ = connect(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    sent = bench.feed(wire.response(reinvite, code))
    assert [m.method for m in sent] == ["ACK", "BYE"]
    assert (bench.events[-1].cause, bench.events[-1].code) == (cause, code)


def test_offerless_invite_gets_its_answer_in_the_ack_3261_13_2_1(bench, wire):
    call, invite = place(bench, wire, sdp=None)
    assert invite.body == b""
    assert bench.feed(wire.response(invite, 200, body=wire.OFFER)) == []
    assert bench.events[-1].sdp == wire.OFFER
    (ack,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (ack.method, ack.body, ack.get("Content-Type")) == ("ACK", wire.ANSWER, "application/sdp")


def test_peer_offers_inside_our_call(bench, wire):
    call, invite, _ = connect(bench, wire)
    to = invite.get("From")
    sender = invite.get("To") + ";tag=callee1"
    options = {"call_id": invite.get("Call-ID"), "to": to, "sender": sender, "cseq": 1}
    bench.feed(wire.request("INVITE", body=wire.OFFER, **options))
    assert bench.of(OfferReceived)[0].call == call
    (ok,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert ok.get("Contact") == "<sip:+15550001@198.51.100.1:5060>"
    bench.feed(wire.request("ACK", branch="z9hG4bKx", **options))
    assert [m.code for m in bench.feed(wire.request("BYE", branch="z9hG4bKy", **{**options, "cseq": 2}))] == [200]
    assert bench.events[-1].cause == "remote_bye"
    bench.advance(64)
    assert bench.counts == (0, 0, 0)


def test_request_in_dialog_completes(bench, wire):
    call, _, _ = connect(bench, wire)
    tokens = []
    (info,) = bench.do(
        lambda now: tokens.append(bench.endpoint.request(call, "INFO", now, body=b"Signal=1", content_type="application/dtmf-relay"))
    )
    assert (info.get("CSeq"), info.get("Content-Type"), info.body) == ("2 INFO", "application/dtmf-relay", b"Signal=1")
    assert not info.all("Contact")
    (refer,) = bench.do(lambda now: tokens.append(bench.endpoint.refer(call, "sip:x@y", now)))
    assert refer.get("CSeq") == "3 REFER"
    assert refer.get("Contact")
    bench.feed(wire.response(refer, 202, "Accepted"))
    bench.feed(wire.response(info, 200, "OK"))
    done = bench.of(RequestCompleted)
    assert [(e.token, e.code, e.call) for e in done] == [(tokens[1], 202, call), (tokens[0], 200, call)]


def test_open_requests_complete_before_the_call_ends(bench, wire):
    call, _, _ = connect(bench, wire)
    (info,) = bench.do(lambda now: bench.endpoint.request(call, "INFO", now))
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert [type(e) for e in bench.events[-2:]] == [RequestCompleted, CallEnded]
    bench.feed(wire.response(info, 200))
    assert isinstance(bench.events[-1], CallEnded)


def test_request_on_a_connection_that_dies_goes_over_a_new_one(bench, wire):
    call = replace(spec(wire), to_uri="sip:+1@trunk.example;transport=tls")
    handles = []
    (invite,) = bench.do(lambda now: handles.append(bench.endpoint.invite(call, now)))
    bench.feed(wire.response(invite, 200, body=wire.ANSWER, contact="<sip:x@192.0.2.9;transport=tls>"), wire.TLS)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(handles[0], now))
    assert bye.transmit.destination.flow == wire.TLS
    bench.endpoint.handle_connection_lost(wire.TLS, "closed", bench.now)
    bench.drain()
    again = bench.sent[-1]
    assert again.transmit.data == bye.transmit.data
    assert again.transmit.destination == Target("tls", "192.0.2.9", None)


def test_stray_response_is_dropped_and_named(bench, wire):
    _, invite = place(bench, wire)
    stray = wire.response(invite, 180).replace(invite.branch.encode(), b"z9hG4bKother")
    assert bench.feed(stray) == []
    (dropped,) = bench.of(MessageDropped)
    assert dropped.why == "stray_response"


def test_wildcard_listener_speaks_with_the_given_local_host(wire):
    anywhere = Listener("udp", Address("0.0.0.0", 5060), Address("0.0.0.0", 5060))
    bench = wire.Bench(config=EndpointConfig(listeners=(anywhere,), user_agent="u"))
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec(wire, local_host="198.51.100.77"), now))
    assert "UDP 198.51.100.77:5060" in invite.get("Via")
    assert invite.get("Contact") == "<sip:+15550001@198.51.100.77:5060>"


def test_offer_with_malformed_headers_raises_and_leaves_no_offer_open(bench, wire):
    call, _, _ = connect(bench, wire)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.offer(call, wire.OFFER, bench.now, headers=(("X", "a\r\nb"),))
    (invite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    assert invite.method == "INVITE"


def test_reinvite_answered_with_another_tag_is_acknowledged_each_time_and_the_next_one_goes_out(bench, wire):
    """Some B2BUAs change the tag inside a call: unacknowledged, they hang up after 32 s."""
    call, _, _ = connect(bench, wire)
    (hold,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    foreign = wire.response(hold, 200, body=wire.ANSWER).replace(b";tag=callee1", b";tag=other")
    assert b";tag=other" in foreign
    for _ in range(3):
        (ack,) = bench.feed(foreign)
        assert (ack.method, ack.get("CSeq")) == ("ACK", hold.get("CSeq").replace("INVITE", "ACK"))
        assert ack.get("To").endswith(";tag=callee1")
    assert [event.code for event in bench.of(OfferAnswered)] == [200]
    assert [each.method for each in bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))] == ["INVITE"]
