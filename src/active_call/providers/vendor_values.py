"""Converts what vendors send: text from any JSON value, sound from any bytes.

Values of any type enter; Unicode text and whole samples leave, or a ProviderError. Pure; knows no vendor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from active_call.base.errors import ProviderError
from active_call.base.repair import valid_unicode

MAX_DEPTH = 4
"""The deepest nesting in which a text is found."""
MAX_NUMBER = 2**64
"""The largest number that counts as a text, such as an id: of 64 bits."""

_SPOKEN_TYPES = ("text", "output_text", "text_delta", "input_text")
"""Types of reply parts that are meant for the user. Reasoning, images, tool calls and references are not."""
_NO_PCM = (
    (b"RIFF", "a WAV file"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b'{"', "JSON"),
    (b"<!doctype", "HTML"),
    (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"),
    (b"<?xml", "XML"),
)
SNIFF_BYTES = max(len(mark) for mark, _ in _NO_PCM)


def text_of(value: Any, *, depth: int = MAX_DEPTH) -> str:
    """The text in `value`: a string, a number, a part of a reply (`{"type": "text", "text": …}`) or a list of them; else nothing."""
    match value:
        case str():
            return value
        case bool() | None:
            return ""
        case int() | float():
            return str(value) if -MAX_NUMBER <= value <= MAX_NUMBER else ""
        case Mapping() if depth:
            return _text_of_part(value, depth - 1)
        case Sequence() if depth and not isinstance(value, bytes | bytearray | memoryview):
            return "".join(text_of(part, depth=depth - 1) for part in value)
        case _:
            part = getattr(value, "text", None)
            kind = getattr(value, "type", "text")
            return text_of(part, depth=depth - 1) if depth and part is not None and kind in _SPOKEN_TYPES else ""


def _text_of_part(part: Mapping[Any, Any], depth: int) -> str:
    if part.get("type", "text") not in _SPOKEN_TYPES or part.get("thought") is True:
        return ""
    return text_of(next((part[key] for key in ("text", "value", "content") if part.get(key) is not None), None), depth=depth)


class TextRepair:
    """Repairs text that comes in pieces: the first half of a surrogate pair waits for the second."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: str) -> str:
        text, self._half = self._half + piece, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return valid_unicode(text)

    def finish(self) -> str:
        half, self._half = self._half, ""
        return valid_unicode(half)


class SoundCheck:
    """Returns whole samples (s16le) from the bytes of one synthesis. Refuses data that would sound as noise."""

    def __init__(self, provider: str, max_bytes: int) -> None:
        self._provider = provider
        self._max_bytes = max_bytes
        self._held = b""
        self._is_checked = False
        self.n_bytes = 0

    def feed(self, piece: Any) -> bytes:
        """The complete samples so far. Raises ProviderError for data that is not PCM, and for endless sound."""
        if not isinstance(piece, bytes | bytearray | memoryview):
            raise ProviderError(self._provider, f"sent {type(piece).__name__} instead of sound")
        self._held += bytes(piece)
        if not self._is_checked:
            if len(self._held) < SNIFF_BYTES:
                return b""
            self._check()
        return self._take()

    def finish(self) -> bytes:
        """The remaining samples; half a sample at the end is dropped."""
        if not self._is_checked:
            self._check()
        return self._take()

    def _check(self) -> None:
        self._is_checked = True
        start = self._held.lstrip(b" \r\n\t")
        for mark, name in _NO_PCM:
            if start.startswith(mark):
                raise ProviderError(self._provider, f"sent {name} instead of PCM", retryable=name in ("JSON", "HTML"))

    def _take(self) -> bytes:
        n_even = len(self._held) & ~1
        sound, self._held = self._held[:n_even], self._held[n_even:]
        self.n_bytes += n_even
        if self.n_bytes > self._max_bytes:
            raise ProviderError(self._provider, "the sound is too long")
        return sound
