"""One item of a realtime model while its sound comes and is heard, and which of its words were heard in so many milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpokenItem:
    """What the model says in one item. `ms`: the sound that has come; `text`: the words that have come."""

    id: str
    ms: int = 0
    text: str = ""
    has_started: bool = False
    """It is being heard."""
    is_whole: bool = False
    """All sound and text have come."""

    def heard_text(self, heard_ms: int) -> str:
        """The words that were heard in `heard_ms`: time is shared among words by their length, one for the gap. Never a word too many."""
        if self.is_whole and heard_ms >= self.ms:
            return self.text.strip()
        words = self.text.split()
        whole_ms = max(self.ms, 1)
        total = sum(len(word) + 1 for word in words)
        reached, heard = 0, []
        for word in words:
            reached += len(word) + 1
            if reached * whole_ms > heard_ms * total:
                break
            heard.append(word)
        return " ".join(heard)
