"""What was said and heard so far in a realtime conversation, to be sent to a new connection. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from active_call.providers.realtime_model import ItemAdded, RealtimeEvent, Speaker, Transcript

MAX_ITEMS: Final = 200
"""The most recent ones. A new connection needs the subject of the conversation, not every word of an hour."""
MAX_CHARS: Final = 40_000


@dataclass(slots=True)
class _Said:
    speaker: Speaker
    text: str = ""
    heard: float = 1.0
    """The fraction that the caller heard."""

    def words_heard(self) -> str:
        """Its words that were heard completely."""
        words = self.text.split()
        return self.text.strip() if self.heard >= 1.0 else " ".join(words[: int(len(words) * self.heard)])


class SpokenHistory:
    """The items of one conversation in their order, with their last transcripts."""

    def __init__(self) -> None:
        self._items: dict[str, _Said] = {}

    def note(self, event: RealtimeEvent) -> None:
        """Add an event of the model."""
        match event:
            case ItemAdded(item, speaker, _):
                self._items.setdefault(item, _Said(speaker))
            case Transcript(item, speaker, text, _):
                self._items.setdefault(item, _Said(speaker)).text = text
            case _:
                return
        while len(self._items) > MAX_ITEMS:
            del self._items[next(iter(self._items))]

    def cut(self, item: str, heard: float) -> None:
        """The caller heard only that fraction of `item`, from 0.0 to 1.0."""
        if item in self._items:
            self._items[item].heard = min(1.0, max(0.0, heard))

    def lines(self) -> Iterator[tuple[Speaker, str]]:
        """Who said what, oldest first; the oldest are left out if there are too many."""
        kept: list[tuple[Speaker, str]] = []
        n_chars = 0
        for said in reversed(self._items.values()):
            text = said.words_heard()
            n_chars += len(text)
            if n_chars > MAX_CHARS:
                break
            if text:
                kept.append((said.speaker, text))
        yield from reversed(kept)
