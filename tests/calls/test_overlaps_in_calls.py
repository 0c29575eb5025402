"""Stories of callers who speak over the agent, from the caller's sound to the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Always, a_call

from active_call.call.opening.routing import LeftOpen
from active_call.contract import commands, events
from active_call.contract.options import CallOption

PLAYBOOK = """---
llm:
  provider: script
  greeting: Welcome.
interruption: {strategy: STRATEGY, resumeAt: RESUME}
---
# Scene: main

## the news
Here is the news of the week in full length, and it takes a while to read all of it to you. There is bread. There are rolls.

## the hours please
From nine to five.

## *
Sorry, I did not understand.
"""


def playbook(strategy: str = "vad", resume: str = "sample") -> str:
    return PLAYBOOK.replace("STRATEGY", strategy).replace("RESUME", resume)


async def news(call: Any, seconds: float = 2.0) -> None:
    """The agent reads the news, for so long."""
    await call.until(lambda: bool(call.of(events.TrackEnd)))
    await call.says("the news")
    await call.until(lambda: len(call.of(events.TrackStart)) == 2)
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("said", ["uh huh", "okay", ""])
@pytest.mark.parametrize("resume", ["sample", "word"])
def test_reply_pauses_for_a_back_channel_and_is_heard_whole_without_being_made_again(virtually: Any, said: str, resume: str) -> None:
    async def story() -> None:
        async with a_call(playbook(resume=resume)) as call:
            await news(call)
            n_spoken = len(call.spoken)
            speaking = asyncio.create_task(call.says(said, 0.4))
            await call.until(lambda: call.leg.stream.paused, 0.3)
            await speaking
            await call.until(lambda: not call.leg.stream.paused, 0.5)
            await call.quiet()
            assert not call.of(events.Interruption)
            assert len(call.spoken) == n_spoken
            assert call.of(events.TrackEnd)[-1].subtitle is None

    virtually(story())


def test_reply_pauses_for_a_sentence_and_yields_without_a_word_more(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook()) as call:
            await news(call)
            await call.says("the hours please", 1.2)
            await call.until(lambda: bool(call.of(events.Interruption)))
            (cut,) = call.of(events.Interruption)
            assert 2.0 <= cut.current / 1000 <= 2.3
            await call.until(lambda: call.spoken[-1] == "From nine to five.")
            assert not call.leg.stream.paused

    virtually(story())


def test_pause_by_a_client_outlives_the_overlap(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook()) as call:
            await news(call)
            call.session.post(commands.Pause())
            await asyncio.sleep(0.1)
            await call.says("uh huh", 0.4)
            await asyncio.sleep(2)
            assert call.leg.stream.paused

    virtually(story())


def test_words_only_strategy_pauses_nothing(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook("asr")) as call:
            await news(call)
            await call.says("uh huh", 0.4)
            assert not call.leg.stream.paused
            await call.quiet()
            assert not call.of(events.Interruption)

    virtually(story())


def test_media_process_pauses_by_itself_and_goes_on_or_stops_as_the_agent_decides(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook()) as call:
            await news(call)
            stream = call.leg.stream
            assert stream.pauses_on_voice
            await call.says("uh huh", 0.4)
            assert stream.n_pauses_on_voice == 1
            await call.until(lambda: not stream.paused, 0.8)
            assert stream.pauses_on_voice, "it is asked anew for the next voice"
            await call.says("the hours please", 1.2)
            assert stream.n_pauses_on_voice == 2
            await call.until(lambda: bool(call.of(events.Interruption)))
            assert call.of(events.Interruption)[0].current / 1000 < 3.5
            assert not stream.paused

    virtually(story())


def test_media_process_is_not_asked_to_pause_before_anything_sounds_and_on_hold(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(playbook()) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert not call.leg.stream.pauses_on_voice
            await news(call)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            assert not call.leg.stream.pauses_on_voice

    virtually(story())


def test_pause_of_the_media_process_without_an_agent_ends_at_once(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            call.session.post(commands.Accept(option=CallOption()))
            call.session.post(commands.Tts(text="These are words that take some seconds to be said by the voice of the call."))
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.stream.pauses_on_voice = True  # it was asked for by an agent that has left
            await call.says("", 0.4)
            assert call.leg.stream.n_pauses_on_voice == 1
            assert not call.leg.stream.paused

    virtually(story())
