"""Text → phonemes by libespeak-ng, in an engine process, in the spelling that Piper's voices were trained on.

The spoken words of a sentence enter; phonemes leave in order, each with its word, including clause marks. The library returns a clause as a
whole, in which words join (`ʌvðə` for "of the"); the phonemes are divided among the words by the phonemes that each word has alone. IPA in
canonical decomposition, one code point for each phoneme.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p
from functools import lru_cache

from active_call.providers.tts import espeak_engine

CHARS_UTF8 = 1
IPA = 0x02
"""`espeakPHONEMES_IPA` of speak_lib.h."""

CLAUSE_MARKS = {
    "…": ".", "—": ",", "–": ",", "(": ",", ")": ",", "。": ".", "！": "!", "？": "?", "，": ",", "、": ",", "；": ";", "：": ":",
    "।": ".", "؟": "?", "،": ",", "؛": ";",
}  # fmt: skip
_TRAILING = re.compile(r"(?<![.,;:?!…—–)\]\"'”’»。！？，、；：।؟،؛])([.,;:?!…—–)\]\"'”’»。！？，、；：।؟،؛]++)$")
_LANGUAGE_SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9-]+)?\)")
_SNAP = 2
"""A word boundary is moved to a gap between groups of phonemes at most this far away."""

Phoneme = tuple[str, int]
"""A code point, and the position of its word; -1 for a mark or a gap."""


def phonemes_of(words: Sequence[str], voice: str) -> list[Phoneme]:
    """The phonemes of one sentence. Raises RuntimeError for a voice that espeak-ng does not have."""
    if not espeak_engine.has_voice(voice):
        raise RuntimeError(f"espeak-ng has no voice {voice!r}")
    found: list[Phoneme] = []
    for clause, mark in _clauses(words):
        said = _clause_phonemes(clause, voice)
        if not said:
            continue
        if found:
            found.append((" ", -1))
        found += said
        if mark:
            found.append((mark, -1))
    return found


def _clauses(words: Sequence[str]) -> Iterator[tuple[list[tuple[int, str]], str]]:
    """The clauses of a sentence: (position, bare word) pairs, and the mark at the end."""
    clause: list[tuple[int, str]] = []
    for position, word in enumerate(words):
        for part in word.split():
            opens = part[0] in "([—–"
            if opens and clause:
                yield clause, ","
                clause = []
            ending = _TRAILING.search(part)
            bare = part[: ending.start()] if ending else part
            bare = bare.lstrip("([\"'“‘«¿¡—–")
            if any(char.isalnum() for char in bare):
                clause.append((position, bare))
            mark = _mark(ending.group()) if ending else "," if part in ("-", "--") else ""
            if mark and clause:
                yield clause, mark
                clause = []
    if clause:
        yield clause, "."


def _mark(ending: str) -> str:
    marks = [CLAUSE_MARKS.get(char, char) for char in ending]
    return next((mark for mark in marks if mark in "?!"), next((mark for mark in marks if mark in ".,;:"), ""))


def _clause_phonemes(clause: list[tuple[int, str]], voice: str) -> list[Phoneme]:
    """The phonemes of a clause, divided among its words."""
    said = _phonemes(" ".join(word for _, word in clause), voice)
    if not said:
        return []
    weights = [max(1, len(_word_phonemes(word, voice))) for _, word in clause]
    borders = _borders(said, weights)
    words: list[Phoneme] = []
    i = 0
    for at, char in enumerate(said):
        while i + 1 < len(clause) and at >= borders[i]:
            i += 1
        words.append((char, -1 if char == " " and at + 1 == borders[i] else clause[i][0]))
    return words


def _borders(said: str, weights: list[int]) -> list[int]:
    """Where each word ends in `said`."""
    gaps = [at + 1 for at, char in enumerate(said) if char == " "]
    if len(gaps) + 1 == len(weights):
        return [*gaps, len(said)]
    total, reached = sum(weights), 0
    borders: list[int] = []
    for weight in weights[:-1]:
        reached += weight
        border = round(reached * len(said) / total)
        later = [gap for gap in gaps if gap > (borders[-1] if borders else 0) + 1]
        nearest = min(later, key=lambda gap: abs(gap - border), default=border)
        borders.append(nearest if abs(nearest - border) <= _SNAP else border)
    return [*borders, len(said)]


@lru_cache(maxsize=8192)
def _word_phonemes(word: str, voice: str) -> str:
    return _phonemes(word, voice)


def _phonemes(text: str, voice: str) -> str:
    """The library's phonemes for `text`, decomposed. `voice` is selected already and is only the cache key."""
    del voice
    library = _library()
    buffer = ctypes.create_string_buffer(espeak_engine.speakable(text).encode())
    place = c_void_p(ctypes.addressof(buffer))
    parts: list[str] = []
    while place.value:
        part = library.espeak_TextToPhonemes(byref(place), CHARS_UTF8, IPA)
        if part:
            parts.append(part.decode(errors="replace"))
    said = _LANGUAGE_SWITCH.sub("", " ".join(parts))
    return unicodedata.normalize("NFD", " ".join(said.split()))


def _library() -> ctypes.CDLL:
    library = espeak_engine.loaded_library()
    library.espeak_TextToPhonemes.argtypes = [POINTER(c_void_p), c_int, c_int]
    library.espeak_TextToPhonemes.restype = c_char_p
    return library
