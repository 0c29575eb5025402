"""One item of a realtime model during its playback, and the words heard in a given number of milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpokenItem:
    """What the model says in one item. `ms`: received sound; `text`: received words."""

    id: str
    ms: int = 0
    text: str = ""
    has_started: bool = False
    """Whether it is audible."""
    is_whole: bool = False
    """Whether all sound and text have arrived."""

    def heard_text(self, heard_ms: int) -> str:
        """The words heard in `heard_ms`.

        Time is divided among words by length, plus one for the gap. Rounded down, never a word too many.
        """
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
