"""The sound of a turn for a model: from half a second before it, at most eight seconds, and never that of an earlier turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from active_call.agent.effects import TurnJudged
from active_call.base.errors import ProviderError
from active_call.call.log import CallLog
from active_call.call.speech.turn_audio import TurnAudio
from active_call.media.link.messages import CallerAudio


class Judge:
    def __init__(self, answer: float | Exception = 0.7) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.n_warm = 0

    async def warm(self) -> None:
        self.n_warm += 1

    async def judge(self, pcm: bytes) -> float:
        self.heard.append(pcm)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def seconds(pcm: bytes) -> float:
    return len(pcm) / 32_000


async def play(judge: Judge, speech: list[tuple[float, float]], length_s: float, gap_at: float | None = None) -> list[TurnJudged]:
    """Feed `length_s` of sound in which the caller speaks at these times, and ask once at its end."""
    answers: list[TurnJudged] = []
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(work, name=name))
        return tasks[-1]

    audio = TurnAudio(spawn, CallLog(logging.getLogger("test"), {}))
    audio.use(judge, answers.append)
    marks = sorted([(begin, "began") for begin, _ in speech] + [(end, "ended") for _, end in speech])
    for tick in range(int(length_s * 10)):
        now = (tick + 1) / 10
        if gap_at is None or not gap_at <= now < gap_at + 0.5:
            audio.push(CallerAudio(1, tick * 1600, bytes([tick % 256]) * 3200))
        while marks and marks[0][0] <= now:
            at, what = marks.pop(0)
            (audio.speech_began if what == "began" else audio.speech_ended)(int(at * 16_000))
    audio.ask(3)
    await asyncio.gather(*tasks)
    return answers


@pytest.mark.parametrize(
    ("speech", "length_s", "expected_s"),
    [
        ([(2.0, 3.0)], 3.2, 1.7),
        ([(2.0, 3.0), (4.0, 5.0)], 5.2, 3.7),
        ([(2.0, 3.0), (8.0, 9.0)], 9.2, 1.7),
        ([(1.0, 12.0)], 12.2, 8.0),
        ([(1.0, 40.0)], 40.2, 8.0),
    ],
)
def test_sound_is_that_of_the_turn(speech, length_s, expected_s) -> None:
    judge = Judge()
    assert asyncio.run(play(judge, speech, length_s)) == [TurnJudged(3, 0.7)]
    assert seconds(judge.heard[0]) == pytest.approx(expected_s, abs=0.11)
    assert judge.n_warm == 1


def test_sound_of_before_a_hold_is_not_used() -> None:
    judge = Judge()
    asyncio.run(play(judge, [(1.0, 3.0)], 3.2, gap_at=2.0))
    assert seconds(judge.heard[0]) == pytest.approx(0.8, abs=0.11)


def test_model_that_fails_leaves_the_turn_to_the_detector() -> None:
    assert asyncio.run(play(Judge(ProviderError("smart-turn", "its process died")), [(1.0, 2.0)], 2.2)) == []
