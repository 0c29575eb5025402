"""Tones of networks, fax machines and answering machines, made here from their figures; and minutes of speech that are none of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import talk

from active_call.media.detect.call_progress import ToneDetector, ToneHeard
from active_call.testing.sound.audio import MULAW

RATE_HZ = 8000


def sound(*parts: tuple[Iterable[float], int], dbm0: float = -13.0, seconds: float = 14.0) -> np.ndarray:
    """Parts (frequencies, milliseconds) over and over, each frequency at `dbm0`, for so long; edges as hard as a switch makes them."""
    amplitude = 32768 * 10 ** ((dbm0 - 3.14) / 20)
    pieces: list[np.ndarray] = []
    while sum(map(len, pieces)) < seconds * RATE_HZ:
        for frequencies, ms in parts:
            t = np.arange(ms * 8) / RATE_HZ
            pieces.append(sum((amplitude * np.sin(2 * np.pi * f * t) for f in frequencies), np.zeros(len(t))))
    return np.concatenate(pieces)[: int(seconds * RATE_HZ)]


def on_a_line(clean: np.ndarray, noise_dbm0: float = -45.0, seed: int = 1) -> np.ndarray:
    """With the line's noise, through G.711."""
    sigma = 32768 / np.sqrt(2) * 10 ** ((noise_dbm0 - 3.14) / 20)
    noisy = clean + np.random.default_rng(seed).normal(0, sigma, len(clean))
    return MULAW.decode(MULAW.encode(noisy.clip(-32768, 32767).astype(np.int16)))


