from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from active_call.base.errors import ProviderError
from active_call.providers.base import speech_of
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.testing.fakes.providers import FakeSynthesiser
from active_call.testing.virtual_time import run_virtually


async def sound_of(synthesiser: CachedTextToSpeech, text: str, **options: object) -> bytes:
    return b"".join([chunk.pcm async for chunk in speech_of(synthesiser, text, **options)])  # type: ignore[arg-type]


def test_greeting_of_forty_calls_at_once_is_made_once() -> None:
    async def run() -> None:
        inner = FakeSynthesiser(delay_s=0.2)
        cache = CachedTextToSpeech(inner)
        sounds = await asyncio.gather(*(sound_of(cache, "Welcome!") for _ in range(40)))
        assert len(inner.spoken) == 1 and len(set(sounds)) == 1 and len(sounds[0]) == 2 * 16 * 400
        assert (cache.misses, cache.hits) == (1, 39)
        before = asyncio.get_running_loop().time()
        assert await sound_of(cache, "Welcome!") == sounds[0]
        assert asyncio.get_running_loop().time() == before

    run_virtually(run())


def test_speaker_and_speed_are_part_of_what_is_remembered() -> None:
    async def run() -> None:
        inner = FakeSynthesiser()
        cache = CachedTextToSpeech(inner)
        for options in ({}, {"speaker": "a"}, {"speed": 2.0}, {}):
            await sound_of(cache, "Hi", **options)
        assert len(inner.spoken) == 3

    run_virtually(run())


def test_listener_who_leaves_does_not_take_the_sound_from_the_others() -> None:
    async def run() -> None:
        inner = FakeSynthesiser()
        cache = CachedTextToSpeech(inner)
        leaver = speech_of(cache, "a longer sentence")
        await anext(leaver)
        stayer = asyncio.create_task(sound_of(cache, "a longer sentence"))
        await asyncio.sleep(0)
        await leaver.aclose()  # type: ignore[attr-defined]
        assert len(await stayer) == 2 * 16 * 50 * 17
        assert inner.n_abandoned == 0

    run_virtually(run())


def test_rendition_without_listeners_is_abandoned_and_made_anew() -> None:
    async def run() -> None:
        inner = FakeSynthesiser()
        cache = CachedTextToSpeech(inner)
        leaver = speech_of(cache, "a longer sentence")
        await anext(leaver)
        await leaver.aclose()  # type: ignore[attr-defined]
        assert len(await sound_of(cache, "a longer sentence")) == 2 * 16 * 50 * 17
        assert inner.n_abandoned == 1 and len(inner.spoken) == 2

    run_virtually(run())


def test_failure_reaches_every_listener_and_is_not_remembered() -> None:
    async def run() -> None:
        inner = FakeSynthesiser(delay_s=0.1)
        inner.failures["Hi"] = ProviderError("fake", "told to")
        cache = CachedTextToSpeech(inner)
        results = await asyncio.gather(sound_of(cache, "Hi"), sound_of(cache, "Hi"), return_exceptions=True)
        assert all(isinstance(result, ProviderError) for result in results)
        inner.failures.clear()
        assert await sound_of(cache, "Hi")

    run_virtually(run())


def test_oldest_sentences_go_first_when_memory_is_full() -> None:
    async def run() -> None:
        inner = FakeSynthesiser(ms_per_char=10)  # 320 bytes a character
        cache = CachedTextToSpeech(inner, limit_bytes=320 * 40)
        for text in ("a" * 10, "b" * 10, "c" * 10, "d" * 10):
            await sound_of(cache, text)
        await sound_of(cache, "a" * 10)
        await sound_of(cache, "e" * 10)
        assert cache.size_bytes == 320 * 40
        n_made = len(inner.spoken)
        await sound_of(cache, "a" * 10)
        assert len(inner.spoken) == n_made
        await sound_of(cache, "b" * 10)
        assert len(inner.spoken) == n_made + 1

    run_virtually(run())


class PreparedSpeech:
    """Holds what a test puts there, and writes down what it was asked for."""

    def __init__(self, **sounds: list[bytes]) -> None:
        self.sounds = sounds
        self.asked: list[str] = []

    async def prepared(self, key: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        self.asked.append(key)
        for pcm in self.sounds.get(key, []):
            yield pcm


def test_prepared_sentence_is_taken_from_prepared_speech_once_and_then_from_memory() -> None:
    async def run() -> None:
        inner, prepared = FakeSynthesiser(), PreparedSpeech()
        cache = CachedTextToSpeech(inner, prepared=prepared)
        key = cache.voice.key_of("Welcome!", "nova")
        prepared.sounds[key] = [b"ab", b"cd"]
        assert await sound_of(cache, "Welcome!", speaker="nova") == b"abcd"
        assert await sound_of(cache, "Welcome!", speaker="nova") == b"abcd"
        assert (inner.spoken, prepared.asked) == ([], [key])

    run_virtually(run())


def test_sentence_that_was_not_prepared_is_made() -> None:
    async def run() -> None:
        inner, prepared = FakeSynthesiser(), PreparedSpeech()
        cache = CachedTextToSpeech(inner, prepared=prepared)
        assert len(await sound_of(cache, "Hi")) == 2 * 16 * 100
        assert (len(inner.spoken), len(prepared.asked)) == (1, 1)

    run_virtually(run())


def test_close_while_speaking_ends_the_listener_with_an_error() -> None:
    async def run() -> None:
        cache = CachedTextToSpeech(FakeSynthesiser(delay_s=5))
        listener = asyncio.create_task(sound_of(cache, "Hi"))
        await asyncio.sleep(1)
        await cache.close()
        with pytest.raises(ProviderError):
            await listener

    run_virtually(run())
