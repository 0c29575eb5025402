"""Checks what a `tts` command brings from outside, once: its names and its sound. What is wrong is told by the field's name."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from active_call.base.errors import LocalProtocolError
from active_call.contract import commands

MAX_PLAY_ID_CHARS = 256
MAX_CACHE_KEY_CHARS = 1024


@dataclass(frozen=True, slots=True)
class Spoken:
    """A `tts` command, checked. `pcm` is empty unless the command brings its own sound."""

    text: str
    pcm: bytes
    play_id: str | None
    speaker: str | None
    speed: float | None
    cache_key: str


def checked(command: commands.Tts) -> Spoken:
    """What is to be said. Raises LocalProtocolError that names the field."""
    option = command.option
    text = _text("text", command.text, None) or ""
    cache_key = command.cache_key if command.cache_key is not None else option.cache_key if option else None
    return Spoken(
        text="" if command.base64 else text.strip(),
        pcm=_pcm(text) if command.base64 else b"",
        play_id=_text("playId", command.play_id, MAX_PLAY_ID_CHARS) or None,
        speaker=_text("speaker", command.speaker, MAX_PLAY_ID_CHARS) or (option.speaker if option else None),
        speed=option.speed if option else None,
        cache_key=_text("cacheKey", cache_key, MAX_CACHE_KEY_CHARS) or "",
    )


def _text(field: str, value: Any, max_chars: int | None) -> str | None:
    """`value` as Unicode text; half a surrogate becomes U+FFFD."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise LocalProtocolError(f"{field}: expected a text, found {type(value).__name__}")
    if max_chars is not None and len(value) > max_chars:
        raise LocalProtocolError(f"{field}: at most {max_chars} characters, found {len(value)}")
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _pcm(text: str) -> bytes:
    """The sound in `text`, which may have line breaks."""
    try:
        pcm = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise LocalProtocolError(f"text: not base64 ({error})") from error
    if len(pcm) % 2:
        raise LocalProtocolError(f"text: samples have two bytes each, found {len(pcm)} bytes")
    return pcm
