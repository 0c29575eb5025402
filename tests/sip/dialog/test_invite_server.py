"""Calls that come to us, judged by the text that goes out."""

from __future__ import annotations

import pytest

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import (
    CallConfirmed,
    CallEnded,
    IncomingCall,
    InternalFault,
    MessageDropped,
    OfferAnswered,
    OfferReceived,
    RequestReceived,
    Target,
)

TWILIO_VIAS = (
    "SIP/2.0/TLS 54.172.60.0:5061;branch=z9hG4bK1dc3.0123456789abcdef.0",
    "SIP/2.0/UDP 172.25.10.3:5060;rport=5060;branch=z9hG4bKa-b-c_d_1-2",
)
TWILIO_ROUTES = ("<sip:54.172.60.0:5061;transport=tls;r2=on;lr>", "<sip:54.172.60.0;r2=on;lr>")


def ring_in(bench, wire, **options):
    """An INVITE; the handle of its call."""
    bench.feed(wire.request("INVITE", body=wire.OFFER, **options))
    return bench.of(IncomingCall)[-1].call


def answered(bench, wire, **options):
    """A call that is answered and acknowledged: its handle and our To tag."""
    call = ring_in(bench, wire, **options)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=ok.get("To"), **{k: v for k, v in options.items() if k == "cseq"}))
    return call, ok


def in_dialog(wire, ok, method, cseq, **options):
    options.setdefault("branch", f"z9hG4bK{method}{cseq}")
    return wire.request(method, cseq=cseq, to=ok.get("To"), **options)


def test_invite_gets_trying_before_any_event(bench, wire):
    (trying,) = bench.feed(wire.request("INVITE", body=wire.OFFER))
    assert trying.code == 100
    assert ";tag=" not in trying.get("To")
    assert trying.transmit.destination == wire.UDP
    (event,) = bench.of(IncomingCall)
    assert event.sdp == wire.OFFER


def test_call_answered_and_hung_up_by_the_caller(bench, wire):
    call, ok = answered(bench, wire)
    assert ok.code == 200
    assert ok.body == wire.ANSWER
    assert ok.get("Contact") == "<sip:+15550001@198.51.100.1:5060>"
    assert "INVITE" in ok.get("Allow")
    assert ok.get("Server") == "active-call"
    assert [type(e) for e in bench.events] == [IncomingCall, CallConfirmed]
    (bye_ok,) = bench.feed(in_dialog(wire, ok, "BYE", 101))
    assert bye_ok.code == 200
    ended = bench.events[-1]
    assert isinstance(ended, CallEnded)
    assert ended.cause == "remote_bye"
    assert ended.call == call
    bench.advance(40)
    assert bench.counts == (0, 0, 0)


def test_responses_copy_twilio_vias_and_record_routes_3261_8_2_6(bench, wire):
    """Both Vias byte-exact and in order, the top one with received only; both Record-Routes; the TLS Contact."""
    data = wire.request(
        "INVITE",
        via=TWILIO_VIAS,
        uri="sip:+15550001@198.51.100.1;transport=tls",
        contact="<sip:+15559999@172.25.10.3:5060;transport=udp>",
        extra=tuple(("Record-Route", r) for r in TWILIO_ROUTES),
        body=wire.OFFER,
    )
    bench.feed(data, wire.TLS)
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert ok.all("Via") == [TWILIO_VIAS[0] + ";received=54.172.60.0", TWILIO_VIAS[1]]
    assert tuple(ok.all("Record-Route")) == TWILIO_ROUTES
    assert ok.get("Contact") == "<sip:+15550001@198.51.100.1:5061;transport=tls>"
    assert ok.transmit.destination == wire.TLS


