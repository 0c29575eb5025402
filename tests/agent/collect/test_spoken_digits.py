"""Digits in what callers say."""

from __future__ import annotations

import pytest

from active_call.agent.collect.spoken_digits import spoken_digits


@pytest.mark.parametrize(
    ("text", "digits", "is_pure"),
    [
        ("four seven one one", "4711", True),
        ("Four, seven; eleven.", "4711", True),
        ("double four oh seven", "4407", True),
        ("triple one", "111", True),
        ("twenty one forty", "2140", True),
        ("twenty twenty five", "2025", True),
        ("it's 47 11 please", "4711", True),
        ("4711", "4711", True),
        ("my number is zero one five", "015", True),
        ("zwei drei null", "230", True),
        ("eins zwo fünf", "125", True),
        ("一二三幺", "1231", True),
        ("uno dos tres", "123", True),
        ("I have two questions", "2", False),
        ("hello", "", False),
        ("", "", True),
        ("one two hash", "12#", True),
        ("the twenty fourth", "24", True),
        ("on the 3rd", "3", True),
        ("thirtieth", "30", True),
        ("one second please", "", False),
        ("einen Moment bitte", "", False),
    ],
)
def test_digits_are_read_as_they_are_said(text, digits, is_pure):
    assert spoken_digits(text) == (digits, is_pure)
