"""Stories of warm transfers: the colleague is told who waits, and takes the call or not; the caller hears music until then."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Call, Network, a_call

from active_call.contract import commands, events
from active_call.contract.options import BriefingOption, ReferOption
from active_call.legs.events import LegEnded, LegMedia
from active_call.media.link import messages as link
from active_call.testing.fakes.call import FakeLeg

DESK = "sip:desk@example.com"
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: Welcome.
refer:
  mode: warm
  briefing: {{text: "A caller of Green Garden Flowers is waiting. It is about this: {{{{ summary }}}}."}}
---
## my order is late
One moment, I ask a colleague. <refer to="{DESK}"/>
## hello
Hello again.
"""
BRIEFING = "A caller of Green Garden Flowers is waiting. It is about this: my order is late. Press 1 to take the call, or 2 to decline it."


def a_desk(**options: Any) -> FakeLeg:
    return FakeLeg(call_id="far", caller="", callee=DESK, **options)


def last_word(call: Call) -> Any:
    (last,) = [event for event in call.of(events.Transfer) if event.returned is not None]
    return last


def states(call: Call) -> list[str]:
    return [event.state for event in call.of(events.Transfer)]


async def briefed(call: Call, desk: FakeLeg, *, to_its_end: bool = True) -> None:
    """The caller asks, the desk answers and is told."""
    await call.until(lambda: bool(call.of(events.TrackEnd)))
    await call.says("my order is late")
    await call.until(lambda: "briefing" in states(call))
    assert call.leg.stream is not None and desk.stream is not None
    assert call.leg.stream.music and not call.leg.stream.hears
    await call.until(lambda: call.spoken[-1] == BRIEFING)
    await call.until(lambda: desk.stream is not None and desk.stream.is_playing)
    if to_its_end:
        await call.until(lambda: any(event.refer for event in call.of(events.TrackEnd)))
    assert not call.leg.stream.is_playing, "the briefing is said to the desk alone"


def test_colleague_is_told_who_waits_presses_one_and_gets_the_caller(virtually: Any) -> None:
    async def story() -> None:
        desk = a_desk()
        async with a_call(PLAYBOOK, network=Network([desk])) as call:
            await briefed(call, desk)
            desk.press("1")
            await call.until(lambda: "connected" in states(call))
            assert states(call) == ["calling", "progress", "briefing", "connected"] or states(call)[-2:] == ["briefing", "connected"]
            assert call.leg.stream is not None and desk.stream in call.leg.stream.hears
            assert not call.leg.stream.music
            desk.sink(LegEnded(by="callee", cause="bye"))
            await call.until(lambda: bool(call.of(events.Transfer)) and call.of(events.Transfer)[-1].returned is not None)
            assert (last_word(call).state, last_word(call).returned) == ("completed", True)

    virtually(story())


def test_key_in_the_middle_of_the_briefing_ends_it(virtually: Any) -> None:
    async def story() -> None:
        desk = a_desk()
        async with a_call(PLAYBOOK, network=Network([desk])) as call:
            await briefed(call, desk, to_its_end=False)
            await asyncio.sleep(1)
            desk.press("1")
            await call.until(lambda: "connected" in states(call), 1)
            assert desk.stream is not None and not desk.stream.is_playing

    virtually(story())


