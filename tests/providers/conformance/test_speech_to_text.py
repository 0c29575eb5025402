"""What every recognition adapter owes the call, judged against its vendor's protocol on loopback."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from callers import Caller, plain, services, silence, speech
from stt_cases import CASES, STREAMING, VARIANTS, SttCase

from active_call.base.errors import ProviderError
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.providers.base import Failed, Final
from active_call.providers.registry import Engines, create_recogniser
from active_call.testing.vendors.wire.server import VendorServer

SLACK_SAMPLES = round(0.25 * LISTEN_RATE_HZ)
HOUR_S = 3_600
USUAL_S = 240
"""More than any adapter keeps of the sound: its longest utterance is 30 s. The slow tests have the hour."""

every = pytest.mark.parametrize("case", CASES, ids=str)
streaming = pytest.mark.parametrize("case", STREAMING, ids=str)


@asynccontextmanager
async def adapter_of(case: SttCase, **more: Any) -> AsyncIterator[tuple[VendorServer, Any]]:
    """The vendor, and the bare adapter before it."""
    async with case.vendor() as server, services() as given:
        engine = create_recogniser(case.option(server, **more), given)
        yield server, engine
        await engine.close()


@asynccontextmanager
async def engine_of(case: SttCase, **more: Any) -> AsyncIterator[tuple[VendorServer, Any]]:
    """The vendor, and the adapter as a call gets it: behind the wall, supervised."""
    async with case.vendor() as server, services() as given:
        engines = Engines(given)
        yield server, engines.get_recogniser(case.option(server, **more))
        await engines.close()


@pytest.mark.parametrize("case", [*CASES, *VARIANTS], ids=str)
def test_words_come_while_they_are_spoken_and_one_final_ends_each_utterance(case: SttCase) -> None:
    async def run() -> None:
        async with adapter_of(case) as (server, engine):
            caller = Caller(engine)
            await asyncio.sleep(0)
            start, stop = await caller.say(1, 3, end=False)
            if engine.capabilities.partials:
                await caller.until(lambda: caller.partials(1), "a text so far")
            caller.stream.end_utterance(1, stop)
            first = await caller.final(1)
            assert plain(first.text) == "one two three"
            assert (first.start_sample, first.end_sample) == (start, stop)
            assert all("one two three".startswith(plain(partial)) for partial in caller.partials(1))
            await caller.rest()
            await caller.say(2, 2)
            second = await caller.final(2)
            assert plain(second.text).split() == ["four", "five"] if case.is_streaming else second.text
            if engine.capabilities.words:
                assert [plain(word.text) for word in first.words] == ["one", "two", "three"]
                assert abs(first.words[0].start_sample - start) < SLACK_SAMPLES
                assert abs(first.words[-1].end_sample - stop) < SLACK_SAMPLES
                assert abs(second.words[0].start_sample - second.start_sample) < SLACK_SAMPLES
            await caller.stream.close()
            assert server.complaints == []

    asyncio.run(run())


@every
def test_a_cancelled_utterance_gets_no_answer_and_leaves_no_words_behind(case: SttCase) -> None:
    async def run() -> None:
        async with adapter_of(case) as (server, engine):
            caller = Caller(engine)
            await caller.say(1, 2, end=False)
            caller.stream.cancel_utterance(1)
            await caller.rest()
            await caller.say(2, 2, pause_s=1.0)
            final = await caller.final(2)
            assert "one" not in plain(final.text).split() or not case.is_streaming
            assert not [event for event in caller.events if isinstance(event, Final) and event.index == 1]
            await caller.stream.close()
            await caller.stream.close()
            assert server.complaints == []

    asyncio.run(run())


@every
def test_a_connection_that_breaks_in_mid_word_costs_no_word(case: SttCase) -> None:
    async def run() -> None:
        async with engine_of(case) as (server, engine):
            caller = Caller(engine)
            start, stop = await caller.say(1, 3, end=False)
            if case.is_streaming:
                await caller.until(lambda: caller.partials(1), "a text so far")
            await server.drop_all()
            caller.stream.end_utterance(1, stop)
            final = await caller.final(1)
            assert plain(final.text) == "one two three"
            assert (final.start_sample, final.end_sample) == (start, stop)
            await caller.stream.close()

    asyncio.run(run())


@every
def test_silence_and_no_sound_at_all_are_answered_with_no_words(case: SttCase) -> None:
    async def run() -> None:
        async with adapter_of(case) as (server, engine):
            caller = Caller(engine)
            caller.stream.start_utterance(1, 0)
            caller.stream.end_utterance(1, 0)
            assert (await caller.final(1)).text == ""
            await caller.push(silence(0.5))
            caller.stream.start_utterance(2, caller.sample)
            await caller.push(silence(1.0))
            caller.stream.end_utterance(2, caller.sample)
            assert (await caller.final(2)).text == ""
            await caller.stream.close()
            assert server.complaints == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("case", "duration_s"),
    [
        pytest.param(case, duration_s, marks=[pytest.mark.slow] if duration_s == HOUR_S else [])
        for case in STREAMING
        for duration_s in (USUAL_S, HOUR_S)
    ],
    ids=str,
)
def test_hours_of_sound_leave_nothing_behind(case: SttCase, duration_s: int) -> None:
    async def run() -> None:
        async with adapter_of(case) as (server, engine):
            caller = Caller(engine)
            quiet, loud = silence(5.0), speech(3)
            for index in range(1, 13):
                for _ in range(duration_s // 12 // 5):
                    caller.stream.push_audio(quiet, caller.sample)
                    caller.sample += len(quiet) // 2
                    async with asyncio.timeout(20):
                        while caller.stream._backlog_bytes > 200_000:
                            await asyncio.sleep(0.001)
                await caller.rest()
                start = caller.sample
                caller.stream.start_utterance(index, start)
                await caller.push(loud + quiet[:16_000])
                caller.stream.end_utterance(index, start + len(loud) // 2)
                final = await caller.final(index)
                assert len(final.text.split()) == 3
                if engine.capabilities.words:
                    assert abs(final.words[0].start_sample - start) < SLACK_SAMPLES
            held = [
                value for value in vars(caller.stream).values() if isinstance(value, list | tuple | bytearray) or hasattr(value, "popleft")
            ]
            assert all(len(value) < 64 or (isinstance(value, bytearray) and len(value) < 640_000) for value in held)
            assert caller.sample / LISTEN_RATE_HZ >= duration_s * 0.9
            await caller.stream.close()
            assert server.complaints == []

    asyncio.run(run())


@every
@pytest.mark.parametrize("n_callers", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_many_callers_at_once_are_all_heard(case: SttCase, n_callers: int) -> None:
    async def run() -> None:
        async with adapter_of(case) as (server, engine):
            callers = [Caller(engine) for _ in range(n_callers)]

            async def talk(caller: Caller) -> str:
                caller.stream.push_audio(silence(0.5), 0)
                caller.stream.start_utterance(1, 8_000)
                caller.stream.push_audio(speech(2), 8_000)
                caller.stream.push_audio(silence(0.3), 17_600)
                if engine.capabilities.partials:  # not all are heard at once on a busy machine
                    await caller.until(lambda: "one two" in map(plain, caller.partials(1)), "a text so far")
                caller.stream.end_utterance(1, 17_600)
                final = await caller.final(1)
                await caller.stream.close()
                return plain(final.text)

            assert set(await asyncio.gather(*map(talk, callers))) == {"one two"}
            assert server.complaints == []
            async with asyncio.timeout(10):
                while server.n_open:
                    await asyncio.sleep(0.01)

    asyncio.run(run())


async def failure_of(case: SttCase, **faults: Any) -> tuple[ProviderError | None, Caller]:
    """What a caller is told of a vendor with these faults; None where it answers all the same."""
    async with adapter_of(case) as (server, engine):
        for name, value in faults.items():
            setattr(server.faults, name, value)
        caller = Caller(engine)
        await caller.say(1, 3)
        answer = await caller.answer(1)
        await caller.stream.close()
        if isinstance(answer, Final):
            assert isinstance(answer.text, str)
            return None, caller
        assert isinstance(answer, Failed) and isinstance(answer.error, ProviderError)
        assert answer.error.code == "provider_error" and server.key not in str(answer.error)
        return answer.error, caller


@every
@pytest.mark.parametrize(
    ("fault", "is_retryable"),
    [
        ({"wrong_key": True}, False),
        ({"quota": True}, None),
        ({"status": 503}, True),
        ({"status": 404}, False),
        ({"is_garbage": True}, True),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_what_a_vendor_refuses_is_one_provider_error_without_the_key(
    case: SttCase, fault: dict[str, Any], is_retryable: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        with caplog.at_level(logging.DEBUG):
            error, caller = await failure_of(case, **fault)
        assert error is not None
        assert is_retryable is None or error.retryable is is_retryable, error
        assert len([event for event in caller.events if isinstance(event, Failed)]) == 1
        shown = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        assert case.vendor.key not in shown

    asyncio.run(run())


@every
def test_values_of_wrong_types_and_a_slow_vendor_do_no_harm(case: SttCase) -> None:
    async def run() -> None:
        await failure_of(case, wrong_types=True)
        error, _ = await failure_of(case, delay_s=0.2)
        assert error is None

    asyncio.run(run())


@streaming
@pytest.mark.parametrize("code", [1011, None, 1008])
def test_a_vendor_that_closes_in_mid_stream_ends_the_stream_with_one_failure(case: SttCase, code: int | None) -> None:
    async def run() -> None:
        error, caller = await failure_of(case, close_after=2, close_code=code)
        assert error is None or error.retryable is (code != 1008)
        assert len([event for event in caller.events if isinstance(event, Failed)]) == (error is not None)

    asyncio.run(run())
