"""Texts of SIP messages outside the SIP core: any header, whatever it contains, can be written as JSON."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from far_end import Habits
from hypothesis import given
from hypothesis import strategies as st
from sip_far_end import FLOW, SipStage

from active_call.contract.options import CallOption, SipOption
from active_call.legs.events import LegEnded, LegEvent
from active_call.legs.sip.identity import caller_of, header_map, identity_of, plain_uri
from active_call.legs.sip.own_headers import one_line, sendable
from active_call.legs.sip.plain_text import plain, plain_body
from active_call.sip.events import IncomingCall, InternalFault
from active_call.testing.virtual_time import run_virtually

INVITE = (
    b"INVITE sip:agent@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n"
    b"From: %(From)s\r\nTo: %(To)s\r\nCall-ID: %(Call-ID)s\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:peer@192.0.2.9>\r\n%(Other)sContent-Length: 0\r\n\r\n"
)
BYE = (
    b"BYE sip:agent@198.51.100.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bK2;rport\r\nMax-Forwards: 70\r\n"
    b"From: %(From)s\r\nTo: %(To)s\r\nCall-ID: %(Call-ID)s\r\nCSeq: 2 BYE\r\n"
    b"Reason: %(Reason)s\r\nX-Bye: %(Reason)s\r\nContent-Length: 0\r\n\r\n"
)
INFORMING = (
    b"User-Agent", b"Subject", b"Reason", b"P-Asserted-Identity", b"Diversion", b"Remote-Party-ID", b"Call-Info", b"Alert-Info", b"Date",
    b"Warning", b"Server", b"Supported", b"History-Info", b"Privacy", b"X-Anything", b"Session-Expires", b"Min-SE", b"Organization",
    b"Referred-By", b"Accept", b"Allow",
)  # fmt: skip
VALUES = st.binary(max_size=30).map(lambda data: data.replace(b"\r", b"\xe9").replace(b"\n", b"\xff"))
NAMES = st.one_of(
    VALUES.map(lambda data: data.replace(b'"', b"").replace(b"\\", b"")), st.sampled_from((b"J\xf6rg", "Jörg".encode(), b"a\x00b"))
)


def check_clean(value: Any) -> None:
    """As a record, a webhook and a log line are written: strictly UTF-8, and without control characters."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode("utf-8")
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in text)
    assert "\\u00" not in text.replace("\\\\", "")  # JSON's way to write a control character


@given(name=NAMES, others=st.lists(st.tuples(st.sampled_from(INFORMING), VALUES), max_size=6), reason=VALUES)
def test_any_bytes_in_a_header_refuse_no_call_and_leave_as_clean_text(
    name: bytes, others: list[tuple[bytes, bytes]], reason: bytes
) -> None:
    parts = {
        b"From": b'"' + name + b'" <sip:+15550001@192.0.2.9>;tag=p',
        b"To": b"<sip:agent@198.51.100.1>",
        b"Call-ID": b"c1",
        b"Other": b"".join(key + b": " + value + b"\r\n" for key, value in others),
        b"Reason": reason,
    }

    async def story() -> None:
        stage = SipStage()
        told: list[LegEvent] = []
        legs: list[Any] = []
        stage._gateway.connect(stage, lambda leg: (legs.append(leg), leg.attach(told.append))[0], lambda _: None)
        sent: list[bytes] = []
        take = stage._endpoint.take_transmits

        def taken() -> list[Any]:
            transmits = take()
            sent.extend(transmit.data for transmit in transmits)
            return []

        stage._endpoint.take_transmits = taken  # type: ignore[method-assign]
        stage.run(lambda now: stage._endpoint.receive_datagram(INVITE % parts, FLOW, now))
        (leg,) = legs
        assert leg._incoming is not None
        check_clean([leg.caller, leg.callee, leg.call_id, dict(leg.headers), identity_of(leg.headers)])
        await leg.ring()
        ringing = sent[-1]
        assert b"From: " + parts[b"From"].strip(b" \t") in ringing
        to = next(line for line in ringing.split(b"\r\n") if line.startswith(b"To: "))[4:]
        stage.run(lambda now: stage._endpoint.receive_datagram(BYE % {**parts, b"To": to}, FLOW, now))
        await asyncio.sleep(0.1)
        (end,) = [event for event in told if isinstance(event, LegEnded)]
        assert end.cause == "remote_bye"
        check_clean([end.reason, dict(end.headers)])

    run_virtually(story())


@given(user=VALUES.map(lambda data: data.replace(b">", b"").replace(b"<", b"")))
def test_any_bytes_in_the_caller_s_number_are_refused_by_400_or_leave_as_clean_text(user: bytes) -> None:
    parts = {
        b"From": b"<sip:" + user + b"@192.0.2.9>;tag=p",
        b"To": b"<sip:" + user + b"@198.51.100.1>",
        b"Call-ID": b"c" + user.replace(b" ", b""),
        b"Other": b"",
    }

    async def story() -> None:
        stage = SipStage()
        stage._endpoint.receive_datagram(INVITE % parts, FLOW, 0.0)
        for event in stage._endpoint.take_events():
            assert not isinstance(event, InternalFault)
            if isinstance(event, IncomingCall):
                request = event.request
                headers = header_map(request)
                check_clean([caller_of(request), plain_uri(request.headers.get("To") or ""), headers, identity_of(headers)])
        answers = [transmit.data.split(b" ")[1] for transmit in stage._endpoint.take_transmits()]
        assert answers in ([b"100"], [b"400"])

    run_virtually(story())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("Jörg".encode(), "Jörg"),
        (b"J\xf6rg", "Jörg"),
        (b"J\xf6rg \xc3\xa9", "Jörg é"),
        (b"\x80uro \x81", "€uro \ufffd"),
        (b"a\x00b\x1b[31m\x7f", "a\ufffdb\ufffd[31m\ufffd"),
        (b"a\tb", "a\ufffdb"),
    ],
)
def test_kept_bytes_are_read_as_windows_1252_and_controls_are_replaced(data: bytes, expected: str) -> None:
    assert plain(data.decode("utf-8", "surrogateescape")) == expected


def test_lone_surrogates_are_replaced_and_lines_of_a_body_stay() -> None:
    assert plain("a\ud800b\udfff") == "a\ufffdb\ufffd"
    assert plain_body(b"one\r\n\ttw\xf6\x00") == "one\r\n\ttwö\ufffd"


def test_headers_of_our_own_that_would_break_or_steer_a_message_are_left_out() -> None:
    given_headers = {
        "X-Good": "1",
        "X-Evil": "a\r\nRoute: <sip:evil@example.com>",
        "X-Nul": "a\x00b",
        "X Bad": "1",
        "Route": "<sip:evil@example.com>",
        "v": "SIP/2.0/UDP evil",
        "Call-ID": "other",
        "Content-Length": "0",
    }
    assert sendable(given_headers.items()) == (("X-Good", "1"),)
    assert one_line("Busy\r\nX-Evil: 1") == "Busy  X-Evil: 1"


def test_header_with_a_line_break_keeps_no_call_from_being_answered() -> None:
    async def story() -> None:
        stage = SipStage()
        party = await stage.incoming(Habits())
        option = CallOption(sip=SipOption(headers={"X-Name": "a\r\nX-Evil: 1", "X-Good": "1"}))
        task = asyncio.create_task(party.leg.accept(option))
        await asyncio.sleep(3.0)
        await task
        assert party.seen.is_answered
        party.hang_up()
        await asyncio.sleep(60)

    run_virtually(story())
