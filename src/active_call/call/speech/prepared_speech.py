"""Speech synthesised before it is known to be needed: the first clause of an answer, before the caller's turn has certainly ended.

The synthesiser's pieces enter; the same pieces leave on request. Unneeded speech is cancelled and costs nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from msgspec import Struct

from active_call.contract.options import TtsOption

Pieces = AsyncGenerator[tuple[bytes, int], None]
"""s16le mono, and its rate."""


class SpeechKey(Struct, frozen=True):
    """The text and the voice: equal keys give the same sound."""

    text: str
    speaker: str | None
    speed: float | None
    cache_key: str
    option: TtsOption | None
    voice: int
    """The identity of the synthesiser."""


class PreparedSpeech:
    """The speech of one clause, from its request until it is used or dropped. Synthesis starts at once."""

    def __init__(self, key: SpeechKey, pieces: Pieces) -> None:
        self.key = key
        self._made: asyncio.Queue[tuple[bytes, int] | Exception | None] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._make(pieces), name="prepared speech")

    async def _make(self, pieces: Pieces) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._made.put_nowait(piece)
        except Exception as error:  # noqa: BLE001 - passed to the user of the speech, which handles it
            self._made.put_nowait(error)
        else:
            self._made.put_nowait(None)

    async def pieces(self) -> Pieces:
        """All pieces; those ready are returned at once. Raises the synthesiser's errors."""
        try:
            while (made := await self._made.get()) is not None:
                if isinstance(made, Exception):
                    raise made
                yield made
        finally:
            self._task.cancel()

    def drop(self) -> None:
        """It is not needed. May be called again."""
        self._task.cancel()


class SpeechPreparation:
    """The prepared speech: at most one clause."""

    def __init__(self) -> None:
        self._prepared: PreparedSpeech | None = None

    def begin(self, key: SpeechKey, pieces: Pieces) -> None:
        """Prepare that speech now; earlier prepared speech is dropped."""
        self.drop()
        self._prepared = PreparedSpeech(key, pieces)

    def has(self, key: SpeechKey) -> bool:
        """Whether exactly that is prepared."""
        return self._prepared is not None and self._prepared.key == key

    def take(self, key: SpeechKey) -> Pieces | None:
        """The pieces of the speech to be said now, if prepared. Other prepared speech is dropped."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        if prepared.key == key:
            return prepared.pieces()
        prepared.drop()
        return None

    def drop(self) -> None:
        """No prepared speech is needed; does nothing if there is none."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.drop()
