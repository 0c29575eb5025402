"""Session timers by the text of RFC 4028, in virtual time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from active_call.base.errors import ParseError
from active_call.sip.dialog.session_expires import SessionExpires, parse_session_expires
from active_call.sip.events import CallEnded, IncomingCall, OfferAnswered, OfferReceived, OutboundInvite

TIMER = ("Supported", "timer")
ALLOWS_UPDATE = ("Allow", "INVITE, ACK, BYE, CANCEL, UPDATE")


def expires(value):
    return ("Session-Expires", value)


def inbound(bench, wire, *extra):
    """A call to us that is answered and acknowledged: its handle and our 200."""
    bench.feed(wire.request("INVITE", body=wire.OFFER, extra=extra))
    call = bench.of(IncomingCall)[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=ok.get("To")))
    return call, ok


def dial(bench, wire, **options):
    spec = OutboundInvite("sip:+2@192.0.2.9", "sip:+1@us.example", wire.OFFER, **options)
    calls = []
    (invite,) = bench.do(lambda now: calls.append(bench.endpoint.invite(spec, now)))
    return calls[0], invite


def outbound(bench, wire, *extra):
    """A call of ours that is answered: its handle and the INVITE."""
    call, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 200, body=wire.ANSWER, extra=extra))
    return call, invite


def from_peer(wire, ok, method, cseq, **options):
    return wire.request(method, cseq=cseq, to=ok.get("To"), branch=f"z9hG4bK{method}{cseq}", **options)


def of_callee(wire, invite, method, cseq, **options):
    """A request of the party that we have called."""
    return wire.request(
        method,
        cseq=cseq,
        to=invite.get("From"),
        sender=invite.get("To") + ";tag=callee1",
        call_id=invite.get("Call-ID"),
        branch=f"z9hG4bK{method}{cseq}",
        **options,
    )


def without_timers(wire, **changes):
    return wire.Bench(config=replace(wire.Bench().config, **changes))


# -- values -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4000", SessionExpires(4000)),
        ("1800;refresher=uas", SessionExpires(1800, "uas")),
        ("1800 ; Refresher=UAC;x", SessionExpires(1800, "uac")),
        ("90;refresher=proxy", SessionExpires(90)),
    ],
)
def test_session_expires_is_read_4028_4(text, value):
    assert parse_session_expires(text) == value


@pytest.mark.parametrize("text", ["", "0", "-1", "1800s", "99999999999", "\N{SUPERSCRIPT TWO}", "1800;="])
def test_malformed_session_expires_raises(text):
    with pytest.raises(ParseError):
        parse_session_expires(text)


# -- as UAS -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "extra", "agreed", "requires"),
    [
        ("1800;refresher=uac", (TIMER,), "1800;refresher=uac", ["timer"]),
        ("1800;refresher=uas", (TIMER,), "1800;refresher=uas", ["timer"]),
        ("1800", (TIMER,), "1800;refresher=uas", ["timer"]),
        ("1800", (), "1800;refresher=uas", []),
        ("1800;refresher=uac", (), "1800;refresher=uas", []),
        ("60", (), "60;refresher=uas", []),
        ("90", (TIMER,), "90;refresher=uas", ["timer"]),
        ("600;refresher=uac", (("Require", "timer"), ("Min-SE", "90")), "600;refresher=uac", ["timer"]),
    ],
)
def test_interval_and_refresher_are_agreed_per_table_2_4028_9(bench, wire, asked, extra, agreed, requires):
    _, ok = inbound(bench, wire, expires(asked), *extra)
    assert ok.get("Session-Expires") == agreed
    assert ok.all("Require") == requires
    assert "timer" in ok.get("Supported")


@pytest.mark.parametrize("extra", [(), (TIMER,), (TIMER, expires("soon"))])
def test_no_usable_wish_no_timer(bench, wire, extra):
    _, ok = inbound(bench, wire, *extra)
    assert not ok.all("Session-Expires")
    assert not ok.all("Require")
    assert bench.advance(100_000) == []


def test_too_small_interval_of_a_timer_peer_gets_422_with_min_se_4028_9(bench, wire):
    (reply,) = bench.feed(wire.request("INVITE", body=wire.OFFER, extra=(TIMER, expires("89"))))
    assert (reply.code, reply.get("Min-SE")) == (422, "90")
    assert not bench.of(IncomingCall)


def test_too_small_update_inside_the_call_gets_422(bench, wire):
    _, ok = inbound(bench, wire)
    (reply,) = bench.feed(from_peer(wire, ok, "UPDATE", 101, extra=(TIMER, expires("30"))))
    assert (reply.code, reply.get("Min-SE")) == (422, "90")


def test_compact_form_is_read(bench, wire):
    _, ok = inbound(bench, wire, ("x", "300;refresher=uac"), ("k", "timer"))
    assert ok.get("Session-Expires") == "300;refresher=uac"


@pytest.mark.parametrize(("interval", "margin"), [(1800, 32), (90, 30), (96, 32), (60, 20)])
def test_unrefreshed_call_is_hung_up_a_little_early_4028_10(bench, wire, interval, margin):
    if interval < 90:
        call, _ = outbound(bench, wire, expires(f"{interval};refresher=uas"))
    else:
        call, _ = inbound(bench, wire, TIMER, expires(f"{interval};refresher=uac"))
    began = bench.now
    sent = bench.advance(interval - margin - 0.1)
    assert sent == []
    (bye,) = bench.advance(0.2)
    assert bye.method == "BYE"
    assert bye.get("Reason") == 'SIP;cause=408;text="Session expired"'
    assert bye.at == pytest.approx(began + interval - margin)
    (ended,) = bench.of(CallEnded)
    assert (ended.call, ended.cause) == (call, "session_expired")
    bench.advance(70)
    assert bench.counts == (0, 0, 0)


def test_refresh_without_description_is_answered_and_counts_4028_8(bench, wire):
    _, ok = inbound(bench, wire, TIMER, expires("90;refresher=uac"))
    for n in range(5):
        bench.advance(45)
        (reply,) = bench.feed(from_peer(wire, ok, "UPDATE", 101 + n, extra=(TIMER, expires("90;refresher=uac"))))
        assert (reply.code, reply.get("Session-Expires"), reply.get("Require")) == (200, "90;refresher=uac", "timer")
    assert not bench.of(CallEnded)
    assert not bench.of(OfferReceived)
    bench.advance(61)
    assert bench.of(CallEnded)[0].cause == "session_expired"


def test_refresh_by_reinvite_is_the_legs_to_answer_and_counts(bench, wire):
    call, ok = inbound(bench, wire, TIMER, expires("90;refresher=uac"))
    bench.advance(45)
    data = from_peer(wire, ok, "INVITE", 101, body=wire.OFFER, extra=(TIMER, expires("120;refresher=uac")))
    bench.feed(data)
    (again,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (again.code, again.get("Session-Expires")) == (200, "120;refresher=uac")
    bench.feed(from_peer(wire, ok, "ACK", 101))
    bench.advance(87)
    assert not bench.of(CallEnded)
    bench.advance(2)
    assert bench.of(CallEnded)[0].cause == "session_expired"


def test_request_that_names_nobody_keeps_the_party_that_refreshes(bench, wire):
    """Telephone#180: uac in our INVITE and uas in theirs are the same party."""
    _, invite = outbound(bench, wire, expires("1800;refresher=uac"))
    (reply,) = bench.feed(of_callee(wire, invite, "UPDATE", 7, extra=(TIMER, expires("1800"))))
    assert reply.get("Session-Expires") == "1800;refresher=uas"


