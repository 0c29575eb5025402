"""What stands in the record when a call ends in the middle, and when keys are pressed."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from calls_kit import a_call

from active_call.contract import events

GREETING = "Welcome to Harbour Street Bakery. Please listen to the whole of this rather long greeting, which goes on for quite a while."
PLAYBOOK = f"---\nllm: {{provider: script, greeting: '{GREETING}'}}\n---\n# Scene: main\n## bye\nBye. <hangup/>\n"
MODEL = "---\nllm: {provider: openai}\ngreeting: 'GREETING'\n---\nBe brief.\n".replace("GREETING", GREETING)


def test_caller_who_hangs_up_in_mid_sentence_leaves_what_was_heard(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            await asyncio.sleep(3.0)
            call.leg.end("caller", "hangup")
            record = await call.over()
            (turn,) = record.turns
            assert (turn.speaker, turn.interrupted) == ("agent", True)
            assert GREETING.startswith(turn.text)
            assert 20 <= len(turn.text) < len(GREETING)

    virtually(story())


def test_time_on_hold_is_not_heard(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            await asyncio.sleep(1.5)
            call.leg.put_on_hold(True)
            await asyncio.sleep(60.0)
            call.leg.end("caller", "hangup")
            record = await call.over()
            assert len(record.turns[0].text) < len(GREETING) // 2

    virtually(story())


def test_call_that_ends_while_nothing_is_said_has_no_further_turn(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await asyncio.sleep(1.0)
            call.leg.end("caller", "hangup")
            record = await call.over()
            assert [(turn.text, turn.interrupted) for turn in record.turns] == [(GREETING, False)]

    virtually(story())


def test_each_digit_has_its_own_time(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            call.engines.model.will_say += ["Well then."] * 3
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("hello")
            await asyncio.sleep(5.0)
            for digit in "12":
                call.leg.press(digit)
                await asyncio.sleep(2.0)
            call.leg.end("caller", "hangup")
            record = await call.over()
            pressed = {event["digit"]: event["timestamp"] for event in record.events if event["event"] == "dtmf"}
            lines = {turn.text: round(turn.at.timestamp() * 1000) for turn in record.turns if turn.text.startswith("[pressed")}
            assert lines == {f"[pressed {digit}]": at for digit, at in pressed.items()}
            assert abs(pressed["2"] - pressed["1"] - 2000) < 100

    virtually(story())


def test_log_names_caller_callee_and_end_in_one_line_each(virtually: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.end("caller", "hangup")
            await call.over()

    with caplog.at_level(logging.INFO):
        virtually(story())
    (started,) = [record for record in caplog.records if record.getMessage() == "call started"]
    (ended,) = [record for record in caplog.records if record.getMessage() == "call ended"]
    for record in (started, ended):
        assert vars(record)["caller"]
        assert vars(record)["callee"]
        assert "trunk" in vars(record)
    assert vars(ended)["by"] == "caller"
    assert vars(ended)["status"] == "answered"
