"""The detector's network looks only at what is louder than the noise of its line, and finds speech no later for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from active_call.bench.speech import speech
from active_call.media.detect.noise_gate import CALM_CHUNKS, EVEN_CHUNKS, MARGIN, SOFTEST, NoiseGate
from active_call.media.detect.speech import SpeechDetector

ONE = np.zeros(1, np.intp)
QUIET = np.ones(1, np.bool_)


def energy(db: float) -> NDArray[np.float32]:
    return np.array([10 ** (db / 10)], np.float32)


def calmed(noise_db: float, n_chunks: int = 400) -> NoiseGate:
    """A gate that has heard noise of that level for a while."""
    gate = NoiseGate(1)
    gate.reset(0)
    for _ in range(n_chunks):
        if gate.must_see(energy(noise_db), ONE, QUIET)[0]:
            gate.learn(energy(noise_db), ONE, np.zeros(1, np.float32))
    return gate


def sees(gate: NoiseGate, db: float, *, is_quiet: bool = True) -> bool:
    return bool(gate.must_see(energy(db), ONE, np.array([is_quiet]))[0])


def test_new_line_is_looked_at_until_it_has_been_calm() -> None:
    gate = NoiseGate(1)
    gate.reset(0)
    seen = 0
    while sees(gate, -90.0):
        gate.learn(energy(-90.0), ONE, np.zeros(1, np.float32))
        seen += 1
    assert seen == EVEN_CHUNKS > CALM_CHUNKS


def test_noise_is_left_out_and_what_is_louder_is_looked_at() -> None:
    gate = calmed(-50.0)
    assert not sees(gate, -50.0)
    assert not sees(gate, -49.0)
    assert sees(gate, -46.0)


def test_speech_does_not_raise_the_floor_and_is_followed_by_a_calm_time() -> None:
    gate = calmed(-50.0)
    for _ in range(100):
        assert sees(gate, -30.0)
        gate.learn(energy(-30.0), ONE, np.full(1, 0.9, np.float32))
    for _ in range(EVEN_CHUNKS):
        assert sees(gate, -50.0)
        gate.learn(energy(-50.0), ONE, np.full(1, 0.02, np.float32))
    assert not sees(gate, -50.0)
    assert sees(gate, -46.0)


def test_noise_that_changes_like_music_or_talk_is_looked_at_in_its_soft_parts_too() -> None:
    gate = calmed(-50.0)
    for number in range(400):
        db = -35.0 if number % 16 < 8 else -50.0  # two notes a second
        if number >= 16:
            assert sees(gate, db)
        else:
            gate.must_see(energy(db), ONE, QUIET)
        gate.learn(energy(db), ONE, np.full(1, 0.3 if db > -40 else 0.02, np.float32))


def test_chunk_of_the_noise_after_one_louder_sound_is_looked_at() -> None:
    gate = calmed(-50.0)
    assert sees(gate, -40.0)
    gate.learn(energy(-40.0), ONE, np.full(1, 0.02, np.float32))
    assert sees(gate, -50.0)


def test_louder_noise_is_looked_at_until_the_floor_has_followed() -> None:
    gate = calmed(-60.0)
    n_seen = 0
    while sees(gate, -45.0):
        gate.learn(energy(-45.0), ONE, np.full(1, 0.01, np.float32))
        n_seen += 1
        assert n_seen < 200
    assert n_seen > 20
    assert not sees(gate, -60.0)


def test_digital_silence_between_does_not_make_the_line_deaf_or_the_noise_loud_for_long() -> None:
    gate = calmed(-55.0)
    assert not sees(gate, -200.0)
    assert calmed(-200.0).must_see(np.array([SOFTEST * MARGIN * 2], np.float32), ONE, QUIET)[0]


def test_caller_who_speaks_is_looked_at_in_every_chunk() -> None:
    assert sees(calmed(-50.0), -70.0, is_quiet=False)


class Counting(SpeechDetector):
    """Counts the chunks that the network has seen."""

    n_seen = 0

    def _infer(self, windows: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        self.n_seen += len(slots)
        return super()._infer(windows, slots)


def starts(detector: SpeechDetector, sound: NDArray[np.float32]) -> list[list[int]]:
    """The frames at which beginnings are told, by slot. `sound` (slots, frames, samples)."""
    slots, told = np.arange(len(sound)), [[] for _ in sound]
    for slot in slots.tolist():
        detector.reset(slot, phase=slot % 8)
    for number in range(sound.shape[1]):
        for detection in detector.push(sound[:, number], slots, np.zeros(len(sound))):
            if detection.started:
                told[detection.slot].append(number)
    return told


def test_beginnings_are_told_no_later_than_by_a_network_that_hears_everything() -> None:
    speech_of = speech().frames.astype(np.float32) / 32_768
    noises = [(level, snr) for level in (0.3, 1.0) for snr in (45, 20, 8)]
    chance = np.random.default_rng(11)
    sound = np.stack([np.roll(speech_of, 101 * row, axis=0) * level for row, (level, _) in enumerate(noises)])
    rms = np.sqrt(np.mean(sound**2, axis=(1, 2)))
    loudness = rms * 10 ** (-np.array([snr for _, snr in noises]) / 20)
    sound = (sound + chance.normal(size=sound.shape) * loudness[:, None, None]).astype(np.float32)
    whole, gated = Counting(len(noises), 8000), Counting(len(noises), 8000, is_gated=True)
    expected, found = starts(whole, sound), starts(gated, sound)
    assert gated.n_seen < 0.85 * whole.n_seen
    later_by = [
        min((start - known for start in its_starts if abs(start - known) < 15), default=100, key=abs)
        for known_starts, its_starts in zip(expected, found, strict=True)
        for known in known_starts
    ]
    assert len(later_by) > 50
    assert np.mean(later_by) <= 0
    assert sum(delay > 0 for delay in later_by) <= 0.02 * len(later_by)