def test_peer_that_refreshes_goes_on_doing_so_when_nobody_is_named(bench, wire):
    _, invite = outbound(bench, wire, expires("1800;refresher=uas"))
    (reply,) = bench.feed(of_callee(wire, invite, "UPDATE", 7, extra=(TIMER, expires("1800"))))
    assert reply.get("Session-Expires") == "1800;refresher=uac"


def test_peer_may_hand_the_refreshing_over(bench, wire):
    _, ok = inbound(bench, wire, TIMER, ALLOWS_UPDATE, expires("90;refresher=uac"))
    bench.feed(from_peer(wire, ok, "UPDATE", 101, extra=(TIMER, expires("90;refresher=uas"))))
    (update,) = bench.advance(45.1)
    assert (update.method, update.get("Session-Expires")) == ("UPDATE", "90;refresher=uac")


def test_request_of_the_refreshing_peer_without_a_wish_ends_the_timer_4028_9(bench, wire):
    _, ok = inbound(bench, wire, TIMER, expires("90;refresher=uac"))
    (reply,) = bench.feed(from_peer(wire, ok, "UPDATE", 101, extra=(TIMER,)))
    assert not reply.all("Session-Expires")
    assert bench.advance(10_000) == []


# -- as UAC -------------------------------------------------------------------------------------------------------------------------------


