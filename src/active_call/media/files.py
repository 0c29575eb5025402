"""Sound files for playing: read as a whole, off the loop, into s16le mono.

WAV (8 or 16 bit PCM, any channel count, mixed down). Knows nothing of calls.
"""

from __future__ import annotations

import asyncio
import io
import wave
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from active_call.base.errors import MediaError

FETCH_DEADLINE_S = 10.0
MAX_SOUND_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sound:
    """s16le mono PCM and its rate."""

    pcm: bytes
    rate_hz: int


async def read_sound(source: str, folder: Path) -> Sound:
    """Read a file (relative names from `folder`) or an http(s) URL. Raises MediaError that names the source."""
    if source.startswith(("http://", "https://")):
        data = await _fetch(source)
        return await asyncio.to_thread(_decode, data, source)
    path = Path(source.removeprefix("file://"))
    return await asyncio.to_thread(_read, path if path.is_absolute() else folder / path)


async def _fetch(url: str) -> bytes:
    try:
        async with httpx.AsyncClient(timeout=FETCH_DEADLINE_S, follow_redirects=True) as client:
            response = await client.get(url)
            response.raise_for_status()
    except httpx.HTTPError as error:
        raise MediaError(f"{url}: {error}") from error
    return response.content


def _read(path: Path) -> Sound:
    try:
        if path.stat().st_size > MAX_SOUND_BYTES:
            raise MediaError(f"{path}: larger than {MAX_SOUND_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(f"{path}: {error.strerror}") from error
    return _decode(data, str(path))


def _decode(data: bytes, source: str) -> Sound:
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate_hz, n_frames = file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes()
            raw = file.readframes(n_frames)
    except (wave.Error, EOFError) as error:
        raise MediaError(f"{source}: not a PCM WAV file ({error})") from error
    if width == 2:
        samples = np.frombuffer(raw, dtype="<i2").astype(np.int32)
    elif width == 1:
        samples = (np.frombuffer(raw, dtype=np.uint8).astype(np.int32) - 128) << 8
    else:
        raise MediaError(f"{source}: {8 * width} bit samples; expected 8 or 16")
    mono = samples.reshape(-1, channels).mean(axis=1) if channels > 1 else samples
    return Sound(mono.astype("<i2").tobytes(), rate_hz)
