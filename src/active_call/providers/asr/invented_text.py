"""Texts that recognition models produce from sound without speech, as they end films and broadcasts in the training data. Pure."""

from __future__ import annotations

from collections.abc import Sequence

NOT_SAID = frozenset({"you", "thank you for watching", "thanks for watching", "thank you for listening", "bye bye bye"})
"""What Moonshine and Whisper write for noise, hum, coughs and music. No caller says only this."""


def is_invented(text: str) -> bool:
    """Whether the text is one that the model writes for silence or noise, or a word repeated many times."""
    words = "".join(char if char.isalnum() or char == "'" else " " for char in text.lower()).split()
    return not words or " ".join(words) in NOT_SAID or _is_loop(words)


def _is_loop(words: Sequence[str]) -> bool:
    """A dozen or more words of which at most a quarter differ. Callers repeat digits so, not sentences."""
    return len(words) >= 12 and len(set(words)) * 4 <= len(words) and not any(word.isdigit() for word in words)
