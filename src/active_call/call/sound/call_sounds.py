"""The sounds that one call may play: the server's library with the call's current trust."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Protocol

from active_call.base.trust import Trust


class SoundsByTrust(Protocol):
    """The source of the sound of files and URLs, such as `store.sounds.SoundLibrary`."""

    def pieces(self, source: str, rate_hz: int, *, repeat: bool = False, trust: Trust = ...) -> AsyncGenerator[bytes, None]:
        """s16le mono at `rate_hz`. Raises MediaError with the source and the reason."""
        ...

    async def whole(self, source: str, rate_hz: int, *, trust: Trust = ...) -> Path:
        """A file with all of it, for another process. Raises MediaError."""
        ...


class CallSounds:
    """The library for the parts of one call (`speech_output.SoundSource`). `trust` returns the call's current trust."""

    def __init__(self, library: SoundsByTrust, trust: Callable[[], Trust]) -> None:
        self._library = library
        self._trust = trust

    def pieces(self, source: str, rate_hz: int, *, repeat: bool = False) -> AsyncGenerator[bytes, None]:
        """The sound of a file or URL, s16le mono at `rate_hz`. Raises MediaError, also if this call is not allowed to play it."""
        return self._library.pieces(source, rate_hz, repeat=repeat, trust=self._trust())

    async def whole(self, source: str, rate_hz: int) -> Path:
        """A file with all of it, for another process. Raises MediaError, also if this call is not allowed to play it."""
        return await self._library.whole(source, rate_hz, trust=self._trust())
