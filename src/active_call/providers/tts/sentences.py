"""Cuts a text into the parts that a local voice speaks at a time. Pure.

A sentence is spoken whole if possible, for its intonation. A long one is cut at clauses, and the first part of a text is short, so
that speech begins soon. Every written word stays in one part, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from active_call.providers.speech.spoken_english import SpokenWord

MAX_PART_CHARS = 140
"""A longer sentence is cut: about 9 s of speech."""
FIRST_PART_CHARS = 60
"""The first part of a text is cut at a clause if it is longer: about 4 s of speech, whose preparation takes 0.15 s of a core."""
MIN_PART_CHARS = 12
"""Shorter sentences ("No!") stay with the text after them, shorter clauses with their sentence."""
SENTENCE_PAUSE_MS = 250
CLAUSE_PAUSE_MS = 120

_SENTENCE_END = re.compile(r"[.!?…。！？।؟][\"'”’)\]»]*$")
_CLAUSE_END = re.compile(r"[,;:—–，、；：،؛][\"'”’)\]»]*$")


class Part(Struct, frozen=True):
    """A part that is spoken at a time, and the silence after it if something follows."""

    words: tuple[SpokenWord, ...]
    pause_ms: int


def parts_of(text: str, spoken: Callable[[str], list[SpokenWord]]) -> list[Part]:
    """The parts of `text`. `spoken` returns the words of a line with their spoken forms."""
    parts: list[Part] = []
    for line in text.split("\n"):
        for sentence in _sentences(spoken(line)):
            for part, is_end in _cut(sentence, is_first=not parts):
                parts.append(Part(tuple(part), SENTENCE_PAUSE_MS if is_end else CLAUSE_PAUSE_MS))
    return parts


def as_written(text: str) -> list[SpokenWord]:
    """Words whose spoken form is the written one."""
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
    """The parts of a sentence, each with whether it is the sentence's end."""
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
    """The number of words before the last end of a clause within `limit` characters; None if there is none."""
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
