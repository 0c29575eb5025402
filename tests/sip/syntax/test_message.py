"""Messages in and out: tolerance, refusals, and what carriers send."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.headers import Headers, parse_name_addr
from active_call.sip.syntax.message import Request, Response, parse_leniently, parse_message, session_description
from active_call.sip.syntax.validation import validate_request, validate_response

CARRIERS = Path(__file__).parents[2] / "vectors" / "carriers"
PLAIN = (
    b"OPTIONS sip:a@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:b@example.com>;tag=1\r\n"
    b"To: <sip:a@example.com>\r\n"
    b"Call-ID: c1\r\n"
    b"CSeq: 1 OPTIONS\r\n"
    b"Max-Forwards: 70\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def carrier(name: str) -> bytes:
    return (CARRIERS / name).read_bytes()


def as_request(data: bytes) -> Request:
    message = parse_message(data)
    assert isinstance(message, Request)
    return message


def refusal(data: bytes) -> tuple[int, str]:
    with pytest.raises(BadRequest) as caught:
        validate_request(as_request(data))
    return caught.value.code, caught.value.reason


def test_message_read_and_written_is_the_same_bytes() -> None:
    assert parse_message(PLAIN).to_bytes() == PLAIN


def test_message_with_leading_line_breaks_is_read() -> None:
    assert as_request(b"\r\n\r\n" + PLAIN).method == "OPTIONS"


@pytest.mark.parametrize(
    "data", [b"", b"\r\n\r\n", b"\x00" * 20, b"hello\r\n\r\n", PLAIN[:-4], b"SIP/2.0 99 x\r\n\r\n", "SIP/2.0 ２００ x\r\n\r\n".encode()]
)
def test_message_that_is_none_raises_parse_error(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_message(data)


def test_message_with_octets_behind_its_body_ignores_them() -> None:
    assert as_request(PLAIN + b"junk").body == b""


def test_message_with_bare_line_feed_in_a_value_is_refused() -> None:
    with pytest.raises(BadRequest):
        parse_message(PLAIN.replace(b"Call-ID: c1", b"Call-ID: c1\nX: y"))


def test_message_with_equal_content_lengths_is_read() -> None:
    assert as_request(PLAIN.replace(b"\r\n\r\n", b"\r\nl: 0\r\n\r\n")).body == b""


def test_to_bytes_mends_content_length_in_its_place() -> None:
    message = as_request(PLAIN.replace(b"Content-Length: 0\r\n", b"l: 0\r\nX-Last: 1\r\n"))
    message.body = b"four"
    assert message.to_bytes().endswith(b"\r\nl: 4\r\nX-Last: 1\r\n\r\nfour")


def test_to_bytes_of_a_built_response_is_read_back() -> None:
    response = Response(486, "Busy Here", Headers([("Via", "SIP/2.0/UDP h;branch=z9hG4bKx"), ("CSeq", "1 INVITE")]))
    again = parse_message(response.to_bytes())
    assert isinstance(again, Response)
    assert (again.code, again.reason, again.headers.get("l")) == (486, "Busy Here", "0")


def test_cached_views_follow_changed_headers() -> None:
    message = as_request(PLAIN)
    assert (message.cseq.number, message.to.tag) == (1, None)
    message.headers.set("CSeq", "2 OPTIONS")
    message.headers.set("t", "<sip:a@example.com>;tag=z")
    assert (message.cseq.number, message.to.tag) == (2, "z")


def test_missing_views_raise_parse_error() -> None:
    message = Request("BYE", "sip:a@b")
    for name in ("call_id", "cseq", "from_", "to", "top_via"):
        with pytest.raises(ParseError):
            getattr(message, name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((b"Call-ID: c1\r\n", b""), (400, "Missing Call-ID")),
        ((b"Call-ID: c1\r\n", b"Call-ID:\r\n"), (400, "Missing Call-ID")),
        ((b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n", b""), (400, "Missing Via")),
        ((b"Call-ID: c1\r\n", b"Call-ID: c1\r\ni: c2\r\n"), (400, "Multiple Call-ID")),
        ((b"CSeq: 1 OPTIONS", b"CSeq: 1 INVITE"), (400, "CSeq method does not match")),
        ((b"CSeq: 1 OPTIONS", b"CSeq: 4294967296 OPTIONS"), (400, "Malformed CSeq")),
        ((b"SIP/2.0\r\nVia", b"SIP/3.0\r\nVia"), (505, "Version Not Supported")),
        ((b"sip:a@example.com SIP", b"mailto:a@example.com SIP"), (416, "Unsupported URI Scheme")),
        ((b"sip:a@example.com SIP", b"sip:a@exa<mple SIP"), (400, "Malformed Request-URI")),
        ((b"Max-Forwards: 70", b"Max-Forwards: 256"), (400, "Malformed Max-Forwards")),
        ((b"From: <sip:b@example.com>;tag=1", b'From: "b <sip:b@example.com> <sip:c@example.com>;tag=1'), (400, "Malformed From")),
        ((b"From: <sip:b@example.com>;tag=1", b"From: <sip:b@[1::2::3]>;tag=1"), (400, "Malformed From")),
        ((b"Call-ID: c1\r\n", b"Call-ID: c1\r\nContact: nothing\r\n"), (400, "Malformed Contact")),
        ((b"192.0.2.1;branch", b"192.0.2.1:99999;branch"), (400, "Malformed Via")),
    ],
)
def test_validate_request_names_what_is_wrong(change: tuple[bytes, bytes], expected: tuple[int, str]) -> None:
    assert refusal(PLAIN.replace(*change)) == expected


def test_validate_request_with_a_large_body_is_413() -> None:
    request = as_request(PLAIN)
    request.body = b"x" * 101
    with pytest.raises(BadRequest) as caught:
        validate_request(request, max_body_bytes=100)
    assert caught.value.code == 413


@pytest.mark.parametrize(
    "change",
    [(b"Max-Forwards: 70\r\n", b""), (b";tag=1", b""), (b"sip:a@example.com SIP", b"tel:+1-555-0100 SIP"), (b";branch=z9hG4bK1", b"")],
)
def test_validate_request_takes_what_old_peers_leave_out(change: tuple[bytes, bytes]) -> None:
    validate_request(as_request(PLAIN.replace(*change)))


def test_validate_request_takes_the_star_contact() -> None:
    validate_request(as_request(PLAIN.replace(b"Call-ID: c1\r\n", b"Call-ID: c1\r\nm: *\r\n")))


def test_validate_response_without_cseq_raises() -> None:
    headers = Headers([("Via", "SIP/2.0/UDP h"), ("From", "<sip:a@b>"), ("To", "<sip:a@b>"), ("Call-ID", "1")])
    with pytest.raises(ParseError):
        validate_response(Response(200, "OK", headers))


def test_parse_leniently_keeps_first_of_each_and_every_via() -> None:
    data = PLAIN.replace(b"Max-Forwards: 70", b"broken line\r\nv: SIP/2.0/UDP 192.0.2.9\r\nCall-ID: c2\r\nCSeq: x")
    found = parse_leniently(data)
    assert found is not None
    assert found.headers.items() == [
        ("Via", "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"),
        ("From", "<sip:b@example.com>;tag=1"),
        ("To", "<sip:a@example.com>"),
        ("Call-ID", "c1"),
        ("CSeq", "1 OPTIONS"),
        ("v", "SIP/2.0/UDP 192.0.2.9"),
    ]


@pytest.mark.parametrize(
    "data", [b"", b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n", b"OPTIONS sip:a SIP/2.0\r\nTo: x\r\n\r\n", b"GET / HTTP/1.1\r\nVia: x\r\n\r\n"]
)
def test_parse_leniently_of_what_cannot_be_answered_is_none(data: bytes) -> None:
    assert parse_leniently(data) is None


# -- session descriptions ----------------------------------------------------------------------------------------------------------------

SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


def with_body(body: bytes, *headers: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:a@b", Headers(headers), body)


@pytest.mark.parametrize("content_type", ["application/sdp", "Application/SDP", "application/sdp; charset=utf-8"])
def test_session_description_by_its_type(content_type: str) -> None:
    assert session_description(with_body(SDP, ("c", content_type))) == SDP


def test_session_description_without_a_type_but_with_its_first_line() -> None:
    assert session_description(with_body(SDP)) == SDP
    assert session_description(with_body(b"hello")) is None


def test_session_description_of_another_type_or_empty_is_none() -> None:
    assert session_description(with_body(SDP, ("Content-Type", "text/plain"))) is None
    assert session_description(with_body(b"", ("Content-Type", "application/sdp"))) is None


@pytest.mark.parametrize("boundary", ["b1", '"b1"'])
def test_session_description_in_multipart(boundary: str) -> None:
    first = b"preamble\r\n--b1\r\nContent-Type: application/isup\r\n\r\n\x01\x00\r\n"
    body = first + b"--b1\r\ncontent-type:\r\n application/sdp\r\n\r\n" + SDP + b"\r\n--b1--\r\n"
    assert session_description(with_body(body, ("Content-Type", f"multipart/mixed;boundary={boundary}"))) == SDP


def test_session_description_in_nested_multipart_is_found_and_endless_nesting_is_not_followed() -> None:
    inner = b"--i\r\nContent-Type: application/sdp\r\n\r\n" + SDP + b"\r\n--i--"
    body = b"--o\r\nContent-Type: multipart/alternative;boundary=i\r\n\r\n" + inner + b"\r\n--o--"
    assert session_description(with_body(body, ("Content-Type", "multipart/mixed;boundary=o"))) == SDP
    for depth in range(20):
        boundary = b"i" if depth == 0 else b"n%d" % (depth - 1)
        inner = b"--n%d\r\nContent-Type: multipart/mixed;boundary=%s\r\n\r\n" % (depth, boundary) + inner
    assert session_description(with_body(inner, ("Content-Type", "multipart/mixed;boundary=n19"))) is None


@pytest.mark.parametrize(
    "content_type", ["multipart/mixed", "multipart/mixed;boundary=", 'multipart/mixed;boundary="x', "multipart/mixed;;"]
)
def test_session_description_in_broken_multipart_is_none(content_type: str) -> None:
    assert session_description(with_body(SDP, ("Content-Type", content_type))) is None


# -- carriers ----------------------------------------------------------------------------------------------------------------------------


def test_twilio_invite_tls_copies_via_and_record_route_byte_for_byte() -> None:
    data = carrier("twilio_invite_tls.dat")
    message = as_request(data)
    validate_request(message)
    wire = data.decode().split("\r\n")
    assert message.headers.get_all("Via") == [line.removeprefix("Via: ") for line in wire if line.startswith("Via")]
    assert message.headers.get_all("Record-Route") == [line.removeprefix("Record-Route: ") for line in wire if line.startswith("Record")]
    assert message.parsed_uri.transport == "tls"
    assert parse_name_addr(message.headers.get("Contact") or "").uri.host == "172.25.44.7"
    assert message.from_.tag == "82013460_c3356d0b_3f1e0c0e-52f3-4d1f-8f6e-5b1a0a1f7c11"
    assert message.to_bytes() == data


def test_twilio_200_plus_host_has_a_readable_contact_and_route() -> None:
    message = parse_message(carrier("twilio_200_plus_host.dat"))
    assert isinstance(message, Response)
    validate_response(message)
    assert parse_name_addr(message.headers.get("Contact") or "").uri.host == "+172.25.16.223"
    assert parse_name_addr(message.headers.split("Record-Route")[0]).uri.parameters["twnat"] == "sip:198.51.100.7:41234"
    assert message.from_.display == 'Desk "A"'


def test_telnyx_invite_compact_reads_like_long_headers() -> None:
    message = as_request(carrier("telnyx_invite_compact.dat"))
    validate_request(message)
    assert (message.call_id, message.cseq.number) == ("8a1c1d4e-52f3-123d-0a8b-02420a0d0a0f", 87134402)
    assert (message.from_.display, message.from_.uri.user, message.from_.tag) == ("9195550102", "9195550102", "6c3SvF5yQK3Nj")
    assert message.headers.split("Supported") == ["timer", "path"]
    assert len(message.headers.get_all("Via")) == 3 and len(message.headers.get_all("Record-Route")) == 3
    assert message.parsed_uri.parameters == {"transport": "tcp", "gw": "telnyx"}
    identity = parse_name_addr(message.headers.get("P-Asserted-Identity") or "")
    assert identity.uri.parameters["verstat"] == "TN-Validation-Passed-C"
    description = session_description(message)
    assert description is not None and b"o=Telnyx" in description


def test_meta_invite_isfocus_reads_ipv6_via_and_contact_flags() -> None:
    message = as_request(carrier("meta_invite_isfocus.dat"))
    validate_request(message)
    via = message.top_via
    assert (via.host, via.port, via.has_rport, via.rport) == ("2803:6080:e888:51aa:d4a4:c5e0:300:0", 33819, True, None)
    contact = parse_name_addr(message.headers.get("Contact") or "")
    assert contact.parameters == {"isfocus": None}
    assert contact.uri.parameters == {"transport": "tls", "ob": None}


def test_openai_200_no_content_type_gives_its_description_and_contact() -> None:
    message = parse_message(carrier("openai_200_no_content_type.dat"))
    assert isinstance(message, Response)
    validate_response(message)
    assert session_description(message) == message.body
    assert parse_name_addr(message.headers.get("Contact") or "").uri.parameters == {"transport": "tls"}


def test_didww_options_no_brackets_has_its_tag_on_the_header() -> None:
    message = as_request(carrier("didww_options_no_brackets.dat"))
    validate_request(message)
    assert message.from_.tag == "uloc-1-5f0e-4242-77a1"
    assert message.from_.uri.parameters == {}
    assert message.to.uri.user is None


def test_large_invite_with_identity_and_unknown_headers_is_read() -> None:
    extra = b"Identity: " + b"e" * 3000 + b"\r\nX-Twilio-CallToken: " + b"t" * 2000 + b"\r\nP-Charging-Vector: icid-value=1\r\n"
    message = as_request(PLAIN.replace(b"Max-Forwards", extra + b"Max-Forwards"))
    validate_request(message)
    assert len(message.headers.get("Identity") or "") == 3000


def test_headers_refuse_what_would_break_the_message() -> None:
    message = as_request(PLAIN)
    for name, value in (("X-A", "1\r\nX-B: 2"), ("X A", "1"), ("", "1"), ("X-A", "\n")):
        with pytest.raises(LocalProtocolError):
            message.headers.add(name, value)
