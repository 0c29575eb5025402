"""Why a call ends, in Reason headers: what we say, what the peer says (RFC 3326, Q.850)."""

from __future__ import annotations

import pytest

from active_call.legs.sip.causes import peer_reason, with_reason
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ("goodbye", 'Q.850;cause=16;text="Normal call clearing"'),
        ("transferred", 'Q.850;cause=16;text="Normal call clearing"'),
        ("rtp_timeout", 'Q.850;cause=41;text="Temporary failure"'),
        ("media_lost", 'Q.850;cause=41;text="Temporary failure"'),
    ],
)
def test_bye_says_why_in_q850(cause: str, reason: str) -> None:
    assert with_reason({"X-Ticket": "17"}, cause) == (("X-Ticket", "17"), ("Reason", reason))


def test_reason_of_the_playbook_is_left_alone() -> None:
    headers = {"reason": 'SIP;cause=200;text="Call completed elsewhere"'}
    assert with_reason(headers, "goodbye") == tuple(headers.items())


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], ("", None)),
        (['Q.850;cause=16;text="Normal call clearing"'], ("Normal call clearing", 16)),
        (["Q.850;cause=17"], ("User busy", 17)),  # Asterisk sends no text
        (["Q.850;cause=16"], ("Normal call clearing", 16)),
        (["Q.850;cause=126"], ("Q.850;cause=126", 126)),
        (["Q.850;cause=0"], ("Q.850;cause=0", 0)),
        (['SIP;cause=200;text="Call completed elsewhere"'], ("Call completed elsewhere", None)),
        (['SIP;cause=480;text="x", q.850 ;cause=19;text="No answer"'], ("x", 19)),
        (["Q.850;cause=abc", 'Q.850;cause=31;text="Normal, unspecified"'], ("Normal, unspecified", 31)),
    ],
)
def test_reason_of_the_peer_is_text_and_cause_value(lines: list[str], told: tuple[str, int | None]) -> None:
    bye = Request("BYE", "sip:us@example.com", Headers([("Reason", line) for line in lines]))
    assert peer_reason(bye) == told


def test_end_without_a_message_tells_nothing() -> None:
    assert peer_reason(None) == ("", None)
