"""Plugin classes of LiveKit Agents, the real ones, against simulated vendors; and what is said where there are none."""

from __future__ import annotations

import asyncio
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))

from callers import Caller, plain, services

from active_call.agent.playbook.check import PlaybookResources
from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import Failed, Final, Partial, speech_of
from active_call.providers.entry_points import ASR, load_adapter
from active_call.providers.registry import create_recogniser, create_synthesiser
from active_call.server.commands.playbook import examine
from active_call.testing.vendors.stt.deepgram import DeepgramServer
from active_call.testing.vendors.tts.cartesia import CartesiaSpeechServer
from active_call.testing.vendors.wire.speaking import MS_PER_CHAR
from active_call.testing.vendors.wire.transcription import TranscriptionServer


def has(name: str) -> bool:
    try:
        return find_spec(f"livekit.plugins.{name}") is not None
    except ModuleNotFoundError:
        return False


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not has(name), reason=f"livekit-plugins-{name} is not installed (the extra livekit)")


pytestmark = pytest.mark.filterwarnings("ignore")
"""What the framework does with its own sockets and loggers is its own matter."""


@pytest.mark.skipif(has("deepgram"), reason="the plugin is installed")
def test_package_that_is_missing_is_named_with_the_command_that_installs_it() -> None:
    async def run() -> None:
        async with services() as given:
            for create, option in (
                (create_recogniser, AsrOption(provider="livekit/deepgram")),
                (create_synthesiser, TtsOption(provider="livekit/deepgram")),
            ):
                with pytest.raises(ConfigError, match=r"pip install 'active-call\[livekit\]'"):
                    create(option, given)  # type: ignore[operator]

    asyncio.run(run())


@pytest.mark.parametrize("provider", ["livekit", "livekit/", "livekit/../os", "livekit/a b"])
def test_name_that_is_no_plugin_is_refused(provider: str) -> None:
    async def run() -> None:
        async with services() as given:
            with pytest.raises(ConfigError, match="livekit/NAME"):
                create_synthesiser(TtsOption(provider=provider), given)

    asyncio.run(run())


def test_only_families_have_members_behind_a_slash() -> None:
    load_adapter(ASR, "LiveKit/deepgram")
    with pytest.raises(ConfigError, match="unknown provider 'deepgram/nova'"):
        load_adapter(ASR, "deepgram/nova")


def test_playbook_check_knows_them(tmp_path: Path) -> None:
    book = tmp_path / "b.md"
    book.write_text("---\nasr: {provider: livekit/clova}\ntts: {provider: livekot/murf}\n---\nHello\n", encoding="utf-8")
    reading: Any = examine(book, {})
    told = [entry.text for entry in reading.findings.in_order if "unknown provider" in entry.text]
    assert len(told) == 1 and "livekot/murf" in told[0]
    assert PlaybookResources is not None


@needs("deepgram")
def test_deepgrams_plugin_hears_what_the_caller_says() -> None:
    async def run() -> None:
        async with DeepgramServer() as server, services() as given:
            option = AsrOption(
                provider="livekit/deepgram", endpoint=f"{server.http_url}/v1/listen", secret_key=server.key, extra={"filler_words": False}
            )
            engine = create_recogniser(option, given)
            await engine.warm()
            caller = Caller(engine)
            start, stop = await caller.say(1, 3)
            first = await caller.final(1)
            await caller.say(2, 2)
            second = await caller.final(2)
            await caller.stream.close()
            await engine.close()
            assert (plain(first.text), plain(second.text)) == ("one two three", "four five")
            assert caller.partials(1) and any(isinstance(event, Partial) for event in caller.events)
            assert first.words and abs(first.words[0].start_sample - start) < 8_000 and abs(first.words[-1].end_sample - stop) < 8_000
            assert server.requests[0].query["filler_words"] == "false"

    asyncio.run(run())


