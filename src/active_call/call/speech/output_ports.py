"""Types and interfaces of the agent's sound: how it pauses, and the sources of files and cached speech."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from active_call.contract.options import TtsOption
from active_call.providers.base import TextToSpeech


class PauseOptions(Struct, frozen=True):
    """How playback pauses: it fades out within `fade_ms`, and continues at the sample or at the beginning of the word."""

    fade_ms: int = 0
    resumes_at_word: bool = False


PLAIN_PAUSE = PauseOptions()


class VoicePauseOrder(Struct, frozen=True):
    """When the media process itself pauses: after how much of the caller's voice, with how much at least left to play, and with which fade;
    see `link.PauseOnVoice`.
    """

    voiced_ms: int
    unless_left_ms: int
    fade_ms: int


VoiceOf = Callable[[TtsOption | None, TextToSpeech | None], TextToSpeech | None]


class SoundSource(Protocol):
    """The source of files and URLs."""

    def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        """s16le mono at `rate_hz`. Raises MediaError with the source and the reason."""
        ...

    async def whole(self, source: str, rate_hz: int) -> Path:
        """A file with all of it, for another process. Raises MediaError."""
        ...


class SpeechStore(Protocol):
    """The store of speech with a `cacheKey`."""

    async def is_kept(self, key: str) -> bool:
        """Whether sound for that key exists already."""
        ...

    def pieces(
        self, key: str, synthesiser: TextToSpeech, text: str, *, speaker: str | None = None, speed: float | None = None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """s16le mono and its rate: the stored sound of `key`, else the synthesiser's, as it comes."""
        ...
