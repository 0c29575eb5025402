"""What the agent's side of the sound is told and given: how it pauses, and where the sound of files and of kept speech comes from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from active_call.contract.options import TtsOption
from active_call.providers.base import TextToSpeech


@dataclass(frozen=True, slots=True)
class PauseManner:
    """How what sounds is paused: its voice falls to silence within `fade_ms`, and it goes on at the sample or at the word's beginning."""

    fade_ms: int = 0
    resumes_at_word: bool = False


PLAIN_PAUSE = PauseManner()


@dataclass(frozen=True, slots=True)
class VoicePauseOrder:
    """After how much voice of the caller the media process pauses by itself, of how much that is left, and with which fade; see
    `link.PauseOnVoice`."""

    voiced_ms: int
    unless_left_ms: int
    fade_ms: int


VoiceOf = Callable[[TtsOption | None, TextToSpeech | None], TextToSpeech | None]


class SoundSource(Protocol):
    """Where the sound of files and URLs comes from."""

    def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        """s16le mono at `rate_hz`. Raises MediaError with the source and the reason."""
        ...

    async def whole(self, source: str, rate_hz: int) -> Path:
        """A file with all of it, for another process. Raises MediaError."""
        ...


class KeptSpeech(Protocol):
    """Where speech with a `cacheKey` is kept."""

    async def is_kept(self, key: str) -> bool:
        """Whether there is sound of that key already."""
        ...

    def pieces(
        self, key: str, synthesiser: TextToSpeech, text: str, *, speaker: str | None = None, speed: float | None = None
    ) -> AsyncGenerator[tuple[bytes, int], None]:
        """s16le mono and its rate: what is kept as `key`, else what the synthesiser makes, as it comes."""
        ...