def test_bye_of_ours_uses_route_set_and_verbatim_contact_3261_12_2_1_1(bench, wire):
    data = wire.request(
        "INVITE",
        via=TWILIO_VIAS,
        contact="<sip:+172.25.16.223:5060>",
        extra=tuple(("Record-Route", r) for r in TWILIO_ROUTES),
        body=wire.OFFER,
    )
    bench.feed(data, wire.TLS)
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(in_dialog(wire, ok, "ACK", 100, via=(TWILIO_VIAS[0] + "ack",)), wire.TLS)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now, headers=(("Reason", "Q.850;cause=16"),)))
    assert bye.start == "BYE sip:+172.25.16.223:5060 SIP/2.0"
    assert tuple(bye.all("Route")) == TWILIO_ROUTES
    assert bye.get("From") == ok.get("To")
    assert bye.get("To") == "<sip:+15559999@192.0.2.9>;tag=peer_1"
    assert bye.get("Reason") == "Q.850;cause=16"
    assert bye.transmit.destination == Target("tls", "54.172.60.0", 5061, wire.TLS)
    assert bye.get("Via").startswith("SIP/2.0/TLS 198.51.100.1:5061;branch=z9hG4bK")
    assert bench.events[-1].cause == "local_bye"
    assert bench.endpoint.n_calls == 0
    assert bench.endpoint.n_dialogs == 1
    bench.feed(wire.response(bye, 200), wire.TLS)
    bench.advance(64)
    assert bench.counts == (0, 0, 0)


def test_strict_router_goes_into_the_request_uri_3261_12_2_1_1(bench, wire):
    call, _ = answered(bench, wire, extra=(("Record-Route", "<sip:192.0.2.77>, <sip:192.0.2.78;lr>"),))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.uri == "sip:192.0.2.77"
    assert bye.all("Route") == ["<sip:192.0.2.78;lr>", "<sip:caller@192.0.2.9:5060>"]
    assert bye.transmit.destination == Target("udp", "192.0.2.77", None)


