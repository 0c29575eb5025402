"""Ten minutes of varied speech, and music and noise like it, from seeds: what detectors of tones must keep silent about."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from active_call.testing.sound.audio import MULAW
from active_call.testing.sound.voice import speak

RATE_HZ = 8000
WORDS = """one two three four five six seven eight nine zero hello goodbye please thank you account number order invoice delivery tomorrow
yesterday morning evening support billing technical question problem yes no maybe certainly information telephone address street doctor
appointment Wednesday Thursday Saturday November eighteen thirty forty hundred thousand reservation confirm cancel transfer representative
why who where when how much many moon spoon queen green see me free day play hue you do too blue oh go slow know ooze"""
VOICES = "en+f1 en+f2 en+f3 en+f4 en+f5 en+m1 en+m2 en+m3 en+m4 en+m5 en+m6 en+m7 de fr it es ru pl nl pt en-us sv tr fi"


@lru_cache(maxsize=1)
def speech(seconds: int = 600) -> np.ndarray:
    """Two dozen voices at all paces, one after another, as a phone line carries them (G.711), int16 at 8 kHz."""
    rng = np.random.default_rng(1)
    words, voices = WORDS.split(), VOICES.split()
    pieces: list[np.ndarray] = []
    n_samples = turn = 0
    while n_samples < seconds * RATE_HZ:
        text = " ".join(rng.choice(words, 14)) + "."
        pieces.append(speak(text, voices[turn % len(voices)], words_per_minute=int(rng.integers(110, 260))))
        n_samples += len(pieces[-1])
        turn += 1
    return MULAW.decode(MULAW.encode(np.concatenate(pieces)[: seconds * RATE_HZ]))


def music(seconds: int = 600) -> np.ndarray:
    """Chords of one to four notes of the piano, each with three to eight harmonics, struck anew every 0.1 to 0.6 s."""
    rng = np.random.default_rng(2)
    out = np.zeros(seconds * RATE_HZ)
    place = 0
    while place < len(out):
        n = min(int(rng.integers(800, 4800)), len(out) - place)
        t = np.arange(n) / RATE_HZ
        chord = np.zeros(n)
        for _ in range(rng.integers(1, 5)):
            note_hz = 110 * 2 ** (rng.integers(0, 36) / 12)
            for harmonic in range(1, rng.integers(4, 9)):
                if note_hz * harmonic < 3800:
                    chord += np.sin(2 * np.pi * note_hz * harmonic * t + rng.uniform(0, 6)) / harmonic
        out[place : place + n] = 12_000 * chord / np.abs(chord).max() * np.minimum(1, t * 100) * np.exp(-t * rng.uniform(0, 4))
        place += n
    return out.astype(np.int16)


def noise(seconds: int = 600, sigma: float = 3000.0) -> np.ndarray:
    return np.random.default_rng(3).normal(0, sigma, seconds * RATE_HZ).clip(-32768, 32767).astype(np.int16)


def in_streams(sound: np.ndarray, n_streams: int = 60) -> np.ndarray:
    """The sound cut into equal parts for as many streams, (frames, streams, 160)."""
    n_frames = len(sound) // (160 * n_streams)
    return sound[: n_frames * n_streams * 160].reshape(n_streams, n_frames, 160).swapaxes(0, 1)
