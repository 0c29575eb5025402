"""Where speech begins before it was reported."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.providers.asr.onset import MARGIN_SAMPLES, MAX_LEAD_SAMPLES, speech_from
from active_call.providers.asr.sound_ring import SoundRing
from active_call.providers.asr.utterances import LEAD_SAMPLES, Transcript, Utterance, UtteranceRecognition
from active_call.testing.virtual_time import run_virtually

REPORTED = 2 * LISTEN_RATE_HZ


def line(*speech_s: tuple[float, float], noise: float = 30.0) -> bytes:
    """Three seconds of noise with loud sound in these spans."""
    sound = np.random.default_rng(3).normal(0, noise, 3 * LISTEN_RATE_HZ)
    for begin, end in speech_s:
        sound[int(begin * LISTEN_RATE_HZ) : int(end * LISTEN_RATE_HZ)] *= 3000 / max(noise, 1.0)
    return np.clip(sound, -32768, 32767).astype("<i2").tobytes()


def ring_of(pcm: bytes) -> SoundRing:
    ring = SoundRing(4 * LISTEN_RATE_HZ)
    ring.push(pcm, 0)
    return ring


@pytest.mark.parametrize("noise", [2.0, 30.0, 300.0])
def test_speech_that_is_reported_late_is_kept_from_its_beginning(noise):
    first = speech_from(ring_of(line((1.5, 2.8), noise=noise)), REPORTED, LEAD_SAMPLES)
    assert first == pytest.approx(1.5 * LISTEN_RATE_HZ - MARGIN_SAMPLES, abs=320)


def test_speech_that_is_reported_in_time_has_the_usual_lead():
    assert speech_from(ring_of(line((1.95, 2.8))), REPORTED, LEAD_SAMPLES) == REPORTED - LEAD_SAMPLES


def test_sound_with_a_pause_before_the_speech_is_another_utterance():
    assert speech_from(ring_of(line((1.2, 1.5), (1.9, 2.8))), REPORTED, LEAD_SAMPLES) == REPORTED - LEAD_SAMPLES


def test_closure_of_a_plosive_does_not_end_the_word():
    first = speech_from(ring_of(line((1.4, 1.6), (1.68, 2.8))), REPORTED, LEAD_SAMPLES)
    assert first == pytest.approx(1.4 * LISTEN_RATE_HZ - MARGIN_SAMPLES, abs=320)


def test_nothing_is_taken_from_the_last_utterance_or_from_far_before():
    ring = ring_of(line((0.2, 2.8)))
    assert speech_from(ring, REPORTED, LEAD_SAMPLES) == REPORTED - LEAD_SAMPLES  # all of it is equally loud: no beginning
    ring = ring_of(line((0.2, 0.9), (1.02, 2.8)))
    assert speech_from(ring, REPORTED, LEAD_SAMPLES, not_before=int(1.2 * LISTEN_RATE_HZ)) >= 1.2 * LISTEN_RATE_HZ
    assert speech_from(ring, REPORTED, LEAD_SAMPLES) >= REPORTED - MAX_LEAD_SAMPLES


def test_sound_that_has_not_arrived_is_not_judged():
    ring = SoundRing(4 * LISTEN_RATE_HZ)
    assert speech_from(ring, REPORTED, LEAD_SAMPLES) == REPORTED - LEAD_SAMPLES


def test_utterance_of_a_late_report_holds_its_first_word():
    async def run() -> None:
        heard: list[Utterance] = []

        async def transcribe(utterance: Utterance) -> Transcript:
            heard.append(utterance)
            return Transcript("please")

        recognition = UtteranceRecognition(transcribe, lambda event: None)
        recognition.start_utterance(1, REPORTED)
        recognition.push_audio(line((1.5, 2.8)), 0)
        recognition.end_utterance(1, int(2.8 * LISTEN_RATE_HZ))
        await asyncio.sleep(0.1)
        await recognition.close()
        assert heard[0].first_sample < 1.5 * LISTEN_RATE_HZ < REPORTED - LEAD_SAMPLES

    run_virtually(run())
