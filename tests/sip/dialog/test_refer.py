"""Transfers by the texts of RFC 3515, RFC 4488 and RFC 7647, as carriers do them, in virtual time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import (
    CallEnded,
    IncomingCall,
    OutboundInvite,
    RequestCompleted,
    RequestReceived,
    TransferProgress,
    TransferRequested,
)

TARGET = "sip:+15550003@trunk.pstn.example"


def inbound(bench, wire):
    """A call to us that is answered and acknowledged: its handle and our 200."""
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=ok.get("To")))
    return call, ok


def from_peer(wire, ok, method, cseq, **options):
    return wire.request(method, cseq=cseq, to=ok.get("To"), branch=f"z9hG4bK{method}{cseq}", **options)


def refer(bench, call, target=TARGET, **options):
    (request,) = bench.do(lambda now: bench.endpoint.refer(call, target, now, **options))
    return request


def accepted(bench, wire, call, code=202, extra=()):
    """A REFER of ours that the peer has accepted."""
    request = refer(bench, call)
    bench.feed(wire.response(request, code, extra=extra))
    return request


def notify(wire, ok, cseq, fragment, state="active;expires=60", event="refer", **options):
    extra = (("Event", event), ("Subscription-State", state))
    return from_peer(wire, ok, "NOTIFY", cseq, extra=extra, body=fragment, content_type="message/sipfrag;version=2.0", **options)


def told(bench):
    return [(event.code, event.reason, event.final) for event in bench.of(TransferProgress)]


# -- our REFER ----------------------------------------------------------------------------------------------------------------------------


def test_refer_names_target_and_referrer_3515_2_1(bench, wire):
    call, ok = inbound(bench, wire)
    request = refer(bench, call, referred_by="sip:us@us.example", headers=(("X-Why", "1"),))
    assert request.get("Refer-To") == f"<{TARGET}>"
    assert request.get("Referred-By") == "<sip:us@us.example>"
    assert request.get("X-Why") == "1"
    assert request.get("Contact")
    assert request.from_tag == ok.to_tag


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("tel:+15550003", "<tel:+15550003>"),
        ('"Ann" <sip:ann@x.example>', '"Ann" <sip:ann@x.example>'),
        ("sip:a@x.example?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2", "<sip:a@x.example?Replaces=c%3Bto-tag%3D1%3Bfrom-tag%3D2>"),
    ],
)
def test_refer_to_forms(bench, wire, given, sent):
    call, _ = inbound(bench, wire)
    assert refer(bench, call, given).get("Refer-To") == sent


@pytest.mark.parametrize("bad", ["", "nobody", "sip:a b", "<sip:a"])
def test_refer_to_nowhere_raises(bench, wire, bad):
    call, _ = inbound(bench, wire)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.refer(call, bad, bench.now)


def test_progress_is_told_until_the_terminated_notify_as_twilio_does(bench, wire):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    assert bench.of(RequestCompleted)[0].code == 202
    (reply,) = bench.feed(notify(wire, ok, 101, b"SIP/2.0 100 Trying\r\n"))
    assert reply.code == 200
    bench.feed(notify(wire, ok, 102, b"SIP/2.0 180 Ringing\r\n\r\n"))
    bench.feed(notify(wire, ok, 103, b"SIP/2.0 200 OK", "terminated;reason=noresource"))
    assert told(bench) == [(100, "Trying", False), (180, "Ringing", False), (200, "OK", True)]
    assert not bench.of(RequestReceived)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.method == "BYE"


def test_failed_transfer_is_told_with_the_targets_code(bench, wire):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    bench.feed(notify(wire, ok, 101, b"SIP/2.0 486 Busy Here\r\n", "terminated;reason=noresource"))
    assert told(bench) == [(486, "Busy Here", True)]
    assert not bench.of(CallEnded)


def test_notify_may_overtake_the_202_6665(bench, wire):
    call, ok = inbound(bench, wire)
    request = refer(bench, call)
    bench.feed(notify(wire, ok, 101, b"SIP/2.0 100 Trying"))
    bench.feed(wire.response(request, 202))
    bench.feed(notify(wire, ok, 102, b"SIP/2.0 200 OK", "terminated"))
    assert [code for code, _, _ in told(bench)] == [100, 200]


def test_final_code_in_an_active_subscription_is_the_end_all_the_same(bench, wire):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    bench.feed(notify(wire, ok, 101, b"SIP/2.0 200 OK"))
    (reply,) = bench.feed(notify(wire, ok, 102, b"SIP/2.0 200 OK", "terminated;reason=noresource"))
    assert reply.code == 200
    assert told(bench) == [(200, "OK", True)]


@pytest.mark.parametrize("body", [b"", b"gone", b"SIP/2.0 9"])
def test_terminated_notify_that_says_nothing_is_still_the_end(bench, wire, body):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    bench.feed(notify(wire, ok, 101, b"unreadable"))
    bench.feed(notify(wire, ok, 102, body, "terminated;reason=timeout"))
    assert told(bench) == [(0, "timeout", True)]


def test_notify_without_a_transfer_gets_481_6665_4_1_3(bench, wire):
    call, ok = inbound(bench, wire)
    assert [m.code for m in bench.feed(notify(wire, ok, 101, b"SIP/2.0 200 OK"))] == [481]
    accepted(bench, wire, call)
    bench.feed(notify(wire, ok, 102, b"SIP/2.0 200 OK", "terminated"))
    assert [m.code for m in bench.feed(notify(wire, ok, 103, b"SIP/2.0 200 OK"))] == [481]
    assert len(told(bench)) == 1


@pytest.mark.parametrize("event", ["message-summary", "presence", "talk", ""])
def test_notify_of_a_package_that_we_do_not_support_gets_489_6665_4_1_3(bench, wire, event):
    _, ok = inbound(bench, wire)
    (reply,) = bench.feed(notify(wire, ok, 101, b"x", event=event))
    assert (reply.code, reply.get("Allow-Events")) == (489, "refer")
    assert bench.of(RequestReceived) == []
    assert bench.of(CallEnded) == []


def test_headers_of_a_refer_to_are_told_3261_19_1_5(bench, wire):
    _, ok = inbound(bench, wire)
    target = "<sip:desk@b.example?Replaces=call%40b%3Bto-tag%3D7%3Bfrom-tag%3D8&Require=replaces&X-Account=12&body=hello>"
    assert bench.feed(from_peer(wire, ok, "REFER", 101, extra=(("Refer-To", target),))) == []
    (wanted,) = bench.of(TransferRequested)
    replaces = "call@b;to-tag=7;from-tag=8"
    assert (wanted.refer_to, wanted.replaces) == ("sip:desk@b.example", replaces)
    assert wanted.headers == (("Replaces", replaces), ("Require", "replaces"), ("X-Account", "12"))


def test_refer_to_with_two_replaces_gets_400_3891_3(bench, wire):
    _, ok = inbound(bench, wire)
    target = "<sip:desk@b.example?Replaces=a%3Bto-tag%3D7%3Bfrom-tag%3D8&replaces=b%3Bto-tag%3D7%3Bfrom-tag%3D8>"
    assert [m.code for m in bench.feed(from_peer(wire, ok, "REFER", 101, extra=(("Refer-To", target),)))] == [400]
    assert bench.of(TransferRequested) == []


def test_id_tells_two_transfers_apart_3515_2_4_6(bench, wire):
    call, ok = inbound(bench, wire)
    first, second = accepted(bench, wire, call), accepted(bench, wire, call)
    number = [request.get("CSeq").split()[0] for request in (first, second)]
    assert [m.code for m in bench.feed(notify(wire, ok, 101, b"SIP/2.0 486 Busy", "terminated", f"refer;id={number[1]}"))] == [200]
    assert [m.code for m in bench.feed(notify(wire, ok, 102, b"SIP/2.0 200 OK", "terminated", f"refer;id={number[1]}"))] == [481]
    assert [m.code for m in bench.feed(notify(wire, ok, 103, b"SIP/2.0 200 OK", "terminated", f"refer;id={number[0]}"))] == [200]
    assert [code for code, _, _ in told(bench)] == [486, 200]


@pytest.mark.parametrize("code", [403, 405, 603])
def test_refused_refer_is_told_by_its_outcome_alone(bench, wire, code):
    call, ok = inbound(bench, wire)
    bench.feed(wire.response(refer(bench, call), code))
    assert bench.of(RequestCompleted)[0].code == code
    bench.advance(200)
    assert told(bench) == []
    assert [m.code for m in bench.feed(notify(wire, ok, 101, b"SIP/2.0 200 OK"))] == [481]


@pytest.mark.parametrize("code", [200, 202])
def test_accepted_refer_without_any_notify_times_out(wire, code):
    bench = wire.Bench(config=replace(wire.Bench().config, refer_timeout_s=25.0))
    call, _ = inbound(bench, wire)
    accepted(bench, wire, call, code)
    bench.advance(24.9)
    assert told(bench) == []
    bench.advance(0.2)
    assert told(bench) == [(408, "Request Timeout", True)]


def test_each_notify_gives_the_transfer_more_time(bench, wire):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    bench.advance(50)
    bench.feed(notify(wire, ok, 101, b"SIP/2.0 180 Ringing", "active;expires=120"))
    bench.advance(119)
    assert told(bench)[-1] == (180, "Ringing", False)
    bench.advance(2)
    assert told(bench)[-1] == (408, "Request Timeout", True)


def test_peer_that_announces_no_notify_is_final_at_once_4488_4(bench, wire):
    call, _ = inbound(bench, wire)
    accepted(bench, wire, call, extra=(("Refer-Sub", "false"),))
    assert told(bench) == [(202, "Accepted", True)]
    bench.advance(200)
    assert len(told(bench)) == 1


def test_ended_call_tells_no_more(bench, wire):
    call, ok = inbound(bench, wire)
    accepted(bench, wire, call)
    bench.feed(from_peer(wire, ok, "BYE", 101))
    bench.advance(200)
    assert told(bench) == []
    assert isinstance(bench.events[-1], CallEnded)
    assert bench.endpoint.next_timeout() is None


def test_refer_has_its_own_operation(bench, wire):
    call, _ = inbound(bench, wire)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.request(call, "REFER", bench.now)


# -- their REFER --------------------------------------------------------------------------------------------------------------------------


def referred(bench, wire, ok, cseq=101, *, to=f"<{TARGET}>", extra=()):
    bench.feed(from_peer(wire, ok, "REFER", cseq, extra=(("Refer-To", to), *extra)))
    return bench.of(TransferRequested)[-1]


def test_refer_of_the_peer_is_told_with_what_it_asks_for(bench, wire):
    call, ok = inbound(bench, wire)
    event = referred(bench, wire, ok, extra=(("b", "<sip:boss@x.example>"),))
    assert (event.call, event.refer_to, event.referred_by, event.replaces) == (call, TARGET, "<sip:boss@x.example>", None)


def test_attended_transfer_names_the_call_to_replace_3891(bench, wire):
    _, ok = inbound(bench, wire)
    value = "c1%40x.example%3Bto-tag%3Da%3Bfrom-tag%3Db"
    event = referred(bench, wire, ok, to=f"<sip:c@x.example;transport=tls?Require=replaces&Replaces={value}>")
    assert event.refer_to == "sip:c@x.example;transport=tls"
    assert event.replaces == "c1@x.example;to-tag=a;from-tag=b"


@pytest.mark.parametrize("lines", [(), ("<sip:a@b>", "<sip:c@d>"), ("<sip:a@b>, <sip:c@d>",), ("nonsense",)])
def test_refer_without_exactly_one_target_gets_400_3515_2_4_1(bench, wire, lines):
    _, ok = inbound(bench, wire)
    (reply,) = bench.feed(from_peer(wire, ok, "REFER", 101, extra=tuple(("Refer-To", line) for line in lines)))
    assert reply.code == 400
    assert not bench.of(TransferRequested)


@pytest.mark.parametrize(("sent", "read"), [("901", "tel:901"), ("<+15550177>", "tel:+15550177"), ("*72", "tel:*72")])
def test_refer_to_a_bare_number_is_read_as_a_number(bench, wire, sent, read):
    """Asterisk 22 sends `Refer-To: 901` for `Transfer(901)`."""
    _, ok = inbound(bench, wire)
    assert referred(bench, wire, ok, to=sent).refer_to == read


def test_declined_refer_is_over(bench, wire):
    call, ok = inbound(bench, wire)
    event = referred(bench, wire, ok)
    (reply,) = bench.do(lambda now: bench.endpoint.respond(event.token, 603, "Decline", now))
    assert reply.code == 603
    assert bench.endpoint.notify_transfer(call, 180, "Ringing", bench.now, final=False) is False


def test_accepted_refer_is_notified_at_once_and_to_the_end_3515_2_4_4(bench, wire):
    call, ok = inbound(bench, wire)
    event = referred(bench, wire, ok)
    reply, trying = bench.do(lambda now: bench.endpoint.respond(event.token, 202, "Accepted", now))
    assert (reply.code, reply.get("CSeq")) == (202, "101 REFER")
    assert reply.get("Contact")
    assert (trying.method, trying.get("Event"), trying.body) == ("NOTIFY", "refer", b"SIP/2.0 100 Trying\r\n")
    assert trying.get("Content-Type") == "message/sipfrag;version=2.0"
    assert trying.get("Subscription-State").startswith("active;expires=")
    assert trying.get("Contact")
    assert trying.from_tag == ok.to_tag
    bench.feed(wire.response(trying, 200))
    (done,) = bench.do(lambda now: bench.endpoint.notify_transfer(call, 200, "OK", now, final=True))
    assert (done.body, done.get("Subscription-State")) == (b"SIP/2.0 200 OK\r\n", "terminated;reason=noresource")
    assert bench.endpoint.notify_transfer(call, 200, "OK", bench.now, final=True) is False


def test_second_refer_in_the_dialog_is_notified_with_its_id_3515_2_4_6(bench, wire):
    call, ok = inbound(bench, wire)
    for cseq, expected in ((101, "refer"), (102, "refer;id=102")):
        event = referred(bench, wire, ok, cseq)
        _, trying = bench.do(lambda now, token=event.token: bench.endpoint.respond(token, 202, "Accepted", now))
        assert trying.get("Event") == expected
        bench.do(lambda now: bench.endpoint.notify_transfer(call, 503, "Service Unavailable", now, final=True))


def test_refer_that_wants_no_subscription_gets_none_4488_4(bench, wire):
    call, ok = inbound(bench, wire)
    event = referred(bench, wire, ok, extra=(("Refer-Sub", "false"), ("Require", "norefersub")))
    (reply,) = bench.do(lambda now: bench.endpoint.respond(event.token, 202, "Accepted", now))
    assert (reply.code, reply.get("Refer-Sub")) == (202, "false")
    assert bench.do(lambda now: bench.endpoint.notify_transfer(call, 200, "OK", now, final=True)) == []


def test_refused_notify_ends_the_telling_and_not_the_call_6665_4_2_2(bench, wire):
    call, ok = inbound(bench, wire)
    event = referred(bench, wire, ok)
    _, trying = bench.do(lambda now: bench.endpoint.respond(event.token, 202, "Accepted", now))
    bench.feed(wire.response(trying, 481))
    assert bench.do(lambda now: bench.endpoint.notify_transfer(call, 180, "Ringing", now, final=False)) == []
    assert not bench.of(CallEnded)


def test_open_refer_gets_487_when_the_call_ends(bench, wire):
    _, ok = inbound(bench, wire)
    referred(bench, wire, ok)
    sent = bench.feed(from_peer(wire, ok, "BYE", 102))
    assert [(m.code, m.get("CSeq")) for m in sent] == [(200, "102 BYE"), (487, "101 REFER")]


def test_refer_before_the_answer_is_refused(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    (ringing,) = bench.do(lambda now: bench.endpoint.ring(bench.of(IncomingCall)[0].call, now))
    (reply,) = bench.feed(from_peer(wire, ringing, "REFER", 101, extra=(("Refer-To", f"<{TARGET}>"),)))
    assert reply.code == 403


# -- Replaces -----------------------------------------------------------------------------------------------------------------------------


def replacing(bench, wire, value, *extra):
    return bench.feed(
        wire.request(
            "INVITE",
            branch="z9hG4bKr",
            call_id="new",
            cseq=1,
            sender="<sip:c@x>;tag=c",
            body=wire.OFFER,
            extra=(("Replaces", value), *extra),
        )
    )


def test_invite_that_replaces_a_call_names_it_3891_3(bench, wire):
    call, ok = inbound(bench, wire)
    assert bench.of(IncomingCall)[0].replaces is None
    replacing(bench, wire, f"call-1@0.0.0.0;from-tag=peer_1;to-tag={ok.to_tag}", ("Require", "replaces"))
    event = bench.of(IncomingCall)[1]
    assert event.replaces == call
    assert event.call != call
    assert not bench.of(CallEnded)


def test_tags_are_matched_as_we_see_them_3891_3(bench, wire):
    _, ok = inbound(bench, wire)
    (reply,) = replacing(bench, wire, f"call-1@0.0.0.0;to-tag=peer_1;from-tag={ok.to_tag}")
    assert reply.code == 481


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("other@x;to-tag=a;from-tag=b", 481),
        ("call-1@0.0.0.0;to-tag=a", 400),
        (";to-tag=a;from-tag=b", 400),
        ("a;to-tag=1;from-tag=2, b;to-tag=1;from-tag=2", 400),
    ],
)
def test_replaces_that_matches_nothing_is_refused_3891_3(bench, wire, value, code):
    inbound(bench, wire)
    assert [m.code for m in replacing(bench, wire, value)] == [code]
    assert len(bench.of(IncomingCall)) == 1


def test_early_only_does_not_replace_an_answered_call_3891_3(bench, wire):
    _, ok = inbound(bench, wire)
    (reply,) = replacing(bench, wire, f"call-1@0.0.0.0;from-tag=peer_1;to-tag={ok.to_tag};early-only")
    assert reply.code == 486


def test_early_call_that_came_to_us_is_not_replaced_3891_3(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    (ringing,) = bench.do(lambda now: bench.endpoint.ring(bench.of(IncomingCall)[0].call, now))
    (reply,) = replacing(bench, wire, f"call-1@0.0.0.0;from-tag=peer_1;to-tag={ringing.to_tag}")
    assert reply.code == 481


def test_early_call_of_ours_is_replaced_3891_3(bench, wire):
    spec = OutboundInvite("sip:+2@192.0.2.9", "sip:+1@us.example", wire.OFFER)
    (invite,) = bench.do(lambda now: bench.endpoint.invite(spec, now))
    bench.feed(wire.response(invite, 180))
    replacing(bench, wire, f"{invite.get('Call-ID')};from-tag=callee1;to-tag={invite.from_tag};early-only")
    assert bench.of(IncomingCall)[0].replaces is not None


def test_call_that_is_being_hung_up_is_not_replaced_3891_3(bench, wire):
    call, ok = inbound(bench, wire)
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    (reply,) = replacing(bench, wire, f"call-1@0.0.0.0;from-tag=peer_1;to-tag={ok.to_tag}")
    assert reply.code == 603


WANTING_NO_CALL = ["<sip:a@b.example;method=BYE>", "<sip:a@b.example;%6Dethod=BYE>", "<sip:a@b.example;method=INVITE;method=BYE>"]


@pytest.mark.parametrize("refer_to", WANTING_NO_CALL)
def test_refer_that_wants_no_call_is_refused(bench, wire, refer_to):
    _, ok = inbound(bench, wire)
    sent = bench.feed(from_peer(wire, ok, "REFER", 101, extra=(("Refer-To", refer_to),)))
    assert [message.code for message in sent] == [403]
    assert bench.of(TransferRequested) == []


def test_refer_loses_its_method_and_the_headers_that_it_has_no_use_for(bench, wire):
    _, ok = inbound(bench, wire)
    asked = referred(bench, wire, ok, to="<sip:a@b.example;method=INVITE;x=y?Replaces=abc&X-Evil=1>")
    assert (asked.refer_to, asked.replaces) == ("sip:a@b.example;x=y", "abc")


def test_refer_with_a_kilobyte_of_headers_is_refused(bench, wire):
    _, ok = inbound(bench, wire)
    refer_to = f"<sip:a@b.example?X={'x' * 2000}>"
    sent = bench.feed(from_peer(wire, ok, "REFER", 101, extra=(("Refer-To", refer_to),)))
    assert [message.code for message in sent] == [400]
