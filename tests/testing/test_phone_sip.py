"""The phone's strictness: a correct response passes, and each thing a carrier refuses is named."""

from __future__ import annotations

import pytest

from active_call.testing.phone import sip as phone_sip
from active_call.testing.phone.sip import Message, parse

INVITE = parse(
    b"INVITE sip:+15550199@192.0.2.7;transport=tls SIP/2.0\r\n"
    b"Record-Route: <sip:198.51.100.1:5061;transport=tls;r2=on;lr>\r\n"
    b"Record-Route: <sip:198.51.100.1;r2=on;lr>\r\n"
    b"Via: SIP/2.0/TLS 198.51.100.1:5061;branch=z9hG4bK1dc3.0\r\n"
    b"Via: SIP/2.0/UDP 172.25.16.223:5060;rport=5060;branch=z9hG4bKin_1-2\r\n"
    b"From: <sip:+15550100@trunk.example.com:5060>;tag=1_a\r\nTo: <sip:+15550199@192.0.2.7;transport=tls>\r\n"
    b"Call-ID: abc@0.0.0.0\r\nCSeq: 29044 INVITE\r\nContent-Length: 0\r\n\r\n"
)
CONTACT = ("contact", "<sip:192.0.2.7:5061;transport=tls>")


def ok(**changed: str) -> Message:
    response = Message("SIP/2.0 200 OK")
    for name, value in INVITE.headers:
        if name in ("via", "record-route", "from", "call-id", "cseq"):
            response.headers.append((name, changed.get(name, value)))
    response.headers += [("to", changed.get("to", INVITE.get("to") + ";tag=b")), CONTACT]
    return response


def test_correct_response_has_nothing_wrong() -> None:
    assert phone_sip.wrong_in_response(INVITE, ok()) == []
    assert phone_sip.wrong_in_contact(ok(), ("192.0.2.7", 5061), "tls") == []


def test_received_and_rport_may_be_added_to_the_top_via() -> None:
    response = ok()
    response.headers[2] = ("via", "SIP/2.0/TLS 198.51.100.1:5061;received=10.0.0.1;rport=4711;branch=z9hG4bK1dc3.0")
    assert response.headers[2][0] == "via"
    assert phone_sip.wrong_in_response(INVITE, response) == []


@pytest.mark.parametrize("name", ["via", "record-route", "from", "call-id", "cseq", "to"])
def test_changed_header_is_named(name: str) -> None:
    wrong = phone_sip.wrong_in_response(INVITE, ok(**{name: "SIP/2.0/TLS 1.2.3.4;branch=z9hG4bKx"}))
    assert wrong
    assert name.replace("record-route", "record-route") in " ".join(wrong).lower()


def test_final_response_without_to_tag_is_named() -> None:
    assert any("To tag" in one for one in phone_sip.wrong_in_response(INVITE, ok(to=INVITE.get("to"))))


def test_contact_of_another_port_or_transport_is_named() -> None:
    assert phone_sip.wrong_in_contact(ok(), ("192.0.2.7", 5060), "tls")
    assert phone_sip.wrong_in_contact(ok(), ("192.0.2.7", 5061), "tcp")


def test_bye_without_the_route_set_is_named() -> None:
    bye = parse(
        b"BYE sip:a@172.25.16.223:5060;transport=udp SIP/2.0\r\nVia: SIP/2.0/TLS 192.0.2.7:5061;branch=z9hG4bKq\r\n"
        b"CSeq: 1 BYE\r\nMax-Forwards: 70\r\n\r\n"
    )
    contact = "sip:a@172.25.16.223:5060;transport=udp"
    assert phone_sip.wrong_in_request(bye, contact=contact, routes=[], last_sequence=-1) == []
    assert "Route" in phone_sip.wrong_in_request(bye, contact=contact, routes=["<sip:e;lr>"], last_sequence=-1)[0]
    assert "CSeq" in phone_sip.wrong_in_request(bye, contact=contact, routes=[], last_sequence=1)[0]
    assert "Request-URI" in phone_sip.wrong_in_request(bye, contact="sip:b@c", routes=[], last_sequence=-1)[0]


def answer(*, secure: bool = True, **changed: str) -> bytes:
    text = phone_sip.offer("192.0.2.7", 12000, bytes(range(30)) if secure else b"", origin="192.0.2.7").decode()
    for old, new in changed.items():
        text = text.replace({"crypto": "a=crypto:1", "types": " 0 8 101\r", "profile": "RTP/SAVP", "port": "audio 12000"}[old], new)
    return text.encode()


def test_answer_that_answers_has_nothing_wrong_and_yields_the_key() -> None:
    description, wrong = phone_sip.read_description(answer(), secure=True)
    assert wrong == []
    assert description.remote == ("192.0.2.7", 12000)
    assert description.key == bytes(range(30))
    assert description.types == (0, 8, 101)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (answer(crypto="a=crypto:2"), "tag 2"),
        (answer(types=" 0 8 9 101\r"), "exceed the offer"),
        (answer(profile="RTP/AVP"), "profile"),
        (answer(port="audio 0"), "no address"),
        (answer(secure=False), "crypto lines"),
        (answer().replace(b"a=crypto", b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\r\na=crypto"), "2 crypto lines"),
        (answer().replace(b"inline:AAEC", b"inline:"), "octets"),
    ],
)
def test_answer_that_a_carrier_refuses_is_named(body: bytes, says: str) -> None:
    assert says in " ".join(phone_sip.read_description(body, secure=True)[1])


def test_crypto_under_plain_rtp_is_named() -> None:
    assert phone_sip.read_description(answer(profile="RTP/AVP"), secure=False)[1] == ["SDP has a crypto line under RTP/AVP"]


def test_parse_reads_compact_folded_and_listed_headers() -> None:
    message = parse(
        b"BYE sip:a@b SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bK1,\r\n SIP/2.0/UDP b\r\nRoute: <sip:a;x=1,2>, <sip:b>\r\nl:0\r\n\r\n"
    )
    assert message.all("via") == ["SIP/2.0/UDP a;branch=z9hG4bK1", "SIP/2.0/UDP b"]
    assert message.all("route") == ["<sip:a;x=1,2>", "<sip:b>"]


def test_stream_gives_whole_messages_only_and_counts_keep_alives() -> None:
    octets = b"\r\n\r\nOPTIONS sip:a@b SIP/2.0\r\nContent-Length: 3\r\n\r\nabc"
    for end in range(4, len(octets)):
        assert phone_sip.take_from_stream(bytearray(octets[:end])) == (None, 2)
    buffer = bytearray(octets + b"REST")
    message, n_crlf = phone_sip.take_from_stream(buffer)
    assert message == octets[4:]
    assert (n_crlf, bytes(buffer)) == (2, b"REST")


def test_stream_without_content_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="Content-Length"):
        phone_sip.take_from_stream(bytearray(b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"))
