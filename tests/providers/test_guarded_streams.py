"""Chunks of sound and events of replies: whatever an adapter yields, usable values come out, or one ProviderError."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.providers.base import (
    Finished,
    SpeechChunk,
    TextDelta,
    TextToSpeechCapabilities,
    ToolCallDelta,
    Usage,
    WordTime,
    speech_of,
)
from active_call.providers.guarding.guarded_chat import MAX_REPLY_CHARS, MAX_TOOL_CALLS, ReplyCheck
from active_call.providers.guarding.guarded_text_to_speech import ChunkCheck, GuardedTextToSpeech
from active_call.providers.speech.recorded_text import RecordedText
from active_call.providers.tts.whole_text import WholeTextStream
from active_call.testing.virtual_time import run_virtually


def checked(*events: Any) -> list[Any]:
    check = ReplyCheck("vendor")
    return [out for event in events for out in check.feed(event)] + list(check.finish())


def test_halves_of_a_pair_are_joined_in_each_tool_call_and_in_the_text() -> None:
    events = checked(
        ToolCallDelta(0, '"\ud83d', "a", "x"),
        ToolCallDelta(1, '"\ud83d', "b", "y"),
        TextDelta("\ud83d"),
        ToolCallDelta(0, '\ude00"'),
        TextDelta("\ude00"),
    )
    assert events == [
        ToolCallDelta(0, '"', "a", "x"),
        ToolCallDelta(1, '"', "b", "y"),
        ToolCallDelta(0, '\U0001f600"'),
        TextDelta("\U0001f600"),
        ToolCallDelta(1, "\ufffd"),
    ]


def test_values_of_events_are_made_usable() -> None:
    odd: list[Any] = [
        Usage(3.0, None, -1, True),
        Usage("7", 5, 10**12, float("nan")),
        Finished(["stop"]),
        ToolCallDelta(0),
        TextDelta(None),
    ]  # type: ignore[arg-type]
    assert checked(*odd) == [Usage(3, 0, 0, 0), Usage(0, 5, 10**9, 0), Finished("stop")]


@pytest.mark.parametrize(
    "events",
    [
        ["text"],
        [None],
        [ToolCallDelta("0", "{}")],  # type: ignore[arg-type]
        [ToolCallDelta(-1, "{}")],
        [ToolCallDelta(n, "{}") for n in range(MAX_TOOL_CALLS + 1)],
        [ToolCallDelta(0, "x" * MAX_REPLY_CHARS), TextDelta("x")],
    ],
    ids=["text", "none", "index", "negative", "many", "endless"],
)
def test_what_is_no_event_or_has_no_end_is_a_provider_error(events: list[Any]) -> None:
    with pytest.raises(ProviderError):
        checked(*events)


def test_words_without_times_are_left_out_and_sound_comes_in_whole_samples() -> None:
    check = ChunkCheck("vendor", 16_000)
    odd: Any = [
        WordTime("a", 0, 100),
        WordTime("b", float("nan"), 1),
        WordTime(" ", 0, 1),
        WordTime("c", 300, 200),
        WordTime("d", -1, 2),
        "e",
    ]
    chunk = check.feed(SpeechChunk(bytes(33), tuple(odd)))
    assert chunk == SpeechChunk(bytes(32), (WordTime("a", 0.0, 100.0), WordTime("c", 300.0, 300.0)))
    assert check.feed(SpeechChunk(b"", ())) is None
    assert check.finish() == b""
    with pytest.raises(ProviderError, match="instead of sound"):
        check.feed(b"sound")


def test_words_of_a_second_text_count_from_the_start_of_the_stream() -> None:
    async def speak(text: str) -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(bytes(2 * 8_000), (WordTime(text, 100, 900),))

    async def run() -> None:
        stream = WholeTextStream(speak, 8_000)
        for text in ("one", "two", "three"):
            stream.push_text(text)
            stream.flush()
        stream.end_text()
        words = [word for chunk in [chunk async for chunk in stream] for word in chunk.words]
        assert words == [WordTime("one", 100, 900), WordTime("two", 1_100, 1_900), WordTime("three", 2_100, 2_900)]

    run_virtually(run())


class Notes:
    def __init__(self) -> None:
        self.given: list[str] = []

    def push_text(self, text: str) -> None:
        self.given.append(text)

    def flush(self) -> None:
        self.given.append("<flush>")

    def end_text(self) -> None:
        self.given.append("<end>")


def test_recorded_text_gives_each_attached_stream_all_of_it() -> None:
    text, first, second = RecordedText(), Notes(), Notes()
    text.push_text("a ")
    text.attach(first)  # type: ignore[arg-type]
    text.flush()
    text.detach(first)  # type: ignore[arg-type]
    text.attach(second)  # type: ignore[arg-type]
    text.detach(first)  # type: ignore[arg-type]
    text.push_text("b")
    text.end_text()
    assert (first.given, second.given) == (["a ", "<flush>"], ["a ", "<flush>", "b", "<end>"])
    assert text.is_flushed and text.is_ended and text.has_words


class Dripping:
    """A voice that begins to speak, and then sends one sample a second for an hour."""

    name = "dripping"
    capabilities = TextToSpeechCapabilities(16_000)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> WholeTextStream:
        return WholeTextStream(self._speak, 16_000)

    async def _speak(self, text: str) -> AsyncIterator[SpeechChunk]:
        yield SpeechChunk(bytes(640))
        for _ in range(3600):
            await asyncio.sleep(1)
            yield SpeechChunk(b"\1\0")

    async def close(self) -> None:
        pass


def test_voice_that_sends_single_samples_meets_its_deadline() -> None:
    async def run() -> None:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ProviderError):
            _ = [chunk async for chunk in speech_of(GuardedTextToSpeech(Dripping(), World(), attempts=1), "Good morning.")]
        assert asyncio.get_running_loop().time() - began < 20

    run_virtually(run())


def test_short_pieces_of_sound_are_joined_and_none_is_lost() -> None:
    check = ChunkCheck("vendor", 16_000)
    chunks = [check.feed(SpeechChunk(bytes([number]) * 64)) for number in range(7)]
    last = check.feed(SpeechChunk(b"\7" * 64, ends_flush=True))
    sounds = [chunk.pcm for chunk in [*chunks, last] if chunk is not None]
    assert [len(sound) for sound in sounds] == [320, 192] and b"".join(sounds) == b"".join(bytes([number]) * 64 for number in range(8))
    assert check.feed(SpeechChunk(b"\1" * 10)) is None and check.finish() == b"\1" * 10