def test_invite_asks_for_the_configured_interval_4028_7_1(bench, wire):
    _, invite = dial(bench, wire)
    assert invite.get("Session-Expires") == "1800"
    assert "timer" in invite.get("Supported")
    assert not invite.all("Require")


@pytest.mark.parametrize(("wanted", "asked"), [(0, []), (30, ["90"]), (600, ["600"])])
def test_configured_interval(wire, wanted, asked):
    bench = without_timers(wire, session_expires_s=wanted)
    _, invite = dial(bench, wire)
    assert invite.all("Session-Expires") == asked
    assert "timer" in invite.get("Supported")


def test_endpoint_without_the_extension_takes_no_part(wire):
    bench = without_timers(wire, supported=())
    _, invite = outbound(bench, wire, expires("90;refresher=uas"))
    assert not invite.all("Session-Expires")
    assert bench.advance(1000) == []
    bench = without_timers(wire, supported=())
    _, ok = inbound(bench, wire, TIMER, expires("90;refresher=uac"))
    assert not ok.all("Session-Expires")


def test_peer_that_ignores_the_wish_has_no_timer_4028_7_2(bench, wire):
    """Twilio takes `timer` out of what we say."""
    outbound(bench, wire)
    assert bench.advance(24 * 3600) == []
    assert not bench.of(CallEnded)


def test_422_is_met_once_with_the_peers_min_se_4028_7_3(bench, wire):
    _, invite = dial(bench, wire)
    ack, again = bench.feed(wire.response(invite, 422, extra=(("Min-SE", "3600"),)))
    assert ack.method == "ACK"
    assert (again.get("Session-Expires"), again.get("Min-SE")) == ("3600", "3600")
    assert (again.get("Call-ID"), again.from_tag) == (invite.get("Call-ID"), invite.from_tag)
    assert again.get("CSeq") == "2 INVITE"
    bench.feed(wire.response(again, 422, extra=(("Min-SE", "7200"),)))
    (ended,) = bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("rejected", 422)


@pytest.mark.parametrize("extra", [(), (("Min-SE", "x"),)])
def test_422_without_a_min_se_ends_the_call(bench, wire, extra):
    _, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 422, extra=extra))
    assert bench.of(CallEnded)[0].code == 422


