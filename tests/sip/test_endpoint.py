"""What the endpoint does by itself: screening, OPTIONS, malformed messages, streams, requests outside of calls."""

from __future__ import annotations

import pytest

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import (
    Address,
    CallEnded,
    EndpointConfig,
    IncomingCall,
    Listener,
    MessageDropped,
    RequestCompleted,
)


def test_options_is_answered_with_our_capabilities_3261_11_2(bench, wire):
    (reply,) = bench.feed(wire.request("OPTIONS", contact=None))
    assert reply.code == 200
    assert "INVITE" in reply.get("Allow")
    assert reply.get("Accept") == "application/sdp"
    assert "timer" in reply.get("Supported")
    assert reply.to_tag
    assert bench.events == []
    bench.advance(40)
    assert bench.counts == (0, 0, 0)


def test_options_from_didww_without_angle_brackets_is_answered(bench, wire):
    (reply,) = bench.feed(wire.request("OPTIONS", contact=None, sender="sip:s@192.0.2.9;tag=x"))
    assert reply.code == 200
    assert reply.get("From") == "sip:s@192.0.2.9;tag=x"


def test_unknown_method_gets_405_with_allow(bench, wire):
    (reply,) = bench.feed(wire.request("PUBLISH"))
    assert reply.code == 405
    assert "INVITE" in reply.get("Allow")


def test_required_extension_gets_420_naming_it_3261_8_2_2_3(bench, wire):
    (reply,) = bench.feed(wire.request("INVITE", body=wire.OFFER, extra=(("Require", "precondition, timer, path"), ("Supported", "path"))))
    assert (reply.code, reply.get("Unsupported")) == (420, "precondition, path")
    assert not bench.of(IncomingCall)


def test_supported_extensions_are_of_no_consequence(bench, wire):
    extra = (
        ("Supported", "100rel, timer, replaces"),
        ("Session-Expires", "1800;refresher=uac"),
        ("Min-SE", "90"),
        ("P-Charging-Vector", "x"),
    )
    assert [m.code for m in bench.feed(wire.request("INVITE", body=wire.OFFER, extra=extra))] == [100]


def test_other_content_gets_415_with_accept_3261_8_2_3(bench, wire):
    (reply,) = bench.feed(wire.request("INVITE", body=b"<xml/>", content_type="text/xml"))
    assert (reply.code, reply.get("Accept")) == (415, "application/sdp")


def test_untyped_body_that_is_sdp_is_taken(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER, content_type=None))
    assert bench.of(IncomingCall)[0].sdp == wire.OFFER


