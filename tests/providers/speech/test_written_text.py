"""Speech of texts that are written while they are spoken: which engine is asked, and what a lost stream costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from active_call.base.errors import ProviderError
from active_call.providers.speech.written_text import WholeOrWritten, WrittenSpeech
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.whole_text import WholeTextStream


class Engine:
    """Says each clause as its bytes. `breaks`: the clauses after whose sound a stream fails; with a leading `!`, before it."""

    name = "fake"
    capabilities = TextToSpeechCapabilities(8_000, streaming_text=True)

    def __init__(self, *breaks: str) -> None:
        self.breaks = list(breaks)
        self.n_streams = 0
        self.n_closed = 0
        self.asked: list[str] = []

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        self.n_streams += 1
        return WholeTextStream(self._say, 8_000)

    async def _say(self, text: str) -> AsyncIterator[SpeechChunk]:
        try:
            said = text.strip()
            self.asked.append(said)
            if f"!{said}" in self.breaks:
                self.breaks.remove(f"!{said}")
                raise ProviderError("fake", "gone", retryable=True)
            yield SpeechChunk(said.encode() + b"12"[: len(said) % 2])
            if said in self.breaks:
                raise ProviderError("fake", "gone", retryable=True)
        finally:
            self.n_closed += 1

    async def close(self) -> None:
        pass


async def heard(speech: WrittenSpeech) -> list[tuple[int, str]]:
    async with asyncio.timeout(10):
        return [(number, chunk.pcm.decode().rstrip("1")) async for number, chunk in speech.sound() if chunk.pcm]


def test_clauses_have_their_numbers_and_go_on_one_stream() -> None:
    async def run() -> None:
        engine = Engine()
        speech = WrittenSpeech(engine)
        speech.say("one,")
        work = asyncio.create_task(heard(speech))
        for clause in ("two, ", "three."):
            await asyncio.sleep(0)
            speech.say(clause)
        await asyncio.sleep(0)
        speech.end()
        speech.end()
        assert await work == [(0, "one,"), (1, "two,"), (2, "three.")]
        assert engine.n_streams == 1

    asyncio.run(run())


def test_stream_that_breaks_before_a_clause_sounds_is_opened_anew_from_that_clause() -> None:
    async def run() -> None:
        engine = Engine("!two")
        speech = WrittenSpeech(engine)
        for clause in ("one", "two", "three"):
            speech.say(clause)
        speech.end()
        assert [text for _, text in await heard(speech)] == ["one", "two", "three"]
        assert engine.asked == ["one", "two", "two", "three"] and engine.n_streams == 2

    asyncio.run(run())


@pytest.mark.parametrize("breaks", [("two",), ("!two", "!two")])
def test_half_a_clause_and_a_second_failure_are_told(breaks: tuple[str, ...]) -> None:
    async def run() -> None:
        engine = Engine(*breaks)
        speech = WrittenSpeech(engine)
        for clause in ("one", "two", "three"):
            speech.say(clause)
        speech.end()
        with pytest.raises(ProviderError):
            await heard(speech)
        assert "three" not in engine.asked

    asyncio.run(run())


def test_speech_that_is_abandoned_frees_its_stream() -> None:
    async def run() -> None:
        engine = Engine()
        speech = WrittenSpeech(engine)
        speech.say("one")
        sound = speech.sound()
        await anext(sound)
        await sound.aclose()
        assert engine.n_closed == 1
        speech.say("two")  # nobody listens
        speech.end()
        assert engine.asked == ["one"]

    asyncio.run(run())


def test_first_order_decides_whether_a_text_counts_as_whole() -> None:
    async def run() -> None:
        whole, written = Engine(), Engine()

        def stream() -> Any:
            return WholeOrWritten(whole.open, written.open)

        first = stream()
        first.push_text("All of it.")
        first.end_text()
        assert [chunk.pcm async for chunk in first if chunk.pcm] == [b"All of it."]
        second = stream()
        second.flush()  # of nothing
        second.push_text("Part,")
        second.flush()
        second.push_text("rest.")
        second.end_text()
        assert len([chunk async for chunk in second if chunk.pcm]) == 2
        assert (whole.asked, written.asked) == (["All of it."], ["Part,", "rest."])
        third = stream()
        await third.cancel()
        assert [chunk async for chunk in third] == []

    asyncio.run(run())
