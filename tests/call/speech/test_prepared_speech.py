"""Speech that is made before it is wanted: taken whole, dropped, or failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from active_call.call.speech.prepared_speech import SpeechKey, SpeechPreparation
from active_call.testing.virtual_time import run_virtually


def key(text: str = "Hello.") -> SpeechKey:
    return SpeechKey(text, None, None, "", None, 1)


class Source:
    """A synthesiser that takes a second for each of three pieces."""

    def __init__(self, fails: bool = False) -> None:
        self.n_made = 0
        self.is_closed = False
        self._fails = fails

    async def pieces(self) -> AsyncGenerator[tuple[bytes, int], None]:
        try:
            for _ in range(3):
                await asyncio.sleep(1)
                if self._fails:
                    raise RuntimeError("out of breath")
                self.n_made += 1
                yield bytes([self.n_made]), 8000
        finally:
            self.is_closed = True


def test_prepared_speech_is_there_at_once_and_goes_on_as_it_comes() -> None:
    async def body() -> None:
        source, preparation, loop = Source(), SpeechPreparation(), asyncio.get_running_loop()
        preparation.begin(key(), source.pieces())
        await asyncio.sleep(2.5)
        began, taken = loop.time(), preparation.take(key())
        assert taken is not None
        times = [(piece[0][0], round(loop.time() - began, 1)) async for piece in taken]
        assert times == [(1, 0.0), (2, 0.0), (3, 0.5)]
        assert preparation.take(key()) is None

    run_virtually(body())


@pytest.mark.parametrize("way", ["other words", "dropped", "prepared anew", "left in the middle"])
def test_speech_that_is_not_wanted_is_not_made_on(way: str) -> None:
    async def body() -> None:
        source, preparation = Source(), SpeechPreparation()
        preparation.begin(key(), source.pieces())
        await asyncio.sleep(1.5)
        match way:
            case "other words":
                assert preparation.take(key("Goodbye.")) is None
            case "dropped":
                preparation.drop()
            case "prepared anew":
                preparation.begin(key("Goodbye."), Source().pieces())
            case _:
                taken: Any = preparation.take(key())
                await anext(taken)
                await taken.aclose()
        await asyncio.sleep(5)
        assert source.n_made == 1 and source.is_closed
        preparation.drop()

    run_virtually(body())


def test_failure_of_prepared_speech_is_raised_where_it_is_taken() -> None:
    async def body() -> None:
        preparation = SpeechPreparation()
        preparation.begin(key(), Source(fails=True).pieces())
        await asyncio.sleep(2)
        taken = preparation.take(key())
        assert taken is not None
        with pytest.raises(RuntimeError, match="breath"):
            await anext(taken)

    run_virtually(body())
