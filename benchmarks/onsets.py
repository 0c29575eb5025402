"""Whether the noise gate of the voice detector makes it hear the beginning of speech later: the detector with and without it on one sound.

    python benchmarks/onsets.py [--lines N] [--seed N] [--each]

Sentences of turns.yaml in several voices, at four levels, on the lines of `BACKGROUNDS`, after silences of `GAPS_S`, in G.711 mu-law. Both
detectors get the same frames of 8 kHz and the same phase of chunks. A row counts, for each background, the beginnings told later and
earlier than without the gate (in ms), those that only one of the two told, and the chunks that the network did not evaluate. `pause`: the
same for the reports that pause the agent's voice after one voiced chunk.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import yaml
from numpy.typing import NDArray

from active_call.bench.evals.speech import SPEECH_RMS, bed, music, say, telephone_band
from active_call.media.detect.speech import N_PHASES, SpeechDetector
from active_call.testing.sound.audio import MULAW, RATE_HZ, Pcm

VOICES: Final = ("piper:joe", "flite:slt", "flite:rms", "piper:joe*1.2", "flite:awb", "espeak:en-us+f2")
LEVELS_DB: Final = (0.0, -10.0, -20.0, -28.0)
"""Relative to ordinary speech, which is 22 dB below full scale."""
GAPS_S: Final = (0.8, 3.0, 12.0, 40.0)
"""The last one is longer than the time after which the network's state is renewed."""
N_SAID: Final = 8
FRAME: Final = RATE_HZ // 50
PAUSE_MS: Final = 32
LATEST_S: Final = 1.0
"""A beginning that is told later than this after the first sample is another one."""
BACKGROUNDS: Final = (
    *("no sound", "line noise", "hiss 30 dB", "hiss 20 dB", "hiss 10 dB", "babble 20 dB", "babble 10 dB", "hum 20 dB", "hum 6 dB"),
    *("music 20 dB", "rising hiss", "echo of the agent"),
)

Sound = NDArray[np.float64]


@dataclass(slots=True)
class Line:
    """A caller's line, and where each sentence begins and ends (samples)."""

    background: str
    level_db: float
    pcm: Pcm
    said: list[tuple[int, int]] = field(default_factory=list)


def background(kind: str, n_samples: int, chance: np.random.Generator) -> Sound:
    """Sound without the caller, as loud as its name says, relative to ordinary speech."""
    name, _, snr = kind.removesuffix(" dB").rpartition(" ")
    rms = SPEECH_RMS / 10 ** (float(snr) / 20) if snr.isdigit() else 0.0
    moments = np.arange(n_samples) / RATE_HZ
    match name or kind:
        case "hiss":
            return chance.normal(0, rms, n_samples)
        case "babble":
            return _at(_crowd(n_samples, chance, 6), rms)
        case "hum":
            overtones = sum(np.sin(2 * np.pi * 50 * n * moments) / n for n in (2, 3, 4, 6, 9, 12))
            return _at(np.asarray(overtones, np.float64), rms) + chance.normal(0, 20, n_samples)
        case "music":
            return np.resize(music(10, rms).astype(np.float64), n_samples)
    match kind:
        case "rising hiss":
            return chance.normal(0, 1, n_samples) * SPEECH_RMS / 10 ** ((40 - 25 * (0.5 - 0.5 * np.cos(moments / 3))) / 20)
        case "echo of the agent":
            return _at(_crowd(n_samples, chance, 1), SPEECH_RMS / 10 ** (26 / 20)) + chance.normal(0, 20, n_samples)
        case "line noise":
            return np.resize(bed("", 0).astype(np.float64), n_samples)
    return np.zeros(n_samples)


def _at(sound: Sound, rms: float) -> Sound:
    return sound * (rms / float(np.sqrt(np.mean(sound**2))))


def _crowd(n_samples: int, chance: np.random.Generator, n_voices: int) -> Sound:
    """So many voices that speak all the time, each a shuffled row of sentences."""
    whole = np.zeros(n_samples)
    for number in range(n_voices):
        row = np.concatenate([said(int(each), VOICES[(number * 5 + 1) % len(VOICES)]) for each in chance.permutation(12)])
        whole += np.resize(np.roll(row, int(chance.integers(len(row)))).astype(np.float64), n_samples)
    return whole


def _texts() -> list[str]:
    sets = yaml.safe_load((Path(__file__).parent / "turns.yaml").read_text(encoding="utf-8"))
    return [entry["say"][0] for name in ("tune", "held-out") for entry in sets[name]][::4]


TEXTS: Final = _texts()


@cache
def said(number: int, voice: str) -> Pcm:
    """A sentence, at the level of ordinary speech."""
    return say(TEXTS[number % len(TEXTS)], voice)


def lines(n_each: int, seed: int) -> Iterator[Line]:
    """`n_each` lines for each background and level."""
    chance = np.random.default_rng(seed)
    for kind in BACKGROUNDS:
        for level_db in LEVELS_DB:
            for _ in range(n_each):
                yield _line(kind, level_db, chance)


