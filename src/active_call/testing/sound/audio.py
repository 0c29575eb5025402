"""Sound for the judging side: G.711 from its formula, levels, noise, rates and WAV files.

Enters and leaves: `int16` mono samples as one-dimensional arrays. It must not know the program's own codecs: what judges the program may
not share a mistake with it, so the laws are written out here a second time, as arithmetic (ITU-T G.711 tables 1a/1b and 2a/2b), and
encoding is the search for the nearest value that decoding can give.
"""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

Pcm = npt.NDArray[np.int16]

RATE_HZ = 8000
FRAME_SAMPLES = 160
"""20 ms at 8 kHz: one RTP packet."""
VOICED_LEVEL = 250.0
"""A 20 ms frame is speech above this root mean square: 24 dB over the noise of a line (sigma 16), 36 dB under full speech."""


def _decode_mulaw(octet: int) -> int:
    """One mu-law octet as a 16-bit sample (14 significant bits)."""
    value = ~octet & 0xFF
    segment, step = (value >> 4) & 0x07, value & 0x0F
    magnitude = ((2 * step + 33) << segment) - 33
    return -4 * magnitude if value & 0x80 else 4 * magnitude


def _decode_alaw(octet: int) -> int:
    """One A-law octet as a 16-bit sample (13 significant bits)."""
    value = octet ^ 0x55
    segment, step = (value >> 4) & 0x07, value & 0x0F
    magnitude = 2 * step + 1 if segment == 0 else (2 * step + 33) << (segment - 1)
    return 8 * magnitude if value & 0x80 else -8 * magnitude


class Law:
    """One G.711 law: `decode` and `encode` over whole arrays. `silence` is the octet of the smallest positive value."""

    def __init__(self, decode_octet: Callable[[int], int], silence: int) -> None:
        self._values = np.array([decode_octet(octet) for octet in range(256)], dtype=np.int16)
        self.silence = silence
        order = sorted(range(256), key=lambda octet: (int(self._values[octet]), octet == silence))
        octets = np.array(order, dtype=np.uint8)
        values = self._values[octets].astype(np.int32)
        middles = (values[:-1] + values[1:]) / 2
        samples = np.arange(-32768, 32768)
        self._octets = octets[np.searchsorted(middles, samples, side="right")]

    def decode(self, payload: bytes) -> Pcm:
        """The samples of a payload, one per octet."""
        samples: Pcm = self._values[np.frombuffer(payload, dtype=np.uint8)]
        return samples

    def encode(self, pcm: Pcm) -> bytes:
        """The payload for the samples, one octet each."""
        return self._octets[pcm.astype(np.int32) + 32768].tobytes()


MULAW = Law(_decode_mulaw, 0xFF)
ALAW = Law(_decode_alaw, 0xD5)
LAWS = {0: MULAW, 8: ALAW}
"""By static RTP payload type (RFC 3551 table 4)."""


def noise(n_samples: int, *, sigma: float = 16.0, seed: int = 1) -> Pcm:
    """A faint hiss, as on every real line; recognisers and detectors fail on digital silence."""
    hiss: Pcm = np.random.default_rng(seed).normal(0.0, sigma, n_samples).round().astype(np.int16)
    return hiss


def silence(duration_ms: float, rate_hz: int = RATE_HZ) -> Pcm:
    """Digital silence."""
    return np.zeros(int(duration_ms * rate_hz / 1000), dtype=np.int16)


def add(left: Pcm, right: Pcm) -> Pcm:
    """Both together, saturated; the shapes must be equal."""
    both: Pcm = np.clip(left.astype(np.int32) + right, -32768, 32767).astype(np.int16)
    return both


def frame_levels(pcm: Pcm, frame_samples: int = FRAME_SAMPLES) -> npt.NDArray[np.float64]:
    """The root mean square of each whole frame, of 32767."""
    whole = len(pcm) // frame_samples * frame_samples
    frames = pcm[:whole].reshape(-1, frame_samples).astype(np.float64)
    levels: npt.NDArray[np.float64] = np.sqrt((frames**2).mean(axis=1))
    return levels


def resample(pcm: Pcm, from_hz: int, to_hz: int) -> Pcm:
    """The same sound at another rate."""
    if from_hz == to_hz:
        return pcm
    resampled: Pcm = soxr.resample(pcm, from_hz, to_hz).astype(np.int16)
    return resampled


def normalise(pcm: Pcm, peak: int = 16000) -> Pcm:
    """Scaled so that the loudest sample is `peak`; silence stays silence."""
    loudest = int(np.abs(pcm.astype(np.int32)).max(initial=0))
    if loudest == 0:
        return pcm
    return (pcm.astype(np.float64) * (peak / loudest)).astype(np.int16)


def write_wav(path: Path, *channels: Pcm, rate_hz: int = RATE_HZ) -> None:
    """A 16-bit WAV with a plain header, one channel per array; shorter channels are filled with silence."""
    length = max((len(channel) for channel in channels), default=0)
    interleaved = np.zeros((length, len(channels)), dtype="<i2")
    for index, channel in enumerate(channels):
        interleaved[: len(channel), index] = channel
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(interleaved.tobytes())


def read_wav(path: Path, *, rate_hz: int = RATE_HZ, channel: int = 0) -> Pcm:
    """One channel of a 16-bit WAV at `rate_hz`. A header whose length was never filled in is read to the end of the file.

    Raises ValueError for other sample widths, `wave.Error` if it is not a WAV file.
    """
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path}: {8 * file.getsampwidth()} bits a sample, expected 16")
        n_channels, file_rate = file.getnchannels(), file.getframerate()
        octets = file.readframes(file.getnframes())
    if not octets:  # a program that was killed while recording leaves a length of zero
        octets = path.read_bytes()[44:]
    whole = len(octets) // (2 * n_channels) * 2 * n_channels
    samples = np.frombuffer(octets[:whole], dtype="<i2").reshape(-1, n_channels)[:, channel].astype(np.int16)
    return resample(samples, file_rate, rate_hz)
