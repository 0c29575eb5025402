"""Texts of strangers for which a careless search takes time that grows with the square of their length: each is read in time."""

from __future__ import annotations

import time

import pytest

from active_call.legs.sip.digits import PLAIN_TYPE, RELAY_TYPE, read_digit
from active_call.legs.sip.trace.log import MAX_BYTES
from active_call.legs.sip.trace.text import headers_of, start_line_of, whole_text_of

MAX_BODY = 32 * 1024
"""Of strangers (docs/security.md)."""
SECONDS = 1.0
"""Of CPU time. Linear work takes a hundredth of it."""


@pytest.mark.parametrize("content_type", [RELAY_TYPE, PLAIN_TYPE])
@pytest.mark.parametrize("unit", ["\n", "\r\n", "\r", " ", "\t\n", "Signal=", "Signal=\n", "1 ", "\nSignal =" + " " * 1000])
def test_body_of_info_is_searched_for_its_digit_in_time(content_type: str, unit: str) -> None:
    body = unit * (MAX_BODY // len(unit))
    begun = time.process_time()
    assert read_digit(content_type, body) == ""
    assert time.process_time() - begun < SECONDS
    assert read_digit(RELAY_TYPE, f"{body}\r\nSignal=7\r\n") == "7"


HEADERS = {
    "blanks": "X: " + " " * MAX_BYTES,
    "folds": "X: a\r\n " * (MAX_BYTES // 8),
    "blanks_that_are_folded": "X: a" + " \t" * (MAX_BYTES // 2 - 20) + "\r\n  b",
    "names_without_a_password": "From: @" + "sip:a:" * (MAX_BYTES // 6),
    "schemes": "From: @" + "sip:" * (MAX_BYTES // 4),
    "at_signs": "From: " + "sip:a:b@" * (MAX_BYTES // 8),
    "credentials": "Authorization: x\r\n " * (MAX_BYTES // 20),
}


@pytest.mark.parametrize("name", HEADERS)
def test_message_of_a_record_is_read_in_time(name: str) -> None:
    """A record has 120 of them."""
    data = f"INVITE sip:a@b SIP/2.0\r\nX: 1\r\n 2\r\n{HEADERS[name]}\r\n\r\n".encode()[:MAX_BYTES]
    begun = time.process_time()
    for _ in range(5):
        headers_of(data)
        whole_text_of(data)
        start_line_of(data.replace(b"\r\n", b" "))
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("sip:a:pw@host", "sip:a:***@host"),
        ("<SIPS:a:p:w;x@host>", "<SIPS:a:***@host>"),
        ("sip:a@host", "sip:a@host"),
        ("sip:a;x=sip:b:pw@host", "sip:a;x=sip:b:***@host"),
        ("x sip:a:pw@h, <sip:b:q@h>", "x sip:a:***@h, <sip:b:***@h>"),
        ("sip:host:5060 <sip:a@b>", "sip:host:5060 <sip:a@b>"),
    ],
)
def test_password_in_a_uri_is_hidden(written: str, shown: str) -> None:
    text = whole_text_of(f"INVITE {written} SIP/2.0\r\nTo: {written}\r\n\r\n".encode())
    assert text == f"INVITE {shown} SIP/2.0\r\nTo: {shown}\r\n\r\n"
