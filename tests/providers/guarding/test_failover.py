"""Synthesis and replies with fallbacks, behind their walls, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import Finished, ReplyRequest, SpeechChunk, TextDelta, TextToSpeech, speech_of, text_of_reply
from active_call.providers.guarding.failover import FailoverChatModel, FailoverTextToSpeech
from active_call.providers.guarding.fallbacks import asr_chain, llm_chain, tts_chain
from active_call.providers.guarding.guard import Limits
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.settings import LlmSettings
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.testing.fakes.providers import FakeResponder, FakeSynthesiser
from active_call.testing.virtual_time import VirtualClock, run_virtually

DOWN = ProviderError("vendor", "down", retryable=True)
REQUEST = ReplyRequest(())


def a_world() -> World:
    return World(clock=VirtualClock(asyncio.get_running_loop()))


class Voice(FakeSynthesiser):
    """A fake voice that dies after `dies_after` pieces, or gives no sign of life at all."""

    def __init__(self, name: str, *, dies_after: int | None = None, is_deaf: bool = False, rate_hz: int = 16_000) -> None:
        super().__init__(rate_hz=rate_hz)
        self.name = name
        self.dies_after = dies_after
        self.is_deaf = is_deaf

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        if self.is_deaf:
            self.spoken.append(text)  # type: ignore[arg-type]
            await asyncio.Event().wait()
        n = 0
        async for piece in super().synthesise(text, speaker=speaker, speed=speed):
            if n == self.dies_after:
                raise DOWN
            n += 1
            yield piece
        if self.dies_after == 0:
            raise DOWN


def chain(*voices: Voice) -> FailoverTextToSpeech:
    world = a_world()
    guarded = [GuardedTextToSpeech(voice, world, attempts=1) for voice in voices]
    return FailoverTextToSpeech([CachedTextToSpeech(engine) for engine in guarded])


async def chunks_of(engine: TextToSpeech, text: str, **options: Any) -> list[SpeechChunk]:
    return [chunk async for chunk in speech_of(engine, text, **options)]


def test_voice_that_works_has_no_fallback_asked() -> None:
    async def run() -> None:
        first, second = Voice("first"), Voice("second")
        chunks = await chunks_of(chain(first, second), "Good morning.", speaker="anna")
        assert not any(chunk.is_substitute for chunk in chunks) and not second.spoken
        assert first.spoken[0].speaker == "anna"

    run_virtually(run())


def test_text_whose_voice_fails_before_its_first_sound_is_spoken_by_the_fallback_at_the_same_rate() -> None:
    async def run() -> None:
        first, second = Voice("first", dies_after=0, rate_hz=16_000), Voice("second", rate_hz=24_000)
        engine = chain(first, second)
        chunks = await chunks_of(engine, "Good morning.", speaker="anna", speed=1.5)
        assert all(chunk.is_substitute for chunk in chunks)
        assert (second.spoken[0].text, second.spoken[0].speaker, second.spoken[0].speed) == ("Good morning.", None, 1.5)
        pcm = b"".join(chunk.pcm for chunk in chunks)
        assert len(pcm) / 2 / engine.capabilities.rate_hz == pytest.approx(13 * 0.05 / 1.5, rel=0.02)
        assert np.abs(np.frombuffer(pcm, "<i2")).max() > 4_000

    run_virtually(run())


def test_voice_that_fails_within_its_sound_is_not_replaced() -> None:
    async def run() -> None:
        first, second = Voice("first", dies_after=2), Voice("second")
        with pytest.raises(ProviderError, match="down"):
            await chunks_of(chain(first, second), "A long sentence that fails.")
        assert not second.spoken

    run_virtually(run())


def test_voice_without_a_sign_of_life_is_replaced_within_the_patience_of_the_agent() -> None:
    async def run() -> None:
        chunks = await chunks_of(chain(Voice("first", is_deaf=True), Voice("second")), "Hello.")
        assert chunks and asyncio.get_running_loop().time() < 5.0

    run_virtually(run())


def test_last_failure_is_told_when_all_voices_fail() -> None:
    async def run() -> None:
        with pytest.raises(ProviderError, match="down"):
            await chunks_of(chain(Voice("first", dies_after=0), Voice("second", dies_after=0)), "Hello.")

    run_virtually(run())


def test_sound_of_a_fallback_is_remembered_as_its_own_and_not_as_the_first_voice() -> None:
    async def run() -> None:
        first, second = Voice("first", dies_after=0), Voice("second")
        engine = chain(first, second)
        await chunks_of(engine, "Hello.")
        first.dies_after = None
        chunks = await chunks_of(engine, "Hello.")
        assert not any(chunk.is_substitute for chunk in chunks)
        assert len(second.spoken) == 1

    run_virtually(run())


def test_cancelled_stream_abandons_the_engine_that_speaks() -> None:
    async def run() -> None:
        first, second = Voice("first", dies_after=0), Voice("second")
        stream = chain(first, second).open()
        stream.push_text("A long ")
        stream.push_text("sentence.")
        stream.flush()
        assert (await anext(stream)).is_substitute
        await stream.cancel()
        await asyncio.sleep(0.1)
        assert second.n_abandoned == 1 and second.spoken[0].text == "A long sentence."

    run_virtually(run())


# -- the wall of a stream ----------------------------------------------------------------------------------------------------------------


def test_failed_attempt_is_repeated_with_all_the_text_so_far_and_what_comes_later() -> None:
    async def run() -> None:
        voice = Voice("first", dies_after=0)
        stream = GuardedTextToSpeech(voice, a_world()).open()
        stream.push_text("One. ")
        stream.flush()
        asyncio.get_running_loop().call_later(0.1, setattr, voice, "dies_after", None)
        assert (await anext(stream)).pcm
        stream.push_text("Two.")
        stream.end_text()
        _ = [chunk async for chunk in stream]
        assert [spoken.text for spoken in voice.spoken] == ["One. ", "One. ", "Two."]
        await stream.cancel()

    run_virtually(run())


def test_deadline_counts_only_while_sound_is_due() -> None:
    async def run() -> None:
        voice = Voice("first")
        voice.limits = Limits(first_result_s=1.0, next_result_s=1.0, attempts=1)  # type: ignore[attr-defined]
        loop = asyncio.get_running_loop()
        stream = GuardedTextToSpeech(voice, a_world()).open()
        loop.call_later(5.0, stream.push_text, "One.")
        loop.call_later(20.0, stream.flush)
        assert (await anext(stream)).pcm and loop.time() == 20.0
        loop.call_later(30.0, stream.end_text)
        _ = [chunk async for chunk in stream]
        assert loop.time() == 50.0
        deaf = Voice("first", is_deaf=True)
        deaf.limits = voice.limits  # type: ignore[attr-defined]
        stream = GuardedTextToSpeech(deaf, a_world()).open()
        stream.push_text("One.")
        loop.call_later(5.0, stream.end_text)
        with pytest.raises(ProviderError, match="within 1 s"):
            await anext(stream)
        assert loop.time() == 56.0

    run_virtually(run())


# -- replies -----------------------------------------------------------------------------------------------------------------------------


def models(*inner: FakeResponder) -> FailoverChatModel:
    world = a_world()
    return FailoverChatModel([GuardedChatModel(model, world, attempts=1) for model in inner])


def test_reply_whose_model_fails_before_its_first_word_comes_from_the_fallback() -> None:
    async def run() -> None:
        first, second = FakeResponder([DOWN]), FakeResponder(["Good morning."])
        model = models(first, second)
        assert "".join([text async for text in text_of_reply(model, REQUEST)]) == "Good morning."
        assert len(first.requests) == len(second.requests) == 1

    run_virtually(run())


def test_reply_that_breaks_off_is_not_said_again_by_another_model() -> None:
    class Breaking(FakeResponder):
        async def reply(self, request: ReplyRequest) -> Any:
            yield TextDelta("Good ")
            raise DOWN

    async def run() -> None:
        second = FakeResponder(["never"])
        stream = models(Breaking(), second).reply(REQUEST)
        assert await anext(stream) == TextDelta("Good ")
        with pytest.raises(ProviderError, match="down"):
            await anext(stream)
        assert not second.requests

    run_virtually(run())


def test_model_without_a_sign_of_life_is_replaced_within_the_patience_of_the_agent() -> None:
    async def run() -> None:
        model = models(FakeResponder(["late"], first_delay_s=60.0), FakeResponder(["in time"]))
        assert "".join([text async for text in text_of_reply(model, REQUEST)]) == "in time"
        assert asyncio.get_running_loop().time() < 5.0

    run_virtually(run())


def test_abandoned_reply_abandons_the_model_that_writes() -> None:
    async def run() -> None:
        first, second = FakeResponder([DOWN]), FakeResponder(["one two three"], delay_s=0.1)
        stream = models(first, second).reply(REQUEST)
        await anext(stream)
        await stream.aclose()
        assert second.n_abandoned == 1

    run_virtually(run())


def test_reply_that_has_ended_is_over_whatever_its_reason() -> None:
    class Silent(FakeResponder):
        async def reply(self, request: ReplyRequest) -> Any:
            yield Finished("content_filter")

    async def run() -> None:
        second = FakeResponder(["never"])
        assert [event async for event in models(Silent(), second).reply(REQUEST)] == [Finished("content_filter")]
        assert not second.requests

    run_virtually(run())


# -- options -----------------------------------------------------------------------------------------------------------------------------


def test_fallback_keeps_what_means_the_same_everywhere_and_nothing_of_the_first_vendor() -> None:
    asr = AsrOption(
        provider="acme", language="de", secret_key="k", endpoint="https://acme.example", model_type="m", extra={"a": 1}, fallback=["b", "c"]
    )
    first, *others = asr_chain(asr)
    assert (first.provider, first.secret_key, first.fallback) == ("acme", "k", None)
    assert others == [AsrOption(provider="b", language="de"), AsrOption(provider="c", language="de")]
    tts = TtsOption(provider="acme", speaker="anna", model="m", speed=1.2, language="de", secret_key="k", fallback=["espeak"])
    assert tts_chain(tts)[1] == TtsOption(provider="espeak", language="de", speed=1.2)
    llm = LlmSettings("acme", "m", "https://acme.example", "k", 0.5, 100, {"seed": 1}, ("openai",))
    assert llm_chain(llm)[1] == LlmSettings("openai", temperature=0.5, max_tokens=100)
    assert llm_chain(LlmSettings("acme")) == [LlmSettings("acme")]
