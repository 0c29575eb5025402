"""Which words of a play were heard, from the milliseconds that were played.

In: the pieces of a play (their words, how long they sound as far as that is known) and what the media process has counted. Out: words.
Within a piece, time is shared among words by their length in letters plus one for the gap. How long a piece will be that is still being
made (or whose making failed) is not known: it is estimated by the pace of the voice so far, and is never taken for less than its sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

SLOW_MS_PER_CHAR = 100.0
"""The pace of a slow voice, for the first words of a call: better a word too few in the history than one that nobody heard."""


class SpokenPiece(Protocol):
    """One stretch of a play. `is_whole`: all of its sound was sent."""

    @property
    def text(self) -> str:
        """Its words."""
        ...

    @property
    def duration_ms(self) -> float:
        """How long its sound lasts, as far as that is known."""
        ...

    @property
    def is_whole(self) -> bool:
        """All of its sound was sent."""
        ...


class Pace:
    """How fast the voice speaks, learnt from what is whole."""

    def __init__(self) -> None:
        self._sounded_ms = 0.0
        self._weight = 0

    def learn(self, text: str, duration_ms: float) -> None:
        """`text` takes `duration_ms`."""
        if text and duration_ms > 0:
            self._sounded_ms += duration_ms
            self._weight += weight_of(text.split())

    def estimate_ms(self, text: str) -> float:
        """How long `text` is likely to take."""
        ms_per_char = self._sounded_ms / self._weight if self._weight else SLOW_MS_PER_CHAR
        return weight_of(text.split()) * ms_per_char


def weight_of(words: Iterable[str]) -> int:
    """Letters, and one for the gap after each word."""
    return sum(len(word) + 1 for word in words)


def heard_words(pieces: Sequence[SpokenPiece], heard_ms: float, pace: Pace | None = None) -> tuple[str, int]:
    """What of the pieces' text was heard in `heard_ms`, and how many words that is."""
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
    """When the word began in whose middle, or at whose beginning, `heard_ms` lies; both from the beginning of the play."""
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
    """The first words of a piece. The last one of a piece that is not whole has not been made yet."""
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
