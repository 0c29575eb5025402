"""Pitch and length of the last syllables, on voices whose pitch is known, as a telephone line carries them."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.media.detect.pauses import MOMENTS_S, PauseWatch
from active_call.media.detect.prosody import RATE_HZ, SPAN_SAMPLES, prosody_of
from active_call.testing.sound.audio import MULAW

FRAME = 160


def voice(contour_hz: list[float], syllables_ms: list[int], gap_ms: int = 60, noise: float = 0.002) -> np.ndarray:
    """Syllables with harmonics up to 3 kHz and none below 300 Hz, whose pitch follows `contour_hz` by syllables; one second."""
    rng = np.random.default_rng(3)
    pieces = []
    for pitch, length in zip(contour_hz, syllables_ms, strict=True):
        t = np.arange(length * RATE_HZ // 1000) / RATE_HZ
        n = np.arange(max(1, int(np.ceil(300 / pitch))), int(3000 / pitch) + 1)
        tone = np.sum(np.cos(2 * np.pi * pitch * n[:, None] * t + n[:, None] ** 2) / n[:, None] ** 0.7, axis=0)
        pieces += [tone * np.hanning(len(t)) ** 0.3, np.zeros(gap_ms * RATE_HZ // 1000)]
    sound = np.concatenate(pieces[:-1])
    sound = np.concatenate((np.zeros(max(0, SPAN_SAMPLES - len(sound))), sound))[-SPAN_SAMPLES:]
    sound = sound / max(np.abs(sound).max(), 1e-9) * 0.3 + rng.normal(size=SPAN_SAMPLES) * noise
    return MULAW.decode(MULAW.encode((sound * 32768).astype(np.int16))).astype(np.float32)


@pytest.mark.parametrize("base", [95, 130, 210, 320])
def test_pitch_that_falls_or_rises_at_the_end_is_told_in_semitones(base):
    lengths = [120, 120, 120, 120]
    level, falls, rises = (voice([base, base * 1.02, base, base * step], lengths) for step in (1.0, 0.75, 1.3))
    level, falls, rises = prosody_of(np.stack((level, falls, rises)))
    assert level.pitch_change_st == pytest.approx(0, abs=0.5)
    assert falls.pitch_change_st == pytest.approx(12 * np.log2(0.75), abs=1.5)
    assert rises.pitch_change_st == pytest.approx(12 * np.log2(1.3), abs=1.5)


def test_lengthened_last_syllable_is_told_against_the_others():
    (short,), (held,) = (prosody_of(voice([120] * 4, lengths)[None]) for lengths in ([120, 120, 120, 120], [110, 110, 110, 330]))
    assert short.final_lengthening == pytest.approx(1.0, abs=0.3)
    assert held.final_lengthening > 2


def test_of_silence_noise_and_a_short_sound_nothing_is_said():
    rng = np.random.default_rng(5)
    noise = rng.normal(size=SPAN_SAMPLES) * 3000
    found = prosody_of(np.stack((np.zeros(SPAN_SAMPLES), noise, voice([120], [90]))).astype(np.float32))
    assert all(prosody.pitch_change_st is None for prosody in found)
    assert prosody_of(np.zeros((0, SPAN_SAMPLES), np.float32)) == []


def test_many_streams_at_once_are_each_judged_as_alone():
    sounds = np.stack([voice([base, base, base * step], [140, 140, 140]) for base in (100, 180, 260) for step in (0.8, 1.0, 1.2)])
    assert prosody_of(sounds) == [prosody_of(sound[None])[0] for sound in sounds]


def run(watch: PauseWatch, sound: np.ndarray, end_sample: int, told_after_s: float = 0.1, slot: int = 2) -> list[tuple[float, object]]:
    """Feed `sound` (8 kHz) frame by frame; speech ends at `end_sample` (16 kHz), which is told later. Gives (seconds of silence, pause)."""
    slots, found = np.array([slot]), []
    for index in range(len(sound) // FRAME):
        n_heard = np.array([index * 320])
        if index * 320 == end_sample + int(told_after_s * 16_000):
            watch.speech_ended(slot, end_sample, 7.5)
        watch.push(sound[None, index * FRAME : (index + 1) * FRAME].astype(np.int16), slots, n_heard)
        found += [((int(n_heard[0]) + 320 - end_sample) / 16_000, pause) for pause in watch.take(slots, n_heard + 320)]
    return found


def scene(silence_s: float = 2.0) -> tuple[np.ndarray, int]:
    """Two seconds of voice, then silence."""
    sound = np.concatenate((voice([130] * 4, [150] * 4), voice([130, 130, 130, 95], [150] * 4), np.zeros(int(silence_s * RATE_HZ))))
    return sound, 2 * 16_000


def test_pause_is_told_at_its_moments_with_the_prosody_before_it():
    watch = PauseWatch(4)
    watch.begin(2)
    found = run(watch, *scene())
    assert [round(silence, 2) for silence, _ in found] == [round(moment, 2) for moment in MOMENTS_S]
    assert all(pause.prosody == found[0][1].prosody for _, pause in found)
    assert found[0][1].prosody.pitch_change_st < -2
    assert found[0][1].energy_db < -80
    assert {pause.since for _, pause in found} == {7.5}
    assert [pause.silence_ms for _, pause in found] == [200, 400, 700, 1000, 1300]


def test_silence_that_is_told_late_gives_one_pause_and_no_prosody_that_is_no_longer_kept():
    watch = PauseWatch(4)
    watch.begin(2)
    found = run(watch, *scene(), told_after_s=0.8)
    assert [round(silence, 2) for silence, _ in found] == [0.82, 1.0, 1.3]
    assert found[0][1].prosody.pitch_change_st < -2
    watch.begin(2)
    assert run(watch, *scene(), told_after_s=1.2)[0][1].prosody.pitch_change_st is None


def test_speech_ends_the_pause():
    watch = PauseWatch(4)
    watch.begin(2)
    watch.speech_ended(2, 0, 7.5)
    watch.speech_began(2)
    assert watch.take(np.array([2]), np.array([100_000])) == []


def test_streams_that_fall_silent_together_are_told_over_some_ticks():
    watch, slots = PauseWatch(20), np.arange(20)
    for slot in slots.tolist():
        watch.begin(slot)
        watch.speech_ended(slot, 32_000, 7.5)
    told = [[pause.slot for pause in watch.take(slots, np.full(20, 35_200 + 320 * tick))] for tick in range(6)]
    assert [len(slots) for slots in told] == [4, 4, 4, 4, 4, 0]
    assert sorted(slot for tick in told for slot in tick) == list(range(20))
