"""Connections made ahead, hedged starts and usage, against the strict simulators over real sockets."""

from __future__ import annotations

import asyncio

import pytest
from conformance.callers import Caller, plain, services, speech
from conformance.stt_cases import CASES as STT_CASES
from conformance.tts_cases import CASES, TtsCase

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.providers.base import Failed, speech_of
from active_call.providers.guarding.failover import FailoverTextToSpeech
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.guarding.supervisor import SupervisedSpeechToText
from active_call.providers.llm.openai import OpenAiChatModel
from active_call.providers.openai_settings import Server
from active_call.providers.registry import create_recogniser, create_synthesiser
from active_call.providers.settings import LlmSettings
from active_call.providers.speech.speech_cache import CachedTextToSpeech
from active_call.providers.usage.metering import metered_by
from active_call.providers.usage.units import Unit, Used

BY_NAME = {case.provider: case for case in CASES}
TEXT = "We open at eight."


@pytest.mark.parametrize("case", [BY_NAME["elevenlabs"], BY_NAME["cartesia"]], ids=lambda case: case.provider)
def test_text_goes_over_the_connection_that_was_made_while_it_rang(case: TtsCase) -> None:
    async def run() -> None:
        async with case.server() as server, services() as shared:
            engine = CachedTextToSpeech(create_synthesiser(case.option_for(server), shared))
            for _ in range(3):
                await engine.connect_ahead()
            assert server.n_sockets == 1  # one that waits is enough
            assert [chunk async for chunk in speech_of(engine, TEXT)]
            assert server.n_sockets == 1 and server.complaints == []
            await engine.close()

    asyncio.run(run())


def test_vendor_that_cannot_be_reached_ahead_is_no_error() -> None:
    async def run() -> None:
        case = BY_NAME["elevenlabs"]
        async with case.server() as server, services() as shared:
            server.faults.status = 503
            engine = create_synthesiser(case.option_for(server), shared)
            await engine.connect_ahead()
            await engine.close()
        async with services() as shared:
            model = OpenAiChatModel(LlmSettings(model="m"), Server("http://127.0.0.1:1/v1", None), shared.http)
            await model.connect_ahead()
            await model.close()

    asyncio.run(run())


def test_second_vendor_speaks_while_the_first_is_slow_and_both_bills_are_known() -> None:
    used: list[Used] = []

    async def run() -> None:
        slow, quick = BY_NAME["elevenlabs"], BY_NAME["cartesia"]
        async with slow.server() as first, quick.server() as second, services() as shared:
            first.faults.is_silent = True
            engines = [create_synthesiser(slow.option_for(first), shared), create_synthesiser(quick.option_for(second), shared)]
            chain = FailoverTextToSpeech([CachedTextToSpeech(engine) for engine in engines], 0.2)
            with metered_by(used.append):
                chunks = [chunk async for chunk in speech_of(chain, TEXT)]
            assert chunks and all(chunk.is_substitute for chunk in chunks)
            assert second.complaints == []
            await chain.close()

    asyncio.run(run())
    bills = {each.billed.provider: each for each in used if Unit.CHARACTERS in each.amounts}
    assert set(bills) == {"elevenlabs", "cartesia"} and bills["elevenlabs"].billed.model == "eleven_flash_v2_5"
    assert {each.amounts[Unit.CHARACTERS] for each in bills.values()} == {len(TEXT)}


def seconds_of(used: list[Used]) -> dict[str, float]:
    """The seconds of recognition, by vendor."""
    found: dict[str, float] = {}
    for each in used:
        found[each.billed.provider] = found.get(each.billed.provider, 0.0) + each.amounts.get(Unit.SECONDS, 0.0)
    return found


def test_second_recogniser_answers_while_the_first_is_slow_and_the_sound_of_both_is_counted() -> None:
    used: list[Used] = []

    async def run() -> None:
        cases = {case.name: case for case in STT_CASES}
        async with cases["deepgram"].vendor() as slow, cases["soniox"].vendor() as quick, services() as shared:
            slow.faults.is_silent = True
            options = (cases["deepgram"].option(slow), cases["soniox"].option(quick))
            engines = [GuardedSpeechToText(create_recogniser(option, shared), shared.world) for option in options]
            chain = SupervisedSpeechToText(engines[0], [SupervisedSpeechToText(engines[1])], 0.3)
            with metered_by(used.append):
                caller = Caller(chain)
                await caller.say(1, 3)
                assert plain((await caller.final(1)).text) == "one two three"
            await caller.stream.close()
            assert quick.complaints == []
            seconds = seconds_of(used)
            pushed_s = caller.sample / LISTEN_RATE_HZ
            assert seconds["deepgram"] == pytest.approx(pushed_s, abs=0.2) and 1.0 < seconds["soniox"] <= pushed_s + 0.2

    asyncio.run(run())


def test_recogniser_that_never_listened_costs_nothing() -> None:
    used: list[Used] = []

    async def run() -> None:
        case = next(case for case in STT_CASES if case.name == "deepgram")
        async with case.vendor() as server, services() as shared:
            server.faults.wrong_key = True
            with metered_by(used.append):
                caller = Caller(GuardedSpeechToText(create_recogniser(case.option(server), shared), shared.world))
                await caller.push(speech(3))
                assert isinstance(await caller.answer(None), Failed)
            await caller.stream.close()

    asyncio.run(run())
    assert used == []
