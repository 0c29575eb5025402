"""What is asked of a synthesis vendor: a text with its voice, and where that is spoken. Pure."""

from __future__ import annotations

from dataclasses import dataclass

Message = str | bytes


@dataclass(frozen=True, slots=True)
class VoiceAddress:
    """Where a voice is spoken. Equal addresses share connections. `secrets` are the texts in it that no message may hold."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """One text: `id` is no other text's on this server."""

    text: str
    id: str
    speaker: str | None = None
    speed: float | None = None
