"""Texts that may be a spoken number."""

from __future__ import annotations

import pytest

from active_call.providers.asr.spoken_digits import is_as_digits, may_be_digits


@pytest.mark.parametrize(
    ("text", "may_be"),
    [
        ("There are one nine nine.", True),
        ("By five one.", True),
        ("One, four, two.", False),
        ("For two.", False),
        ("I have two children and one dog and they are both very old.", False),
        ("", False),
    ],
)
def test_text_with_several_digits_among_other_words_may_be_a_number(text: str, may_be: bool) -> None:
    assert may_be_digits(text) == may_be


@pytest.mark.parametrize(
    ("text", "digits", "nearness", "is_number"),
    [
        ("There are one nine nine.", "Zero, one, nine, nine.", -6.0, True),
        ("Two or three.", "Two, three.", -1.0, False),
        ("There are two or three.", "Zero, zero, three.", -14.5, False),
        ("By five one.", "Five, five, eve, one.", -1.0, False),
        ("There are 2 or 3 of 4 left.", "Two, three, four.", -2.0, True),
        ("The 2 of 3 or 4 and 5.", "Two, three, four.", -2.0, False),
    ],
)
def test_digits_replace_the_text_if_they_are_nearly_as_likely_and_a_whole_number(
    text: str, digits: str, nearness: float, is_number: bool
) -> None:
    assert is_as_digits(text, digits, nearness) == is_number