def heard(pcm: np.ndarray) -> list[tuple[float, ToneHeard]]:
    """What was told and when, in seconds."""
    detector = ToneDetector(3)
    detector.reset(1)
    told: list[tuple[float, ToneHeard]] = []
    for n in range(len(pcm) // 160):
        frame = pcm[n * 160 : (n + 1) * 160].astype(np.int16)[None]
        told += [((n + 1) / 50, tone) for tone in detector.push(frame, np.array([1]))]
    assert all(tone.slot == 1 for _, tone in told)
    return told


def kinds(told: list[tuple[float, ToneHeard]]) -> set[str]:
    return {tone.kind for _, tone in told}


NETWORKS = [
    ("us", "ringback", (((440, 480), 2000), ((), 4000))),
    ("us", "busy", (((480, 620), 500), ((), 500))),
    ("us", "congestion", (((480, 620), 250), ((), 250))),
    ("us", "dial", (((350, 440), 4000),)),
    ("gb", "ringback", (((400, 450), 400), ((), 200), ((400, 450), 400), ((), 2000))),
    ("gb", "busy", (((400,), 375), ((), 375))),
    ("gb", "congestion", (((400,), 400), ((), 350), ((400,), 225), ((), 525))),
    ("fr", "ringback", (((440,), 1500), ((), 3500))),
    ("fr", "busy", (((440,), 500), ((), 500))),
    ("de", "ringback", (((425,), 1000), ((), 4000))),
    ("de", "busy", (((425,), 480), ((), 480))),
    ("de", "congestion", (((425,), 240), ((), 240))),
    ("de", "dial", (((425,), 4000),)),
    ("cn", "ringback", (((450,), 1000), ((), 4000))),
    ("cn", "busy", (((450,), 350), ((), 350))),
    ("at", "ringback", (((420,), 1000), ((), 5000))),
]


@pytest.mark.parametrize(
    ("country", "kind", "parts", "noise_dbm0"),
    [*((*one, -38.0) for one in NETWORKS), *((*one, -70.0) for one in NETWORKS if one[0] == "us")],
)
def test_e180_tone_of_a_network_is_told_and_no_other(country: str, kind: str, parts: tuple, noise_dbm0: float) -> None:  # type: ignore[type-arg]
    told = heard(on_a_line(sound(*parts), noise_dbm0))
    assert kinds(told) == {kind}
    confidences = [tone.confidence for _, tone in told]
    assert confidences == sorted(confidences)
    assert kind == "dial" or confidences[-1] > confidences[0]
    assert told[0][0] < 4.6


def test_ringback_is_told_with_its_first_pause_and_busy_with_its_second_period() -> None:
    assert heard(on_a_line(sound(((440, 480), 2000), ((), 4000))))[0][0] == pytest.approx(3.5, abs=0.1)
    assert heard(on_a_line(sound(((425,), 500), ((), 500))))[0][0] == pytest.approx(2.0, abs=0.1)


def test_e180_special_information_tones_are_told_with_the_third() -> None:
    for steps in ((950, 1400, 1800), (913.8, 1370.6, 1776.7), (985.2, 1428.5, 1776.7)):
        pcm = on_a_line(sound(*(((f,), 330) for f in steps), ((), 3000), seconds=3.0))
        ((at, tone),) = heard(pcm)
        assert tone.kind == "sit"
        assert at < 1.0


def test_t30_calling_fax_is_told_with_its_second_tone() -> None:
    for frequency_hz in (1062.5, 1100, 1137.5):  # T.30: 1100 Hz plus or minus 38
        told = heard(on_a_line(sound(((frequency_hz,), 500), ((), 3000), seconds=9.0)))
        assert [tone.kind for _, tone in told] == ["fax", "fax"]
        assert told[0][0] == pytest.approx(4.0, abs=0.1)


def test_v25_answering_modem_is_told_after_a_second_with_or_without_phase_reversals() -> None:
    t = np.arange(3 * RATE_HZ) / RATE_HZ
    for reverses in (False, True):
        phase = np.where(t // 0.45 % 2 == 1, -1.0, 1.0) if reverses else np.ones(len(t))
        told = heard(on_a_line(np.concatenate([np.zeros(4000), 8000 * phase * np.sin(2 * np.pi * 2100 * t), np.zeros(8000)])))
        assert [tone.kind for _, tone in told] == ["answer"]
        assert told[0][0] == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize("frequency_hz", [620, 850, 1000, 1400, 2000])
@pytest.mark.parametrize("ms", [180, 300, 500, 1000])
def test_beep_after_speech_is_told_with_its_end_and_length(frequency_hz: int, ms: int) -> None:
    greeting = talk.speech()[: 2 * RATE_HZ].astype(float)
    beep = sound(((frequency_hz,), ms), ((), 1000), dbm0=-16, seconds=ms / 1000 + 1.0)
    ((at, tone),) = heard(on_a_line(np.concatenate([greeting, np.zeros(2400), beep])))
    assert tone.kind == "beep"
    assert tone.frequency_hz == pytest.approx(frequency_hz, abs=5)
    assert tone.duration_ms == pytest.approx(ms, abs=40)
    assert at == pytest.approx(2.3 + ms / 1000, abs=0.1)


def test_digits_are_no_beeps() -> None:
    assert heard(on_a_line(sound(((697, 1209), 200), ((), 100), ((852, 1477), 100), ((), 300)))) == []


@pytest.mark.parametrize("make", [talk.speech, talk.music, talk.noise])
def test_ten_minutes_without_tones_are_silent(make: object) -> None:
    frames = talk.in_streams(make())  # type: ignore[operator]
    detector = ToneDetector(frames.shape[1])
    for slot in range(frames.shape[1]):
        detector.reset(slot)
    assert [tone for frame in frames for tone in detector.push(frame, np.arange(frames.shape[1]))] == []


def test_streams_in_one_batch_are_judged_each_by_itself() -> None:
    parts = [(((440, 480), 2000), ((), 4000)), (((480, 620), 500), ((), 500)), (((), 1000),)]
    lines = np.stack([on_a_line(sound(*each, seconds=6.0), seed=n) for n, each in enumerate(parts)])
    detector = ToneDetector(9)
    slots = np.array([7, 2, 4])
    for slot in slots.tolist():
        detector.reset(slot)
    told = [tone for n in range(300) for tone in detector.push(lines[:, n * 160 : (n + 1) * 160], slots)]
    assert {(tone.slot, tone.kind) for tone in told} == {(7, "ringback"), (2, "busy")}
    detector.reset(2)
    assert detector.push(np.zeros((1, 160), np.int16), np.array([2])) == []