@pytest.mark.parametrize(
    ("does", "code"), [("declines", 603), ("is silent", 480), ("is a machine", 480), ("hangs up", 0), ("does not answer", 408)]
)
def test_colleague_who_does_not_take_the_call_gives_the_caller_back_with_an_apology(virtually: Any, does: str, code: int) -> None:
    async def story() -> None:
        desk = a_desk(answers_after_s=300) if does == "does not answer" else a_desk()
        async with a_call(PLAYBOOK, network=Network([desk])) as call:
            if does == "does not answer":
                await call.until(lambda: bool(call.of(events.TrackEnd)))
                await call.says("my order is late")
            else:
                await briefed(call, desk)
            match does:
                case "declines":
                    desk.press("2")
                case "is a machine":
                    desk.sink(LegMedia(link.ToneReported(1, "beep", 0.9, 1000.0, 500, asyncio.get_running_loop().time())))
                case "hangs up":
                    desk.sink(LegEnded(by="callee", cause="bye"))
            await call.until(lambda: "failed" in states(call), 90)
            assert ((last_word(call).code or 0), last_word(call).returned) == (code, True)
            await call.until(lambda: call.spoken[-1] == "I am sorry, I could not connect you.")
            assert call.spoken.count(BRIEFING) == {"is silent": 2, "does not answer": 0}.get(does, 1)
            assert call.leg.stream is not None and not call.leg.stream.music and call.leg.ended is None
            assert does == "hangs up" or desk.ended is not None
            await call.says("hello")
            await call.until(lambda: call.spoken[-1] == "Hello again.")

    virtually(story())


def test_caller_who_hangs_up_during_the_briefing_ends_the_colleagues_call(virtually: Any) -> None:
    async def story() -> None:
        desk = a_desk()
        async with a_call(PLAYBOOK, network=Network([desk])) as call:
            await briefed(call, desk, to_its_end=False)
            call.leg.sink(LegEnded(by="caller", cause="bye"))
            record = await call.over()
            assert desk.ended is not None and desk.released
            assert record.transfers[0]["state"] == "cancelled"

    virtually(story())


@pytest.mark.parametrize(("said", "state"), [("yes please", "connected"), ("no", "failed"), ("leave a message after the tone", "failed")])
def test_spoken_answer_counts_where_it_is_asked_for(virtually: Any, said: str, state: str) -> None:
    async def story() -> None:
        desk = a_desk()
        option = ReferOption(mode="warm", briefing=BriefingOption(text="Will you take a call?", speech=True))
        async with a_call("---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## a\nB.\n", network=Network([desk])) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Refer(callee=DESK, options=option))
            await call.until(lambda: any(event.refer for event in call.of(events.TrackEnd)))
            call.recogniser.will_hear.append(said)
            await desk.speak(1.0)
            await call.until(lambda: state in states(call), 5)

    virtually(story())


def test_briefing_without_a_key_joins_the_two_when_it_was_heard(virtually: Any) -> None:
    async def story() -> None:
        desk = a_desk()
        option = ReferOption(mode="warm", briefing=BriefingOption(accept=""))
        async with a_call("---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## a\nB.\n", network=Network([desk])) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Refer(callee=DESK, options=option))
            await call.until(lambda: "connected" in states(call))
            assert call.spoken[-1].startswith("You have a call from ")

    virtually(story())


def test_briefing_in_a_mode_without_one_is_refused_and_the_caller_stays(virtually: Any) -> None:
    async def story() -> None:
        option = ReferOption(mode="refer", briefing=BriefingOption(text="Hello."))
        async with a_call("---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## a\nB.\n") as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Refer(callee=DESK, options=option))
            await call.until(lambda: bool(call.of(events.Transfer)))
            assert (states(call), last_word(call).reason) == (["failed"], "options.briefing needs mode warm, found refer")

    virtually(story())


@pytest.mark.parametrize(
    ("text", "is_added"),
    [("It is about the express order 123 1.", True), ("Anna waits. Press 1 to talk to her.", False), ("Anna waits. PRESS 1 now.", False)],
)
def test_keys_are_named_where_the_text_does_not_name_them(virtually: Any, text: str, is_added: bool) -> None:
    async def story() -> None:
        desk = a_desk()
        option = ReferOption(briefing=BriefingOption(text=text))
        async with a_call("---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## a\nB.\n", network=Network([desk])) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Refer(callee=DESK, options=option))
            await call.until(lambda: "briefing" in states(call) and call.spoken[-1] != "Welcome.")
            hint = " Press 1 to take the call, or 2 to decline it."
            assert call.spoken[-1] == text + (hint if is_added else "")

    virtually(story())
