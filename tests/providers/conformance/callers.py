"""Callers without a telephone: sound whose words are known, pushed into a recognition stream, and the events that come back."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from websockets.exceptions import ConnectionClosed

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.base.world import World
from active_call.providers.base import Failed, Final, Partial, RecognitionEvent, RecognitionStream, Services

PIECE_S = 0.1
_TONE = (3_000 * np.sign(np.sin(2 * np.pi * 400 * np.arange(LISTEN_RATE_HZ) / LISTEN_RATE_HZ))).astype("<i2")
WORD_S = 0.3
"""As the simulated vendors hear: so much loud sound is one word."""
PATIENCE_S = 20.0


class NoEngines:
    """The engine processes of a machine that has none."""

    async def run(self, *_args: Any, **_more: Any) -> Any:
        raise AssertionError("nothing is computed on this machine")

    def use_all_cores(self, *_args: Any) -> None:
        pass

    def has_room(self, n_calls: int = 0) -> bool:
        return True

    async def close(self) -> None:
        pass


@asynccontextmanager
async def services(environment: Mapping[str, str] | None = None) -> AsyncIterator[Services]:
    """Services over a real HTTP client, with this environment alone."""
    limits = httpx.Limits(max_connections=400)
    async with httpx.AsyncClient(limits=limits, trust_env=False, verify=ssl.create_default_context()) as http:
        yield Services(World(), http, NoEngines(), environment or {})


def silence(duration_s: float) -> bytes:
    return bytes(2 * round(duration_s * LISTEN_RATE_HZ))


def speech(n_words: int) -> bytes:
    """Loud sound in which a simulated vendor hears so many words."""
    n_samples = round(n_words * WORD_S * LISTEN_RATE_HZ)
    return bytes(np.resize(_TONE, n_samples).tobytes())


class Caller:
    """One caller of `engine`; `events` holds what came, in order."""

    def __init__(self, engine: Any, language: str | None = "en") -> None:
        self.events: list[RecognitionEvent] = []
        self._arrived = asyncio.Event()
        self.sample = 0
        self.stream: RecognitionStream = engine.open(self._take, language=language)

    def _take(self, event: RecognitionEvent) -> None:
        self.events.append(event)
        self._arrived.set()

    async def push(self, pcm: bytes, piece_s: float = PIECE_S) -> None:
        """Push sound in pieces, letting others run between them."""
        step = 2 * round(piece_s * LISTEN_RATE_HZ)
        for start in range(0, len(pcm), step):
            piece = pcm[start : start + step]
            self.stream.push_audio(piece, self.sample)
            self.sample += len(piece) // 2
            await asyncio.sleep(0)

    async def say(self, index: int, n_words: int, pause_s: float = 0.3, *, end: bool = True) -> tuple[int, int]:
        """Silence, an utterance, silence; with the marks of the voice detector. Where the speech lies, in samples."""
        await self.push(silence(0.5))
        start = self.sample
        self.stream.start_utterance(index, start)
        await self.push(speech(n_words))
        stop = self.sample
        await self.push(silence(pause_s))
        await self.rest()
        if end:
            self.stream.end_utterance(index, stop)
        return start, stop

    async def rest(self) -> None:
        """Until the vendor has caught up: sound is pushed faster here than anybody speaks."""
        n_still, n_before = 0, -1
        for _ in range(100):
            is_busy = n_before != len(self.events) or getattr(self.stream, "_outgoing", ())
            n_still, n_before = 0 if is_busy else n_still + 1, len(self.events)
            if n_still == 3 or any(isinstance(event, Failed) for event in self.events):
                return
            if n_still == 1:
                await self._until_all_is_read()
            await asyncio.sleep(0.005)

    async def _until_all_is_read(self) -> None:
        """Until the vendor has read what was written: it answers a ping after all messages before it."""
        socket = getattr(self.stream, "_socket", None)
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            if socket is not None:
                async with asyncio.timeout(PATIENCE_S / 4):
                    await (await socket.ping())

    async def until(self, condition: Any, what: str = "the event") -> Any:
        """The first true value of `condition()`, looked at after each event."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (value := condition()):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"{what} has not come; came: {self.events}") from None
        return value

    async def final(self, index: int) -> Final:
        """The final of utterance `index`. A failure instead fails the test."""
        result = await self.answer(index)
        assert isinstance(result, Final), result
        return result

    async def answer(self, index: int | None) -> Final | Failed:
        """The final or the failure of utterance `index`, or the failure of the stream."""

        def found() -> Final | Failed | None:
            return next(
                (
                    event
                    for event in self.events
                    if (isinstance(event, Final | Failed) and event.index == index) or (isinstance(event, Failed) and event.index is None)
                ),
                None,
            )

        result: Final | Failed = await self.until(found, f"the answer to {index}")
        return result

    def partials(self, index: int) -> list[str]:
        return [event.text for event in self.events if type(event) is Partial and event.index == index]


def plain(text: str) -> str:
    """A text without case and punctuation."""
    return " ".join(word.strip(".,?!").lower() for word in text.split())
