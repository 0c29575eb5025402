"""Replaces the sound library in virtual calls: a file or a URL is a second of sound, a tone is as long as it is.

A file must be where the server would find it, in a folder from which it may be played. URLs are not requested.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import unquote

from active_call.base.errors import MediaError
from active_call.base.trust import NO_TRUST, Trust
from active_call.media.sounds import tones
from active_call.store.sound_folders import SoundFolders
from active_call.testing.fakes.providers import tone as sound_of

SOUND_S = 1


class FakeSounds:
    """`played`: every source, in order."""

    def __init__(self, folders: SoundFolders) -> None:
        self._folders = folders
        self.played: list[str] = []

    async def pieces(self, source: str, rate_hz: int, *, repeat: bool = False, trust: Trust = NO_TRUST) -> AsyncGenerator[bytes, None]:
        """See `SoundLibrary.pieces`. Raises MediaError."""
        found = tones.tone_of(source)
        if found is None:
            self._find(source, trust)
        self.played.append(source)
        if found is not None:
            for pcm in tones.pieces(found, rate_hz, repeat=repeat):
                yield pcm
            return
        yield sound_of(SOUND_S * rate_hz, rate_hz)
        while repeat:
            yield sound_of(SOUND_S * rate_hz, rate_hz)

    async def whole(self, source: str, rate_hz: int, *, trust: Trust = NO_TRUST) -> Path:
        """See `SoundLibrary.whole`; the file has no sound. Raises MediaError."""
        self._find(source, trust)
        self.played.append(source)
        return Path(source)

    def _find(self, source: str, trust: Trust) -> None:
        if source[:8].lower().startswith(("http://", "https://")):
            return
        path = self._folders.base / unquote(source.removeprefix("file://"))
        try:
            self._folders.open_path(path, trust.folders)
        except OSError as error:
            raise MediaError(f"{path}: {error.strerror or error}") from error
