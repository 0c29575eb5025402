"""A request to a synthesis vendor: a text with its voice, and the address. Pure."""

from __future__ import annotations

from msgspec import Struct

Message = str | bytes


class VoiceAddress(Struct, frozen=True):
    """The address of a voice. Equal addresses share connections. `secrets` are the texts in it that no message may contain."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()


class SpokenText(Struct, frozen=True):
    """One text; `id` is unique on this server."""

    text: str
    id: str
    speaker: str | None = None
    speed: float | None = None
