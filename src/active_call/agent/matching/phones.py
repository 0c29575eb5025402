"""Phonetic similarity of words: 1 for the same sound, 0 for nothing in common.

English words are compared by their phones (ARPAbet, from the spelling), words in other scripts by their letters. Pure.
"""

from __future__ import annotations

import functools

from active_call.providers.asr.phones import distance, sounds_of


@functools.lru_cache(maxsize=4096)
def likeness(first: str, second: str) -> float:
    """Phonetic similarity of two words, 0 to 1. A digit is similar only to itself."""
    if first == second:
        return 1.0
    if first.isdigit() or second.isdigit():
        return 0.0
    one, other = sounds_of(first), sounds_of(second)
    longest = max(len(one), len(other))
    return max(0.0, 1.0 - distance(one, other) / longest) if longest else 0.0


MIN_PHONES = 5
"""Shorter phrases are similar to too many other words."""


@functools.lru_cache(maxsize=4096)
def likeness_of_all(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """Phonetic similarity of two utterances, 0 to 1, independent of word boundaries. 0 for numbers, other scripts and short utterances."""
    if any(not word.isascii() or word.isdigit() for word in (*first, *second)):
        return 0.0
    one, other = ([phone for word in words for phone in sounds_of(word)] for words in (first, second))
    if min(len(one), len(other)) < MIN_PHONES - 1 or max(len(one), len(other)) < MIN_PHONES:
        return 0.0
    return max(0.0, 1.0 - distance(one, other) / max(len(one), len(other)))
