"""Music for a waiting party: a file, a URL, or the built-in melody, in a loop on one stream.

Reasons to play (`hold`, `transfer` …) are added and removed; music plays while there is any, with the source of the last one.
The media process repeats it itself, so a busy control process does not interrupt it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

from active_call.base.errors import ActiveCallError
from active_call.media.pool.pool import MediaStream
from active_call.media.sounds import tones
from active_call.media.sounds.hold_melody import hold_melody

FADE_MS = 200
MAX_MUSIC_S = 300
"""Longer sources are repeated from here: every stream that plays one has a copy."""

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
Pieces = Callable[[str, int], AsyncGenerator[bytes, None]]
"""The sound of a file or URL at a rate, as s16le mono; raises MediaError."""


class Music:
    """The music of one stream. `stream_of` returns it, None while there is none; `on_error` is called for a source that cannot be read."""

    def __init__(
        self, stream_of: Callable[[], MediaStream | None], spawn: Spawn, pieces: Pieces, on_error: Callable[[ActiveCallError], None]
    ) -> None:
        self._stream_of = stream_of
        self._spawn = spawn
        self._pieces = pieces
        self._on_error = on_error
        self._wanted: dict[str, str | None] = {}
        self._loading: asyncio.Task[None] | None = None

    @property
    def is_playing(self) -> bool:
        """Whether there is a reason to play."""
        return bool(self._wanted)

    def start(self, why: str, source: str | None = None) -> None:
        """Play `source` (None: the built-in melody) until `stop(why)`."""
        before = self._source
        self._wanted.pop(why, None)
        self._wanted[why] = source
        if before != (source,):
            self._change()

    def stop(self, why: str) -> None:
        """Remove that reason; does nothing if it is not active."""
        before = self._source
        self._wanted.pop(why, None)
        if self._source == before:
            return
        if self._wanted:
            self._change()
        else:
            self._halt()

    @property
    def _source(self) -> tuple[str | None] | None:
        """The current source; None for silence."""
        return (next(reversed(self._wanted.values())),) if self._wanted else None

    def _halt(self) -> None:
        self._stop_loading()
        stream = self._stream_of()
        if stream is not None:
            stream.stop_music(FADE_MS)

    def _change(self) -> None:
        stream, source = self._stream_of(), self._source
        self._stop_loading()
        if stream is None or source is None:
            return
        if source[0] is None:
            stream.queue_music(hold_melody(stream.rate_hz), end=True)
        elif source[0].startswith("tone:"):
            self._play_tone(stream, source[0])
        else:
            self._loading = self._spawn(self._load(stream, source[0]), "music")

    def _play_tone(self, stream: MediaStream, source: str) -> None:
        """A tone is one period, repeated; an endless one is a second long, because its frequencies are integers."""
        try:
            tone = tones.tone_of(source)
        except ActiveCallError as error:
            self._on_error(error)
            tone = None
        if tone is None:
            stream.queue_music(hold_melody(stream.rate_hz), end=True)
        else:
            n_samples = tones.length(tone, stream.rate_hz) or stream.rate_hz
            stream.queue_music(tones.render(tone, stream.rate_hz, 0, n_samples).astype("<i2").tobytes(), end=True)

    def _stop_loading(self) -> None:
        loading, self._loading = self._loading, None
        if loading is not None and not loading.done():
            loading.cancel()
            stream = self._stream_of()
            if stream is not None:
                stream.stop_music(FADE_MS)  # its earlier sound ends; other music follows

    async def _load(self, stream: MediaStream, source: str) -> None:
        n_left = MAX_MUSIC_S * stream.rate_hz * 2
        try:
            async with aclosing(self._pieces(source, stream.rate_hz)) as pieces:
                async for pcm in pieces:
                    stream.queue_music(pcm[:n_left])
                    n_left -= len(pcm)
                    if n_left <= 0:
                        break
            stream.queue_music(b"", end=True)
        except ActiveCallError as error:
            self._on_error(error)
            if n_left == MAX_MUSIC_S * stream.rate_hz * 2:  # a missing file must not leave the party in silence
                stream.queue_music(hold_melody(stream.rate_hz), end=True)
            else:
                stream.queue_music(b"", end=True)