def test_ok_repeated_until_ack_then_bye_on_any_transport_3261_13_3_1_4(bench, wire):
    for flow in (wire.UDP, wire.TLS):
        bench = wire.Bench(flow=flow)
        call = ring_in(bench, wire)
        start = bench.now
        bench.do(lambda now, b=bench, c=call: b.endpoint.answer(c, wire.ANSWER, now))
        times = [m.at - start for m in bench.advance(31.9) if m.code == 200]
        expected = [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
        if flow is wire.UDP:  # to an address that has shown nothing, no more than ten times what came from it
            expected = expected[: len(times)]
            assert len(times) >= 3
        assert times == expected
        (bye,) = [m for m in bench.advance(0.3) if m.method == "BYE"]
        assert bench.events[-1] == CallEnded(call, "no_ack")
        bench.feed(wire.response(bye, 200))
        bench.advance(40)
        assert bench.counts == (0, 0, 0)


def test_ack_stops_the_repetition(bench, wire):
    answered(bench, wire)
    assert bench.advance(31) == []


def test_lost_ack_repeated_by_the_peer_confirms_once(bench, wire):
    _, ok = answered(bench, wire)
    bench.feed(wire.request("ACK", branch="z9hG4bKack2", to=ok.get("To")))
    assert len(bench.of(CallConfirmed)) == 1


def test_ack_with_the_branch_of_the_invite_confirms(bench, wire):
    """Not what §17.1.1.3 asks for, but seen; RFC 6026 passes it to the core."""
    call = ring_in(bench, wire)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", to=ok.get("To")))
    assert len(bench.of(CallConfirmed)) == 1


def test_delayed_offer_answer_comes_with_the_ack(bench, wire):
    bench.feed(wire.request("INVITE"))
    (event,) = bench.of(IncomingCall)
    assert event.sdp is None
    (ok,) = bench.do(lambda now: bench.endpoint.answer(event.call, wire.OFFER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To"), body=wire.ANSWER))
    assert bench.of(CallConfirmed) == [CallConfirmed(event.call, wire.ANSWER)]


def test_repeated_invite_repeats_the_last_provisional_and_is_absorbed_after_the_answer(bench, wire):
    data = wire.request("INVITE", body=wire.OFFER)
    bench.feed(data)
    assert [m.code for m in bench.feed(data)] == [100]
    call = bench.of(IncomingCall)[0].call
    bench.do(lambda now: bench.endpoint.ring(call, now))
    assert [m.code for m in bench.feed(data)] == [180]
    bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert bench.feed(data) == []
    assert len(bench.of(IncomingCall)) == 1


def test_early_media_is_183_with_the_same_tag_as_the_answer(bench, wire):
    call = ring_in(bench, wire)
    (progress,) = bench.do(lambda now: bench.endpoint.ring(call, now, sdp=wire.ANSWER, headers=(("X-A", "b"),)))
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert (progress.code, progress.get("X-A"), progress.body) == (183, "b", wire.ANSWER)
    assert progress.get("To") == ok.get("To")
    assert progress.all("Contact") == ok.all("Contact")


def test_ringing_is_repeated_every_minute_3261_13_3_1_1(bench, wire):
    call = ring_in(bench, wire)
    bench.do(lambda now: bench.endpoint.ring(call, now))
    assert [m.code for m in bench.advance(125)] == [180, 180]


def test_reject_is_repeated_until_its_ack_3261_17_2_1(bench, wire):
    call = ring_in(bench, wire)
    (busy,) = bench.do(lambda now: bench.endpoint.reject(call, 486, "Busy Here", now))
    assert busy.start == "SIP/2.0 486 Busy Here"
    assert bench.events[-1] == CallEnded(call, "local_reject", 486, "Busy Here")
    assert [m.code for m in bench.advance(4)] == [486, 486, 486]
    bench.feed(wire.request("ACK", to=busy.get("To")))
    assert bench.advance(10) == []
    assert bench.counts == (0, 0, 0)


def test_cancel_gets_200_and_the_invite_487_3261_9_2(bench, wire):
    call = ring_in(bench, wire)
    sent = bench.feed(wire.request("CANCEL"))
    assert [(m.code, m.get("CSeq")) for m in sent] == [(200, "100 CANCEL"), (487, "100 INVITE")]
    assert sent[0].to_tag == sent[1].to_tag
    ended = bench.events[-1]
    assert (ended.call, ended.cause, ended.code) == (call, "cancelled", 487)
    bench.feed(wire.request("ACK", to=sent[1].get("To")))
    bench.advance(40)
    assert bench.counts == (0, 0, 0)


def test_cancel_after_the_answer_changes_nothing(bench, wire):
    call = ring_in(bench, wire)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert [m.code for m in bench.feed(wire.request("CANCEL"))] == [200]
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To")))
    assert bench.of(CallConfirmed)


def test_cancel_for_nothing_gets_481(bench, wire):
    assert [m.code for m in bench.feed(wire.request("CANCEL"))] == [481]


def test_hang_up_before_the_answer_declines(bench, wire):
    call = ring_in(bench, wire)
    assert [m.code for m in bench.do(lambda now: bench.endpoint.hang_up(call, now))] == [603]
    assert bench.events[-1].cause == "local_reject"
    assert bench.do(lambda now: bench.endpoint.hang_up(call, now)) == []


def test_hang_up_between_answer_and_ack_waits_for_the_ack_3261_15(bench, wire):
    call = ring_in(bench, wire)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert bench.do(lambda now: bench.endpoint.hang_up(call, now)) == []
    (bye,) = bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To")))
    assert bye.method == "BYE"
    assert not bench.of(CallConfirmed)
    assert bench.events[-1].cause == "local_bye"


def test_bye_in_the_early_dialog_ends_the_invite_with_487(bench, wire):
    call = ring_in(bench, wire)
    (ringing,) = bench.do(lambda now: bench.endpoint.ring(call, now))
    sent = bench.feed(in_dialog(wire, ringing, "BYE", 101))
    assert [(m.code, m.get("CSeq")) for m in sent] == [(200, "101 BYE"), (487, "100 INVITE")]
    assert bench.events[-1].cause == "remote_bye"


def test_byes_that_cross_are_both_answered(bench, wire):
    call, ok = answered(bench, wire)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert [m.code for m in bench.feed(in_dialog(wire, ok, "BYE", 101))] == [200]
    bench.feed(wire.response(bye, 481))
    bench.advance(64)
    assert len(bench.of(CallEnded)) == 1
    assert bench.counts == (0, 0, 0)


def test_bye_without_answer_is_given_up_after_64_t1(bench, wire):
    call, _ = answered(bench, wire)
    bench.do(lambda now: bench.endpoint.hang_up(call, now))
    sent = bench.advance(33)
    assert len(sent) == 10
    assert {m.method for m in sent} == {"BYE"}
    assert bench.counts == (0, 0, 0)


def test_reinvite_offer_is_answered_and_acknowledged(bench, wire):
    call, ok = answered(bench, wire)
    (trying,) = bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER, contact="<sip:new@192.0.2.10>"))
    assert trying.code == 100
    (event,) = bench.of(OfferReceived)
    assert (event.call, event.sdp) == (call, wire.OFFER)
    (again,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (again.code, again.body, again.get("To")) == (200, wire.ANSWER, ok.get("To"))
    assert [m.code for m in bench.advance(0.6)] == [200]
    bench.feed(in_dialog(wire, ok, "ACK", 101))
    assert bench.advance(40) == []
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.uri == "sip:new@192.0.2.10"


def test_reinvite_without_ack_hangs_up(bench, wire):
    call, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    sent = bench.advance(33)
    assert "BYE" in {m.method for m in sent}
    assert bench.events[-1].cause == "no_ack"


def test_reinvite_without_offer_asks_for_ours(bench, wire):
    call, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101))
    assert bench.of(OfferReceived)[0].sdp is None
    bench.do(lambda now: bench.endpoint.answer_offer(call, wire.OFFER, now))
    bench.feed(in_dialog(wire, ok, "ACK", 101, body=wire.ANSWER))
    assert bench.events[-1] == OfferAnswered(call, 200, wire.ANSWER)


