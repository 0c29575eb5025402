"""Digits by SIP INFO, as gateways write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.legs.sip.digits import PLAIN_TYPE, RELAY_TYPE, read_digit, write_digit


@pytest.mark.parametrize(
    ("content_type", "body", "digit"),
    [
        (RELAY_TYPE, "Signal=5\r\nDuration=160\r\n", "5"),
        (RELAY_TYPE, "Signal= 5\nDuration= 160", "5"),
        (RELAY_TYPE, "signal=#\r\nduration=100", "#"),
        (RELAY_TYPE, "Duration=160\r\nSignal=*\r\n", "*"),
        (RELAY_TYPE, "Signal=a\r\n", "A"),
        (RELAY_TYPE, "Signal=10\r\nDuration=250\r\n", "*"),
        (RELAY_TYPE, "Signal=11\r\nDuration=250\r\n", "#"),
        (RELAY_TYPE, "Signal=15\r\n", "D"),
        (RELAY_TYPE, "Signal=16\r\n", ""),
        (RELAY_TYPE, "Signal=\r\n", ""),
        (RELAY_TYPE, "5", ""),
        (PLAIN_TYPE, "5", "5"),
        (PLAIN_TYPE, " #\r\n", "#"),
        (PLAIN_TYPE, "11\r\n", "#"),
        (PLAIN_TYPE, "Signal=3\r\nDuration=160\r\n", "3"),
        (PLAIN_TYPE, "hello", ""),
        ("text/plain", "5", ""),
        ("application/media_control+xml", "<picture_fast_update/>", ""),
    ],
)
def test_digit_is_read_as_gateways_write_it(content_type: str, body: str, digit: str) -> None:
    assert read_digit(content_type, body) == digit


@given(st.sampled_from("0123456789*#ABCD"), st.integers(40, 8000))
def test_digit_that_is_written_is_read(digit: str, duration_ms: int) -> None:
    assert read_digit(RELAY_TYPE, write_digit(digit, duration_ms).decode()) == digit


@given(st.sampled_from([RELAY_TYPE, PLAIN_TYPE]), st.text())
def test_any_body_is_a_digit_or_none(content_type: str, body: str) -> None:
    assert read_digit(content_type, body) in {"", *"0123456789*#ABCD"}
