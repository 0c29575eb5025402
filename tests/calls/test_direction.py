"""One-way audio in a call: told when it means something, and only then."""

from __future__ import annotations

import asyncio
from typing import Any

from calls_kit import a_call

from active_call.call.items import Later
from active_call.contract import events
from active_call.legs.events import LegMedia
from active_call.media.link.messages import MediaProblem, StreamDead

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## *\nYes.\n"
NOTHING = LegMedia(MediaProblem(1, "nothing_received", "no sound from the peer for 4 s"))
OVER = LegMedia(MediaProblem(1, "nothing_received", "", over=True))


def told(call: Any) -> list[tuple[str, bool]]:
    return [(event.problem, event.over) for event in call.of(events.MediaProblem)]


def test_problem_of_an_answered_call_is_told_at_once_and_stands_in_the_record(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.leg.sink(NOTHING)
            await call.until(lambda: told(call) == [("nothing_received", False)])
            call.leg.sink(OVER)
            await call.until(lambda: told(call) == [("nothing_received", False), ("nothing_received", True)])
            call.session.hang_up(by="system", cause="done")
            record = await call.over()
            (problem,) = record.media["problems"]
            assert problem["problem"] == "nothing_received"
            assert problem["overAt"] >= problem["at"]

    virtually(story())


def test_silence_while_it_rings_is_told_only_if_it_lasts_beyond_the_answer(virtually: Any) -> None:
    async def story() -> None:
        for sound_comes in (True, False):
            async with a_call(PLAYBOOK) as call:
                session = call.session
                await call.until(lambda: bool(call.of(events.TrackEnd)))
                answered_at, session.state.facts.answered_at = session.state.facts.answered_at, None
                call.leg.sink(NOTHING)
                call.leg.sink(LegMedia(StreamDead(1, 20.0)))
                await asyncio.sleep(1)
                session.state.facts.answered_at = answered_at
                session.post(Later(session.parts.media_watchdog.answered))
                if sound_comes:
                    call.leg.sink(OVER)
                await asyncio.sleep(5)
                assert told(call) == ([] if sound_comes else [("nothing_received", False)])
                await asyncio.sleep(20)
                assert (session.state.facts.error or "") == ("" if sound_comes else "no media from the peer for 40 s")

    virtually(story())
