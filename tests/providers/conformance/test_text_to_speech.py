"""What every adapter of a synthesis vendor owes, against a simulator that refuses what the vendor refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from conformance.callers import services
from conformance.tts_cases import CASES, TtsCase

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers import websocket
from active_call.providers.base import SpeechChunk, speech_of
from active_call.providers.registry import create_synthesiser
from active_call.providers.tts.vendors import socket_speech
from active_call.testing.vendors.wire.server import VendorServer
from active_call.testing.vendors.wire.speaking import sound_of

each_vendor = pytest.mark.parametrize("case", CASES, ids=lambda case: case.provider)
TEXT = "We open at eight in the morning."


@asynccontextmanager
async def speaking(case: TtsCase, **option: Any) -> AsyncIterator[tuple[VendorServer, Any]]:
    """The simulator and the engine behind the wall, with one attempt."""
    async with case.server() as server, services() as shared:
        engine = create_synthesiser(case.option_for(server, **option), shared, attempts=1)
        try:
            yield server, engine
        finally:
            await engine.close()


async def chunks_of(engine: Any, text: str = TEXT, **more: Any) -> list[SpeechChunk]:
    return [chunk async for chunk in speech_of(engine, text, **more)]


def pcm_of(chunks: list[SpeechChunk]) -> bytes:
    return b"".join(chunk.pcm for chunk in chunks)


def is_text(pcm: bytes, text: str, rate_hz: int) -> bool:
    """Whether `pcm` is what a simulator says for `text`, which an adapter may end with a space."""
    return pcm in (sound_of(text, rate_hz), sound_of(f"{text} ", rate_hz))


@each_vendor
def test_text_is_spoken_in_pieces_at_the_rate_that_is_told(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            chunks = await chunks_of(engine)
            assert server.complaints == []
            assert (len(chunks) > 2 or case.is_whole) and is_text(pcm_of(chunks), TEXT, engine.capabilities.rate_hz)
            words = [word for chunk in chunks for word in chunk.words]
            assert bool(words) is case.words is engine.capabilities.word_times
            assert not words or [word.text for word in words][: len(TEXT.split()) - 1] == TEXT.split()[:-1]
            assert words == sorted(words, key=lambda word: word.start_ms)

    asyncio.run(run())


@each_vendor
def test_texts_one_after_another_use_one_connection_and_at_once_several(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            for number in range(3):
                assert is_text(pcm_of(await chunks_of(engine, f"Text {number}.")), f"Text {number}.", engine.capabilities.rate_hz)
            assert (server.n_sockets == 1) is case.keeps or not case.is_socket
            texts = [f"Sentence number {number}." for number in range(20)]
            sounds = await asyncio.gather(*(chunks_of(engine, text) for text in texts))
            assert all(is_text(pcm_of(sound), text, engine.capabilities.rate_hz) for sound, text in zip(sounds, texts, strict=True))
            assert server.complaints == []

    asyncio.run(run())


@pytest.mark.parametrize("case", [case for case in CASES if case.is_socket or case.provider == "azure"], ids=lambda case: case.provider)
@pytest.mark.parametrize("n_texts", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_many_texts_at_once_are_spoken(case: TtsCase, n_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes its time for two hundred connections; the deadline is not what is tested."""
    monkeypatch.setattr(websocket, "CONNECT_S", 60.0)

    async def run() -> None:
        async with speaking(case) as (server, engine):
            sounds = await asyncio.gather(*(chunks_of(engine.inner, f"Caller {number}.") for number in range(n_texts)))
            for number, sound in enumerate(sounds):
                assert is_text(pcm_of(sound), f"Caller {number}.", engine.capabilities.rate_hz)
            assert server.complaints == []

    asyncio.run(run())


