"""Numbers in a trunk's spelling: what is known is rewritten, what is not is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.legs.trunks.numbers import international, written


@pytest.mark.parametrize(
    ("user", "number_format", "country_code", "expected"),
    [
        ("+18005551234", "+e164", None, "+18005551234"),
        ("18005551234", "+e164", None, "+18005551234"),
        ("0018005551234", "+e164", None, "+18005551234"),
        ("+1 (800) 555-1234", "+e164", None, "+18005551234"),
        ("+18005551234", "e164", None, "18005551234"),
        ("+493012345678", "e164", None, "493012345678"),
        ("8005551234", "+e164", None, "8005551234"),
        ("8005551234", "+e164", "1", "+18005551234"),
        ("03012345678", "+e164", "49", "+493012345678"),
        ("493012345", "+e164", "49", "+493012345"),
        ("+18005551234", "national", "1", "8005551234"),
        ("+4930123456", "national", "49", "30123456"),
        ("+18005551234", "national", "49", "+18005551234"),
        ("18005551234", "as_given", "1", "18005551234"),
    ],
)
def test_number_is_written_as_the_trunk_wants_it(user: str, number_format: str, country_code: str | None, expected: str) -> None:
    assert written(user, number_format, country_code) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("user", ["", "alice", "1001", "911", "112", "*98", "anonymous", "agent-7", "+1abc", "sip"])
@pytest.mark.parametrize("number_format", ["+e164", "e164", "national"])
def test_what_is_no_telephone_number_is_left_alone(user: str, number_format: str) -> None:
    assert written(user, number_format, "1") == user  # type: ignore[arg-type]


@given(st.from_regex(r"[1-9][0-9]{10,14}", fullmatch=True), st.sampled_from(["+e164", "e164"]))
def test_writing_twice_changes_nothing_more(digits: str, number_format: str) -> None:
    once = written(f"+{digits}", number_format)  # type: ignore[arg-type]
    assert written(once, number_format) == once  # type: ignore[arg-type]
    assert international(once) == digits
