"""Phrases of a playbook as a grammar: pronounceable words, a JSGF text, and the mapping from recognised words back to the written phrase.

Phrases as written enter; a `Grammar` leaves. Around a phrase the grammar allows a filler ("um", "please", "thank you").
Text only: it knows no engine and no dictionary. JSGF: W3C Note "JSpeech Grammar Format", 2000.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

FILLERS: tuple[tuple[str, ...], ...] = (
    ("um",),
    ("uh",),
    ("hello",),
    ("hi",),
    ("well",),
    ("okay",),
    ("please",),
    ("thank", "you"),
)
"""What callers say around a phrase."""
FILLER_WEIGHT = 0.02
"""Against 1 for the bare phrase. With equal weights fillers absorb the ends of phrases: 104 correct of 105 test utterances become 101."""

_UNITS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_MAX_SPOKEN_DIGITS = 4
"""Longer numbers are spoken digit by digit, like numbers with a leading zero."""
_SYMBOLS = {"&": "and", "+": "plus", "%": "percent", "@": "at", "$": "dollars", "€": "euros", "£": "pounds"}
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)*|[0-9]+|[&+%@$€£]|[^\W\d_]+")


class Grammar(Struct, frozen=True):
    """`jsgf` uses exactly the words of `words`; `spellings` maps spoken words back to the phrase as it was written."""

    jsgf: str
    words: frozenset[str]
    spellings: Mapping[tuple[str, ...], str]

    def phrase_in(self, heard: Sequence[str]) -> str | None:
        """The phrase, as written, that the recognised words contain between fillers; None if there is none."""
        for start in _filler_ends(heard):
            for tail in _filler_ends(heard[::-1], backwards=True):
                written = self.spellings.get(tuple(heard[start : len(heard) - tail]))
                if written is not None:
                    return written
        return None


def compile_grammar(phrases: Sequence[str]) -> Grammar | None:
    """The grammar of `phrases`; those without a single word are left out, and None is returned if nothing remains."""
    spellings: dict[tuple[str, ...], str] = {}
    for phrase in phrases:
        if spoken := tuple(spoken_words(phrase)):
            spellings.setdefault(spoken, phrase)
    if not spellings:
        return None
    words = frozenset(word for spoken in (*spellings, *FILLERS) for word in spoken)
    return Grammar(_jsgf(spellings), words, spellings)


def spoken_words(phrase: str) -> list[str]:
    """`phrase` as lower-case words: numbers and symbols spelt out, accents and punctuation removed."""
    plain = unicodedata.normalize("NFKD", phrase.replace("’", "'")).encode("ascii", "ignore").decode() or phrase
    words: list[str] = []
    for token in _TOKEN.findall(plain.lower()):
        word = _SYMBOLS.get(token, token)
        if token.isdecimal():
            words += number_words(token)
        elif word.replace("'", "").isalpha():  # not one of the numerals that have no digits (U+108A7)
            words.append(word)
    return words


def number_words(digits: str) -> list[str]:
    """A run of digits as spoken: 42 "forty two", 90210 digit by digit."""
    if len(digits) > _MAX_SPOKEN_DIGITS or (len(digits) > 1 and digits.startswith("0")):
        return [_UNITS[int(digit)] for digit in digits]
    return list(_number(int(digits)))


def _number(value: int) -> Iterator[str]:
    for scale, name in _SCALES:
        if value >= scale:
            yield from _number(value // scale)
            yield name
            value %= scale
            if value == 0:
                return
    if value >= 20:
        yield _TENS[value // 10]
        if value % 10:
            yield _UNITS[value % 10]
    else:
        yield _UNITS[value]


def _jsgf(spellings: Mapping[tuple[str, ...], str]) -> str:
    fillers = " | ".join(" ".join(filler) for filler in FILLERS)
    phrases = " | ".join(" ".join(spoken) for spoken in spellings)
    weight = f"/{FILLER_WEIGHT}/"
    around = f"/1/ <phrase> | {weight} <filler> <phrase> | {weight} <phrase> <filler> | {weight} <filler> <phrase> <filler>"
    return f"#JSGF V1.0;\ngrammar phrases;\npublic <said> = {around};\n<filler> = {fillers};\n<phrase> = {phrases};\n"


def _filler_ends(words: Sequence[str], *, backwards: bool = False) -> Iterator[int]:
    """The possible numbers of filler words at the beginning of `words`: 0 first, then the length of each filler found there."""
    yield 0
    for filler in FILLERS:
        shape = filler[::-1] if backwards else filler
        if tuple(words[: len(shape)]) == shape:
            yield len(shape)
