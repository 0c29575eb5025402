"""Whatever a vendor sends, text and whole samples come out, or one ProviderError."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.responses import Response
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ProviderError
from active_call.base.repair import valid_unicode
from active_call.base.world import World
from active_call.contract.options import AsrOption, TtsOption
from active_call.providers.base import (
    ChatMessage,
    Failed,
    Final,
    Partial,
    Recognised,
    ReplyRequest,
    SpeechToTextCapabilities,
    Word,
    speech_of,
    text_of_reply,
)
from active_call.providers.guarding.engine_cache import EngineCache
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText, checked_event
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.llm.text_only import TextOnlyChatModel
from active_call.providers.registry import Engines, LlmSettings
from active_call.providers.speech_to_text import Alternative, Whole
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.providers.vendor_values import SoundCheck, TextRepair, text_of
from active_call.testing.virtual_time import VirtualClock, run_virtually

CASE = Path(__file__).parents[1] / "cases" / "10-delta-content-is-a-list" / "stream.sse"
REQUEST = ReplyRequest((ChatMessage("user", "Half \ud83d of it"),))

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "content", "thinking"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(_JSON)
def test_text_of_anything_is_text(value: Any) -> None:
    valid_unicode(text_of(value)).encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, ""),
        (True, ""),
        (9, "9"),
        (float("nan"), ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, {"type": "text", "text": "yes"}], "yes"),
        ([{"type": "reasoning", "text": "no"}, {"type": "output_text", "text": "yes"}, " and yes"], "yes and yes"),
        ({"text": "yes"}, "yes"),
        ({"type": "text", "text": {"value": "yes"}}, "yes"),
        ({"text": "no", "thought": True}, ""),
        ([{"type": "image_url", "image_url": {"url": "no"}}, 7, None], "7"),
        (b"bytes", ""),
        (object(), ""),
    ],
)
def test_text_of_what_vendors_are_known_to_send(value: Any, text: str) -> None:
    assert text_of(value) == text


def test_halves_of_a_pair_in_two_pieces_are_joined_and_a_half_alone_is_replaced() -> None:
    repair = TextRepair()
    pieces = ["a\ud83d", "\ude00b", "\udc00c", "d\ud83d", "e", "f\ud83d"]
    assert [repair.feed(piece) for piece in pieces] == ["a", "\U0001f600b", "\ufffdc", "d", "\ufffde", "f"]
    assert repair.finish() == "\ufffd"


@given(st.lists(st.binary(max_size=30)))
def test_sound_comes_out_in_whole_samples_and_nothing_of_it_is_lost(pieces: list[bytes]) -> None:
    whole = b"\0\0" + b"".join(pieces)
    check = SoundCheck("vendor", 10_000)
    out = [check.feed(piece) for piece in (b"\0\0", *pieces)] + [check.finish()]
    assert all(len(piece) % 2 == 0 for piece in out)
    assert b"".join(out) == whole[: len(whole) & ~1]


# -- the wall around adapters of any kind ------------------------------------------------------------------------------------------------


def a_world() -> World:
    return World(clock=VirtualClock(asyncio.get_running_loop()))


class Adapter(WholeTextToSpeech, TextOnlyChatModel):
    """Yields what it is told, as any of the three kinds."""

    name = "vendor"
    rate_hz = 8000

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.asked: list[Any] = []
        self.closed = 0

    async def respond(self, request: ReplyRequest) -> AsyncIterator[Any]:
        self.asked.append(request)
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[Any]:
        async for item in text_of_reply(self, REQUEST):
            yield item

    async def close(self) -> None:
        self.closed += 1


def test_responder_gives_text_whatever_its_adapter_yields() -> None:
    async def run() -> None:
        adapter = Adapter([{"type": "text", "text": "One "}], None, 2, {"type": "thinking", "thinking": "x"}, " three\ud83d")
        responder = GuardedChatModel(adapter, a_world())  # type: ignore[arg-type]
        assert [piece async for piece in text_of_reply(responder, REQUEST)] == ["One ", "2", " three", "\ufffd"]
        assert adapter.asked[0].messages[0].content == "Half \ufffd of it"

    run_virtually(run())


@pytest.mark.parametrize(
    "items",
    [
        (),
        (b"",),
        ("text",),
        ({"error": "x"},),
        (b'{"error": {"message": "quota"}}',),
        (b"<ht", b"ml><body>Maintenance</body></html>"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ",),
        (b"ID3\x04\x00\x00\x00\x00\x00\x00\x00",),
        (KeyError("x"),),
    ],
)
def test_synthesiser_that_sends_no_sound_is_one_provider_error(items: tuple[Any, ...]) -> None:
    async def run() -> None:
        synthesiser = GuardedTextToSpeech(Adapter(*items), a_world())  # type: ignore[arg-type]
        with pytest.raises(ProviderError):
            _ = [piece async for piece in speech_of(synthesiser, "Hello.")]

    run_virtually(run())


def test_sound_without_an_end_and_a_reply_without_an_end_are_provider_errors() -> None:
    async def run() -> None:
        synthesiser = GuardedTextToSpeech(Adapter(*[bytes(1_000_000)] * 30), a_world())  # type: ignore[arg-type]
        with pytest.raises(ProviderError, match="too long"):
            _ = [piece async for piece in speech_of(synthesiser, "Hello.")]
        responder = GuardedChatModel(Adapter(*["word " * 10_000] * 10), a_world())  # type: ignore[arg-type]
        with pytest.raises(ProviderError, match="too long"):
            _ = [piece async for piece in text_of_reply(responder, REQUEST)]

    run_virtually(run())


@pytest.mark.parametrize(
    ("result", "checked"),
    [
        (Final(None, 1, 0, 9, "high"), Final("", 1, 0, 9)),  # type: ignore[arg-type]
        (Final(["yes", 2], 1, 3.0, -4, 7.5), Final("yes2", 1, 3, 0, 1.0)),  # type: ignore[arg-type]
        (Partial("a\ud83d", 2, float("nan"), 1, float("nan")), Partial("a\ufffd", 2, 0, 1)),  # type: ignore[arg-type]
        (
            Final("x", 1, 0, 9, 1, ["no word", Word(None, -1, 5, 2)]),  # type: ignore[arg-type]
            Final("x", 1, 0, 9, 1.0, (Word("", 0, 5, 1.0),)),
        ),
        (Final("x", 2, 0, 9, whole=Whole(1, "a\ud83d x")), Final("x", 2, 0, 9, whole=Whole(1, "a\ufffd x"))),
        (Final("x", 2, 0, 9, whole="a x"), Final("x", 2, 0, 9)),  # type: ignore[arg-type]
        (
            Final("x", 2, 0, 9, alternatives=(Alternative("a\ud83d", 0.5), Alternative("b", float("nan")), "c")),  # type: ignore[arg-type]
            Final("x", 2, 0, 9, alternatives=(Alternative("a\ufffd", 0.5),)),
        ),
        (Final("x", 2, 0, 9, alternatives="abc"), Final("x", 2, 0, 9)),  # type: ignore[arg-type]
    ],
)
def test_result_of_a_recogniser_is_made_usable(result: Recognised, checked: Recognised) -> None:
    assert checked_event("vendor", result) == checked


def test_recogniser_that_raises_is_told_once_and_for_each_utterance_that_waits() -> None:
    class Broken:
        name = "broken"
        limits = None
        capabilities = SpeechToTextCapabilities()

        def open(self, on_event: Any, *, language: str | None = None) -> Any:
            on_event({"text": "no result"})
            return self

        def __getattr__(self, name: str) -> Any:
            raise_it: Any = lambda *_: 1 / 0  # noqa: E731
            if name in ("push_audio", "start_utterance", "end_utterance", "cancel_utterance", "expect_phrases"):
                return raise_it
            raise AttributeError(name)

        async def close(self) -> None:
            raise OSError("gone")

    async def run() -> None:
        failures: list[Any] = []
        recognition = GuardedSpeechToText(Broken(), a_world()).open(failures.append)
        for sample in range(100):
            recognition.push_audio(b"\0\0", sample)
        recognition.start_utterance(1, 0)
        recognition.end_utterance(1, 9)
        recognition.end_utterance(2, 9)
        recognition.expect_phrases(["x\ud83d"])
        await recognition.close()
        # of the result, the sound, and two ends
        assert [(type(failed), type(failed.error)) for failed in failures] == [
            (Failed, ProviderError)
        ] * 4  # the result, the sound, two ends

    run_virtually(run())


# -- servers ------------------------------------------------------------------------------------------------------------------------------


def answering(fake: Any, method: str, body: bytes, kind: str) -> None:
    async def answer(_: Any) -> Response:
        return Response(body, media_type=kind)

    setattr(fake, method, answer)


@pytest.mark.parametrize(
    ("kind", "body", "reply"),
    [
        ("text/event-stream", CASE.read_bytes(), "We open at nine."),
        ("application/json", json.dumps({"choices": [{"message": {"content": "Not streamed."}}]}).encode(), "Not streamed."),
        ("text/event-stream", b'data: {"choices": [{"delta": {"content": 9}}]}\n\ndata: [DONE]\n\n', "9"),
        ("text/event-stream", b'data: {"choices": [{"delta": {"content": "a\\ud83d"}}]}\n\ndata: [DONE]\n\n', "a\ufffd"),
        ("text/event-stream", b'data: {"choices": [{"delta": {"content": {"text": "x"}}}]}\n\ndata: [DONE]\n\n', "x"),
        ("text/event-stream", b'data: {"choices": {"0": 1}}\n\ndata: {"choices": [7]}\n\ndata: [DONE]\n\n', ""),
        ("text/event-stream", b"data: [DONE]\n\n", ""),
        ("text/event-stream", b"data: {broken\n\n", None),
        ("text/event-stream", b"data: " + b"[" * 100_000 + b"\n\n", None),
        ("text/event-stream", b'data: {"error": "quota"}\n\n', None),
        ("text/html", b"<html>Maintenance</html>", None),
        ("application/json", b'{"error": {"message": "quota"}}', None),
        ("application/json", b"\xff\xfe", None),
        ("application/json", b"", None),
    ],
)
def test_chat_server_that_sends_anything_ends_in_text_or_a_provider_error(
    kind: str, body: bytes, reply: str | None, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            answering(fake, "refusal", b"", "text/plain")
            fake.refusal = lambda: Response(body, media_type=kind)
            engines = Engines(services)
            responder = engines.get_responder(LlmSettings("openai", model="m", base_url=fake.base_url))
            pieces = text_of_reply(responder, REQUEST)
            if reply is None:
                with pytest.raises(ProviderError):
                    _ = [piece async for piece in pieces]
            else:
                assert "".join([piece async for piece in pieces]) == reply
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("audio/pcm", b""),
        ("audio/pcm", b'{"error": {"message": "quota"}}'),
        ("application/octet-stream", b"<!DOCTYPE html><html></html>"),
        ("application/octet-stream", b"RIFF\x24\x00\x00\x00WAVEfmt "),
        ("text/html", b"<html></html>"),
        ("application/json", b"{}"),
    ],
)
def test_speech_server_that_sends_no_sound_is_a_provider_error(
    kind: str, body: bytes, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.refusal = lambda: Response(body, media_type=kind)
            engines = Engines(services)
            with pytest.raises(ProviderError):
                _ = [
                    piece async for piece in speech_of(engines.get_synthesiser(TtsOption(provider="openai", endpoint=fake.base_url)), "Hi.")
                ]
            await engines.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"text": "yes"}', "yes"),
        (b'{"text": null}', ""),
        (b'{"text": "a\\ud83d"}', "a\ufffd"),
        (b'{"text": ["yes"]}', None),
        (b'{"text": 5}', None),
        (b'["text"]', None),
        (b'{"error": "quota"}', None),
        (b"<html></html>", None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_transcription_of_any_shape_is_a_text_or_a_provider_error(
    body: bytes, text: str | None, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.refusal = lambda: Response(body, media_type="application/json")
            engines = Engines(services)
            results: asyncio.Queue[Any] = asyncio.Queue()
            recogniser = engines.get_recogniser(AsrOption(provider="openai", endpoint=fake.base_url))
            recognition = recogniser.open(results.put_nowait)
            recognition.push_audio(b"\1\0" * 16_000, 0)
            recognition.start_utterance(1, 0)
            recognition.end_utterance(1, 16_000)
            result = await results.get()
            assert isinstance(result.error, ProviderError) if text is None else result.text == text
            assert results.empty()
            await recognition.close()
            await engines.close()

    asyncio.run(run())


# -- instances ----------------------------------------------------------------------------------------------------------------------------


class Outer:
    def __init__(self, inner: Adapter) -> None:
        self.inner = inner

    async def close(self) -> None:
        await self.inner.close()


def test_thousand_options_keep_few_instances_and_none_in_use_is_closed() -> None:
    async def run() -> None:
        kept: EngineCache[Outer] = EngineCache(lambda engine: engine.inner.close, max_idle=10)
        adapters = [Adapter() for _ in range(1000)]
        in_use = kept.get(b"0", lambda: Outer(adapters[0]))
        for i in range(1, 1000):
            kept.get(str(i).encode(), lambda i=i: Outer(adapters[i]))
        gc.collect()
        await asyncio.sleep(1)
        assert len(kept) == 11
        assert sum(adapter.closed for adapter in adapters) == 989
        assert adapters[0].closed == 0
        assert kept.get(b"0", lambda: Outer(adapters[0])) is in_use
        assert kept.get(b"999", lambda: Outer(Adapter())).inner is adapters[999]
        await kept.close()
        del in_use
        gc.collect()
        await asyncio.sleep(1)
        assert [adapter.closed for adapter in adapters] == [1] * 1000

    run_virtually(run())


def test_engines_of_a_thousand_options_are_bounded(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with({"OPENAI_API_KEY": "k"}) as services:
            engines = Engines(services)
            used = engines.get_recogniser(AsrOption(provider="openai", model_type="first")).open(lambda _: None)
            for i in range(200):
                engines.get_recogniser(AsrOption(provider="openai", model_type=str(i)))
                engines.get_synthesiser(TtsOption(provider="openai", speaker=str(i)))
            gc.collect()
            assert len(engines._recognisers) == 33 and len(engines._synthesisers) == 32
            await used.close()
            await engines.close()

    asyncio.run(run())
