"""Outbound calls that a machine answers: what is told, and what is done."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from calls_kit import Call, a_call

from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.legs.events import LegMedia
from active_call.media.link.messages import ToneReported

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello, this is the clinic.\n---\n# Scene: main\n## *\nYes.\n"
MAILBOX = "Please leave your message after the tone."


def tone(kind: str, at: float) -> LegMedia:
    return LegMedia(ToneReported(1, kind, 0.9, 1000.0, 250, at))


def kinds(call: Call) -> list[str | None]:
    return [event.kind for event in call.of(events.AnswerMachineDetection)]


def outbound(on_machine: str | None, message: str | None = None) -> Any:
    option = CallOption(on_machine=on_machine, machine_message=message)  # type: ignore[arg-type]
    return a_call(PLAYBOOK, direction="outbound", option=option)


def test_mailbox_ends_the_call_when_machines_are_not_wanted(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("hangup") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(MAILBOX, 2.0)
            record = await call.over()
            assert kinds(call) == ["voicemail"]
            assert record.hangup_reason == "answerMachine"

    virtually(story())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello?", "human"),
        ("Record your name and reason for calling.", "screening"),
        ("Press 1 for sales.", "menu"),
        ("Please hold, all agents are busy.", "hold"),
    ],
)
def test_call_goes_on_where_a_person_may_come(virtually: Any, text: str, kind: str) -> None:
    async def story() -> None:
        async with outbound("hangup") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(text, 1.0)
            await asyncio.sleep(5)
            assert kinds(call)[-1] == kind
            assert call.of(events.Hangup) == []

    virtually(story())


@pytest.mark.parametrize(
    ("text", "seconds", "kind"),
    [
        ("Hello?", 0.8, "human"),
        ("", 0.7, "human"),
        ("Press 1 for sales.", 1.6, "menu"),
        (MAILBOX, 2.2, "voicemail"),
        (f"You have reached the office of Doctor Brown. {MAILBOX}", 7.0, "voicemail"),
    ],
    ids=["hello", "a word that is not heard", "menu", "short mailbox", "long mailbox, whose words come at its end"],
)
def test_who_has_answered_is_told_within_three_seconds(virtually: Any, text: str, seconds: float, kind: str) -> None:
    async def story() -> None:
        async with outbound("continue") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            loop = asyncio.get_running_loop()
            began = loop.time()
            speaking = asyncio.create_task(call.says(text, seconds))
            await call.until(lambda: bool(kinds(call)))
            assert loop.time() - began <= 3.0
            assert kinds(call)[0] == kind
            await speaking

    virtually(story())


def test_message_is_left_after_the_beep_and_the_call_ends(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("message-after-beep", "Please call the clinic.") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(MAILBOX, 2.0)
            await call.until(lambda: "voicemail" in kinds(call))
            assert "Please call the clinic." not in call.spoken
            call.leg.sink(tone("beep", asyncio.get_running_loop().time()))
            record = await call.over()
            assert call.spoken[-1] == "Please call the clinic."
            assert record.hangup_reason == "autohangup"

    virtually(story())


def test_message_is_left_after_a_silence_where_no_beep_comes(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("message-after-beep", "Please call the clinic.") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(MAILBOX, 2.0)
            await call.over()
            assert call.spoken[-1] == "Please call the clinic."

    virtually(story())


def test_fax_ends_the_call_also_where_a_message_is_wanted(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("message-after-beep", "Please call the clinic.") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            call.leg.sink(tone("answer", asyncio.get_running_loop().time()))
            assert (await call.over()).hangup_reason == "answerMachine"
            assert kinds(call) == ["fax"]

    virtually(story())


@pytest.mark.parametrize("on_machine", ["continue", None])
def test_machine_is_only_told_or_not_looked_for(virtually: Any, on_machine: str | None) -> None:
    async def story() -> None:
        async with outbound(on_machine) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(MAILBOX, 2.0)
            await asyncio.sleep(5)
            assert kinds(call) == (["voicemail"] if on_machine else [])
            assert call.of(events.Hangup) == []

    virtually(story())


def test_agent_is_told_that_a_menu_goes_in_circles(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("continue") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            for _ in range(2):
                await call.says("For sales press 1, for support press 2.", 2.0)
                await asyncio.sleep(3)
            told = [event.data for event in call.of(events.Custom) if event.sender == "answering"]
            assert len(told) == 2
            assert "heard again (2 times)" in told[1]

    virtually(story())


def test_person_who_speaks_of_messages_is_not_hung_up_on(virtually: Any) -> None:
    async def story() -> None:
        async with outbound("hangup") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says("Hello?", 0.6)
            await asyncio.sleep(20)
            await call.says("Can I leave a message for the doctor?", 2.0)
            await asyncio.sleep(5)
            assert kinds(call)[-1] == "human"
            assert call.of(events.Hangup) == []

    virtually(story())


def test_example_of_the_guide_leaves_its_message(virtually: Any) -> None:
    guide = Path(__file__).parents[2] / "docs" / "answering-machines.md"
    (keys,) = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
    playbook = PLAYBOOK.replace("---\n", f"---\n{keys}", 1)

    async def story() -> None:
        async with a_call(playbook, direction="outbound") as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            await call.says(MAILBOX, 2.0)
            await call.over()
            assert " ".join(call.spoken).endswith("This is the clinic. Please call us back.")

    virtually(story())


MODEL = "---\nllm: {provider: openai, filler: One moment.}\nfollowup: {timeout: 3000, max: 3}\ngreeting: Hello.\n---\nYou order flowers.\n"


def test_hold_music_is_waited_through_in_silence_until_a_person_speaks(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(on_machine="continue")
        async with a_call(MODEL, direction="outbound", option=option) as call:
            call.engines.model.will_say += ["I will wait.", "Good day, I would like to order flowers."]
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("Please hold, all our agents are busy.", 2.0)
            await call.until(lambda: "hold" in kinds(call))
            await asyncio.sleep(2)
            n_spoken, n_asked = len(call.spoken), len(call.engines.model.asked)
            online = "Did you know that you can order all of our flowers online, day and night"
            for text in ("", "", "Please hold, all our agents are busy.", "", online):
                await call.says(text, 6.0)
                await asyncio.sleep(4)
            assert (len(call.spoken), len(call.engines.model.asked)) == (n_spoken, n_asked), "music is answered, or silence followed up"
            assert call.of(events.Hangup) == []
            await call.says("Flowers and more, Mary speaking", 1.5)
            await call.until(lambda: len(call.engines.model.asked) == n_asked + 1, 5)
            assert call.engines.model.asked[-1].messages[-1].content == "Flowers and more, Mary speaking"
            await call.until(lambda: len(call.spoken) > n_spoken, 5)

    virtually(story())


def test_person_who_greets_after_the_music_is_answered_and_followed_up_as_any_other(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(on_machine="continue")
        async with a_call(MODEL, direction="outbound", option=option) as call:
            call.engines.model.will_say += ["One.", "Two.", "Three.", "Four.", "Five."]
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("Please hold.", 1.0)
            await call.until(lambda: "hold" in kinds(call))
            await asyncio.sleep(30)
            n_asked = len(call.engines.model.asked)
            await call.says("Hello?", 0.6)
            await call.until(lambda: len(call.engines.model.asked) == n_asked + 1, 5)
            await call.until(lambda: len(call.engines.model.asked) == n_asked + 2, 15)  # the follow-up

    virtually(story())


@pytest.mark.parametrize(("option", "keys", "ends"), [("operator", "0", True), ("hangup", "", True), ("agent", "", False)])
def test_menu_that_goes_in_circles_is_left_as_the_option_says(virtually: Any, option: str, keys: str, ends: bool) -> None:
    async def story() -> None:
        given = CallOption(on_machine="continue", on_menu_loop=option)  # type: ignore[arg-type]
        async with a_call(PLAYBOOK, direction="outbound", option=given) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
            for n in range(3):
                if call.of(events.Hangup):
                    break
                assert "".join(call.leg.stream.digits_sent) == (keys if n == 2 else "")
                await call.says("For sales press 1, for support press 2.", 2.0)
                await asyncio.sleep(3)
            assert bool(call.of(events.Hangup)) == ends
            if ends:
                record = await call.over()
                assert (record.hangup_reason, call.leg.stream.digits_sent) == ("answerMachine", keys)

    virtually(story())
