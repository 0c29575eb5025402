"""The distance between two phone sequences (ARPAbet, `spelling`), weighted by what telephones and recognisers confuse. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from active_call.providers.asr.spelling import pronounce

NEAR = 0.5
"""The cost of replacing a phone by one that is often confused with it; any other replacement costs 1."""
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


def distance(one: Sequence[str], other: Sequence[str]) -> float:
    """The edit distance between two phone sequences. Replacing a phone by a similar one costs `NEAR`."""
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
def sounds_of(word: str) -> tuple[str, ...]:
    """The phones of a word; its letters if they are not English."""
    spoken = pronounce(word) if word.isascii() else None
    return tuple(spoken.split()) if spoken else tuple(word)
