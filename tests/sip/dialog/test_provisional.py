"""Reliable provisional responses by the text of RFC 3262, in virtual time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.dialog.provisional import RAck, parse_rack
from active_call.sip.events import (
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallProgress,
    Credentials,
    IncomingCall,
    OfferAnswered,
    OfferReceived,
    OutboundInvite,
)

REQUIRE = ("Require", "100rel")
SUPPORTED = ("Supported", "100rel")


def rseq(value):
    return (REQUIRE, ("RSeq", str(value)))


# -- values -------------------------------------------------------------------------------------------------------------------------------


def test_rack_is_read_3262_7_2():
    assert parse_rack("776656 1 INVITE") == RAck(776656, 1, "INVITE")


@pytest.mark.parametrize("text", ["", "1 INVITE", "1 2", "a 1 INVITE", "1 2 INVITE more", "99999999999 1 INVITE"])
def test_malformed_rack_raises(text):
    with pytest.raises(ParseError):
        parse_rack(text)


# -- we sent the INVITE -------------------------------------------------------------------------------------------------------------------


def dial(bench, wire, sdp=True, **options):
    spec = OutboundInvite("sip:+2@192.0.2.9", "sip:+1@us.example", wire.OFFER if sdp else None, **options)
    calls = []
    (invite,) = bench.do(lambda now: calls.append(bench.endpoint.invite(spec, now)))
    return calls[0], invite


def test_invite_offers_the_extension(bench, wire):
    _, invite = dial(bench, wire)
    assert "100rel" in invite.get("Supported")
    assert not invite.all("Require")


def test_reliable_progress_is_acknowledged_inside_its_early_dialog_3262_4(bench, wire):
    _, invite = dial(bench, wire)
    routes = (("Record-Route", "<sip:192.0.2.1;lr>"), ("Record-Route", "<sip:192.0.2.2;lr>"))
    (prack,) = bench.feed(wire.response(invite, 183, body=wire.ANSWER, extra=(*rseq(776656), *routes)))
    assert prack.start == "PRACK sip:callee@192.0.2.9:5060 SIP/2.0"
    assert prack.get("RAck") == "776656 1 INVITE"
    assert prack.get("CSeq") == "2 PRACK"
    assert prack.get("To").endswith(";tag=callee1")
    assert prack.all("Route") == ["<sip:192.0.2.2;lr>", "<sip:192.0.2.1;lr>"]
    assert prack.body == b""
    (progress,) = bench.of(CallProgress)
    assert progress.sdp == wire.ANSWER


def test_repeated_reliable_progress_is_ignored_3262_4(bench, wire):
    _, invite = dial(bench, wire)
    data = wire.response(invite, 183, body=wire.ANSWER, extra=rseq(5))
    (prack,) = bench.feed(data)
    bench.feed(wire.response(prack, 200))
    assert bench.feed(data) == []
    assert len(bench.of(CallProgress)) == 1


def test_progress_is_acknowledged_in_order_only_3262_4(bench, wire):
    _, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 180, extra=rseq(5)))
    assert bench.feed(wire.response(invite, 183, extra=rseq(7))) == []
    (prack,) = bench.feed(wire.response(invite, 181, extra=rseq(6)))
    assert prack.get("RAck") == "6 1 INVITE"
    (prack,) = bench.feed(wire.response(invite, 183, extra=rseq(7)))
    assert prack.get("RAck") == "7 1 INVITE"
    assert [event.response.code for event in bench.of(CallProgress)] == [180, 181, 183]


def test_forks_are_numbered_apart(bench, wire):
    _, invite = dial(bench, wire)
    for tag, number in (("a", 5), ("b", 900)):
        (prack,) = bench.feed(wire.response(invite, 180, tag=tag, extra=rseq(number)))
        assert prack.get("RAck") == f"{number} 1 INVITE"
        assert prack.to_tag == tag


@pytest.mark.parametrize(
    ("code", "extra", "tag"),
    [
        (180, (), "callee1"),
        (180, (REQUIRE,), "callee1"),
        (180, (("RSeq", "5"),), "callee1"),
        (180, (SUPPORTED, ("RSeq", "5")), "callee1"),
        (180, (REQUIRE, ("RSeq", "five")), "callee1"),
        (180, rseq(5), None),
        (100, rseq(5), None),
    ],
)
def test_other_progress_is_not_acknowledged(bench, wire, code, extra, tag):
    _, invite = dial(bench, wire)
    assert bench.feed(wire.response(invite, code, extra=extra, tag=tag)) == []


def test_prack_is_repeated_and_sent_again_with_credentials(bench, wire):
    _, invite = dial(bench, wire, credentials=(Credentials("u", "p"),))
    (prack,) = bench.feed(wire.response(invite, 180, extra=rseq(5)))
    assert [m.get("RAck") for m in bench.advance(1)] == ["5 1 INVITE"]
    (again,) = bench.feed(wire.response(prack, 401, extra=(("WWW-Authenticate", 'Digest realm="r", nonce="n"'),)))
    assert (again.get("RAck"), again.get("CSeq")) == ("5 1 INVITE", "3 PRACK")
    assert again.all("Authorization")


def test_sequence_goes_on_after_pracks(bench, wire):
    call, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 180, extra=rseq(5)))
    (ack,) = bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    assert ack.get("CSeq") == "1 ACK"
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.get("CSeq") == "3 BYE"


def test_offer_in_reliable_progress_is_answered_in_the_prack_3262_5(bench, wire):
    call, invite = dial(bench, wire, sdp=False)
    assert bench.feed(wire.response(invite, 183, body=wire.OFFER, extra=rseq(5))) == []
    assert bench.of(CallProgress)[0].sdp == wire.OFFER
    (prack,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (prack.method, prack.body, prack.get("Content-Type")) == ("PRACK", wire.ANSWER, "application/sdp")
    (second,) = bench.feed(wire.response(invite, 180, extra=rseq(6)))
    assert (second.get("RAck"), second.body) == ("6 1 INVITE", b"")
    (ack,) = bench.feed(wire.response(invite, 200))
    assert (ack.method, ack.body) == ("ACK", b"")
    assert bench.of(CallAnswered)[0].sdp is None


def test_reliable_progress_of_a_reinvite_is_acknowledged_and_its_answer_counts_3262_5(bench, wire):
    call, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    (again,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    assert "100rel" in again.get("Supported")
    (prack,) = bench.feed(wire.response(again, 183, body=wire.ANSWER, extra=rseq(9)))
    assert (prack.get("RAck"), prack.get("CSeq")) == ("9 2 INVITE", "3 PRACK")
    assert bench.feed(wire.response(again, 183, body=wire.ANSWER, extra=rseq(9))) == []
    (ack,) = bench.feed(wire.response(again, 200))
    assert (ack.method, ack.get("CSeq")) == ("ACK", "2 ACK")
    (answered,) = bench.of(OfferAnswered)
    assert (answered.code, answered.sdp) == (200, wire.ANSWER)


def test_reinvite_without_an_offer_does_not_invite_one_in_progress(bench, wire):
    call, invite = dial(bench, wire)
    bench.feed(wire.response(invite, 200, body=wire.ANSWER))
    (again,) = bench.do(lambda now: bench.endpoint.offer(call, None, now))
    assert "100rel" not in again.get("Supported")


# -- we serve the INVITE ------------------------------------------------------------------------------------------------------------------


def called(bench, wire, *extra, sdp=True):
    bench.feed(wire.request("INVITE", body=wire.OFFER if sdp else b"", extra=extra))
    return bench.of(IncomingCall)[-1].call


def ring(bench, call, **options):
    return bench.do(lambda now: bench.endpoint.ring(call, now, **options))


def answer(bench, wire, call):
    return bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))


def prack(wire, reply, cseq=101, *, rack=None, body=b""):
    value = rack or f"{reply.get('RSeq')} 100 INVITE"
    extra = (("RAck", value),)
    return wire.request("PRACK", branch=f"z9hG4bKprack{cseq}", cseq=cseq, to=reply.get("To"), contact=None, extra=extra, body=body)


def test_required_progress_is_numbered_and_repeated_until_its_prack_3262_3(bench, wire):
    call = called(bench, wire, REQUIRE)
    began = bench.now
    (ringing,) = ring(bench, call)
    assert (ringing.code, ringing.get("Require")) == (180, "100rel")
    assert 1 <= int(ringing.get("RSeq")) <= 2**31 - 1
    assert ringing.get("Contact")
    repeated = bench.advance(10)
    assert [m.at - began for m in repeated] == [0.5, 1.5, 3.5, 7.5]
    assert all(m.transmit.data == ringing.transmit.data for m in repeated)
    (ok,) = bench.feed(prack(wire, ringing))
    assert (ok.code, ok.get("CSeq")) == (200, "101 PRACK")
    assert bench.advance(40) == []


@pytest.mark.parametrize(("extra", "preferred", "reliable"), [((SUPPORTED,), False, False), ((SUPPORTED,), True, True), ((), True, False)])
def test_supported_alone_is_used_where_configured(wire, extra, preferred, reliable):
    bench = wire.Bench(config=replace(wire.Bench().config, prefer_reliable_provisionals=preferred))
    (ringing,) = ring(bench, called(bench, wire, *extra))
    assert bool(ringing.all("RSeq")) == reliable


def test_endpoint_without_the_extension_refuses_by_420(wire):
    bench = wire.Bench(config=replace(wire.Bench().config, supported=("timer",)))
    (reply,) = bench.feed(wire.request("INVITE", body=wire.OFFER, extra=(REQUIRE,)))
    assert (reply.code, reply.get("Unsupported")) == (420, "100rel")


def test_malformed_headers_are_refused_even_when_they_would_wait(bench, wire):
    call = called(bench, wire, REQUIRE)
    (early,) = ring(bench, call, sdp=wire.ANSWER)
    bad = (("X-Bad", "a\r\nb"),)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.ring(call, bench.now, headers=bad)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.answer(call, wire.ANSWER, bench.now, headers=bad)
    assert [m.code for m in bench.feed(prack(wire, early))] == [200]


def test_second_progress_waits_for_the_prack_of_the_first_3262_3(bench, wire):
    call = called(bench, wire, REQUIRE)
    (ringing,) = ring(bench, call)
    assert ring(bench, call, sdp=wire.ANSWER) == []
    ok, early = bench.feed(prack(wire, ringing))
    assert (ok.code, early.code, early.body) == (200, 183, wire.ANSWER)
    assert int(early.get("RSeq")) == int(ringing.get("RSeq")) + 1


@pytest.mark.parametrize(
    "rack", ["1 100 INVITE", "{} 99 INVITE", "{} 100 PRACK", "nonsense", "{} 100 INVITE x"], ids=["rseq", "cseq", "method", "form", "more"]
)
def test_prack_that_matches_nothing_gets_481_3262_3(bench, wire, rack):
    call = called(bench, wire, REQUIRE)
    (ringing,) = ring(bench, call)
    (reply,) = bench.feed(prack(wire, ringing, rack=rack.format(ringing.get("RSeq"))))
    assert reply.code == 481
    assert len(bench.advance(0.5)) == 1


def test_second_prack_for_the_same_response_gets_481(bench, wire):
    call = called(bench, wire, REQUIRE)
    (ringing,) = ring(bench, call)
    assert [m.code for m in bench.feed(prack(wire, ringing))] == [200]
    assert [m.code for m in bench.feed(prack(wire, ringing))] == [200]
    assert [m.code for m in bench.feed(prack(wire, ringing, 102))] == [481]


def test_success_waits_for_the_prack_of_a_description_3262_3(bench, wire):
    call = called(bench, wire, REQUIRE)
    (early,) = ring(bench, call, sdp=wire.ANSWER)
    assert answer(bench, wire, call) == []
    assert {m.code for m in bench.advance(2)} == {183}
    assert bench.endpoint.answer(call, wire.ANSWER, bench.now) is False
    ok, success = bench.feed(prack(wire, early))
    assert (ok.get("CSeq"), success.get("CSeq")) == ("101 PRACK", "100 INVITE")
    assert success.body == wire.ANSWER
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=success.get("To")))
    assert bench.of(CallConfirmed)[0].call == call


def test_success_does_not_wait_for_a_bare_ringing_and_its_late_prack_is_answered_3262_3(bench, wire):
    call = called(bench, wire, REQUIRE)
    (ringing,) = ring(bench, call)
    (success,) = answer(bench, wire, call)
    assert success.code == 200
    assert [m.code for m in bench.feed(prack(wire, ringing))] == [200]
    assert {m.get("CSeq") for m in bench.advance(3)} == {"100 INVITE"}


def test_progress_that_is_never_acknowledged_ends_the_call_by_a_5xx_3262_3(bench, wire):
    call = called(bench, wire, REQUIRE)
    ring(bench, call, sdp=wire.ANSWER)
    answer(bench, wire, call)
    bench.advance(31.9)
    assert not bench.of(CallEnded)
    (refusal,) = [m for m in bench.advance(0.2) if m.code >= 200]
    assert refusal.code == 504
    (ended,) = bench.of(CallEnded)
    assert (ended.cause, ended.code) == ("timeout", 504)


@pytest.mark.parametrize("how", ["hang_up", "cancel", "bye"])
def test_call_that_ends_while_its_success_waits_never_succeeds(bench, wire, how):
    call = called(bench, wire, REQUIRE)
    (early,) = ring(bench, call, sdp=wire.ANSWER)
    answer(bench, wire, call)
    if how == "hang_up":
        sent, cause = bench.do(lambda now: bench.endpoint.hang_up(call, now)), "local_reject"
    elif how == "cancel":
        sent, cause = bench.feed(wire.request("CANCEL", contact=None)), "cancelled"
    else:
        sent, cause = bench.feed(wire.request("BYE", branch="z9hG4bKbye", cseq=101, to=early.get("To"))), "remote_bye"
    finals = [m.code for m in sent if m.get("CSeq") == "100 INVITE"]
    assert finals in ([603], [487])
    assert bench.of(CallEnded)[0].cause == cause
    bench.advance(200)
    assert bench.counts == (0, 0, 0)
    assert bench.endpoint.next_timeout() is None


def test_final_refusal_stops_the_repetitions(bench, wire):
    call = called(bench, wire, REQUIRE)
    ring(bench, call)
    (busy,) = bench.do(lambda now: bench.endpoint.reject(call, 486, "Busy Here", now))
    assert {m.code for m in bench.advance(5)} == {486}
    assert busy.code == 486


def test_answer_in_the_prack_to_our_early_offer_3262_5(bench, wire):
    """An INVITE without a description: the 183 offers, the PRACK answers, the 200 has nothing to add."""
    call = called(bench, wire, REQUIRE, sdp=False)
    (early,) = ring(bench, call, sdp=wire.OFFER)
    (ok,) = bench.feed(prack(wire, early, body=wire.ANSWER))
    assert (ok.code, ok.body) == (200, b"")
    (answered,) = bench.of(OfferAnswered)
    assert answered.sdp == wire.ANSWER
    (success,) = bench.do(lambda now: bench.endpoint.answer(call, wire.OFFER, now))
    assert (success.code, success.body) == (200, b"")
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=success.get("To")))
    assert bench.of(CallConfirmed)[0].sdp is None


def test_new_offer_in_a_prack_is_answered_in_its_200_3262_5(bench, wire):
    call = called(bench, wire, REQUIRE)
    (early,) = ring(bench, call, sdp=wire.ANSWER)
    assert bench.feed(prack(wire, early, body=wire.OFFER)) == []
    (offer,) = bench.of(OfferReceived)
    assert offer.sdp == wire.OFFER
    (ok,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (ok.code, ok.get("CSeq"), ok.body) == (200, "101 PRACK", wire.ANSWER)
    assert not ok.all("Contact")


def test_long_ringing_sends_another_reliable_response_each_minute_3261_13_3_1_1(bench, wire):
    call = called(bench, wire, REQUIRE)
    (ringing,) = ring(bench, call)
    bench.feed(prack(wire, ringing))
    (again,) = bench.advance(60.1)
    assert (again.code, int(again.get("RSeq"))) == (180, int(ringing.get("RSeq")) + 1)
