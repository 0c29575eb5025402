"""Computes word times and ends of clauses from character times. Pure.

For each piece of sound a vendor reports its characters and when each begins, in ms from the start of the text or of the piece. The vendors'
pages disagree, so times that go back are read as relative to the piece. Ends of clauses are found by counting characters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from active_call.providers.json_values import number, text
from active_call.providers.text_to_speech import WordTime

LISTS: Final = ("chars", "charStartTimesMs", "charDurationsMs")


class Spelling:
    """One text, from its first clause to its end."""

    def __init__(self) -> None:
        self._clauses: deque[int] = deque()
        """The letters of each clause that have not sounded yet."""
        self._word = ""
        self._start_ms = self._end_ms = 0.0
        self._sound_ms = 0.0

    def add(self, clause: str) -> None:
        """Add the next clause."""
        self._clauses.append(sum(1 for char in clause if not char.isspace()))

    def take(self, alignment: Mapping[str, Any], sound_ms: float) -> tuple[tuple[WordTime, ...], bool]:
        """The words that are complete by now, and whether the sound of the oldest clause ends with this piece, which lasts `sound_ms`."""
        began_ms, self._sound_ms = self._sound_ms, self._sound_ms + sound_ms
        lists = [alignment.get(name) for name in LISTS]
        if not all(isinstance(one, list) for one in lists):
            return (), False
        letters = [
            (text(char), begin, duration)
            for char, begin_ms, duration_ms in zip(*lists, strict=False)
            if (begin := number(begin_ms)) is not None and (duration := number(duration_ms)) is not None
        ]
        is_of_piece = bool(letters) and letters[0][1] + 1 < self._end_ms
        words = self._words(letters, began_ms if is_of_piece else 0.0)
        return words, self.count(sum(1 for char, _, _ in letters if char.strip()))

    def _words(self, letters: list[tuple[str, float, float]], began_ms: float) -> tuple[WordTime, ...]:
        """A space ends a word."""
        found = []
        for char, begin, duration in letters:
            if not char.strip():
                if self._word:
                    found.append(WordTime(self._word, self._start_ms, self._end_ms))
                self._word = ""
                continue
            if not self._word:
                self._start_ms = began_ms + begin
            self._word += char
            self._end_ms = began_ms + begin + duration
        return tuple(found)

    def count(self, n_letters: int) -> bool:
        """Count letters that have sounded; returns whether they complete the oldest clause."""
        if not self._clauses or not n_letters:
            return False
        self._clauses[0] -= n_letters
        if self._clauses[0] > 0:
            return False
        over = -self._clauses.popleft()
        if over and self._clauses:
            self._clauses[0] = max(1, self._clauses[0] - over)
        return True
