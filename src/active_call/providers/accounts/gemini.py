"""Shared by Google's Gemini APIs: where to create a key, and which hosts receive it."""

from __future__ import annotations

from typing import Final

from active_call.providers.credentials import KeySource

SOURCE: Final = KeySource("Gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "https://aistudio.google.com/apikey", ("googleapis.com",))
