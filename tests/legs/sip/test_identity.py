"""Who calls, as the headers of carriers say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.legs.sip.identity import caller_of, header_map, identity_of, plain_uri
from active_call.legs.sip.plain_text import plain
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, parse_message

CARRIERS = Path(__file__).parents[2] / "vectors" / "carriers"


def invite(*headers: tuple[str, str]) -> Request:
    return Request("INVITE", "sip:x@y", Headers(headers))


def facts(*headers: tuple[str, str]) -> dict[str, str]:
    return {name: value for name, value in identity_of(header_map(invite(*headers))).items() if value}


@pytest.mark.parametrize(
    ("sender", "caller"),
    [
        ('"Bob" <sip:+15550100@example.com:5060;user=phone>;tag=1', "sip:+15550100@example.com"),
        ("sip:s@sbc.didww.example;tag=x", "sip:s@sbc.didww.example"),
        ("<tel:+15550100>;tag=1", "tel:+15550100"),
        ("<sip:+15550100@[2001:db8::1]:5060>;tag=1", "sip:+15550100@[2001:db8::1]"),
        ("<sip:pbx.example.com>;tag=1", "sip:pbx.example.com"),
        ('"Anonymous" <sip:anonymous@anonymous.invalid>;tag=1', "sip:anonymous@anonymous.invalid"),
        ("<sip:Restricted@198.51.100.1>;tag=1", "sip:anonymous@anonymous.invalid"),
        ("<sip:thisis@anonymous.invalid>;tag=1", "sip:anonymous@anonymous.invalid"),
        ("<sip:unavailable@unknown.invalid>", "sip:anonymous@anonymous.invalid"),
        ("not an address", "not an address"),
        ("", ""),
    ],
)
def test_caller_is_the_plain_address_and_nobody_is_anonymous(sender: str, caller: str) -> None:
    assert caller_of(invite(*([("From", sender)] if sender else []))) == caller


def test_compact_names_are_spelt_out_and_repeated_headers_are_one_list_in_order() -> None:
    found = header_map(
        invite(
            ("f", "<sip:a@b>"),
            ("i", "abc"),
            ("y", "eyJ…"),
            ("Diversion", "<sip:1@x>;reason=no-answer"),
            ("diversion", "<sip:2@x>"),
            ("X-Tag", "one"),
            ("X-Tag", "two"),
        )
    )
    assert found == {
        "From": "<sip:a@b>",
        "Call-ID": "abc",
        "Identity": "eyJ…",
        "Diversion": "<sip:1@x>;reason=no-answer, <sip:2@x>",
        "X-Tag": "one, two",
    }


def test_facts_of_a_twilio_call() -> None:
    message = parse_message((CARRIERS / "twilio_invite_tls.dat").read_bytes())
    assert {name: value for name, value in identity_of(header_map(message)).items() if value} == {
        "caller_number": "+15550100002",
        "callee_number": "+15550100001",
        "asserted_number": "+15550100002",
        "diversion_number": "+15550100001",
        "diversion_reason": "unconditional",
    }


def test_facts_of_a_telnyx_call_whose_headers_are_compact() -> None:
    message = parse_message((CARRIERS / "telnyx_invite_compact.dat").read_bytes())
    assert {name: value for name, value in identity_of(header_map(message)).items() if value} == {
        "caller_number": "9195550102",
        "caller_name": "9195550102",
        "callee_number": "12015550101",
        "asserted_number": "9195550102",
        "verstat": "TN-Validation-Passed-C",
    }


def test_diversion_is_the_last_one_who_sent_the_call_on_5806_4() -> None:
    found = facts(
        ("From", "<sip:1@x>"),
        ("Diversion", "<sip:+1222@x>;reason=user-busy, <sip:+1333@x>;reason=no-answer"),
        ("Diversion", "<sip:+1444@x>"),
    )
    assert (found["diversion_number"], found["diversion_reason"]) == ("+1222", "user-busy")


def test_history_info_stands_in_for_diversion_7044() -> None:
    history = "<sip:+1222@x>;index=1, <sip:+1333@x?Reason=SIP%3Bcause%3D486>;index=1.1, <sip:+1444@x>;index=1.2"
    assert facts(("From", "<sip:1@x>"), ("History-Info", history))["diversion_number"] == "+1333"
    assert "diversion_number" not in facts(("From", "<sip:1@x>"), ("History-Info", "<sip:+1444@x>;index=1"))


@pytest.mark.parametrize(
    ("headers", "verstat"),
    [
        ((("X-Twilio-VerStat", "TN-Validation-Passed-A"),), "TN-Validation-Passed-A"),
        ((("P-Asserted-Identity", "<sip:+1@x;verstat=TN-Validation-Failed>"),), "TN-Validation-Failed"),
        ((("P-Asserted-Identity", "<tel:+1;verstat=No-TN-Validation>, <sip:+1@x>"),), "No-TN-Validation"),
        ((("P-Asserted-Identity", "<sip:+1@x>;verstat=TN-Validation-Passed"),), "TN-Validation-Passed"),
    ],
)
def test_verstat_is_found_where_carriers_write_it(headers: tuple[tuple[str, str], ...], verstat: str) -> None:
    assert facts(("From", "<sip:2@x>"), *headers)["verstat"] == verstat


@pytest.mark.parametrize(
    ("headers", "number"),
    [
        ((("From", '"Anonymous" <sip:anonymous@anonymous.invalid>'),), ""),
        ((("From", '"Bob" <sip:+15550100@x>'), ("Privacy", "id")), "+15550100"),
        ((("From", '"Bob" <sip:+15550100@x>'), ("Privacy", "critical;header")), "+15550100"),
    ],
)
def test_caller_who_does_not_want_to_be_known_is_anonymous_and_nameless(headers: tuple[tuple[str, str], ...], number: str) -> None:
    found = facts(*headers)
    assert found["anonymous"] == "yes"
    assert found.get("caller_number", "") == number
    assert "caller_name" not in found


def test_privacy_none_is_no_wish() -> None:
    assert "anonymous" not in facts(("From", '"Bob" <sip:+15550100@x>'), ("Privacy", "none"))


@pytest.mark.parametrize("text", ["", "<", '"', "<sip:>", ";;;", "<sip:a@b", ",,,", "\x00"])
def test_headers_that_cannot_be_read_say_nothing_and_raise_nothing(text: str) -> None:
    request = invite(("From", text), ("To", text), ("P-Asserted-Identity", text), ("Diversion", text), ("History-Info", f"{text}, {text}"))
    assert identity_of(header_map(request))["diversion_number"] == ""
    assert plain_uri(text) == plain(text)
