"""Reason header values, with the examples of RFC 3326 §2."""

from __future__ import annotations

import pytest

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.syntax.message import parse_message
from active_call.sip.syntax.reason import Reason, format_reason, parse_reason, q850_cause, reasons_of


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('SIP ;cause=200 ;text="Call completed elsewhere"', Reason("SIP", 200, "Call completed elsewhere")),
        ('Q.850 ;cause=16 ;text="Terminated"', Reason("Q.850", 16, "Terminated")),
        ('SIP ;cause=600 ;text="Busy Everywhere"', Reason("SIP", 600, "Busy Everywhere")),
        ("q.850;cause=17", Reason("Q.850", 17)),
        ("Preemption ;cause=1 ;text=plain", Reason("PREEMPTION", 1, "plain")),
        ("SIP", Reason("SIP")),
        ("SIP;cause=many", Reason("SIP")),
        ('SIP;cause=480;text="say \\"no\\", twice; please";x-more=1', Reason("SIP", 480, 'say "no", twice; please')),
    ],
)
def test_reason_value_is_read_3326_2(text, reason):
    assert parse_reason(text) == reason
    assert parse_reason(format_reason(reason)) == reason


@pytest.mark.parametrize("text", ["", ";cause=16", 'SIP;text="open', "two words;cause=1", "SIP;="])
def test_malformed_reason_raises(text):
    with pytest.raises(ParseError):
        parse_reason(text)


def test_formatted_reason_quotes_its_text():
    assert str(Reason("SIP", 408, "Session expired")) == 'SIP;cause=408;text="Session expired"'
    with pytest.raises(LocalProtocolError):
        format_reason(Reason("SIP", 1, "a\r\nVia: x"))
    with pytest.raises(LocalProtocolError):
        format_reason(Reason("no token", 1))


def test_reasons_of_a_message_are_in_order_and_without_malformed_ones(wire):
    extra = (("Reason", 'SIP;cause=503, Q.850;cause=34;text="No circuit, sorry"'), ("Reason", ";bad"), ("Reason", "X;cause=2"))
    message = parse_message(wire.request("BYE", extra=extra))
    assert reasons_of(message) == (Reason("SIP", 503), Reason("Q.850", 34, "No circuit, sorry"), Reason("X", 2))
    assert q850_cause(message) == 34
    assert q850_cause(parse_message(wire.request("BYE"))) is None
