"""Headers that only inform and cannot be read are named, and nothing else is."""

from __future__ import annotations

import pytest

from active_call.legs.sip.unreadable_headers import MAX_VALUES, ignored_headers
from active_call.sip.events import Address, CallAnswered, CallEnded, CallHandle, Flow, IncomingCall
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response

FLOW = Flow("udp", Address("198.51.100.1", 5060), Address("192.0.2.9", 5060))


def ignored(*headers: tuple[str, str]) -> list[str]:
    return ignored_headers(IncomingCall(CallHandle("1"), Request("INVITE", "sip:x@y", Headers(headers)), FLOW, None))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("P-Asserted-Identity", "<sip:+15550100@example.com"),
        ("P-Asserted-Identity", "<sip:+15550100@example.com:99999>"),
        ("P-Asserted-Identity", "<sip:+15550100@example.com>, not an address"),
        ("P-Preferred-Identity", '"Bob'),
        ("Remote-Party-ID", "<sip:a b@c>"),
        ("Diversion", "<sip:@>"),
        ("History-Info", "<>;index=1"),
        ("Referred-By", "<sip:a@[::1>"),
        ("b", "nobody"),
        ("Reason", "Q.850;cause=16;text=two words"),
        ("Reason", ";cause=16"),
        ("Session-Expires", "soon"),
        ("x", "-90"),
    ],
)
def test_value_that_cannot_be_read_is_named(name: str, value: str) -> None:
    assert ignored((name, value)) == [{"b": "Referred-By", "x": "Session-Expires"}.get(name, name)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("P-Asserted-Identity", '"Bob" <sip:+15550100@example.com>, <tel:+15550100>'),
        ("P-Asserted-Identity", "<urn:service:sos>"),
        ("Diversion", "<sip:+15550100@example.com>;reason=unconditional;;"),
        ("Diversion", ""),
        ("History-Info", "<sip:a@b>;index=1, <sip:c@d>;index=1.1"),
        ("Reason", 'Q.850;cause=16;text="Normal call clearing", SIP;cause=200'),
        ("Session-Expires", "1800;refresher=uas"),
        ("X-Account", '"<;'),
        ("Subject", '"'),
    ],
)
def test_value_that_can_be_read_or_that_nobody_reads_is_not(name: str, value: str) -> None:
    assert ignored((name, value)) == []


def test_each_header_counts_once_and_of_many_values_the_first_are_looked_at() -> None:
    assert ignored(("Reason", ";"), ("Reason", ";"), ("Diversion", "x")) == ["Diversion", "Reason"]
    assert ignored(("History-Info", ",".join(["<sip:a@b>"] * MAX_VALUES + ["x"] * 10_000))) == []


def test_answer_and_end_of_a_call_are_looked_at() -> None:
    response = Response(200, "OK", Headers([("Diversion", "x")]))
    assert ignored_headers(CallAnswered(CallHandle("1"), response, None, "no contact")) == ["Contact", "Diversion"]
    assert ignored_headers(CallAnswered(CallHandle("1"), Response(200, "OK", Headers()), None)) == []
    bye = Request("BYE", "sip:x@y", Headers([("Reason", ";")]))
    assert ignored_headers(CallEnded(CallHandle("1"), "remote_bye", None, "", bye)) == ["Reason"]
    assert ignored_headers(CallEnded(CallHandle("1"), "no_ack", None, "", None)) == []
