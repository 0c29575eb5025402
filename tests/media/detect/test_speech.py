"""The detector on synthetic speech with exactly known beginnings and ends, frame by frame in virtual time."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import wave

import numpy as np
import pytest
import soxr

from active_call.codec.resample import StreamResampler
from active_call.media.detect.speech import N_PHASES, Detection, SpeechDetector, energy_voiced

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng, which speaks here, is not installed")

FRAME_S = 0.02
START_S = 500.0


@functools.cache
def utterance() -> np.ndarray:
    """Six seconds and more of speech that is voiced nearly throughout, at 16 kHz, beginning with its first audible sample."""
    text = "Where were you all year long? We were rowing along a lonely river, wandering on, nearly all away. Now we are home in January."
    command = ["espeak-ng", "-v", "en", "--stdout", text]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
        resampler = StreamResampler(file.getframerate(), 16000)
        pcm = resampler.push(file.readframes(1 << 24)) + resampler.flush()
    samples = np.frombuffer(pcm, np.int16).astype(np.float32) / 32768
    return samples[np.flatnonzero(np.abs(samples) > 0.01)[0] :] * np.float32(0.5)


def voice(duration_s: float) -> np.ndarray:
    return utterance()[: int(duration_s * 16000)]


def scene(*parts: float, noise: float = 0.0003, shift: int = 0) -> np.ndarray:
    """Seconds of silence and voice in turn, in soft noise, as whole frames (n, 320); `shift` samples of silence come first."""
    pieces = [np.zeros(shift, np.float32)]
    pieces += [voice(part) if index % 2 else np.zeros(int(part * 16000), np.float32) for index, part in enumerate(parts)]
    samples = np.concatenate(pieces)
    samples = samples[: len(samples) // 320 * 320]
    samples = samples + np.random.default_rng(1).normal(size=len(samples)).astype(np.float32) * noise
    return samples.reshape(-1, 320)


def at_rate_of(detector: SpeechDetector, frames: np.ndarray) -> np.ndarray:
    """Frames of 16 kHz at the rate that the detector takes."""
    samples = frames.reshape(-1).astype(np.float32)
    return soxr.resample(samples, 16_000, detector.rate_hz, quality="VHQ").reshape(len(frames), -1)


def listen(detector: SpeechDetector, frames: np.ndarray, slot: int = 1) -> list[tuple[float, Detection]]:
    """Each detection with the arrival of the packet that led to it."""
    found = []
    for index, frame in enumerate(at_rate_of(detector, frames)):
        now = START_S + index * FRAME_S
        found += [(now, each) for each in detector.push(frame[None], np.array([slot]), np.array([now]))]
    return found


@pytest.fixture(params=[16_000, 8000])
def detector(request: pytest.FixtureRequest) -> SpeechDetector:
    result = SpeechDetector(4, request.param)
    result.reset(1, 0.5, 64, 100)
    return result


@pytest.mark.parametrize("shift", range(0, 520, 60))
def test_speech_start_is_told_within_100_ms_and_dated_to_its_first_packet(detector: SpeechDetector, shift: int) -> None:
    (now, start), *_ = listen(detector, scene(1.0, 1.0, 0.6, shift=shift))
    first_packet = START_S + (16000 + shift) // 320 * FRAME_S
    assert start.started
    assert now - first_packet <= 0.101
    assert start.at == pytest.approx(first_packet, abs=FRAME_S * 1.01)
    assert start.sample == pytest.approx(16000 + shift, abs=640)
    assert start.confidence > 0.5


def test_speech_end_is_told_after_the_silence_and_dated_to_its_last_packet(detector: SpeechDetector) -> None:
    detections = listen(detector, scene(1.0, 1.0, 1.0))
    assert [each.started for _, each in detections] == [True, False]
    now, end = detections[1]
    last_packet = START_S + 2.0 - FRAME_S
    assert end.at == pytest.approx(last_packet, abs=0.1)
    assert 0.08 <= now - last_packet <= 0.25
    assert end.sample == pytest.approx(32000, abs=1600)
    assert end.duration_ms == pytest.approx(1000, abs=120)
    assert detector.is_speaking(1) is False


@pytest.mark.parametrize("shift", range(0, 520, 130))
def test_speech_end_is_told_sooner_where_the_line_is_silent_than_in_noise(detector: SpeechDetector, shift: int) -> None:
    silent = listen(detector, scene(1.0, 1.0, 1.0, shift=shift))
    detector.reset(1, 0.5, 64, 100)
    noisy = listen(detector, scene(1.0, 1.0, 1.0, shift=shift, noise=0.02))
    assert [each.started for _, each in silent] == [each.started for _, each in noisy] == [True, False]
    waited, waited_in_noise = (told[-1][0] - (START_S + 2.0 + shift / 16000) for told in (silent, noisy))
    assert 0.08 <= waited <= 0.19
    assert waited <= waited_in_noise <= 0.35


def test_silence_of_a_plosive_does_not_end_speech(detector: SpeechDetector) -> None:
    detections = listen(detector, scene(0.5, 0.6, 0.08, 0.6, 1.5))
    assert [each.started for _, each in detections] == [True, False]


def test_pause_shorter_than_silence_ms_does_not_end_speech(detector: SpeechDetector) -> None:
    detector.configure(1, 0.5, 64, 800)
    detections = listen(detector, scene(0.5, 0.6, 0.4, 0.6, 1.5))
    assert [each.started for _, each in detections] == [True, False]
    assert detections[1][1].duration_ms == pytest.approx(1600, abs=150)


def test_speech_shorter_than_min_speech_ms_is_not_told(detector: SpeechDetector) -> None:
    detector.configure(1, 0.5, 700, 100)
    assert listen(detector, scene(0.5, 0.3, 1.0)) == []


def test_min_speech_ms_delays_the_report_not_the_date(detector: SpeechDetector) -> None:
    detector.configure(1, 0.5, 320, 100)
    now, start = listen(detector, scene(0.5, 1.0, 0.5))[0]
    assert start.at == pytest.approx(START_S + 0.5, abs=FRAME_S * 1.01)
    assert 0.29 <= now - start.at <= 0.40


@pytest.mark.parametrize("level", [0.0, 0.001, 0.1])
def test_silence_and_white_noise_are_not_speech(detector: SpeechDetector, level: float) -> None:
    assert listen(detector, scene(4.0, noise=level)) == []


def test_quiet_speech_is_dated_as_exactly(detector: SpeechDetector) -> None:
    _, start = listen(detector, scene(1.0, 1.0, 0.5, noise=0.00001) * np.float32(0.1))[0]
    assert start.at == pytest.approx(START_S + 1.0, abs=FRAME_S * 1.01)


@pytest.mark.parametrize("rate_hz", [16_000, 8000])
def test_slots_are_independent_of_what_is_batched_with_them(rate_hz: int) -> None:
    frames = {slot: scene(0.3 + 0.11 * slot, 0.7, 0.5, shift=37 * slot)[:70] for slot in range(4)}
    together, alone = SpeechDetector(4, rate_hz), SpeechDetector(4, rate_hz)
    for slot in range(4):
        together.reset(slot)
        alone.reset(slot)
    batched: dict[int, list[tuple[float, Detection]]] = {slot: [] for slot in range(4)}
    for index in range(70):
        now = START_S + index * FRAME_S
        order = np.roll(np.arange(4), index)
        batch = np.stack([at_rate_of(together, frames[slot])[index] for slot in order])
        for each in together.push(batch, order, np.full(4, now)):
            batched[each.slot].append((now, each))
    for slot in range(4):
        single = listen(alone, frames[slot], slot)
        assert [(now, each.started, each.sample, each.at) for now, each in single] == [
            (now, each.started, each.sample, each.at) for now, each in batched[slot]
        ]
        assert single


def test_reset_forgets_speech_and_counts_from_zero(detector: SpeechDetector) -> None:
    frames = scene(0.5, 1.0, 0.5)
    first = listen(detector, frames[:50])
    assert detector.is_speaking(1)
    detector.reset(1)
    assert not detector.is_speaking(1)
    assert listen(detector, frames[:50]) == first


def test_recurrent_state_is_renewed_in_long_silence_and_never_in_speech(detector: SpeechDetector) -> None:
    state = detector._network.state
    listen(detector, scene(29.0))
    assert np.abs(state[:, 1]).max() > 0
    renewed = False
    for index, frame in enumerate(at_rate_of(detector, scene(2.0))):
        detector.push(frame[None], np.array([1]), np.array([START_S + index * FRAME_S]))
        renewed |= not state[:, 1].any()
    assert renewed
    assert [each.started for _, each in listen(detector, scene(0.2, 1.0, 0.5))] == [True, False]


def test_detector_without_ready_chunk_tells_nothing(detector: SpeechDetector) -> None:
    assert detector.push(np.zeros((1, detector.rate_hz // 50), np.float32), np.array([1]), np.array([0.0])) == []


def test_energy_voiced_is_true_from_45_db_below_full_scale_on() -> None:
    tone = np.sin(2 * np.pi * 400 * np.arange(160) / 8000) * np.sqrt(2) * 32768
    levels_db = [-80, -60, -46, -44, -20, -4]
    frames = np.stack([tone * 10 ** (level / 20) for level in levels_db]).astype(np.int16)
    assert energy_voiced(frames).tolist() == [False, False, False, True, True, True]


def test_streams_that_begin_together_in_other_phases_tell_the_same_and_fall_due_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    detector, slots, n_due = SpeechDetector(N_PHASES), np.arange(N_PHASES), []
    for slot in range(N_PHASES):
        detector.reset(slot, 0.5, 64, 500, phase=slot)
    network = detector._network
    infer = network.infer_windows
    monkeypatch.setattr(network, "infer_windows", lambda windows, ready: n_due.append(len(ready)) or infer(windows, ready))
    frames, found = scene(1.0, 3.0, 2.0), []
    for index, frame in enumerate(frames):
        found += detector.push(np.repeat(frame[None], N_PHASES, axis=0), slots, np.full(N_PHASES, START_S + index * FRAME_S))
    assert set(n_due[1:]) == {5}  # of 8, in every tick
    for started, at_s in ((True, 1.0), (False, 4.0)):
        told = [each for each in found if each.started is started]
        assert sorted(each.slot for each in told) == list(range(N_PHASES))
        assert [each.at - START_S for each in told] == pytest.approx([at_s] * N_PHASES, abs=0.08)
        assert [each.sample / 16_000 for each in told] == pytest.approx([at_s] * N_PHASES, abs=0.08)


@pytest.mark.parametrize(("n_groups", "n_pushes"), [(1, 5), (2, 6), (3, 7), (4, 8), (8, 8)])
def test_streams_of_a_group_fall_due_together_whenever_they_began(n_groups: int, n_pushes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n_slots = 3 * n_groups
    detector, due = SpeechDetector(n_slots), []
    monkeypatch.setattr(detector._network, "infer_windows", lambda windows, ready: due.append(ready) or np.zeros(len(ready), np.float32))
    patterns = []
    for push in range(60):
        if push < n_slots:  # one more stream begins
            detector.reset(push)
            detector.align(push, push % n_groups)
        slots = np.arange(min(push + 1, n_slots))
        n_before = len(due)
        detector.push(np.zeros((len(slots), 320), np.float32), slots, np.zeros(len(slots)))
        patterns.append(due[-1].tolist() if len(due) > n_before else [])
    settled = patterns[-16:]
    assert sum(bool(ready) for ready in settled) == 2 * n_pushes
    for ready in settled:
        assert sorted(slot for slot in range(n_slots) if slot % n_groups in {each % n_groups for each in ready}) == sorted(ready)