def test_reinvite_refused_leaves_the_call_alone(bench, wire):
    call, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    (refused,) = bench.do(lambda now: bench.endpoint.refuse_offer(call, 488, "Not Acceptable Here", now))
    assert refused.code == 488
    bench.feed(in_dialog(wire, ok, "ACK", 101, branch="z9hG4bKINVITE101"))
    assert bench.endpoint.answer_offer(call, wire.ANSWER, bench.now) is False
    assert bench.endpoint.n_calls == 1


def test_second_reinvite_before_the_first_final_gets_500_with_retry_after_3261_14_2(bench, wire):
    _, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    (busy,) = bench.feed(in_dialog(wire, ok, "INVITE", 102, body=wire.OFFER))
    assert busy.code == 500
    assert 0 <= int(busy.get("Retry-After")) <= 10


def test_reinvite_while_ours_is_out_gets_491_3261_14_2(bench, wire):
    call, ok = answered(bench, wire)
    bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    (pending,) = bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    assert pending.code == 491


def test_reinvite_cancelled_gets_487_and_the_call_goes_on(bench, wire):
    call, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    sent = bench.feed(in_dialog(wire, ok, "CANCEL", 101, branch="z9hG4bKINVITE101"))
    assert [m.code for m in sent] == [200, 487]
    assert bench.endpoint.n_calls == 1
    assert bench.endpoint.answer_offer(call, wire.ANSWER, bench.now) is False


def test_update_without_offer_is_answered_at_once_and_refreshes_the_target_3311(bench, wire):
    call, ok = answered(bench, wire)
    (done,) = bench.feed(in_dialog(wire, ok, "UPDATE", 101, contact="<sip:moved@192.0.2.11>"))
    assert (done.code, done.body) == (200, b"")
    assert done.get("Contact")
    assert not bench.of(OfferReceived)
    assert bench.endpoint.dialog_info(call).remote_target == "sip:moved@192.0.2.11"