def test_merged_request_gets_482_3261_8_2_2_2(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    (reply,) = bench.feed(wire.request("INVITE", branch="z9hG4bKother", body=wire.OFFER))
    assert reply.code == 482
    assert len(bench.of(IncomingCall)) == 1


def test_max_forwards_zero_is_processed_by_an_endpoint_4475_zeromf(bench, wire):
    data = wire.request("OPTIONS", contact=None).replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
    assert [m.code for m in bench.feed(data)] == [200]


@pytest.mark.parametrize("method", ["BYE", "INFO", "UPDATE", "NOTIFY"])
def test_request_of_a_dialog_outside_of_one_gets_481(bench, wire, method):
    assert [m.code for m in bench.feed(wire.request(method))] == [481]


@pytest.mark.parametrize("method", ["INVITE", "BYE", "INFO", "OPTIONS"])
def test_request_for_an_unknown_dialog_gets_481_3261_12_2_2(bench, wire, method):
    (reply,) = bench.feed(wire.request(method, to="<sip:us@198.51.100.1>;tag=gone"))
    assert (reply.code, reply.get("To")) == (481, "<sip:us@198.51.100.1>;tag=gone")


def test_invite_without_contact_gets_400_naming_it(bench, wire):
    (reply,) = bench.feed(wire.request("INVITE", contact=None, body=wire.OFFER))
    assert reply.start == "SIP/2.0 400 Missing Contact"


@pytest.mark.parametrize(
    ("remove", "reason"),
    [
        (b"Call-ID: call-1@0.0.0.0\r\n", "Call-ID"),
        (b"CSeq: 100 INVITE\r\n", "CSeq"),
        (b"From: <sip:+15559999@192.0.2.9>;tag=peer_1\r\n", "From"),
    ],
)
def test_malformed_request_gets_400_naming_the_header(bench, wire, remove, reason):
    data = wire.request("INVITE", body=wire.OFFER).replace(remove, b"")
    head = [m.start for m in bench.feed(data)]
    assert len(head) == 1
    assert head[0].startswith("SIP/2.0 400 ")
    assert reason in head[0]
    assert bench.counts == (0, 0, 0)


@pytest.mark.parametrize(("head", "codes"), [("", [100]), ("Via: ,\r\n", []), ("Via: \r\n", [])])
def test_via_with_empty_elements_never_raises(bench, wire, head, codes):
    """`, value` is the value after an empty list element; a line with nothing else names nobody to answer."""
    data = wire.request("INVITE", body=wire.OFFER).replace(b"Via: ", head.encode() + b"Via: ,", 1)
    assert [m.code for m in bench.feed(data)] == codes


def test_malformed_request_gets_the_same_answer_each_time_3261_8_2_7(bench, wire):
    data = wire.request("INVITE", body=wire.OFFER).replace(b"CSeq: 100 INVITE", b"CSeq: x INVITE")
    (first,), (second,) = bench.feed(data), bench.feed(data)
    assert first.transmit.data == second.transmit.data
    assert [e.why for e in bench.events] == ["bad_request", "bad_request"]


def test_garbage_is_dropped_and_named(bench, wire):
    assert bench.feed(b"\x16\x03\x01 not sip at all") == []
    (dropped,) = bench.of(MessageDropped)
    assert dropped.why == "parse_error"


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\0\0\0\0", b"  \r\n"])
def test_nat_keepalive_means_nothing(bench, data):
    assert bench.feed(data) == []
    assert bench.events == []


def test_not_accepting_refuses_new_calls_only(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[0].call
    bench.endpoint.set_accepting(False, retry_after_s=12)
    (busy,) = bench.feed(wire.request("INVITE", branch="z9hG4bKb", call_id="other", body=wire.OFFER))
    assert (busy.code, busy.get("Retry-After")) == (503, "12")
    assert [m.code for m in bench.feed(wire.request("OPTIONS", branch="z9hG4bKc", call_id="third"))] == [503]
    assert [m.code for m in bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))] == [200]
    bench.endpoint.set_accepting(True)
    assert [m.code for m in bench.feed(wire.request("OPTIONS", branch="z9hG4bKd", call_id="fourth"))] == [200]


def test_stream_is_cut_into_messages_and_pings_are_answered(bench, wire):
    one = wire.request("OPTIONS", contact=None, via=("SIP/2.0/TCP h;branch=z9hG4bK1",))
    two = wire.request("OPTIONS", contact=None, via=("SIP/2.0/TCP h;branch=z9hG4bK2",), call_id="b")
    data = one + two
    sent = []
    for n in range(0, len(data), 7):
        sent += bench.feed(data[n : n + 7], wire.TCP)
    assert [m.code for m in sent] == [200, 200]
    assert all(m.transmit.destination == wire.TCP for m in sent)
    bench.endpoint.receive_stream(b"\r\n\r\n", wire.TCP, bench.now)
    (pong,) = bench.endpoint.take_transmits()
    assert (pong.data, pong.destination) == (b"\r\n", wire.TCP)


def test_stream_beyond_repair_is_closed_once_3261_18_3(bench, wire):
    data = wire.request("OPTIONS", contact=None).replace(b"Content-Length: 0\r\n", b"")
    (reply,) = bench.feed(data, wire.TCP)
    assert reply.code == 400
    assert bench.endpoint.take_closes() == [wire.TCP]
    assert bench.feed(b"more", wire.TCP) == []
    assert bench.endpoint.take_closes() == []
    bench.endpoint.handle_connection_lost(wire.TCP, "closed", bench.now)
    assert [m.code for m in bench.feed(wire.request("OPTIONS", contact=None), wire.TCP)] == [200]


def test_request_outside_is_repeated_and_completed(bench, wire):
    (options,) = bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", "sip:trunk.example", now, from_uri="sip:us@us.example"))
    assert options.start == "OPTIONS sip:trunk.example SIP/2.0"
    assert options.get("Contact") == "<sip:us@198.51.100.1:5060>"
    assert [round(m.at - 1000, 1) for m in bench.advance(10)] == [0.5, 1.5, 3.5, 7.5]
    bench.feed(wire.response(options, 200, "OK"))
    (done,) = bench.of(RequestCompleted)
    assert (done.code, done.call) == (200, None)
    bench.advance(6)
    assert bench.counts == (0, 0, 0)


