"""Texts so far: when they are computed, and what is told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ProviderError
from active_call.providers.asr.partial_timing import PartialTiming
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.utterances import Transcript
from active_call.providers.base import Failed, Final, Partial
from active_call.providers.speech_to_text import Alternative, Whole
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


class Pieces:
    """Utterances of 0.6 s with pauses of 0.4 s, in a recognition whose engine knows their texts."""

    def __init__(
        self, texts: list[tuple[str, float]], together: tuple[str, float], *, phrases: tuple[str, ...] = (), is_clear: bool | None = None
    ) -> None:
        self.line = Line()
        self._is_clear = is_clear
        self.asked: list[tuple[float, bool]] = []
        self._texts = texts
        self._together = together
        self.refuses = False
        self.line.recognition = PartialRecognition(self._transcribe, self.line.results.append, sure_confidence=0.8)
        self.line.recognition.expect_phrases(phrases)

    async def _transcribe(self, pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
        seconds = len(pcm) / 32_000
        self.asked.append((seconds, background))
        if seconds > 1.2:
            if self.refuses:
                raise ProviderError("test", "busy", retryable=True)
            return Transcript(*self._together)
        return Transcript(*self._texts[len(self.finals)], is_clear=self._is_clear)

    @property
    def finals(self) -> list[Final]:
        return [result for result in self.line.results if isinstance(result, Final)]

    async def heard(self, pause_ms: int = 400) -> list[Final]:
        for index in range(1, len(self._texts) + 1):
            start = self.line._sample
            self.line.recognition.start_utterance(index, start)
            await self.line.hear(SPEECH, 600)
            self.line.recognition.end_utterance(index, start + 9_600)
            await self.line.hear(QUIET, pause_ms)
        await self.line.recognition.close()
        return self.finals


NUMBER = [("It is about order number.", 0.88), ("A group.", 0.66)]


def test_clear_piece_of_low_confidence_is_recognised_together_with_the_speech_before_it() -> None:
    async def run() -> None:
        pieces = Pieces([("My name is.", 0.9), ("Using Parker.", 0.7)], ("My name is Susan Parker.", 0.9), is_clear=True)
        _, second = await pieces.heard()
        assert second.whole == Whole(1, "My name is Susan Parker.")

    run_virtually(run())


def test_doubtful_piece_after_a_short_pause_is_recognised_together_with_the_speech_before_it() -> None:
    async def run() -> None:
        pieces = Pieces(NUMBER, ("It is about order number eight three.", 0.86))
        first, second = await pieces.heard()
        assert (first.text, first.whole) == ("It is about order number.", None)
        assert second.text == "A group." and second.whole == Whole(1, "It is about order number eight three.")
        assert pieces.asked[-1][1] and pieces.asked[-1][0] == pytest.approx(1.6, abs=0.3), "both and the pause, in the background"

    run_virtually(run())


@pytest.mark.parametrize(
    ("texts", "together", "phrases", "pause_ms"),
    [
        ([("Please wait.", 0.9), ("I look for it.", 0.9)], ("Please wait I look for it.", 0.95), (), 400),
        (NUMBER, ("It is about or a number a group.", 0.6), (), 400),
        (NUMBER, ("It is about order number eight three.", 0.86), (), 1_400),
        ([("Thank you very much.", 0.9), ("Goodbye.", 0.5)], ("And you very much, replied.", 0.85), ("goodbye",), 400),
    ],
    ids=["both sure", "together no surer", "a long pause", "an expected phrase"],
)
def test_texts_of_pieces_stay(texts: list[tuple[str, float]], together: tuple[str, float], phrases: tuple[str, ...], pause_ms: int) -> None:
    async def run() -> None:
        finals = await Pieces(texts, together, phrases=phrases).heard(pause_ms)
        assert [final.text for final in finals] == [text for text, _ in texts] and not any(final.whole for final in finals)

    run_virtually(run())


def test_texts_of_pieces_stay_when_the_engine_is_busy() -> None:
    async def run() -> None:
        pieces = Pieces(NUMBER, ("", 0.0))
        pieces.refuses = True
        assert [final.whole for final in await pieces.heard()] == [None, None]

    run_virtually(run())


def test_doubtful_text_made_in_the_pause_is_recognised_again_at_the_end() -> None:
    async def run() -> None:
        line = Line()
        again: list[bytes] = []

        async def transcribe_again(pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
            again.append(pcm)
            return Transcript("surely this", 0.97)

        line.recognition = PartialRecognition(
            line._transcribe, line.results.append, sure_confidence=0.95, transcribe_again=transcribe_again
        )
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 800)
        await line.hear(QUIET, 500)
        n_asked = len(line.asked)
        line.recognition.end_utterance(1, RATE)
        await asyncio.sleep(0.2)
        assert len(line.asked) == n_asked and len(again) == 1, "recognised thoroughly at once, not first as before"
        last = line.results[-1]
        assert isinstance(last, Final) and last.text == "surely this"
        await line.recognition.close()

    run_virtually(run())


def test_text_that_is_being_made_when_the_end_comes_is_the_final() -> None:
    async def run() -> None:
        line = Line(takes_s=0.15)
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 800)
        await line.hear(QUIET, 140)
        n_asked = len(line.asked)
        line.recognition.end_utterance(1, RATE * 8 // 10)
        await line.hear(QUIET, 300)
        assert len(line.asked) == n_asked and line.asked[-1] == (900, True), "not asked a second time"
        assert [result.text for result in line.results if isinstance(result, Final)] == ["900 ms"]
        assert not any(isinstance(result, Partial) and result.text == "900 ms" for result in line.results)
        await line.recognition.close()

    run_virtually(run())


def test_text_of_a_refused_request_is_asked_for_at_the_end() -> None:
    async def run() -> None:
        line = Line(takes_s=0.15)
        line.refuses_background = True
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 800)
        await line.hear(QUIET, 100)
        line.recognition.end_utterance(1, RATE * 8 // 10)
        await line.hear(QUIET, 300)
        assert line.asked[-1][1] is False
        assert [type(result) for result in line.results] == [Final]
        await line.recognition.close()

    run_virtually(run())


def test_cancelled_utterance_whose_text_is_being_made_has_no_final() -> None:
    async def run() -> None:
        line = Line(takes_s=0.15)
        line.recognition.start_utterance(1, 0)
        await line.hear(SPEECH, 800)
        await line.hear(QUIET, 140)
        n_asked = len(line.asked)
        line.recognition.end_utterance(1, RATE * 8 // 10)
        await line.hear(QUIET, 20)
        line.recognition.cancel_utterance(1)
        await line.hear(QUIET, 300)
        assert len(line.asked) == n_asked and not any(isinstance(result, Final) for result in line.results)
        await line.recognition.close()

    run_virtually(run())


class Drafts:
    """A recognition with drafts; its engine answers at once."""

    def __init__(self, *, is_clear: bool | None = False, confidence: float = 0.7) -> None:
        self.asked: list[str] = []
        self._is_clear = is_clear
        self._confidence = confidence

    async def _usual(self, pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
        self.asked.append("usual" if background else "final")
        return Transcript(self.asked[-1], self._confidence, is_clear=self._is_clear)

    async def _again(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        self.asked.append("again")
        return Transcript("again", 0.7)

    async def _draft(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        self.asked.append("draft")
        return Transcript("draft", 0.95)

    def final(self, speech_ms: int, quiet_ms: int) -> str:
        """The final text of so much speech and so much silence before its end."""

        async def run() -> str:
            line = Line()
            line.recognition = recognition = PartialRecognition(
                self._usual, line.results.append, sure_confidence=0.8, transcribe_again=self._again, draft=self._draft
            )
            recognition.start_utterance(1, 0)
            await line.hear(SPEECH, speech_ms)
            await line.hear(QUIET, quiet_ms)
            recognition.end_utterance(1, speech_ms * 16)
            await line.hear(QUIET, 200)
            await recognition.close()
            return next(str(result.text) for result in line.results if isinstance(result, Final))

        return run_virtually(run())


def test_texts_in_the_middle_of_speech_are_drafts_and_that_of_the_pause_is_not() -> None:
    drafts = Drafts()
    assert drafts.final(800, 200) == "again"
    assert drafts.asked == ["draft", "usual", "again"]


def test_draft_is_never_the_final_text() -> None:
    drafts = Drafts()
    assert drafts.final(500, 60) == "final"
    assert drafts.asked == ["draft", "final"]


def test_text_with_a_near_rival_is_recognised_again_although_its_confidence_is_high() -> None:
    assert Drafts(is_clear=False, confidence=0.9).final(800, 200) == "again"


def test_confidence_decides_if_the_engine_does_not_say_what_is_clear() -> None:
    assert Drafts(is_clear=None, confidence=0.9).final(800, 200) == "usual"
    assert Drafts(is_clear=None).final(800, 200) == "again"


def test_clear_text_is_the_final_although_its_confidence_is_low() -> None:
    drafts = Drafts(is_clear=True)
    assert drafts.final(800, 200) == "usual"
    assert drafts.asked == ["draft", "usual"]


@pytest.mark.parametrize(
    ("text", "confidence", "takes_s", "is_over_agent", "alternatives"),
    [
        ("Oh, how's she?", 0.6, 0.1, True, (Alternative("Oh, I see.", 1.0),)),
        ("Oh, how's she?", 0.6, 0.1, False, None),
        ("Oh, how's she?", 0.6, None, True, None),
        ("Oh, how's she?", 0.6, 0.5, True, None),
        ("I would like to book a table.", 0.6, 0.1, True, ()),
        ("Oh, how's she?", 0.97, 0.1, True, ()),
    ],
    ids=["rated", "agent is silent", "refused", "too late", "long", "sure"],
)
def test_short_doubtful_final_has_the_short_replies_that_are_nearly_as_likely(
    text: str, confidence: float, takes_s: float | None, is_over_agent: bool, alternatives: tuple[Alternative, ...] | None
) -> None:
    async def run() -> None:
        results: list[Any] = []

        async def transcribe(pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
            return Transcript(text, confidence)

        async def rate(pcm: bytes, texts: tuple[str, ...]) -> tuple[float, ...]:
            if takes_s is None:
                raise ProviderError("test", "busy", retryable=True)
            await asyncio.sleep(takes_s)
            return tuple(-4.0 if one in (text, "Oh, I see.") else -20.0 for one in texts)

        recognition = PartialRecognition(transcribe, results.append, rate=rate)
        recognition.note_overlap(is_over_agent)
        recognition.start_utterance(1, 0)
        for n in range(40):
            recognition.push_audio(SPEECH, 320 * n)
        recognition.end_utterance(1, 9_600)
        await asyncio.sleep(1)
        await recognition.close()
        (final,) = (result for result in results if isinstance(result, Final))
        assert (final.text, final.alternatives) == (text, alternatives)

    run_virtually(run())
