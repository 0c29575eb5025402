"""Recognised texts that may be a spoken number: "There are one nine nine" was "Zero one nine nine". Pure.

A text with digits among other words enters; whether to compare it with what the model recognises if it may use digits only, and whether
that text replaces it. A number has no context that would tell a recogniser that "for" is "four".
"""

from __future__ import annotations

import re

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
MIN_DIGITS = 3
"""Of the number."""
MIN_HEARD = 2
"""Of these, in the text: "for two" is not a number."""
MAX_WORDS = 10
NEARNESS = 7.0
"""In nats. Numbers of four voices lay 1.2 to 6.0 below the text with a misheard digit; "two or three" and other sentences with digits lay
7.9 and more below it.
"""
_WORD = re.compile(r"[a-z]+|\d")


def may_be_digits(text: str) -> bool:
    """Whether `text` has several digits, and other words."""
    words = _words(text)
    return MIN_HEARD <= _n_digits(words) < len(words) <= MAX_WORDS


def is_as_digits(text: str, digits: str, nearness: float) -> bool:
    """Whether `digits` replaces `text`. `nearness`: its log-probability less that of the text."""
    words = _words(digits)
    is_number = _n_digits(words) == len(words) >= max(MIN_DIGITS, _n_digits(_words(text)))
    return is_number and nearness >= -NEARNESS


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _n_digits(words: list[str]) -> int:
    return sum(word in DIGITS or word.isdigit() for word in words)
