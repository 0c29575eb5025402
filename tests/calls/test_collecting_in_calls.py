"""A secret that a caller enters is known to the agent alone: not in events, record, transcript, recording, or for listeners."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
from calls_kit import a_call

from active_call.contract import events

BOOK = """---
llm: {provider: script}
greeting: "Hello."
dtmfCollectors:
  pin: {digits: 4, secret: true, prompt: "Your PIN, please."}
  order: {digits: 2, prompt: "Which order?"}
---
## my address
<collect type="text" var="mail" prompt="What is your e-mail address?"/>I have {{ mail }}.

## pay
<collect type="pin"/>Your PIN ends in {{ pin[-1:] }}.

## order
<collect type="order" var="order"/>Thank you.
"""


def test_secret_digits_are_stars_in_events_and_record_and_other_digits_are_not(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("pay")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            assert call.session.parts.taps.is_secret  # whoever listens in hears no digits in the voice band and no words
            for digit in "4719":
                call.leg.press(digit)
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 3)
            assert not call.session.parts.taps.is_secret
            assert call.spoken[-1] == "Your PIN ends in 9."
            await call.says("order")
            await call.until(lambda: "Which order?" in call.spoken)
            for digit in "12":
                call.leg.press(digit)
            await call.until(lambda: "Thank you." in call.spoken)
            assert [event.digit for event in call.of(events.Dtmf)] == ["*", "*", "*", "*", "1", "2"]
            call.session.hang_up(by="test", cause="test")
            record = json.dumps(msgspec.to_builtins(await call.over()), default=str)
            assert "4719" not in record and "[entered pin: ****]" in record
            assert '"order": "12"' in record and "pin" not in json.loads(record)["variables"]

    virtually(story())


def test_secret_words_are_a_star_in_events_and_reach_the_agent(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("pay")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            await call.says("four seven one nine")
            await call.until(lambda: "Your PIN ends in 9." in call.spoken)
            assert [event.text for event in call.of(events.AsrFinal)] == ["pay", "*"]

    virtually(story())


def test_text_in_pieces_is_one_value_when_the_turn_is_over(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(BOOK) as call:
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 1)
            await call.says("my address")
            await call.until(lambda: len(call.of(events.TrackEnd)) >= 2)
            for piece, pause_s in (("ada", 0.7), ("dot lovelace", 0.8), ("at example dot com", 0.0)):
                await call.says(piece, 0.8)
                await asyncio.sleep(pause_s)
            await call.until(lambda: "I have ada dot lovelace at example dot com." in call.spoken, 3)

    virtually(story())