@each_vendor
def test_text_that_is_given_up_does_not_sound_in_the_next_one(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            left = speech_of(engine, "A long story that is given up at once. " * 10)
            await anext(left)
            await left.aclose()
            for text in ("After it.", "And again."):
                assert is_text(pcm_of(await chunks_of(engine, text)), text, engine.capabilities.rate_hz)
            assert server.complaints == []

    asyncio.run(run())


@each_vendor
def test_nothing_is_asked_for_nothing(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            assert await chunks_of(engine, "  ") == []
            assert server.requests == []

    asyncio.run(run())


FAULTS: list[tuple[dict[str, Any], bool]] = [
    ({"wrong_key": True}, False),
    ({"quota": True}, False),
    ({"status": 429}, True),
    ({"status": 500}, True),
    ({"close_after": 1, "close_code": None}, True),
    ({"close_after": 2, "close_code": 1011}, True),
]


@pytest.mark.parametrize(
    ("case", "faults", "is_retryable"),
    [
        pytest.param(case, faults, is_retryable, id=f"{case.provider}-{'-'.join(faults)}")
        for case in CASES
        for faults, is_retryable in FAULTS
        if not (case.is_whole and "close_after" in faults)  # what comes whole does not break off
    ],
)
def test_whatever_goes_wrong_is_one_provider_error_without_the_key(case: TtsCase, faults: dict[str, Any], is_retryable: bool) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            for name, value in faults.items():
                setattr(server.faults, name, value)
            with pytest.raises(ProviderError) as caught:
                await asyncio.wait_for(chunks_of(engine), 20)
            assert server.key not in str(caught.value)
            assert caught.value.retryable is is_retryable

    asyncio.run(run())


@each_vendor
@pytest.mark.parametrize("fault", ["is_garbage", "wrong_types"])
def test_values_of_wrong_types_are_a_provider_error_or_nothing(case: TtsCase, fault: str) -> None:
    """Sound that comes as plain bytes has no type that could be wrong."""

    async def run() -> None:
        async with speaking(case) as (server, engine):
            setattr(server.faults, fault, True)
            with contextlib.suppress(ProviderError):
                await asyncio.wait_for(chunks_of(engine), 20)
            server.faults.is_garbage = server.faults.wrong_types = False
            assert is_text(pcm_of(await chunks_of(engine)), TEXT, engine.capabilities.rate_hz)

    asyncio.run(run())


@each_vendor
def test_connection_that_the_vendor_has_closed_meanwhile_costs_no_text(case: TtsCase) -> None:
    async def run() -> None:
        async with speaking(case) as (server, engine):
            await chunks_of(engine)
            await server.drop_all()
            assert is_text(pcm_of(await chunks_of(engine)), TEXT, engine.capabilities.rate_hz)

    asyncio.run(run())


@pytest.mark.parametrize("case", [case for case in CASES if case.variable], ids=lambda case: case.provider)
def test_key_comes_from_the_environment_and_is_missed_by_name(case: TtsCase) -> None:
    async def run() -> None:
        async with services() as without:
            with pytest.raises(ConfigError, match=case.variable):
                create_synthesiser(TtsOption(provider=case.provider, **case.option), without)
        async with services({case.variable: "from-environment"}) as with_key:
            engine = create_synthesiser(TtsOption(provider=case.provider, **case.option), with_key)
            await engine.close()

    asyncio.run(run())


@each_vendor
def test_an_hour_of_texts_leaves_nothing_behind(case: TtsCase) -> None:
    """A caller is spoken to some two hundred times in an hour; every fifth time it speaks over it."""

    async def run() -> None:
        async with speaking(case) as (server, engine):
            for number in range(200):
                if number % 5:
                    assert pcm_of(await chunks_of(engine.inner, f"Text {number}."))
                else:
                    left = speech_of(engine.inner, "It is spoken over at once, and so it is given up.")
                    await anext(left)
                    await left.aclose()
            async with asyncio.timeout(60):
                while getattr(engine.inner, "_closing", None):  # nobody waits for the ends of connections
                    await asyncio.sleep(0.01)
            held = {name: value for name, value in vars(engine.inner).items() if hasattr(value, "__len__") and not isinstance(value, str)}
            assert all(len(value) < 10 for value in held.values()), held
            kept = getattr(engine.inner, "_kept", {})
            assert sum(len(one.waiting) for one in kept.values()) <= 8 and server.complaints == []

    asyncio.run(run())


@pytest.mark.parametrize("case", [case for case in CASES if case.provider in ("aliyun", "rime", "tencent")], ids=lambda case: case.provider)
def test_text_that_is_given_up_does_not_wait_for_the_end_of_its_connection(case: TtsCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor that is still sending answers the close late; the caller who has spoken over the agent must not wait for that."""
    answered = asyncio.Event()
    close = socket_speech._close

    async def close_late(socket: Any) -> None:
        await answered.wait()
        await close(socket)

    async def run() -> None:
        async with speaking(case) as (_, engine):
            left = speech_of(engine, "A long story that is given up at once. " * 10)
            await anext(left)
            monkeypatch.setattr(socket_speech, "_close", close_late)
            async with asyncio.timeout(30):
                await left.aclose()
            answered.set()

    asyncio.run(run())