def test_update_with_offer_is_the_legs_to_answer(bench, wire):
    call, ok = answered(bench, wire)
    assert bench.feed(in_dialog(wire, ok, "UPDATE", 101, body=wire.OFFER)) == []
    (done,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (done.code, done.body, done.get("CSeq")) == (200, wire.ANSWER, "101 UPDATE")


def test_target_refresh_keeps_the_route_set_3261_12_2_2(bench, wire):
    call, ok = answered(bench, wire, extra=(("Record-Route", "<sip:edge.example;lr>"),))
    extra = (("Record-Route", "<sip:other.example;lr;twnat=sip:1.2.3.4:5>"),)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER, contact="<sip:new@10.0.0.1>", extra=extra))
    bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    bench.feed(in_dialog(wire, ok, "ACK", 101))
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(call, now))
    assert bye.all("Route") == ["<sip:edge.example;lr>"]
    assert bye.uri == "sip:new@10.0.0.1"


def test_lower_cseq_gets_500_3261_12_2_2(bench, wire):
    _, ok = answered(bench, wire)
    assert [m.code for m in bench.feed(in_dialog(wire, ok, "INFO", 99))] == [500]


def test_info_is_handed_up_and_answered_once(bench, wire):
    call, ok = answered(bench, wire)
    data = in_dialog(wire, ok, "INFO", 101, body=b"Signal=5\r\n", content_type="application/dtmf-relay")
    assert bench.feed(data) == []
    assert bench.feed(data) == []
    (event,) = bench.of(RequestReceived)
    assert (event.call, event.request.body) == (call, b"Signal=5\r\n")
    (done,) = bench.do(lambda now: bench.endpoint.respond(event.token, 200, "OK", now))
    assert (done.code, done.get("CSeq"), done.get("To")) == (200, "101 INFO", ok.get("To"))
    assert [m.code for m in bench.feed(data)] == [200]
    assert bench.endpoint.respond(event.token, 200, "OK", bench.now) is False


def test_bye_settles_what_is_open_with_487_3261_15_1_2(bench, wire):
    _, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INFO", 101))
    bench.feed(in_dialog(wire, ok, "INVITE", 102, body=wire.OFFER))
    sent = bench.feed(in_dialog(wire, ok, "BYE", 103))
    assert [(m.code, m.get("CSeq")) for m in sent] == [(200, "103 BYE"), (487, "102 INVITE"), (487, "101 INFO")]
    assert isinstance(bench.events[-1], CallEnded)
    bench.feed(in_dialog(wire, ok, "ACK", 102, branch="z9hG4bKINVITE102"))
    bench.advance(64)
    assert bench.counts == (0, 0, 0)


def test_options_in_dialog_is_answered(bench, wire):
    _, ok = answered(bench, wire)
    (done,) = bench.feed(in_dialog(wire, ok, "OPTIONS", 101))
    assert (done.code, done.to_tag) == (200, ok.to_tag)


def test_response_follows_18_2_2_when_the_connection_is_gone(bench, wire):
    bench.feed(wire.request("INVITE", via=TWILIO_VIAS, body=wire.OFFER), wire.TLS)
    call = bench.of(IncomingCall)[0].call
    bench.endpoint.handle_connection_lost(wire.TLS, "reset", bench.now)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert ok.transmit.destination == Target("tls", "54.172.60.0", 5061)


def test_response_that_cannot_be_sent_is_tried_once_more(bench, wire):
    bench.feed(wire.request("INVITE", via=TWILIO_VIAS, body=wire.OFFER), wire.TLS)
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.endpoint.handle_transport_error(ok.transmit.id, "broken pipe", bench.now)
    bench.drain()
    assert bench.sent[-1].transmit.destination == Target("tls", "54.172.60.0", 5061)
    assert bench.sent[-1].start == ok.start


