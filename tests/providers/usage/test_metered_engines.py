"""What engines behind their walls tell of their use: told, estimated, failed over, cancelled, kept, sent again. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from scripted_engines import Caller, ScriptedEngine

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.base import ChatEvent, ChatMessage, Finished, ReplyRequest, TextDelta, Usage, speech_of
from active_call.providers.guarding.failover import FailoverChatModel, FailoverTextToSpeech
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_realtime import GuardedRealtimeModel
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.realtime_model import AgentSound, RealtimeSession, ReplyDone
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.usage.account import Account
from active_call.providers.usage.metering import metered_by
from active_call.providers.usage.prices import shipped_prices
from active_call.providers.usage.units import Billed, Unit, Used
from active_call.testing.fakes.providers import FakeSynthesiser
from active_call.testing.fakes.realtime import FakeRealtimeModel
from active_call.testing.virtual_time import VirtualClock, run_virtually

DOWN = ProviderError("vendor", "down", retryable=True)
REQUEST = ReplyRequest((ChatMessage("system", "x" * 400), ChatMessage("user", "y" * 40)))


def a_world() -> World:
    return World(clock=VirtualClock(asyncio.get_running_loop()))


class Model:
    """Gives `events` one after the other; an error among them is raised, None waits for ever."""

    capabilities: Any = None

    def __init__(self, name: str, *events: ChatEvent | Exception | None, model: str = "m") -> None:
        self.name, self.model, self._events = name, model, events

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        for event in self._events:
            if isinstance(event, Exception):
                raise event
            if event is None:
                await asyncio.Event().wait()
            else:
                yield event

    async def close(self) -> None: ...


def metered(story: Any) -> list[Used]:
    """What was used while `story` ran."""
    told: list[Used] = []

    async def run() -> None:
        with metered_by(told.append):
            await story()

    run_virtually(run())
    return told


async def read(model: Any) -> None:
    async for _ in model.reply(REQUEST):
        pass


def test_tokens_that_the_vendor_tells_are_taken_apart() -> None:
    async def story() -> None:
        await read(GuardedChatModel(Model("acme", TextDelta("Hi."), Finished("stop"), Usage(100, 20, 60, 5)), a_world()))

    (used,) = metered(story)
    assert used.billed == Billed("llm", "acme", "m") and not used.is_estimated
    assert used.amounts == {
        Unit.INPUT_TOKENS: 40,
        Unit.CACHED_INPUT_TOKENS: 60,
        Unit.OUTPUT_TOKENS: 20,
        Unit.REASONING_TOKENS: 5,
        Unit.REQUESTS: 1,
    }


def test_tokens_that_nobody_tells_are_estimated_and_say_so() -> None:
    async def story() -> None:
        await read(GuardedChatModel(Model("acme", TextDelta("z" * 80), Finished("stop")), a_world()))

    (used,) = metered(story)
    assert used.is_estimated and used.amounts == {Unit.INPUT_TOKENS: 118, Unit.OUTPUT_TOKENS: 20, Unit.REQUESTS: 1}


def test_reply_that_is_cancelled_counts_what_was_used_until_then() -> None:
    async def story() -> None:
        stream = GuardedChatModel(Model("acme", TextDelta("z" * 40), None), a_world()).reply(REQUEST)
        await anext(stream)
        await stream.aclose()

    (used,) = metered(story)
    assert used.is_estimated and used.amounts[Unit.OUTPUT_TOKENS] == 10 and used.amounts[Unit.INPUT_TOKENS] == 118


def test_model_that_refuses_used_nothing_and_its_fallback_is_counted() -> None:
    async def story() -> None:
        world = a_world()
        first = GuardedChatModel(Model("first", DOWN), world, attempts=1)
        second = GuardedChatModel(Model("second", TextDelta("Yes."), Usage(7, 3)), world)
        await read(FailoverChatModel([first, second]))

    assert [(used.billed.provider, used.amounts[Unit.INPUT_TOKENS]) for used in metered(story)] == [("second", 7)]


def test_model_that_is_too_slow_is_counted_beside_its_fallback() -> None:
    async def story() -> None:
        world = a_world()
        first, second = (GuardedChatModel(model, world, attempts=1) for model in (Model("slow", None), Model("second", Usage(7, 3))))
        await read(FailoverChatModel([first, second]))

    told = metered(story)
    assert [(used.billed.provider, used.is_estimated) for used in told] == [("slow", True), ("second", False)]


class Voice(FakeSynthesiser):
    def __init__(self, name: str, dies_after: int | None = None) -> None:
        super().__init__(rate_hz=16_000)
        self.name, self.dies_after = name, dies_after

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        n = 0
        async for piece in super().synthesise(text, speaker=speaker, speed=speed):
            if n == self.dies_after:
                raise DOWN
            n += 1
            yield piece


def a_voice(name: str, dies_after: int | None = None) -> CachedTextToSpeech:
    return CachedTextToSpeech(GuardedTextToSpeech(Voice(name, dies_after), a_world(), attempts=1))


async def say(engine: Any, text: str) -> int:
    return sum([len(chunk.pcm) async for chunk in speech_of(engine, text)])


def test_characters_are_counted_once_and_a_kept_sentence_costs_nothing() -> None:
    sizes: list[int] = []

    async def story() -> None:
        voice = a_voice("acme")
        sizes.extend([await say(voice, "Good morning."), await say(voice, "Good morning.")])

    account = Account(shipped_prices())
    costs = [account.add(used) for used in metered(story)]
    (row,) = account.rows
    assert row.amounts == {
        Unit.CHARACTERS: 13,
        Unit.REQUESTS: 1,
        Unit.SECONDS: pytest.approx(sizes[0] / 32_000),
        Unit.CACHED_CHARACTERS: 13,
    }
    assert costs[-1] == 0.0 and row.cost is None  # nobody has said what the first time costs


def test_two_who_ask_for_the_same_sentence_pay_it_once() -> None:
    first: list[Used] = []
    second: list[Used] = []

    async def run() -> None:
        voice = a_voice("acme")

        async def call(told: list[Used]) -> None:
            with metered_by(told.append):
                await say(voice, "One moment please.")

        await asyncio.gather(call(first), call(second))

    run_virtually(run())
    assert sum(used.amounts.get(Unit.CHARACTERS, 0) for used in first) == 18
    assert [used.amounts for used in second] == [{Unit.CACHED_CHARACTERS: 18}]


def test_voice_that_refuses_used_nothing_and_one_that_breaks_off_used_its_text() -> None:
    async def refused() -> None:
        await say(FailoverTextToSpeech([a_voice("first", 0), a_voice("second")]), "Good morning.")

    async def broken() -> None:
        with pytest.raises(ProviderError):
            await say(a_voice("first", 1), "Good morning to all of you.")

    assert {used.billed.provider for used in metered(refused)} == {"second"}
    assert sum(used.amounts.get(Unit.CHARACTERS, 0) for used in metered(broken)) == 27


def test_speech_that_is_cancelled_before_its_first_sound_is_estimated() -> None:
    class Deaf(Voice):
        async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

    async def story() -> None:
        voice = GuardedTextToSpeech(Deaf("acme"), a_world(), attempts=1)
        speaking = asyncio.ensure_future(say(voice, "Hello."))
        await asyncio.sleep(1.0)
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)

    (used,) = metered(story)
    assert used.amounts == {Unit.CHARACTERS: 6} and used.is_estimated


def test_recognition_tells_the_seconds_of_each_stream_also_of_one_that_was_given_up() -> None:
    async def story() -> None:
        first, second = ScriptedEngine("first", is_deaf=True), ScriptedEngine("second")
        caller = Caller(first, second)
        await caller.says(1, 6.0)
        await caller.sound(6.0)
        await caller.stream.close()

    seconds: dict[str, float] = {}
    told = metered(story)
    for used in told:
        seconds[used.billed.provider] = seconds.get(used.billed.provider, 0.0) + used.amounts[Unit.SECONDS]
    assert seconds["first"] == pytest.approx(10.0, abs=0.1)  # 6 s of speech, 4 s of patience
    assert seconds["second"] == pytest.approx(12.0, abs=0.1)  # the utterance again, and the rest
    assert len(told) >= 4  # told while the call goes on, not at its end only


def test_recognition_by_utterance_counts_the_utterances_and_the_vendors_minimum() -> None:
    class Vendor(UtteranceRecognition):
        least_s = 10.0

    async def transcribe(utterance: Utterance) -> Transcript:
        return Transcript("yes")

    class Engine(ScriptedEngine):
        def open(self, on_event: Any, *, language: str | None = None) -> Any:
            return Vendor(transcribe, on_event)

    async def story() -> None:
        caller = Caller(Engine("acme"))
        await caller.sound(1.0)
        await caller.says(1, 1.0)
        await caller.sound(30.0)
        await caller.stream.close()

    assert sum(used.amounts[Unit.SECONDS] for used in metered(story)) == pytest.approx(10.0)


def test_realtime_tells_sound_and_text_and_estimates_a_reply_without_a_count() -> None:
    async def story() -> None:
        model = FakeRealtimeModel()
        stream = GuardedRealtimeModel(model, a_world()).open(RealtimeSession(), lambda _: None)
        usage = Usage(120, 40, 64, audio_input_tokens=40, cached_audio_tokens=10, audio_output_tokens=30)
        stream.push_audio(bytes(2 * model.capabilities.input_rate_hz))
        stream.handle(ReplyDone(usage=usage))
        stream.push_audio(bytes(2 * model.capabilities.input_rate_hz))
        stream.handle(AgentSound("item", bytes(4 * model.capabilities.output_rate_hz)))
        stream.handle(ReplyDone(is_cancelled=True))
        await stream.close()

    told, estimated = metered(story)
    assert told.amounts == {
        Unit.INPUT_TOKENS: 26,
        Unit.CACHED_INPUT_TOKENS: 54,
        Unit.OUTPUT_TOKENS: 10,
        Unit.AUDIO_INPUT_TOKENS: 30,
        Unit.CACHED_AUDIO_TOKENS: 10,
        Unit.AUDIO_OUTPUT_TOKENS: 30,
        Unit.REQUESTS: 1,
    }
    assert estimated.is_estimated and estimated.amounts == {Unit.AUDIO_INPUT_TOKENS: 10, Unit.AUDIO_OUTPUT_TOKENS: 40, Unit.REQUESTS: 1}


def test_account_says_what_has_no_price_and_never_counts_it_as_nothing() -> None:
    account = Account(shipped_prices())
    account.add(Used(Billed("llm", "openai", "gpt-4o-mini"), {Unit.INPUT_TOKENS: 1_000_000}))
    assert account.cost_json() == {"currency": "USD", "total": 0.15, "complete": True, "estimated": False}
    account.add(Used(Billed("llm", "my.server.example", "m"), {Unit.INPUT_TOKENS: 5}, is_estimated=True))
    cost = account.cost_json()
    assert cost == {"currency": "USD", "total": 0.15, "complete": False, "estimated": True, "unpriced": ["llm my.server.example m"]}
    assert account.usage_json()[1] == {
        "kind": "llm",
        "provider": "my.server.example",
        "model": "m",
        "units": {"inputTokens": 5},
        "estimated": True,
    }
    only = Account(shipped_prices())
    only.add(Used(Billed("llm", "my.server.example"), {Unit.INPUT_TOKENS: 5}))
    assert "total" not in (only.cost_json() or {})
