"""Digits as sound: made here from Q.23's figures, heard under Q.24's conditions; and minutes of speech in which there are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import talk

from active_call.bench.speech import speech
from active_call.media.detect.inband_dtmf import Digit, InbandDigits
from active_call.testing.sound.audio import ALAW, MULAW

KEYS = "123A456B789C*0#D"
ROWS_HZ = (697, 770, 852, 941)
COLUMNS_HZ = (1209, 1336, 1477, 1633)


def press(
    digits: str,
    *,
    on_ms: int = 40,
    off_ms: int = 40,
    low_dbm0: float = -12.0,
    twist_db: float = 0.0,
    deviation: float = 0.0,
    snr_db: float | None = None,
    delay: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """The digits as a telephone sends them; `twist_db` is how much stronger the column's tone is. Noise is white, over the whole."""
    rng = np.random.default_rng(seed)
    amplitude = 32768 * 10 ** ((low_dbm0 - 3.14) / 20)
    t = np.arange(on_ms * 8) / 8000
    pieces = [np.zeros(delay)]
    for digit in digits:
        place = KEYS.index(digit)
        low_hz, high_hz = ROWS_HZ[place // 4] * (1 + deviation), COLUMNS_HZ[place % 4] * (1 + deviation)
        low = amplitude * np.sin(2 * np.pi * low_hz * t + rng.uniform(0, 6.28))
        high = amplitude * 10 ** (twist_db / 20) * np.sin(2 * np.pi * high_hz * t + rng.uniform(0, 6.28))
        pieces += [low + high, np.zeros(off_ms * 8)]
    sound = np.concatenate(pieces)
    if snr_db is not None:
        power = amplitude**2 / 2 * (1 + 10 ** (twist_db / 10))
        sound += rng.normal(0, np.sqrt(power / 10 ** (snr_db / 10)), len(sound))
    return sound.clip(-32768, 32767).astype(np.int16)


def heard_in(frames: np.ndarray) -> list[list[Digit]]:
    """What each stream of (frames, streams, 160) gave."""
    n_streams = frames.shape[1]
    detector = InbandDigits(n_streams)
    for slot in range(n_streams):
        detector.reset(slot)
    found: list[list[Digit]] = [[] for _ in range(n_streams)]
    for frame in frames:
        for digit in detector.push(frame, np.arange(n_streams)):
            found[digit.slot].append(digit)
    return found


def heard(*sounds: np.ndarray) -> list[str]:
    """The digits of several sounds, each a stream of its own, all in one batch."""
    n_frames = max(map(len, sounds)) // 160 + 4
    frames = np.zeros((len(sounds), n_frames * 160), np.int16)
    for row, sound in zip(frames, sounds, strict=True):
        row[: len(sound)] = sound
    found = heard_in(frames.reshape(len(sounds), n_frames, 160).swapaxes(0, 1))
    return ["".join(digit.digit for digit in digits) for digits in found]


@pytest.mark.parametrize("snr_db", [None, 15.0])
@pytest.mark.parametrize("twist_db", [0.0, 4.0, -8.0])
@pytest.mark.parametrize("deviation", [0.0, 0.015, -0.015])
@pytest.mark.parametrize("low_dbm0", [-7.0, -12.0, -25.0])
def test_q24_all_digits_of_40_ms_are_recognised_once(low_dbm0: float, deviation: float, twist_db: float, snr_db: float | None) -> None:
    conditions = {"low_dbm0": low_dbm0, "deviation": deviation, "twist_db": twist_db, "snr_db": snr_db}
    sounds = [press(KEYS, delay=delay, seed=delay, **conditions) for delay in range(0, 160, 7)]
    assert heard(*sounds) == [KEYS] * len(sounds)


@pytest.mark.parametrize("law", [MULAW, ALAW])
def test_digits_that_crossed_a_g711_line_are_recognised(law: object) -> None:
    sounds = [law.decode(law.encode(press(KEYS, low_dbm0=-20, delay=delay))) for delay in range(0, 160, 20)]  # type: ignore[attr-defined]
    assert heard(*sounds) == [KEYS] * len(sounds)


def test_same_digit_pressed_again_is_two_digits_and_a_long_one_in_noise_is_one() -> None:
    sounds = [press("1122333", delay=delay) for delay in range(0, 160, 11)]
    assert heard(*sounds) == ["1122333"] * len(sounds)
    long = [press(KEYS, on_ms=2000, snr_db=8, seed=seed, twist_db=twist_db) for seed, twist_db in enumerate((0, 4, -8))]
    assert heard(*long) == [KEYS] * 3


def test_q24_interruption_of_10_ms_does_not_make_two_digits_of_one() -> None:
    sounds = [np.concatenate([press("5", on_ms=60, off_ms=10, delay=d), press("5", on_ms=60)]) for d in range(0, 160, 9)]
    assert heard(*sounds) == ["5"] * len(sounds)


@pytest.mark.parametrize(
    "sound",
    [
        lambda: press(KEYS, on_ms=15, off_ms=60),  # Q.24: too short
        lambda: press(KEYS, on_ms=200, deviation=0.035),  # too far off
        lambda: press(KEYS, on_ms=200, deviation=-0.035),
        lambda: press(KEYS, on_ms=200, twist_db=12.0),
        lambda: press(KEYS, on_ms=200, twist_db=-16.0),
        lambda: press(KEYS, on_ms=200, low_dbm0=-45.0),  # an echo
        lambda: press(KEYS, on_ms=200, snr_db=-3.0),
        lambda: (8000 * np.sin(2 * np.pi * 697 * np.arange(8000) / 8000)).astype(np.int16),  # one tone is no digit
        lambda: sum(press(digit, on_ms=500) // 4 for digit in "15"),  # neither are four
    ],
)
def test_what_q24_excludes_is_not_recognised(sound: Callable[[], np.ndarray]) -> None:
    assert heard(sound()) == [""]


@pytest.mark.parametrize("gain", [1.0, 0.3, 0.1])
def test_ten_minutes_of_speech_hold_no_digit(gain: float) -> None:
    assert not any(heard_in(talk.in_streams((talk.speech() * gain).astype(np.int16))))


def test_ten_minutes_of_music_and_noise_hold_no_digit() -> None:
    for sound in (talk.music(), talk.noise()):
        assert not any(heard_in(talk.in_streams(sound)))


def test_digits_spoken_over_are_recognised_when_they_are_louder() -> None:
    digits = press(KEYS, on_ms=100, off_ms=100, low_dbm0=-9)
    speech = talk.speech()[8000 : 8000 + len(digits)] * 0.1
    assert heard((digits + speech).clip(-32768, 32767).astype(np.int16)) == [KEYS]


def test_streams_in_one_batch_do_not_disturb_one_another_and_a_slot_begins_anew() -> None:
    detector = InbandDigits(8)
    for slot in (2, 5):
        detector.reset(slot)
    sound = press("7", on_ms=60).reshape(-1, 160)
    for frame in sound[:1]:
        assert detector.push(np.stack([frame, np.zeros(160, np.int16)]), np.array([5, 2])) == []
    told = [digit for frame in sound[1:] for digit in detector.push(np.stack([frame, np.zeros(160, np.int16)]), np.array([5, 2]))]
    assert [(digit.slot, digit.digit) for digit in told] == [(5, "7")]
    for frame in sound[:1]:
        detector.push(frame[None], np.array([2]))
    detector.reset(2)
    assert detector.push(np.zeros((1, 160), np.int16), np.array([2])) == []


def test_digit_is_told_within_two_frames_after_30_ms_of_it() -> None:
    for delay in range(0, 160, 20):
        sound = press("9", on_ms=100, delay=delay)
        frames = np.concatenate([sound, np.zeros(-len(sound) % 160, np.int16)]).reshape(-1, 1, 160)
        detector = InbandDigits(1)
        detector.reset(0)
        told: list[Digit] = []
        ended_ms = 0
        for frame in frames:
            ended_ms += 20
            told = detector.push(frame, np.zeros(1, np.intp))
            if told:
                break
        began_ms = delay / 8
        assert ended_ms - began_ms <= 60
        assert abs(ended_ms - told[0].age_ms - began_ms) <= 10


def test_windows_of_speech_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    n_judged = 0
    judge = InbandDigits._judge

    def note(digits: InbandDigits, windows: np.ndarray, energy: np.ndarray, slots: np.ndarray) -> np.ndarray:
        nonlocal n_judged
        n_judged += len(windows)
        return judge(digits, windows, energy, slots)

    monkeypatch.setattr(InbandDigits, "_judge", note)
    frames = speech().frames
    heard_in(frames[:, None])
    assert n_judged < len(frames) / 100
    assert [digit.digit for digit in heard_in(press("5", on_ms=80).reshape(-1, 160)[:, None])[0]] == ["5"]