def test_response_over_udp_without_rport_goes_to_the_sent_by_port_3261_18_2_2(bench, wire):
    (trying,) = bench.feed(wire.request("INVITE", via=("SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bKq",), body=wire.OFFER))
    assert trying.transmit.destination.remote == wire.PEER.__class__("192.0.2.9", 5099)
    assert trying.get("Via") == "SIP/2.0/UDP 10.0.0.1:5099;branch=z9hG4bKq;received=192.0.2.9"


def test_response_over_udp_with_rport_goes_to_the_source_3581(bench, wire):
    (trying,) = bench.feed(wire.request("INVITE", via=("SIP/2.0/UDP 10.0.0.1:5099;rport;branch=z9hG4bKq",), body=wire.OFFER))
    assert trying.transmit.destination == wire.UDP
    assert trying.get("Via") == "SIP/2.0/UDP 10.0.0.1:5099;rport=5060;branch=z9hG4bKq;received=192.0.2.9"


def test_telnyx_compact_headers_make_a_call(bench, wire):
    routes = (
        "<sip:64.16.250.10;transport=tcp;r2=on;lr;ftag=a>",
        "<sip:10.255.0.2;r2=on;lr;ftag=a>",
        "<sip:10.231.83.184:6050;lr;tnx=1>",
    )
    head = [
        "INVITE sip:12015550123@203.0.113.5:40001;transport=tcp;gw=telnyx SIP/2.0",
        *(f"Record-Route:{route}" for route in routes),
        "Via:SIP/2.0/TCP 64.16.250.10;branch=z9hG4bK7.1;rport",
        "Via:SIP/2.0/UDP 10.255.0.2;branch=z9hG4bK7.2",
        "v:SIP/2.0/UDP 10.231.83.184:6050;branch=z9hG4bK7.3",
        'f:"9195550100"<sip:9195550100@sip.telnyx.com>;tag=abc',
        "t:<sip:12015550123@10.231.83.184>",
        "i:telnyx-1",
        "CSeq:77 INVITE",
        "Max-Forwards:24",
        "m:<sip:9195550100@10.231.83.184:6050>",
        "k:timer,path",
        "c:application/sdp",
        f"l:{len(wire.OFFER)}",
    ]
    data = "\r\n".join(head).encode() + b"\r\n\r\n" + wire.OFFER
    bench.feed(data[:100], wire.TCP)
    bench.feed(data[100:], wire.TCP)
    (event,) = bench.of(IncomingCall)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(event.call, wire.ANSWER, now))
    assert tuple(ok.all("Record-Route")) == routes
    assert ok.all("Via")[1:] == ["SIP/2.0/UDP 10.255.0.2;branch=z9hG4bK7.2", "SIP/2.0/UDP 10.231.83.184:6050;branch=z9hG4bK7.3"]
    ack = wire.request(
        "ACK", call_id="telnyx-1", cseq=77, sender="<sip:x@y>;tag=abc", to=ok.get("To"), via=("SIP/2.0/TCP 64.16.250.10;branch=z9hG4bK8",)
    )
    bench.feed(ack, wire.TCP)
    bye = wire.request(
        "BYE", call_id="telnyx-1", cseq=1078, sender="<sip:x@y>;tag=abc", to=ok.get("To"), uri="sip:12015550123@203.0.113.5:61234"
    )
    assert [m.code for m in bench.feed(bye, wire.TCP)] == [200]
    assert bench.events[-1].cause == "remote_bye"


def test_stray_ack_is_dropped_and_named(bench, wire):
    assert bench.feed(wire.request("ACK", to="<sip:a@b>;tag=none")) == []
    (dropped,) = bench.of(MessageDropped)
    assert dropped.why == "stray_ack"


