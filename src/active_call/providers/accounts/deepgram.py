"""Shared by Deepgram's APIs: the server, where to create a key, and how requests carry it."""

from __future__ import annotations

from typing import Final

from active_call.providers.credentials import KeySource

NAME: Final = "deepgram"
BASE_URL: Final = "wss://api.deepgram.com"
SOURCE: Final = KeySource("Deepgram", ("DEEPGRAM_API_KEY",), "https://console.deepgram.com", ("deepgram.com",))


def headers_of(key: str) -> dict[str, str]:
    """The header that carries the key; none for a private server without a key."""
    return {"Authorization": f"Token {key}"} if key else {}
