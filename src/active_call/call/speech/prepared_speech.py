"""Speech that is made before it is known whether it is wanted: the first clause of an answer, while the caller's turn is not surely over.

In: the synthesiser's pieces. Out: the same pieces, when they are asked for. What is not asked for is cancelled, and costs no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from active_call.contract.options import TtsOption

Pieces = AsyncGenerator[tuple[bytes, int], None]
"""s16le mono, and its rate."""


@dataclass(frozen=True, slots=True)
class SpeechKey:
    """What is said, and how: equal keys give the same sound."""

    text: str
    speaker: str | None
    speed: float | None
    cache_key: str
    option: TtsOption | None
    voice: int
    """The identity of the synthesiser."""


class PreparedSpeech:
    """The speech of one clause, from its request until it is taken or dropped. It is made at once."""

    def __init__(self, key: SpeechKey, pieces: Pieces) -> None:
        self.key = key
        self._made: asyncio.Queue[tuple[bytes, int] | Exception | None] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._make(pieces), name="prepared speech")

    async def _make(self, pieces: Pieces) -> None:
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._made.put_nowait(piece)
        except Exception as error:  # noqa: BLE001 - handed to whoever takes the speech, which knows what to do with it
            self._made.put_nowait(error)
        else:
            self._made.put_nowait(None)

    async def pieces(self) -> Pieces:
        """All pieces, those made by now at once. Raises what the synthesiser has raised."""
        try:
            while (made := await self._made.get()) is not None:
                if isinstance(made, Exception):
                    raise made
                yield made
        finally:
            self._task.cancel()

    def drop(self) -> None:
        """It is not wanted. Harmless a second time."""
        self._task.cancel()


class SpeechPreparation:
    """What is prepared: one clause at most."""

    def __init__(self) -> None:
        self._prepared: PreparedSpeech | None = None

    def begin(self, key: SpeechKey, pieces: Pieces) -> None:
        """Make that speech now; what was prepared before is dropped."""
        self.drop()
        self._prepared = PreparedSpeech(key, pieces)

    def has(self, key: SpeechKey) -> bool:
        """Whether just that is prepared."""
        return self._prepared is not None and self._prepared.key == key

    def take(self, key: SpeechKey) -> Pieces | None:
        """The pieces of what is said now, where it was prepared. Whatever else was prepared is dropped."""
        prepared, self._prepared = self._prepared, None
        if prepared is None:
            return None
        if prepared.key == key:
            return prepared.pieces()
        prepared.drop()
        return None

    def drop(self) -> None:
        """Nothing prepared is wanted; harmless where there is nothing."""
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            prepared.drop()