def _line(kind: str, level_db: float, chance: np.random.Generator) -> Line:
    voice = VOICES[int(chance.integers(len(VOICES)))]
    pieces: list[Sound] = []
    spans: list[tuple[int, int]] = []
    at = 0
    for place in range(N_SAID):
        gap = int((GAPS_S[place % len(GAPS_S)] + chance.random() * 0.1) * RATE_HZ)
        sentence = said(int(chance.integers(len(TEXTS))), voice).astype(np.float64) * 10 ** (level_db / 20)
        pieces += [np.zeros(gap), sentence]
        spans.append((at + gap, at + gap + len(sentence)))
        at += gap + len(sentence)
    speech = np.concatenate([*pieces, np.zeros(RATE_HZ)])
    mixed = telephone_band(np.clip(speech + background(kind, len(speech), chance), -32768, 32767).astype(np.int16))
    if kind == "no sound":
        mixed = np.where(np.abs(mixed) > 3, mixed, 0).astype(np.int16)
    return Line(kind, level_db, MULAW.decode(MULAW.encode(mixed)), spans)


class Counting(SpeechDetector):
    """Counts the chunks that the network has seen, for each slot."""

    def __init__(self, n_slots: int, *, is_gated: bool) -> None:
        super().__init__(n_slots, RATE_HZ, is_gated=is_gated)
        self.n_seen = np.zeros(n_slots, np.int64)
        for slot in range(n_slots):
            self.reset(slot, phase=slot % N_PHASES)
            self.watch_onset(slot, PAUSE_MS)

    def _infer(self, windows: NDArray[np.float32], slots: NDArray[np.intp]) -> NDArray[np.float32]:
        self.n_seen[slots] += 1
        return super()._infer(windows, slots)


Told = tuple[list[list[int]], list[list[int]]]
"""The frames of starts, and of reports that pause; by slot."""


def detect(detector: Counting, frames: NDArray[np.float32]) -> Told:
    """Push all `frames` (slots, frames, samples)."""
    slots, at = np.arange(len(frames)), np.zeros(len(frames))
    starts: list[list[int]] = [[] for _ in slots]
    pauses: list[list[int]] = [[] for _ in slots]
    for number in range(frames.shape[1]):
        for detection in detector.push(frames[:, number], slots, at):
            if detection.started:
                starts[detection.slot].append(number)
        for slot, is_voice in detector.take_onsets():
            if is_voice:
                pauses[slot].append(number)
    return starts, pauses


def first_after(told: list[int], span: tuple[int, int]) -> int | None:
    """The first frame told within a sentence, None if there is none in its first second."""
    begin, end = span[0] // FRAME, (min(span[1], span[0] + int(LATEST_S * RATE_HZ)) + RATE_HZ // 5) // FRAME
    return next((frame for frame in told if begin <= frame <= end), None)


@dataclass(slots=True)
class Row:
    """The sums of one background. `later` and `earlier` in frames."""

    n_both: int = 0
    later: list[int] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)
    only_whole: int = 0
    only_gated: int = 0

    def add(self, whole: int | None, gated: int | None) -> None:
        """One sentence."""
        if whole is None or gated is None:
            self.only_whole += whole is not None and gated is None
            self.only_gated += gated is not None and whole is None
            return
        self.n_both += 1
        if gated != whole:
            (self.later if gated > whole else self.earlier).append(abs(gated - whole))

    def text(self) -> str:
        """For the table."""
        later, earlier = ([20 * frames for frames in sorted(some, reverse=True)] for some in (self.later, self.earlier))
        mean = (sum(later) - sum(earlier)) / max(self.n_both, 1)
        parts = f"later {len(later):3} {later[:4]!s:22} earlier {len(earlier):3} {earlier[:4]!s:22}"
        return f"{self.n_both:4} {parts} mean {mean:+5.2f} only whole {self.only_whole:2} only gated {self.only_gated:2}"


def main() -> None:
    """Run and print a row for each background."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=2, help="for each background and level")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="print each sentence that is not equal")
    chosen = parser.parse_args()
    every = list(lines(chosen.lines, chosen.seed))
    n_frames = max(len(line.pcm) for line in every) // FRAME
    frames = np.stack([np.resize(line.pcm, n_frames * FRAME).reshape(n_frames, FRAME) for line in every]).astype(np.float32) / 32_768
    whole, gated = Counting(len(every), is_gated=False), Counting(len(every), is_gated=True)
    told, told_gated = detect(whole, frames), detect(gated, frames)
    for kind in (*BACKGROUNDS, ""):
        chosen_lines = [slot for slot, line in enumerate(every) if not kind or line.background == kind]
        rows = (Row(), Row())
        for slot in chosen_lines:
            for span in every[slot].said:
                for row, expected, found in zip(rows, told, told_gated, strict=True):
                    pair = first_after(expected[slot], span), first_after(found[slot], span)
                    row.add(*pair)
                    if chosen.each and kind and pair[0] != pair[1]:
                        print(f"    {kind} {every[slot].level_db} at {span[0] / RATE_HZ:.2f} s: {pair}")
        skipped = 100 - 100 * gated.n_seen[chosen_lines].sum() / whole.n_seen[chosen_lines].sum()
        print(f"{kind or 'all':18} starts {rows[0].text()}  skipped {skipped:.0f} %", flush=True)
        print(f"{'':18} pause  {rows[1].text()}", flush=True)


if __name__ == "__main__":
    main()
