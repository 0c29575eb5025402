"""A recogniser with too much to do leaves utterances out: the agent asks for them again, and the call is none that has failed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Call, a_call

from active_call.agent.wording import CHINESE, ENGLISH
from active_call.base.errors import ProviderBusy
from active_call.contract import events

SCRIPT = """---
llm: {provider: script, language: LANGUAGE}
greeting: Welcome.
---
## hello
Hello again.
## the news
Here is the news of the week in full length, and it takes a while to read. There is bread. There are rolls.
"""
MODEL = """---
llm: {provider: openai, model: test, language: LANGUAGE}
greeting: Welcome.
---
You are a polite test.
"""
BUSY = ProviderBusy("moonshine", "too much to do: a request was dropped after 3.0 s")


async def greeted(call: Call) -> None:
    await call.until(lambda: bool(call.of(events.TrackEnd)))


async def says_what_is_lost(call: Call) -> None:
    call.recogniser.will_hear.append(BUSY)
    await call.leg.speak()


@pytest.mark.parametrize("playbook", [SCRIPT, MODEL])
@pytest.mark.parametrize(("language", "wording"), [("en", ENGLISH), ("zh-CN", CHINESE)])
def test_utterance_that_is_lost_is_asked_for_again_however_often(virtually: Any, playbook: str, language: str, wording: Any) -> None:
    async def story() -> None:
        async with a_call(playbook.replace("LANGUAGE", language)) as call:
            call.engines.model.will_say = ["Hello again."]
            await greeted(call)
            for number in range(1, 6):
                await says_what_is_lost(call)
                await call.until(lambda number=number: "".join(call.spoken).count(wording.not_heard) == number, 5)
                await call.quiet()
            await call.says("hello")
            await call.until(lambda: "Hello again." in call.spoken[-1])
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            assert (record.status, record.error, record.media["utterances_lost"]) == ("answered", None, 5)
            lost = [event for event in record.events if event["event"] == "asrFinal" and event.get("is_lost", event.get("isLost"))]
            assert len(lost) == 5
            assert [turn.text for turn in record.turns if turn.speaker == "caller"] == ["hello"]

    virtually(story())


def test_reply_that_the_lost_words_have_interrupted_is_not_resumed_as_after_a_noise(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(SCRIPT.replace("LANGUAGE", "en")) as call:
            await greeted(call)
            await call.says("the news")
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(2.0)
            await says_what_is_lost(call)
            await call.until(lambda: call.spoken[-1] == ENGLISH.not_heard, 5)
            await call.quiet()
            assert call.spoken.count(ENGLISH.not_heard) == 1

    virtually(story())


def test_words_that_are_lost_while_the_call_is_on_hold_are_not_asked_for(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(SCRIPT.replace("LANGUAGE", "en")) as call:
            await greeted(call)
            call.recogniser.will_hear.append(BUSY)
            await call.leg.speak()
            call.leg.put_on_hold(True)
            await asyncio.sleep(10)
            call.leg.put_on_hold(False)
            await asyncio.sleep(2)
            assert ENGLISH.not_heard not in call.spoken

    virtually(story())
