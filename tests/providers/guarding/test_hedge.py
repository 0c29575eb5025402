"""A hedged start: the next provider is asked beside a slow one, the first usable answer wins, both are counted. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from scripted_engines import Caller, ScriptedEngine, lost

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.contract.options import AsrOption, HedgeOption, TtsOption
from active_call.providers.base import ChatEvent, ReplyRequest, TextDelta, ToolCallDelta, Usage, speech_of
from active_call.providers.guarding.failover import FailoverChatModel, FailoverTextToSpeech
from active_call.providers.guarding.fallbacks import asr_chain, tts_chain
from active_call.providers.guarding.guarded_chat import GuardedChatModel
from active_call.providers.guarding.guarded_text_to_speech import GuardedTextToSpeech
from active_call.providers.guarding.hedge import Hedge
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.usage.metering import metered_by
from active_call.providers.usage.units import Unit, Used
from active_call.testing.fakes.providers import FakeSynthesiser
from active_call.testing.virtual_time import VirtualClock, run_virtually

DOWN = ProviderError("vendor", "down", retryable=True)
REQUEST = ReplyRequest(())
AFTER_S = 0.4


def a_world() -> World:
    return World(clock=VirtualClock(asyncio.get_running_loop()))


def now() -> float:
    return asyncio.get_running_loop().time()


class Model:
    """Begins after `first_s`; writes its name, then one more word after a second."""

    capabilities: Any = None

    def __init__(self, name: str, first_s: float, *, fails: bool = False, first: ChatEvent | None = None) -> None:
        self.name, self.model, self._first_s, self._fails, self._first = name, "m", first_s, fails, first
        self.asked_at: list[float] = []
        self.n_whole = self.n_cancelled = 0

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        self.asked_at.append(now())
        try:
            if self._first is not None:
                yield self._first
            await asyncio.sleep(self._first_s)
            if self._fails:
                raise DOWN
            yield TextDelta(self.name)
            await asyncio.sleep(1.0)
            yield TextDelta(" done")
            yield Usage(10, 2)
            self.n_whole += 1
        except (asyncio.CancelledError, GeneratorExit):
            self.n_cancelled += 1
            raise

    async def close(self) -> None: ...


def told_by(*models: Model, after_s: float = AFTER_S, leaves_after: int | None = None) -> tuple[str, float, list[Used]]:
    """The text of the reply, when its first word came, and what was used."""
    used: list[Used] = []
    texts: list[str] = []
    at: list[float] = []

    async def run() -> None:
        world = a_world()
        chain = FailoverChatModel([GuardedChatModel(model, world, attempts=1) for model in models], after_s)  # type: ignore[arg-type]
        began = now()
        with metered_by(used.append):
            stream = chain.reply(REQUEST)
            async for event in stream:
                if isinstance(event, TextDelta):
                    texts.append(event.text)
                    at.append(now() - began)
                    if leaves_after is not None and len(texts) > leaves_after:
                        break
            await stream.aclose()

    run_virtually(run())
    return "".join(texts), at[0], used


def test_model_that_is_soon_enough_is_asked_alone() -> None:
    first, second = Model("first", 0.3), Model("second", 0.0)
    text, at, used = told_by(first, second)
    assert (text, at) == ("first done", pytest.approx(0.3)) and second.asked_at == []
    assert [(each.billed.provider, each.is_estimated) for each in used] == [("first", False)]


def test_second_model_begins_after_the_time_and_wins_and_the_first_is_cancelled_and_counted() -> None:
    first, second = Model("first", 5.0), Model("second", 0.2)
    text, at, used = told_by(first, second)
    assert (text, at) == ("second done", pytest.approx(0.6)) and (first.n_cancelled, first.n_whole) == (1, 0)
    assert {each.billed.provider: each.is_estimated for each in used} == {"first": True, "second": False}


def test_first_model_that_comes_soon_after_still_wins() -> None:
    first, second = Model("first", 0.5), Model("second", 0.2)
    text, at, _ = told_by(first, second)
    assert (text, at) == ("first done", pytest.approx(0.5)) and second.n_cancelled == 1


@pytest.mark.parametrize("event", [TextDelta(" "), Usage(5, 0)])
def test_event_of_which_nothing_can_be_made_is_no_answer(event: ChatEvent) -> None:
    assert told_by(Model("first", 5.0, first=event), Model("second", 0.2))[0].strip() == "second done"


def test_tool_call_is_an_answer() -> None:
    first, second = Model("first", 5.0, first=ToolCallDelta(0, "{}", "1", "tool")), Model("second", 0.0)
    assert told_by(first, second)[0] == "first done" and second.asked_at == []


def test_failure_asks_the_next_at_once_and_all_failures_raise_the_last() -> None:
    text, at, _ = told_by(Model("first", 0.1, fails=True), Model("second", 0.1))
    assert (text, at) == ("second done", pytest.approx(0.2))

    async def run() -> None:
        world = a_world()
        models = [GuardedChatModel(Model(name, 0.6, fails=True), world, attempts=1) for name in ("a", "b")]  # type: ignore[arg-type]
        async for _ in FailoverChatModel(models, AFTER_S).reply(REQUEST):
            raise AssertionError("no answer")

    with pytest.raises(ProviderError, match="down"):
        run_virtually(run())


def test_third_model_is_asked_when_two_are_slow() -> None:
    models = Model("a", 9.0), Model("b", 9.0), Model("c", 0.1)
    text, at, _ = told_by(*models)
    assert (text, at) == ("c done", pytest.approx(0.9)) and [model.n_cancelled for model in models] == [1, 1, 0]


def test_reader_who_leaves_ends_all_of_them() -> None:
    first, second = Model("first", 5.0), Model("second", 0.2)
    told_by(first, second, leaves_after=0)
    assert first.n_cancelled == second.n_cancelled == 1


def test_reader_who_leaves_before_the_first_word_ends_all_of_them() -> None:
    models = Model("first", 5.0), Model("second", 5.0)

    async def run() -> None:
        world = a_world()
        stream = FailoverChatModel([GuardedChatModel(model, world, attempts=1) for model in models], AFTER_S).reply(REQUEST)  # type: ignore[arg-type]
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1.0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()
        assert [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("source")] == []

    run_virtually(run())
    assert [model.n_cancelled for model in models] == [1, 1]


def test_slow_reader_loses_nothing_and_a_source_waits_for_it() -> None:
    made: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(500):
            made.append(number)
            yield number

    async def run() -> list[int]:
        seen = []
        async for _, number in Hedge([numbers], 1.0, lambda _: True).run():
            assert len(made) <= number + 80
            await asyncio.sleep(0.01)
            seen.append(number)
        return seen

    seen: list[int] = []

    async def keep() -> None:
        seen.extend(await run())

    run_virtually(keep())
    assert seen == list(range(500))


class Voice(FakeSynthesiser):
    def __init__(self, name: str, first_s: float, rate_hz: int = 16_000) -> None:
        super().__init__(rate_hz=rate_hz)
        self.name, self._first_s = name, first_s

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        await asyncio.sleep(self._first_s)
        async for piece in super().synthesise(text, speaker=speaker, speed=speed):
            yield piece


def test_second_voice_speaks_when_the_first_is_slow_from_the_flush_on_and_both_are_counted() -> None:
    used: list[Used] = []

    async def run() -> None:
        world, voices = a_world(), (Voice("first", 3.0), Voice("second", 0.1, 8_000))
        engines = [CachedTextToSpeech(GuardedTextToSpeech(voice, world, attempts=1)) for voice in voices]
        stream = FailoverTextToSpeech(engines, AFTER_S).open()
        with metered_by(used.append):
            reading = asyncio.ensure_future(anext(stream))
            stream.push_text("Good morning.")
            await asyncio.sleep(2.0)  # nothing is due before the text has ended
            assert not voices[1].spoken
            began = now()
            stream.end_text()
            chunk = await reading
            assert now() - began == pytest.approx(0.5) and chunk.is_substitute
            assert all([each.is_substitute async for each in stream])
            await stream.cancel()

    run_virtually(run())
    assert {each.billed.provider for each in used if Unit.CHARACTERS in each.amounts} == {"first", "second"}


def test_voice_that_is_soon_enough_speaks_alone() -> None:
    async def run() -> None:
        world, voices = a_world(), (Voice("first", 0.3), Voice("second", 0.0))
        chain = FailoverTextToSpeech([GuardedTextToSpeech(voice, world, attempts=1) for voice in voices], AFTER_S)
        assert not any([chunk.is_substitute async for chunk in speech_of(chain, "Good morning.")]) and not voices[1].spoken

    run_virtually(run())


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def test() -> None:
        run_virtually(story())

    test.__name__ = story.__name__
    return test


def a_caller(*engines: ScriptedEngine) -> Caller:
    caller = Caller(*engines)
    caller.owner.hedge_after_s = AFTER_S
    return caller


@in_virtual_time
async def test_recogniser_that_is_soon_enough_hears_alone() -> None:
    first, second = ScriptedEngine("first", answer_s=0.3), ScriptedEngine("second")
    caller = a_caller(first, second)
    await caller.says(1)
    await caller.sound(1.0)
    assert caller.finals == [("first 1", 1)] and second.streams == []
    await caller.stream.close()


@in_virtual_time
async def test_second_recogniser_hears_the_same_utterance_and_goes_on_when_it_is_sooner() -> None:
    first, second = ScriptedEngine("first", answer_s=2.0), ScriptedEngine("second", answer_s=0.1)
    caller = a_caller(first, second)
    await caller.sound(1.0)
    await caller.says(1)
    began = now()
    await caller.sound(1.0)
    assert caller.finals == [("second 1", 1)] and caller.times[-1] - began == pytest.approx(0.5, abs=0.03)
    assert first.streams[0].heard[1] == second.streams[0].heard[1] and first.streams[0].is_closed
    await caller.says(2)
    await caller.sound(3.0)
    assert caller.finals == [("second 1", 1), ("second 2", 2)] and not caller.failures
    await caller.stream.close()
    assert second.streams[0].is_closed


@in_virtual_time
async def test_first_recogniser_that_answers_first_after_all_ends_the_second() -> None:
    first, second = ScriptedEngine("first", answer_s=0.5), ScriptedEngine("second", answer_s=0.3)
    caller = a_caller(first, second)
    await caller.says(1)
    await caller.sound(0.45)
    await caller.says(2, 0.5)
    await caller.sound(1.0)
    assert caller.finals == [("first 1", 1), ("first 2", 2)]
    assert len(second.streams) == 2 and all(stream.is_closed for stream in second.streams) and not first.streams[0].is_closed
    await caller.stream.close()


@in_virtual_time
async def test_second_recogniser_that_fails_changes_nothing() -> None:
    first, second = ScriptedEngine("first", answer_s=1.0), ScriptedEngine("second", fails_utterances=True)
    caller = a_caller(first, second)
    await caller.says(1)
    await caller.sound(2.0)
    assert caller.finals == [("first 1", 1)] and not caller.failures
    await caller.stream.close()


@in_virtual_time
async def test_first_recogniser_that_is_lost_while_the_second_works_is_replaced_by_it() -> None:
    first, second = ScriptedEngine("first", is_deaf=True), ScriptedEngine("second", answer_s=1.0)
    caller = a_caller(first, second)
    await caller.says(1)
    await caller.sound(0.6)
    first.streams[0].die(lost("first"))
    await caller.sound(2.0)
    assert caller.finals == [("second 1", 1)] and len(second.streams) == 1 and not caller.failures
    await caller.stream.close()


@in_virtual_time
async def test_utterance_that_is_cancelled_is_cancelled_in_both() -> None:
    first, second = ScriptedEngine("first", is_deaf=True), ScriptedEngine("second", is_deaf=True)
    caller = a_caller(first, second)
    await caller.says(1)
    await caller.sound(0.6)
    caller.stream.cancel_utterance(1)
    assert all(("cancel", 1) in engine.streams[0].asked for engine in (first, second))
    await caller.stream.close()
    assert all(engine.streams[0].is_closed for engine in (first, second))


def test_hedge_belongs_to_the_chain_and_to_no_single_engine() -> None:
    hedge = HedgeOption(after=400)
    asr = asr_chain(AsrOption(provider="a", fallback=["b"], hedge=hedge))
    tts = tts_chain(TtsOption(provider="a", fallback=["b"], hedge=hedge))
    assert [option.hedge for option in (*asr, *tts)] == [None] * 4