@needs("deepgram")
def test_wrong_key_is_one_failure_for_good_without_the_key() -> None:
    async def run() -> None:
        async with DeepgramServer() as server, services() as given:
            option = AsrOption(provider="livekit/deepgram", endpoint=f"{server.http_url}/v1/listen", secret_key="wrong-key-0123456789")
            engine = create_recogniser(option, given)
            await engine.warm()
            caller = Caller(engine)
            answer = await caller.answer(None)
            await caller.stream.close()
            await engine.close()
            assert isinstance(answer, Failed) and isinstance(answer.error, ProviderError) and not answer.error.retryable
            assert "401" in str(answer.error) and "wrong-key" not in str(answer.error)

    asyncio.run(run())


@needs("deepgram")
def test_connection_that_breaks_is_a_failure_that_may_be_repeated() -> None:
    async def run() -> None:
        async with DeepgramServer() as server, services() as given:
            option = AsrOption(provider="livekit/deepgram", endpoint=f"{server.http_url}/v1/listen", secret_key=server.key)
            engine = create_recogniser(option, given)
            await engine.warm()
            caller = Caller(engine)
            await caller.say(1, 2)
            await caller.final(1)
            await server.drop_all()
            answer = await caller.answer(None)
            await caller.stream.close()
            await engine.close()
            assert isinstance(answer, Failed) and isinstance(answer.error, ProviderError) and answer.error.retryable

    asyncio.run(run())


@needs("cartesia")
def test_cartesias_plugin_says_a_text_with_its_words_at_the_rate_that_is_told() -> None:
    async def run() -> None:
        async with CartesiaSpeechServer() as server, services() as given:
            option = TtsOption(provider="livekit/cartesia", endpoint=server.http_url, secret_key=server.key, samplerate=16_000)
            engine = create_synthesiser(option, given, attempts=1)
            await engine.warm()  # as when a call rings: the framework takes seconds to import on a busy machine
            text = "We open at eight in the morning."
            for _ in range(2):
                chunks = [chunk async for chunk in speech_of(engine, text)]
                seconds = sum(len(chunk.pcm) for chunk in chunks) / 2 / engine.capabilities.rate_hz
                assert engine.capabilities.rate_hz == 16_000
                assert abs(seconds - len(text) * MS_PER_CHAR / 1000) < 0.3
            voiced = [chunk async for chunk in speech_of(engine, "Hi there.", speaker="another-voice")]
            assert any(chunk.pcm for chunk in voiced)
            await engine.close()
            assert server.n_sockets >= 2  # each voice has a connection of its own

    asyncio.run(run())


@needs("cartesia")
def test_key_and_settings_are_judged_before_anything_is_asked() -> None:
    async def run() -> None:
        async with CartesiaSpeechServer() as server, services({"CARTESIA_API_KEY": "from-environment"}) as given:
            own = {"provider": "livekit/cartesia", "endpoint": server.http_url}
            for more, key in (
                ({}, "secretKey"),  # the environment's key stays with the vendor
                ({"secret_key": "k" * 8, "extra": {"nonsense": 1}}, r"extra\.nonsense"),
                ({"secret_key": "k" * 8, "extra": {"class": "Nonsense"}}, r"extra\.class"),
            ):
                engine = create_synthesiser(TtsOption(**own, **more), given, attempts=1)  # type: ignore[arg-type]
                with pytest.raises(ConfigError, match=key):
                    await engine.warm()
                await engine.close()
            assert server.requests == []
            wrong = create_synthesiser(TtsOption(**own, secret_key="wrong-key-0123"), given, attempts=1)  # type: ignore[arg-type]
            await wrong.warm()
            with pytest.raises(ProviderError) as caught:
                [chunk async for chunk in speech_of(wrong, "Hello.")]
            await wrong.close()
            assert "wrong-key" not in str(caught.value)

    asyncio.run(run())


@needs("openai")
def test_class_without_a_stream_transcribes_utterance_by_utterance() -> None:
    async def run() -> None:
        async with TranscriptionServer() as server, services() as given:
            option = AsrOption(provider="livekit/openai", endpoint=f"{server.http_url}/v1", secret_key=server.key, model_type="whisper-1")
            engine = create_recogniser(option, given)
            await engine.warm()
            caller = Caller(engine)
            await caller.say(1, 3)
            final = await caller.final(1)
            await caller.stream.close()
            await engine.close()
            assert isinstance(final, Final) and plain(final.text) == "one two three"

    asyncio.run(run())
