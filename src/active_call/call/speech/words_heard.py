"""Which words of a play were heard, from the milliseconds that were played.

The pieces of a play (their words, and the length of their sound as far as known) and the media process's counts enter; words leave.
Within a piece, time is divided among words by their letters plus one for the gap. The length of an incomplete piece is unknown: it is
estimated from the voice's speed so far, and is never less than its sound so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

SLOW_MS_PER_CHAR = 100.0
"""A slow voice's speed, for the first words of a call: the history should rather miss a word than contain one that was not heard."""


class SpokenPiece(Protocol):
    """One part of a play. `is_whole`: all of its sound was sent."""

    @property
    def text(self) -> str:
        """Its words."""
        ...

    @property
    def duration_ms(self) -> float:
        """The length of its sound, as far as known."""
        ...

    @property
    def is_whole(self) -> bool:
        """All of its sound was sent."""
        ...


class Pace:
    """The voice's speed, learnt from complete pieces."""

    def __init__(self) -> None:
        self._sounded_ms = 0.0
        self._weight = 0

    def learn(self, text: str, duration_ms: float) -> None:
        """Note that the voice took `duration_ms` for `text`."""
        if text and duration_ms > 0:
            self._sounded_ms += duration_ms
            self._weight += weight_of(text.split())

    def estimate_ms(self, text: str) -> float:
        """The probable length of `text`."""
        ms_per_char = self._sounded_ms / self._weight if self._weight else SLOW_MS_PER_CHAR
        return weight_of(text.split()) * ms_per_char


def weight_of(words: Iterable[str]) -> int:
    """Letters, plus one for the gap after each word."""
    return sum(len(word) + 1 for word in words)


def heard_words(pieces: Sequence[SpokenPiece], heard_ms: float, pace: Pace | None = None) -> tuple[str, int]:
    """The heard part of the pieces' text after `heard_ms`, and its number of words."""
    pace = pace or Pace()
    words: list[str] = []
    for piece in pieces:
        if piece.is_whole and heard_ms >= piece.duration_ms > 0:
            words += piece.text.split()
        elif piece.duration_ms > 0:
            words += _first_words(piece, min(heard_ms, piece.duration_ms), pace)
        heard_ms -= piece.duration_ms
        if heard_ms <= 0:
            break
    return " ".join(words), len(words)


def word_began_ms(pieces: Sequence[SpokenPiece], heard_ms: float, pace: Pace | None = None) -> float:
    """When the word at `heard_ms` began; both from the beginning of the play."""
    pace = pace or Pace()
    began = 0.0
    for piece in pieces:
        if heard_ms < began + piece.duration_ms:
            words = piece.text.split()
            whole_ms = piece.duration_ms if piece.is_whole else max(piece.duration_ms, pace.estimate_ms(piece.text))
            ms_per_char = whole_ms / max(weight_of(words), 1)
            for word in words:
                if began + (len(word) + 1) * ms_per_char > heard_ms:
                    return began
                began += (len(word) + 1) * ms_per_char
            return min(began, heard_ms)
        began += piece.duration_ms
    return heard_ms


def _first_words(piece: SpokenPiece, heard_ms: float, pace: Pace) -> list[str]:
    """The first words of a piece. The last word of an incomplete piece has not been synthesised yet."""
    words = piece.text.split()
    whole_ms = piece.duration_ms if piece.is_whole else max(piece.duration_ms, pace.estimate_ms(piece.text))
    total = weight_of(words)
    reached, heard = 0.0, []
    for word in words if piece.is_whole else words[:-1]:
        reached += len(word) + 1
        if reached > heard_ms / whole_ms * total + 0.5:
            break
        heard.append(word)
    return heard
