"""Parsers of SIP and SDP under hostile bytes: ParseError (or a refusal) and nothing else, and the same result however a stream is cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fuzzing import bounded, mutated, pieces
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.sdp.description import format_description, parse_description
from active_call.sdp.negotiation import LocalMedia, NegotiationError, accept_answer, build_offer, negotiate_answer
from active_call.sip.dialog.provisional import parse_rack, rseq_of
from active_call.sip.dialog.refer import is_refer_notify, wants_no_notify
from active_call.sip.dialog.session_expires import min_se_of, parse_session_expires, session_expires_of, supports_timer
from active_call.sip.syntax.body import split_multipart
from active_call.sip.syntax.digest import parse_challenge
from active_call.sip.syntax.framing import StreamFramer
from active_call.sip.syntax.grammar import parse_parameters, split_list, split_outside
from active_call.sip.syntax.headers import parse_cseq, parse_name_addr, parse_via, with_via_received
from active_call.sip.syntax.message import Request, parse_leniently, parse_message, session_description
from active_call.sip.syntax.reason import parse_reason, reasons_of
from active_call.sip.syntax.uri import parse_uri
from active_call.sip.syntax.validation import validate_request, validate_response

BOUNDED = bounded()
SIP_TEXT = st.text(st.sampled_from(list('sip:telvaoUDP/2.0 <>"\\;,=@[]%?&+-0123456789\t\r\né\udc80')), max_size=80)


@BOUNDED
@given(st.one_of(mutated(), st.binary(max_size=300)))
def test_messages_fail_with_parse_error_only(data: bytes) -> None:
    lenient = parse_leniently(data)
    assert lenient is None or lenient.to_bytes()
    try:
        message = parse_message(data)
    except ParseError:
        return
    session_description(message)
    again = parse_message(message.to_bytes())
    assert (again.headers, again.body) == (message.headers, message.body)
    try:
        if isinstance(message, Request):
            validate_request(message)
        else:
            validate_response(message)
    except ParseError:
        return
    assert None not in (message.cseq, message.from_, message.to, message.top_via, message.call_id)


@BOUNDED
@given(st.lists(mutated(), min_size=1, max_size=3), st.lists(st.integers(1, 400), min_size=1, max_size=12))
def test_stream_gives_the_same_whole_and_in_pieces(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"\r\n\r\n".join(messages)

    def run(cut: list[int]) -> tuple[list[object], bool]:
        framer, found = StreamFramer(), []
        for piece in pieces(stream, cut):
            try:
                found += framer.feed(piece)
            except ParseError:
                break
            if framer.failure is not None:
                break
        return found, framer.failure is not None

    whole = run([len(stream)])
    assert run(sizes) == whole
    assert run([1]) == whole


@pytest.mark.parametrize(
    "parse",
    [
        parse_uri,
        parse_name_addr,
        parse_via,
        parse_cseq,
        parse_parameters,
        parse_challenge,
        parse_reason,
        parse_rack,
        parse_session_expires,
        split_list,
    ],
)
def test_values_fail_with_parse_error_only(parse: Callable[[str], object]) -> None:
    @BOUNDED
    @given(st.one_of(SIP_TEXT, st.text(max_size=60), SIP_TEXT.map(lambda text: f'Digest realm="{text}",nonce={text}')))
    def check(text: str) -> None:
        try:
            parse(text)
        except ParseError:
            return

    check()


@BOUNDED
@given(mutated(), st.one_of(st.text(max_size=8), st.just("boundary1"), st.just("7a9cbec02ceef655")))
def test_multipart_bodies_are_taken_apart_or_left_alone(data: bytes, boundary: str) -> None:
    body = data.partition(b"\r\n\r\n")[2]
    for kind, content in split_multipart(boundary, body):
        assert content in body
        assert kind is None or "\r" not in kind


@BOUNDED
@given(mutated())
def test_headers_of_any_message_are_read_without_surprise(data: bytes) -> None:
    """Every reader of a header that looks at whole messages: what it cannot read counts as absent."""
    try:
        message = parse_message(data)
    except ParseError:
        return
    reasons_of(message)
    assert session_expires_of(message) is None or session_expires_of(message).interval_s > 0  # type: ignore[union-attr]
    assert min_se_of(message) >= 0
    supports_timer(message)
    if isinstance(message, Request):
        wants_no_notify(message)
        is_refer_notify(message)
    else:
        assert rseq_of(message) is None or rseq_of(message) >= 0  # type: ignore[operator]


@BOUNDED
@given(st.one_of(SIP_TEXT, SIP_TEXT.map(lambda text: f"sip:{text}")))
def test_uri_written_and_read_again_is_equal(text: str) -> None:
    try:
        uri = parse_uri(text)
    except ParseError:
        return
    again = parse_uri(str(uri))
    assert again == uri


@BOUNDED
@given(SIP_TEXT)
def test_split_pieces_joined_are_the_text(text: str) -> None:
    assert ",".join(split_outside(text, ",")) == text
    assert ";".join(split_outside(text, ";")) == text


@BOUNDED
@given(SIP_TEXT, st.integers(1, 65_535))
def test_via_received_can_be_read_back(text: str, port: int) -> None:
    line = f"SIP/2.0/UDP h;rport{text}"
    edited = with_via_received(line, "192.0.2.9", port)
    try:
        via = parse_via(split_outside(edited, ",")[0])
        parse_via(split_outside(line, ",")[0])
    except ParseError:
        return
    assert via.received == "192.0.2.9"


@BOUNDED
@given(mutated())
def test_descriptions_fail_with_parse_or_negotiation_error_only(data: bytes) -> None:
    body = data.partition(b"\r\n\r\n")[2]
    local = LocalMedia("203.0.113.5", 20_000, codecs=("pcmu", "pcma", "opus"))
    offer = build_offer(local, session_id=1, version=1)
    for attempt in (
        lambda: format_description(parse_description(body)),
        lambda: parse_description(negotiate_answer(body, local, key_for=lambda _: bytes(30), session_id=1, version=1)[0]),
        lambda: accept_answer(offer, body),
    ):
        try:
            attempt()
        except (ParseError, NegotiationError):
            continue


@pytest.mark.parametrize(
    "text",
    [
        '"' * 60_000,
        "<" * 60_000,
        '"\\' * 30_000,
        ";" * 60_000,
        "," * 60_000,
        "a" * 60_000,
        " " * 60_000,
        "%41" * 20_000,
        "sip:" + "a;" * 30_000,
        "a \t" * 20_000,
    ],
)
@pytest.mark.timeout(20)
def test_long_hostile_values_take_linear_time(text: str) -> None:
    parsers = (parse_uri, parse_name_addr, parse_via, parse_cseq, parse_parameters, parse_challenge, split_list)
    for parse in (*parsers, parse_reason, parse_rack, parse_session_expires):
        for prefix in ("", "SIP;", "90;", "1 1 ", "SIP/2.0/UDP ", "sip:", "Digest realm=", "<sip:a@b>;x="):
            try:
                parse(prefix + text)  # type: ignore[operator]
            except ParseError:
                continue
