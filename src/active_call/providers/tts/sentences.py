"""Cuts a text into what a voice on this machine speaks at a time. Pure.

A sentence is spoken as a whole where it may be, for its melody; a long one is cut at clauses, and the first part of a text is short, so
that it sounds soon. Every written word stays in one part, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from active_call.providers.speech.spoken_english import SpokenWord

MAX_PART_CHARS = 140
"""A longer sentence is cut: about 9 s of speech."""
FIRST_PART_CHARS = 60
"""The first part of a text is cut at a clause where it is longer: about 4 s of speech, whose preparation takes 0.15 s of a core."""
MIN_PART_CHARS = 12
"""Shorter sentences ("No!") stay with what follows them, shorter clauses with their sentence."""
SENTENCE_PAUSE_MS = 250
CLAUSE_PAUSE_MS = 120

_SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"'”’)\]»]*$")
_CLAUSE_END = re.compile(r"[,;:—–，、；：،؛][\"'”’)\]»]*$")


@dataclass(frozen=True, slots=True)
class Part:
    """What is spoken at a time, and the silence after it where something follows."""

    words: tuple[SpokenWord, ...]
    pause_ms: int


def parts_of(text: str, spoken: Callable[[str], list[SpokenWord]]) -> list[Part]:
    """The parts of `text`. `spoken` gives the words of a line, and what is said for each."""
    parts: list[Part] = []
    for line in text.split("\n"):
        for sentence in _sentences(spoken(line)):
            for part, is_end in _cut(sentence, is_first=not parts):
                parts.append(Part(tuple(part), SENTENCE_PAUSE_MS if is_end else CLAUSE_PAUSE_MS))
    return parts


def as_written(text: str) -> list[SpokenWord]:
    """Words that are said as they are written."""
    return [SpokenWord(word, word) for word in text.split()]


def _sentences(words: Sequence[SpokenWord]) -> Iterator[list[SpokenWord]]:
    sentence: list[SpokenWord] = []
    for word in words:
        sentence.append(word)
        if _SENTENCE_END.search(word.spoken) and _length(sentence) >= MIN_PART_CHARS:
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _cut(sentence: list[SpokenWord], is_first: bool) -> Iterator[tuple[list[SpokenWord], bool]]:
    """The parts of a sentence, and whether each is its end."""
    limit = FIRST_PART_CHARS if is_first else MAX_PART_CHARS
    while _length(sentence) > limit:
        n_words = _clause_length(sentence, limit)
        if n_words is None and limit < MAX_PART_CHARS:
            limit = MAX_PART_CHARS
            continue
        n_words = n_words or _words_within(sentence, MAX_PART_CHARS)
        if n_words >= len(sentence):
            break
        yield sentence[:n_words], False
        sentence, limit = sentence[n_words:], MAX_PART_CHARS
    yield sentence, True


def _clause_length(sentence: list[SpokenWord], limit: int) -> int | None:
    """How many words come before the last end of a clause within `limit` characters; None: there is none."""
    ends = [n for n in range(1, len(sentence)) if _CLAUSE_END.search(sentence[n - 1].spoken)]
    fitting = [n for n in ends if MIN_PART_CHARS <= _length(sentence[:n]) <= limit and _length(sentence[n:]) >= MIN_PART_CHARS]
    return fitting[-1] if fitting else None


def _words_within(sentence: list[SpokenWord], limit: int) -> int:
    n_words = 1
    while n_words < len(sentence) and _length(sentence[: n_words + 1]) <= limit:
        n_words += 1
    return n_words


def _length(words: Sequence[SpokenWord]) -> int:
    return sum(len(word.spoken) + 1 for word in words)