def test_settling_what_is_not_open_reports_so_and_sends_nothing(bench, wire):
    call = ring_in(bench, wire)
    endpoint = bench.endpoint
    assert endpoint.offer(call, wire.OFFER, bench.now) is False
    assert endpoint.answer_offer(call, wire.OFFER, bench.now) is False
    assert endpoint.refuse_offer(call, 488, "No", bench.now) is False
    bench.do(lambda now: endpoint.answer(call, wire.ANSWER, now))
    for settle in (
        lambda now: endpoint.answer(call, wire.ANSWER, now),
        lambda now: endpoint.ring(call, now),
        lambda now: endpoint.reject(call, 486, "Busy", now),
        lambda now: endpoint.offer(call, wire.OFFER, now),
    ):
        given = []
        assert bench.do(lambda now, settle=settle, given=given: given.append(settle(now))) == []
        assert given == [False]


def test_operations_that_no_state_allows_raise(bench, wire):
    call = ring_in(bench, wire)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.request(call, "INFO", bench.now)  # there is no token to give
    with pytest.raises(LocalProtocolError):
        bench.endpoint.reject(call, 200, "OK", bench.now)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.request(call, "BYE", bench.now)


def test_settling_a_call_that_is_over_reports_so(bench, wire):
    call = ring_in(bench, wire)
    bench.feed(wire.request("CANCEL"))
    endpoint, now = bench.endpoint, bench.now
    assert [event.cause for event in bench.of(CallEnded)] == ["cancelled"]
    assert not any(
        (
            endpoint.ring(call, now),
            endpoint.answer(call, wire.ANSWER, now),
            endpoint.reject(call, 486, "Busy", now),
            endpoint.hang_up(call, now),
            endpoint.answer_offer(call, wire.ANSWER, now),
            endpoint.refuse_offer(call, 488, "No", now),
            endpoint.notify_transfer(call, 200, "OK", now, final=True),
            endpoint.respond("gone", 200, "OK", now),
        )
    )


def test_error_of_ours_in_one_message_ends_its_call_and_no_other(bench, wire, monkeypatch):
    bench.may_fault = True
    broken, ok = answered(bench, wire)
    other = bench.feed(wire.request("INVITE", call_id="other", branch="z9hG4bKother", body=wire.OFFER))
    assert other
    known = bench.endpoint._calls.require(broken)
    monkeypatch.setattr(known.offers, "handle_invite", lambda *_, **__: 1 / 0)
    sent = bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    assert [m.start.split()[:2] for m in sent] == [["BYE", "sip:caller@192.0.2.9:5060"], ["SIP/2.0", "500"]]
    (fault,) = bench.of(InternalFault)
    assert (fault.where, fault.call, type(fault.error)) == ("message", broken, ZeroDivisionError)
    assert [event.call for event in bench.of(CallEnded)] == [broken]
    assert bench.endpoint.n_calls == 1


def test_error_of_ours_in_one_alarm_leaves_the_others_alone(bench, wire):
    bench.may_fault = True
    timers = bench.endpoint._core.layer.timers
    timers.start(bench.now + 1, lambda _: 1 / 0)
    ran = []
    timers.start(bench.now + 1, ran.append)
    bench.advance(2)
    assert len(ran) == 1
    assert [fault.where for fault in bench.of(InternalFault)] == ["timer"]


def test_hanging_up_ends_the_call_even_where_no_bye_can_be_sent(bench, wire):
    bench.may_fault = True
    call, _ = answered(bench, wire)
    bench.endpoint.set_listeners(())
    assert bench.endpoint.hang_up(call, bench.now) is True
    bench.drain()
    assert [event.cause for event in bench.of(CallEnded)] == ["local_bye"]
    assert bench.endpoint.n_dialogs == 0


def test_answer_is_not_repeated_once_the_caller_has_hung_up(bench, wire):
    call = ring_in(bench, wire)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(in_dialog(wire, ok, "BYE", 101))
    assert bench.advance(40) == []


