"""Texts so far: when they are computed, and what is told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from active_call.base.errors import ProviderError
from active_call.providers.asr.partial_timing import PartialTiming
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.utterances import Transcript
from active_call.providers.base import Failed, Final, Partial
from active_call.testing.virtual_time import run_virtually

RATE = 16_000
SPEECH = np.full(320, 3_000, dtype="<i2").tobytes()
BREATH = np.full(320, 250, dtype="<i2").tobytes()
QUIET = bytes(640)


def due(chunks: list[bytes]) -> list[int]:
    """The ms of an utterance at which a text is computed, for chunks of 20 ms."""
    timing = PartialTiming(0)
    return [20 * (n + 1) for n, chunk in enumerate(chunks) if timing.take(chunk, 320 * (n + 1))]


def test_text_is_due_every_half_second_and_more_seldom_as_speech_goes_on() -> None:
    times = due([SPEECH] * 1_000)
    assert times[:4] == [500, 1_000, 1_500, 2_000]
    assert times[-1] - times[-2] > 3_000
    cost_s = sum(times) / 1000
    assert cost_s < 6 * 20


def test_text_is_due_in_a_pause_and_once_only() -> None:
    assert due([SPEECH] * 35 + [QUIET] * 100) == [500, 700 + 100]
    assert due([SPEECH] * 35 + [QUIET] * 10 + [SPEECH] * 30 + [QUIET] * 20) == [500, 800, 1_300, 1_600]


def test_nothing_is_due_before_there_is_a_word() -> None:
    assert due([SPEECH] * 10 + [QUIET] * 10) == []


def test_soft_end_of_a_word_is_not_silence() -> None:
    timing = PartialTiming(0)
    for n in range(35):
        timing.take(SPEECH, 320 * (n + 1))
    for n in range(35, 45):
        timing.take(QUIET, 320 * (n + 1))
    assert timing.is_silent_since
    timing.take(BREATH, 320 * 46)
    assert not timing.is_silent_since


class Line:
    """A recognition whose engine answers with the length of the sound in ms, after `takes_s`."""

    def __init__(self, takes_s: float = 0.05) -> None:
        self.asked: list[tuple[int, bool]] = []
        self.results: list[Any] = []
        self.refuses_background = False
        self._takes_s = takes_s
        self._sample = 0
        self.recognition = PartialRecognition(self._transcribe, self.results.append)

    async def _transcribe(self, pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
        self.asked.append((len(pcm) // 32, background))
        if background and self.refuses_background:
            raise ProviderError("test", "busy", retryable=True)
        await asyncio.sleep(self._takes_s)
        return Transcript(f"{len(pcm) // 32} ms", 0.9)

    async def hear(self, chunk: bytes, ms: int) -> None:
        """Sound in real time."""
        for _ in range(ms // 20):
            self.recognition.push_audio(chunk, self._sample)
            self._sample += 320
            await asyncio.sleep(0.02)


def test_partials_are_told_while_the_caller_speaks_and_the_final_after_the_end() -> None:
    async def run() -> None:
        line = Line()
        await line.hear(QUIET, 1_000)
        line.recognition.start_utterance(1, RATE)
        await line.hear(SPEECH, 1_200)
        line.recognition.end_utterance(1, RATE * 22 // 10)
        await asyncio.sleep(1)
        assert [type(result) for result in line.results] == [Partial, Partial, Final]
        assert [result.text for result in line.results[:2]] == ["750 ms", "1250 ms"]
        assert line.results[0].start_sample == RATE and line.results[0].end_sample == RATE * 3 // 2
        assert line.asked[-1] == (250 + 1_200, False)
        await line.recognition.close()

    run_virtually(run())


def test_text_made_in_the_pause_before_the_end_is_the_final_at_once() -> None:
    async def run() -> None:
        line = Line()
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 800)
        await line.hear(QUIET, 500)
        n_asked = len(line.asked)
        line.recognition.end_utterance(1, RATE)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        assert isinstance(line.results[-1], Final) and line.results[-1].text == "900 ms"
        assert len(line.asked) == n_asked
        await line.recognition.close()

    run_virtually(run())


def test_text_that_is_older_than_the_last_words_is_not_the_final() -> None:
    async def run() -> None:
        line = Line(takes_s=0.4)
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 700)
        await line.hear(QUIET, 140)  # a text is wanted now, while that of half a second is still being made
        line.recognition.end_utterance(1, 700 * 16)
        await asyncio.sleep(2)
        assert line.results[-1].text == "840 ms" and line.asked[-1][1] is False
        await line.recognition.close()

    run_virtually(run())


def test_engine_that_refuses_forecasts_gives_finals_only() -> None:
    async def run() -> None:
        line = Line()
        line.refuses_background = True
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 1_200)
        line.recognition.end_utterance(1, RATE)
        await asyncio.sleep(1)
        assert [type(result) for result in line.results] == [Final]
        assert not any(isinstance(result, Failed) for result in line.results)
        await line.recognition.close()

    run_virtually(run())


def test_cancelled_utterance_and_closed_stream_tell_nothing_more() -> None:
    async def run() -> None:
        line = Line()
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 500)
        line.recognition.cancel_utterance(1)
        await asyncio.sleep(1)
        line.recognition.start_utterance(2, 8_000)
        await line.hear(SPEECH, 500)
        await line.recognition.close()
        line.recognition.start_utterance(3, 16_000)
        line.recognition.push_audio(SPEECH * 100, 16_000)
        await asyncio.sleep(1)
        assert line.results == []

    run_virtually(run())