def test_carrier_that_wants_to_refresh_is_answered(bench, wire):
    """livekit/sip PR#582: the 200 says 1800;refresher=uas, a re-INVITE comes at 900 s."""
    call, invite = outbound(bench, wire, expires("1800;refresher=uas"))
    assert bench.advance(900) == []
    bench.feed(of_callee(wire, invite, "INVITE", 1, body=wire.OFFER, extra=(TIMER, expires("1800;refresher=uac"))))
    (ok,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert ok.get("Session-Expires") == "1800;refresher=uac"
    bench.feed(of_callee(wire, invite, "ACK", 1))
    bench.advance(1700)
    assert not bench.of(CallEnded)


# -- we refresh ---------------------------------------------------------------------------------------------------------------------------


def test_refresh_goes_out_at_half_the_interval_by_update_4028_7_4(bench, wire):
    _, invite = outbound(bench, wire, ALLOWS_UPDATE, TIMER, expires("1800;refresher=uac"))
    began = bench.now
    (update,) = bench.advance(900)
    assert (update.method, update.at) == ("UPDATE", began + 900)
    assert update.get("Session-Expires") == "1800;refresher=uac"
    assert "timer" in update.get("Supported")
    assert update.body == b""
    assert update.get("CSeq") == "2 UPDATE"
    assert update.from_tag == invite.from_tag
    bench.feed(wire.response(update, 200, extra=(expires("1800;refresher=uac"),)))
    (second,) = bench.advance(900)
    assert second.get("CSeq") == "3 UPDATE"


def test_refresh_repeats_the_description_where_update_is_not_allowed(bench, wire):
    _, ok = inbound(bench, wire, expires("600"), ("Allow", "INVITE, ACK, BYE"))
    (refresh,) = bench.advance(300)
    assert refresh.method == "INVITE"
    assert refresh.body == wire.ANSWER
    assert refresh.get("Session-Expires") == "600;refresher=uac"
    assert refresh.from_tag == ok.to_tag
    (ack,) = bench.feed(wire.response(refresh, 200, body=wire.OFFER, extra=(expires("600;refresher=uac"),)))
    assert ack.method == "ACK"
    assert not bench.of(OfferAnswered)
    assert bench.advance(299) == []
    assert [m.method for m in bench.advance(1.1)] == ["INVITE"]


def test_refresh_whose_answer_is_news_reaches_the_leg(bench, wire):
    outbound(bench, wire, expires("600;refresher=uac"))
    (refresh,) = bench.advance(300)
    assert refresh.body == wire.OFFER
    moved = wire.ANSWER.replace(b"5000", b"5002")
    bench.feed(wire.response(refresh, 200, body=moved, extra=(expires("600;refresher=uac"),)))
    (answered,) = bench.of(OfferAnswered)
    assert (answered.code, answered.sdp) == (200, moved)


def test_refresh_after_a_later_offer_repeats_that_one(bench, wire):
    call, _ = outbound(bench, wire, expires("600;refresher=uac"))
    held = wire.OFFER + b"a=sendonly\r\n"
    (hold,) = bench.do(lambda now: bench.endpoint.offer(call, held, now))
    assert hold.get("Session-Expires") == "600;refresher=uac"
    bench.feed(wire.response(hold, 200, body=wire.ANSWER, extra=(expires("600;refresher=uac"),)))
    (refresh,) = bench.advance(300)
    assert refresh.body == held


def test_refresh_that_collides_repeats_what_was_agreed_meanwhile(bench, wire):
    call, invite = outbound(bench, wire, expires("600;refresher=uac"))
    (refresh,) = bench.advance(300)
    bench.feed(wire.response(refresh, 491))
    bench.feed(of_callee(wire, invite, "INVITE", 1, body=wire.OFFER))
    held = wire.ANSWER + b"a=recvonly\r\n"
    bench.do(lambda now: bench.endpoint.answer_offer(call, held, now))
    bench.feed(of_callee(wire, invite, "ACK", 1))
    again = [m for m in bench.advance(6) if m.method == "INVITE"]
    assert again[0].body == held


def test_refresh_after_an_update_of_the_leg_repeats_what_that_has_agreed(bench, wire):
    call, _ = outbound(bench, wire, expires("600;refresher=uac"))
    held = wire.OFFER + b"a=sendonly\r\n"
    (update,) = bench.do(lambda now: bench.endpoint.request(call, "UPDATE", now, body=held, content_type="application/sdp"))
    assert update.get("Session-Expires") == "600;refresher=uac"
    bench.feed(wire.response(update, 200, body=wire.ANSWER, extra=(expires("600;refresher=uac"),)))
    assert bench.advance(299.9) == []
    (refresh,) = bench.advance(0.2)
    assert refresh.body == held


@pytest.mark.parametrize(("code", "cause"), [(481, "remote_bye"), (408, "timeout")])
@pytest.mark.parametrize("allow", ["INVITE, UPDATE", "INVITE"])
def test_refresh_that_finds_the_call_gone_ends_it_4028_10(bench, wire, code, cause, allow):
    outbound(bench, wire, ("Allow", allow), expires("600;refresher=uac"))
    (refresh,) = bench.advance(300)
    sent = bench.feed(wire.response(refresh, code))
    assert sent[-1].method == "BYE"
    assert bench.of(CallEnded)[0].cause == cause


def test_unanswered_refresh_ends_the_call(bench, wire):
    outbound(bench, wire, ALLOWS_UPDATE, expires("600;refresher=uac"))
    bench.advance(331)
    assert not bench.of(CallEnded)
    bench.advance(2)
    assert bench.of(CallEnded)[0].cause == "timeout"


@pytest.mark.parametrize("code", [405, 501, 488])
def test_refused_update_is_followed_by_a_reinvite(bench, wire, code):
    outbound(bench, wire, ALLOWS_UPDATE, expires("600;refresher=uac"))
    (update,) = bench.advance(300)
    (refresh,) = bench.feed(wire.response(update, code))
    assert (refresh.method, refresh.body) == ("INVITE", wire.OFFER)
    assert not bench.of(CallEnded)


def test_refresh_refused_by_a_living_peer_is_tried_again_in_time_and_ends_nothing(bench, wire):
    """The peer would hang up at 568 s: there are several more refreshes before that, and ever after."""
    outbound(bench, wire, expires("600;refresher=uac"))
    began = bench.now
    tries = []
    while bench.now < began + 2000:
        bench.now = max(bench.now, bench.endpoint.next_timeout())
        bench.endpoint.handle_timeout(bench.now)
        n_before = len(bench.sent)
        bench.drain()
        for message in bench.sent[n_before:]:
            if message.method == "INVITE":
                tries.append(message.at - began)
                bench.feed(wire.response(message, 500))
    assert tries[:3] == pytest.approx([300, 434, 501])
    assert tries[-1] > 1500
    assert len(tries) < 15
    assert not bench.of(CallEnded)
    assert not bench.of(OfferAnswered)


@pytest.mark.parametrize("allow", ["INVITE, UPDATE", "INVITE"])
def test_refresh_met_by_422_is_sent_again_with_the_longer_interval(bench, wire, allow):
    outbound(bench, wire, ("Allow", allow), expires("100;refresher=uac"))
    (refresh,) = bench.advance(50)
    again = bench.feed(wire.response(refresh, 422, extra=(("Min-SE", "400"),)))[-1]
    assert (again.method, again.get("Session-Expires"), again.get("Min-SE")) == (refresh.method, "400;refresher=uac", "400")
    bench.feed(wire.response(again, 200, body=wire.ANSWER if allow == "INVITE" else b"", extra=(expires("400;refresher=uac"),)))
    assert bench.advance(199) == []
    assert len(bench.advance(1.1)) == 1


def test_refresh_waits_while_an_offer_of_the_peer_is_open(bench, wire):
    call, invite = outbound(bench, wire, expires("100;refresher=uac"))
    bench.advance(49)
    bench.feed(of_callee(wire, invite, "INVITE", 1, body=wire.OFFER))
    assert bench.advance(8) == []
    (ok,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert ok.get("Session-Expires") == "100;refresher=uas"
    bench.feed(of_callee(wire, invite, "ACK", 1))
    assert [m.method for m in bench.advance(50)] == ["INVITE"]


def test_absurd_interval_does_not_make_us_refresh_without_pause(bench, wire):
    outbound(bench, wire, ALLOWS_UPDATE, expires("1;refresher=uac"))
    assert bench.advance(9.9) == []


def test_ended_call_leaves_no_alarm(bench, wire):
    call, _ = outbound(bench, wire, expires("600;refresher=uac"))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    bench.feed(wire.response(bye, 200))
    bench.advance(100)
    assert bench.endpoint.next_timeout() is None
