"""A stream that was closed is freed at once, without the garbage collector: it reports to its call, which would wait with it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from callers import Caller, services
from stt_cases import CASES as STT_CASES
from stt_cases import SttCase
from tts_cases import CASES as TTS_CASES
from tts_cases import TtsCase

from active_call.providers.registry import Engines, create_synthesiser
from active_call.providers.usage.metering import metered_by
from active_call.providers.usage.units import Used

pytestmark = pytest.mark.usefixtures("without_collector")


class Owner:
    """Stands for the call."""

    def note(self, used: Used) -> None:
        del used


async def is_left(owner: ref[Any]) -> bool:
    """Whether the owner is still there after the timers of the stream have run."""
    for _ in range(100):
        if owner() is None:
            return False
        await asyncio.sleep(0.1)
    return True


@pytest.mark.parametrize("case", STT_CASES, ids=str)
def test_recognition_that_was_closed_is_freed(case: SttCase) -> None:
    async def talk(engines: Engines, option: Any) -> ref[Any]:
        caller = Caller(engines.get_recogniser(option))
        await caller.say(1, 2)
        await caller.final(1)
        await caller.stream.close()
        del caller.stream
        return ref(caller)  # the stream has its method

    async def run() -> None:
        async with case.vendor() as server, services() as given:
            engines = Engines(given)
            talking = await talk(engines, case.option(server))
            assert not await is_left(talking)
            await engines.close()

    uvloop.run(run())  # as the server; transports of asyncio are reference cycles themselves


@pytest.mark.parametrize("case", TTS_CASES, ids=lambda case: case.provider)
def test_synthesis_that_has_ended_is_freed_with_the_call_that_asked(case: TtsCase) -> None:
    async def speak(engine: Any) -> ref[Any]:
        owner = Owner()
        with metered_by(owner.note):
            stream = engine.open()
        stream.push_text("We open at eight in the morning.")
        stream.end_text()
        assert [chunk async for chunk in stream]
        await stream.cancel()
        return ref(owner)

    async def run() -> None:
        async with case.server() as server, services() as shared:
            engine = create_synthesiser(case.option_for(server), shared, attempts=1)
            assert not await is_left(await speak(engine))
            await engine.close()

    uvloop.run(run())  # as the server; transports of asyncio are reference cycles themselves
