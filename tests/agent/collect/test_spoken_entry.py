"""Numbers that callers say in pieces, and correct as they speak."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.collect.spoken_digits import spoken_digits
from active_call.agent.collect.spoken_entry import read_entry


@pytest.mark.parametrize(
    ("before", "text", "length", "value"),
    [
        ("", "my number is four seven one", 6, "471"),
        ("471", "one two three", 6, "471123"),
        ("4715", "no wait, four not five", 6, "4714"),
        ("4715", "nein, vier nicht fünf", 6, "4714"),
        ("4715", "not five but four", 6, "4714"),
        ("4711", "no, sorry, four seven one two", 6, "4712"),
        ("4711", "no one two", 6, "4712"),
        ("4715", "I mean four", None, "4714"),
        ("4715", "no, four two three", 6, "471423"),
        ("471125", "no, one two six", 6, "471126"),
        ("471125", "sorry, six", 6, "471126"),
        ("48", "sorry let me start again four seven one one", 4, "4711"),
        ("48", "ich fange noch einmal von vorn an: vier sieben", None, "47"),
        ("4711", "不对四七一二", None, "4712"),
        ("", "four seven one five, I mean one four", 6, "4714"),
        ("", "no, it is four seven", 4, "47"),
        ("", "not five but four", 4, "54"),
    ],
)
def test_corrections_are_read_as_they_are_meant(before: str, text: str, length: int | None, value: str) -> None:
    assert read_entry(before, text, length=length).value == value


def test_correction_may_come_in_the_next_utterance() -> None:
    announced = read_entry("4715", "no wait", length=6)
    assert announced.value == "4715" and announced.is_correcting and announced.is_new
    assert read_entry(announced.value, "four", length=6, is_correcting=True).value == "4714"
    assert not read_entry("", "no wait", length=6).is_new, "nothing was entered that could be corrected"


def test_words_beside_the_digits_are_told() -> None:
    assert read_entry("", "no wait, four not five").is_pure
    assert not read_entry("", "I have two questions").is_pure


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("four hundred and seven two three one", "407231"),
        ("one hundred twenty three", "123"),
        ("two thousand twenty six", "2026"),
        ("12 hundred", "1200"),
        ("a hundred questions", ""),
    ],
)
def test_hundreds_and_thousands_are_digits(text: str, digits: str) -> None:
    assert spoken_digits(text)[0] == digits


SOME = "four five no not sorry wait i mean start again 47 double hundred and the hello 不 对 # nicht"
WORDS = st.sampled_from(SOME.split())


@given(st.text("0123456789", max_size=8), st.lists(WORDS, max_size=12).map(" ".join), st.none() | st.integers(1, 8), st.booleans())
def test_any_text_gives_digits_only(before: str, text: str, length: int | None, is_correcting: bool) -> None:
    entry = read_entry(before, text, length=length, is_correcting=is_correcting)
    assert set(entry.value) <= set("0123456789#")
    assert entry.is_new or entry.value == before