def test_request_outside_without_answer_completes_as_408(bench, wire):
    bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", "sip:trunk.example", now))
    bench.advance(33)
    (done,) = bench.of(RequestCompleted)
    assert (done.code, done.response) == (408, None)
    assert bench.counts == (0, 0, 0)


def test_request_outside_that_cannot_be_sent_completes_as_503(bench, wire):
    (options,) = bench.do(lambda now: bench.endpoint.request_outside("OPTIONS", "sip:trunk.example", now))
    bench.endpoint.handle_transport_error(options.transmit.id, "refused", bench.now)
    bench.drain()
    (done,) = bench.of(RequestCompleted)
    assert (done.code, done.reason) == (503, "refused")


def test_methods_with_their_own_operation_are_refused_outside(bench):
    for method in ("INVITE", "ACK", "CANCEL", "BYE"):
        with pytest.raises(LocalProtocolError):
            bench.endpoint.request_outside(method, "sip:a@b", bench.now)


def test_contact_is_the_listener_that_took_the_request(wire):
    two = tuple(Listener("udp", Address("0.0.0.0", port), Address(f"198.51.100.{port - 5060}", port)) for port in (5061, 5062))
    bench = wire.Bench(config=EndpointConfig(listeners=two, user_agent="u"))
    flow = type(wire.UDP)("udp", Address("10.0.0.5", 5062), wire.PEER)
    bench.feed(wire.request("INVITE", body=wire.OFFER), flow)
    (ok,) = bench.do(lambda now: bench.endpoint.answer(bench.of(IncomingCall)[0].call, wire.ANSWER, now))
    assert ok.get("Contact") == "<sip:+15550001@198.51.100.2:5062>"
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=ok.get("To")), flow)
    (bye,) = bench.do(lambda now: bench.endpoint.hang_up(bench.of(IncomingCall)[0].call, now))
    assert "198.51.100.2:5062" in bye.get("Via")


def test_without_listeners_nothing_can_be_sent(wire):
    bench = wire.Bench(config=EndpointConfig(listeners=(), user_agent="u"))
    with pytest.raises(LocalProtocolError):
        bench.endpoint.request_outside("OPTIONS", "sip:a@b", bench.now)
    assert bench.counts == (0, 0, 0)


def test_unknown_call_has_nothing_to_settle_and_no_dialog(bench):
    assert bench.endpoint.ring("nope", bench.now) is False
    with pytest.raises(LocalProtocolError):
        bench.endpoint.dialog_info("nope")
    assert bench.endpoint.hang_up("nope", bench.now) is False
    assert not bench.of(CallEnded)


# -- bodies with parts, SIPS


def _multipart(*parts: str) -> bytes:
    return "".join(f"--b\r\n{part}\r\n" for part in parts).encode() + b"--b--\r\n"


SDP_PART = (
    "Content-Type: application/sdp\r\n\r\nv=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0"
)


@pytest.mark.parametrize(
    ("disposition", "code"),
    [("signal;handling=required", 415), ("signal;handling=optional", 100), ("signal", 100), ("", 100), ("session;handling=REQUIRED", 415)],
)
def test_part_that_must_be_read_and_is_unknown_gets_415_3261_8_2_3(bench, wire, disposition, code):
    head = "Content-Type: application/x-unknown\r\n" + (f"Content-Disposition: {disposition}\r\n" if disposition else "")
    body = _multipart(SDP_PART, f"{head}\r\n<x/>")
    (reply,) = bench.feed(wire.request("INVITE", body=body, content_type="multipart/mixed;boundary=b"))
    assert reply.code == code
    assert code == 100 or "application/sdp" in reply.get("Accept")


def test_part_inside_a_part_that_must_be_read_gets_415(bench, wire):
    innermost = "Content-Type: text/x\r\nContent-Disposition: x;handling=required\r\n\r\nx"
    inner = f"Content-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n{innermost}\r\n--c--"
    body = _multipart(SDP_PART, inner)
    (reply,) = bench.feed(wire.request("INVITE", body=body, content_type="multipart/mixed;boundary=b"))
    assert reply.code == 415


def test_body_that_may_be_passed_over_is_as_none_3261_20_11(bench, wire):
    extra = (("Content-Disposition", "render;handling=optional"),)
    assert [m.code for m in bench.feed(wire.request("INVITE", body=b"<x/>", content_type="application/x-unknown", extra=extra))] == [100]
    assert bench.of(IncomingCall)[0].sdp is None
