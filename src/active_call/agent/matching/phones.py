"""How alike two words sound: 1 for the same sound, 0 for nothing in common.

English words are compared by their phones (ARPAbet, from the spelling), words of other letters by their letters. Pure.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from active_call.providers.asr.spelling import pronounce

NEAR = 0.5
"""What a phone costs in the place of one that telephones and recognisers mistake it for; any other one costs 1."""
_CLASSES = (
    frozenset({"P", "B"}),
    frozenset({"T", "D"}),
    frozenset({"K", "G"}),
    frozenset({"P", "T", "K"}),
    frozenset({"B", "D", "G"}),
    frozenset({"F", "V", "TH", "DH"}),
    frozenset({"S", "Z"}),
    frozenset({"F", "S", "TH"}),
    frozenset({"SH", "ZH", "CH", "JH"}),
    frozenset({"M", "N", "NG"}),
    frozenset({"W", "V"}),
    frozenset({"AA", "AO", "AH", "OW"}),
    frozenset({"AE", "EH", "EY"}),
    frozenset({"IH", "IY", "EH"}),
    frozenset({"UH", "UW", "OW"}),
    frozenset({"ER", "AH", "R"}),
)


@functools.lru_cache(maxsize=4096)
def likeness(first: str, second: str) -> float:
    """How alike two words sound, from 0 to 1. Digits sound like themselves only."""
    if first == second:
        return 1.0
    if first.isdigit() or second.isdigit():
        return 0.0
    one, other = _sounds(first), _sounds(second)
    longest = max(len(one), len(other))
    return max(0.0, 1.0 - distance(one, other) / longest) if longest else 0.0


MIN_PHONES = 5
"""Shorter phrases sound like too many other words."""


@functools.lru_cache(maxsize=4096)
def likeness_of_all(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """How alike two utterances sound, from 0 to 1, wherever their words begin. 0 for numbers, for other letters, and for short ones."""
    if any(not word.isascii() or word.isdigit() for word in (*first, *second)):
        return 0.0
    one, other = ([phone for word in words for phone in _sounds(word)] for words in (first, second))
    if min(len(one), len(other)) < MIN_PHONES - 1 or max(len(one), len(other)) < MIN_PHONES:
        return 0.0
    return max(0.0, 1.0 - distance(one, other) / max(len(one), len(other)))


def distance(one: Sequence[str], other: Sequence[str]) -> float:
    """The edit distance between two rows of phones; a phone in the place of one that sounds alike costs `NEAR`."""
    row = [float(n) for n in range(len(other) + 1)]
    for n, phone in enumerate(one, 1):
        diagonal, row[0] = row[0], float(n)
        for m, rival in enumerate(other, 1):
            best = min(row[m] + 1.0, row[m - 1] + 1.0, diagonal + _cost(phone, rival))
            diagonal, row[m] = row[m], best
    return row[-1]


def _cost(phone: str, rival: str) -> float:
    if phone == rival:
        return 0.0
    return NEAR if any(phone in kind and rival in kind for kind in _CLASSES) else 1.0


@functools.lru_cache(maxsize=4096)
def _sounds(word: str) -> tuple[str, ...]:
    spoken = pronounce(word) if word.isascii() else None
    return tuple(spoken.split()) if spoken else tuple(word)
