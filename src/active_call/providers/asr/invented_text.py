"""Texts that recognisers make of sound without speech: models that were trained on films and broadcasts end them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

NOT_SAID = frozenset({"you", "thank you for watching", "thanks for watching", "thank you for listening", "bye bye bye"})
"""What Moonshine and Whisper make of noise, hum, coughs and music. No caller says one of these and no more."""


def is_invented(text: str) -> bool:
    """The text is one that the model writes where nothing is said, or a word said over and over."""
    words = "".join(char if char.isalnum() or char == "'" else " " for char in text.lower()).split()
    return not words or " ".join(words) in NOT_SAID or _is_loop(words)


def _is_loop(words: Sequence[str]) -> bool:
    """A dozen words and more of which at most a quarter differ: digits may be repeated so, sentences are not."""
    return len(words) >= 12 and len(set(words)) * 4 <= len(words) and not any(word.isdigit() for word in words)
