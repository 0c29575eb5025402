"""What Google's Gemini APIs share: where a key is made, and whom it goes to."""

from __future__ import annotations

from typing import Final

from active_call.providers.credentials import KeySource

SOURCE: Final = KeySource("Gemini", ("GEMINI_API_KEY", "GOOGLE_API_KEY"), "https://aistudio.google.com/apikey", ("googleapis.com",))
