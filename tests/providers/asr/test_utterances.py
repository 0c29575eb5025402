from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ProviderError
from active_call.providers.asr.sound_ring import SoundRing
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.base import Final
from active_call.testing.virtual_time import run_virtually


def samples(first: int, n: int) -> bytes:
    """`n` samples of nearly equal loudness whose values tell their numbers."""
    return b"".join(((i % 9_973) + 20_000).to_bytes(2, "little") for i in range(first, first + n))


class Listening:
    """A recognition whose transcripts are given, and what it reported."""

    def __init__(self, transcribe: Callable[[Utterance], Any] | None = None) -> None:
        self.utterances: list[Utterance] = []
        self.results: list[Any] = []
        self._transcribe_one = transcribe or (lambda utterance: Transcript(f"text {utterance.index}"))
        self.recognition = UtteranceRecognition(self._transcribe, self.results.append)

    async def _transcribe(self, utterance: Utterance) -> Transcript:
        self.utterances.append(utterance)
        await asyncio.sleep(0.1)
        result = self._transcribe_one(utterance)
        if isinstance(result, Exception):
            raise result
        return result

    def push(self, first: int, n: int) -> None:
        for start in range(first, first + n, 320):
            self.recognition.push_audio(samples(start, 320), start)


def test_utterance_is_cut_from_250_ms_before_to_150_ms_after() -> None:
    async def run() -> None:
        listening = Listening()
        listening.push(0, 48_000)
        listening.recognition.start_utterance(1, 20_000)
        listening.recognition.end_utterance(1, 40_000)
        await asyncio.sleep(1)
        assert listening.utterances[0].pcm == samples(20_000 - 4_000, 4_000 + 20_000 + 2_400)
        assert [(r.text, type(r), r.index, r.start_sample, r.end_sample) for r in listening.results] == [
            ("text 1", Final, 1, 20_000, 40_000)
        ]
        await listening.recognition.close()

    run_virtually(run())


def test_end_that_has_not_arrived_yet_is_not_waited_for() -> None:
    async def run() -> None:
        listening = Listening()
        listening.push(0, 32_000)
        listening.recognition.start_utterance(1, 10_000)
        listening.recognition.end_utterance(1, 31_000)
        await asyncio.sleep(1)
        assert listening.utterances[0].pcm == samples(6_000, 26_000)
        await listening.recognition.close()

    run_virtually(run())


def test_long_utterance_keeps_its_beginning_beyond_the_ring() -> None:
    async def run() -> None:
        listening = Listening()
        listening.push(0, 16_000)
        listening.recognition.start_utterance(1, 12_000)
        listening.push(16_000, 160_000)
        listening.recognition.end_utterance(1, 170_000)
        await asyncio.sleep(1)
        assert listening.utterances[0].pcm == samples(8_000, 164_400)
        await listening.recognition.close()

    run_virtually(run())


def test_finals_come_in_order_and_one_for_each_end_also_for_errors_and_short_noises() -> None:
    async def run() -> None:
        listening = Listening(lambda u: ProviderError("x", "broken") if u.index == 2 else Transcript(f"text {u.index}"))
        listening.push(0, 48_000)
        for index, (start, end) in enumerate([(1_000, 9_000), (9_000, 20_000), (20_000, 21_000), (22_000, 40_000)], 1):
            listening.recognition.start_utterance(index, start)
            listening.recognition.end_utterance(index, end)
        listening.recognition.end_utterance(5, 41_000)  # never begun
        await asyncio.sleep(2)
        first, second, third, fourth, fifth = listening.results
        assert (first.text, third.text, fourth.text, fifth.text) == ("text 1", "", "text 4", "")
        assert isinstance(second.error, ProviderError)
        assert [u.index for u in listening.utterances] == [1, 2, 4]  # 62 ms is no word
        await listening.recognition.close()

    run_virtually(run())


def test_cancelled_utterance_has_no_final_whether_open_waiting_or_being_transcribed() -> None:
    async def run() -> None:
        listening = Listening()
        listening.push(0, 48_000)
        for index in (1, 2, 3, 4):
            listening.recognition.start_utterance(index, 1_000)
            if index != 4:
                listening.recognition.end_utterance(index, 20_000)
        await asyncio.sleep(0.05)
        for index in (1, 2, 4):
            listening.recognition.cancel_utterance(index)
        await asyncio.sleep(2)
        assert [r.index for r in listening.results] == [3]
        await listening.recognition.close()

    run_virtually(run())


def test_no_callback_after_close() -> None:
    async def run() -> None:
        listening = Listening()
        listening.push(0, 48_000)
        listening.recognition.start_utterance(1, 1_000)
        listening.recognition.end_utterance(1, 20_000)
        await asyncio.sleep(0.05)
        await listening.recognition.close()
        await asyncio.sleep(2)
        assert listening.results == []

    run_virtually(run())


@given(st.lists(st.tuples(st.integers(-1_000, 3_000), st.integers(1, 700)), max_size=20))
def test_ring_gives_the_sound_of_each_sample_whatever_gaps_and_overlaps_there_were(steps: list[tuple[int, int]]) -> None:
    ring = SoundRing(8_000)
    truth: dict[int, bytes] = {}
    position = 0
    for jump, n in steps:
        first = max(0, position + jump)
        for i in range(first, first + n):
            if i >= position:
                truth.setdefault(i, samples(i, 1))
        ring.push(samples(first, n), first)
        position = max(position, first + n)
    start = max(0, position - 8_000)
    sound = ring.cut(start, position)
    if truth:
        got = [sound[i : i + 2] for i in range(0, len(sound), 2)]
        expected = [truth.get(i, b"\0\0") for i in range(position - len(got), position)]
        assert got == expected