def test_answer_to_a_reinvite_is_not_repeated_once_the_caller_has_hung_up(bench, wire):
    call, ok = answered(bench, wire)
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    bench.feed(in_dialog(wire, ok, "BYE", 102))
    assert bench.advance(40) == []


def test_glare_retry_of_the_called_side_is_soon_and_dies_with_the_call_3261_14_1(bench, wire):
    call, ok = answered(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    bench.feed(wire.response(reinvite, 491))
    (again,) = bench.advance(1.4)
    assert (again.method, again.at - 1000.0) == ("INVITE", 1.0)
    bench.feed(wire.response(again, 491))
    bench.feed(in_dialog(wire, ok, "BYE", 101))
    assert bench.advance(40) == []


def test_glare_that_the_peer_has_won_is_told_instead_of_an_offer_out_of_date_3261_14_1(bench, wire):
    call, ok = answered(bench, wire)
    (reinvite,) = bench.do(lambda now: bench.endpoint.offer(call, wire.OFFER, now))
    bench.feed(wire.response(reinvite, 491))
    bench.feed(in_dialog(wire, ok, "INVITE", 101, body=wire.OFFER))
    bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    bench.feed(in_dialog(wire, ok, "ACK", 101))
    assert [m.method for m in bench.advance(3)] == []
    assert bench.of(OfferAnswered) == [OfferAnswered(call, 491, None)]
    (anew,) = bench.do(lambda now: bench.endpoint.offer(call, wire.ANSWER, now))  # the leg's own, made anew
    assert (anew.method, anew.body) == ("INVITE", wire.ANSWER)


def test_headers_that_would_break_a_message_are_refused_and_change_nothing(bench, wire):
    call, _ = answered(bench, wire)
    for operation in (
        lambda: bench.endpoint.hang_up(call, bench.now, headers=(("Reason", "x\r\nEvil: y"),)),
        lambda: bench.endpoint.request(call, "INFO", bench.now, headers=(("A b", "c"),)),
        lambda: bench.endpoint.request(call, "IN FO", bench.now),
    ):
        with pytest.raises(LocalProtocolError):
            operation()
    assert bench.endpoint.n_calls == 1
    assert [m.method for m in bench.do(lambda now: bench.endpoint.hang_up(call, now))] == ["BYE"]


@pytest.mark.parametrize("code", [101, 183, 199, 408])
def test_late_or_provisional_answers_to_other_requests_are_refused_4320_4(bench, wire, code):
    call, answer = answered(bench, wire)
    bench.feed(in_dialog(wire, answer, "INFO", 101, body=b"x", content_type="text/plain"))
    (asked,) = bench.of(RequestReceived)
    with pytest.raises(LocalProtocolError):
        bench.endpoint.respond(asked.token, code, "Whatever", bench.now)
    (ok,) = bench.do(lambda now: bench.endpoint.respond(asked.token, 200, "OK", now))
    assert (ok.code, call) == (200, asked.call)


def test_reinvite_before_the_ack_of_the_first_is_answered_and_both_acks_count_5407_3_1_4(bench, wire):
    """The ACK may be lost or late: the peer knows our 200, so it may go on."""
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[0].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("INVITE", branch="z9hG4bKre", cseq=101, to=ok.get("To"), body=wire.OFFER))
    assert len(bench.of(OfferReceived)) == 1
    (second,) = bench.do(lambda now: bench.endpoint.answer_offer(call, wire.ANSWER, now))
    assert (second.code, second.get("CSeq")) == (200, "101 INVITE")
    bench.feed(wire.request("ACK", branch="z9hG4bKa2", cseq=101, to=ok.get("To")))
    assert [m.get("CSeq") for m in bench.advance(0.6)] == ["100 INVITE"]
    bench.feed(wire.request("ACK", branch="z9hG4bKa1", cseq=100, to=ok.get("To")))
    assert bench.advance(40) == []
    assert len(bench.of(CallConfirmed)) == 1
