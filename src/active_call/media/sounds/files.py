"""Sound files for playing: WAV, MP3, Ogg (Opus, Vorbis), FLAC and others become s16le mono at one rate, piece by piece.

Bytes enter from a source that is read forwards and may block; pieces of PCM leave from a generator that runs in a thread of its owner.
Knows no network, no cache and no call. Decoding, mixing down and resampling are FFmpeg's, through PyAV.

FFmpeg opens nothing by itself here: it gets bytes only, and only demultiplexers that cannot name further files (no playlists).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final, Protocol

from active_call.base.errors import MediaError

if TYPE_CHECKING:
    import av

FORMATS: Final = "wav,w64,mp3,ogg,flac,aac,aiff,au,matroska,mov,g722,mulaw,alaw"
HEADERLESS: Final = {
    ".ulaw": ("mulaw", "8000"),
    ".ul": ("mulaw", "8000"),
    ".alaw": ("alaw", "8000"),
    ".al": ("alaw", "8000"),
    ".g722": ("g722", ""),
}
"""Files of telephony that say nothing about themselves: the demultiplexer, and the rate where it must be told."""
PROBE_BYTES: Final = 64 * 1024
"""Enough to tell the format by; a slow server must not be waited for longer."""
READ_BYTES: Final = 16 * 1024


class ByteSource(Protocol):
    """Where the bytes of a file come from. With a `seek` method it may be read in any order, else it is read forwards only."""

    def read(self, n_bytes: int, /) -> bytes:
        """Up to `n_bytes`, at least one before the end; blocks until there are some."""
        ...


def decode(source: ByteSource, name: str, rate_hz: int) -> Iterator[bytes]:
    """Give the sound of `source` as s16le mono at `rate_hz`, as fast as it is asked for. Closes nothing.

    `name` (a path or URL) is what errors call it, and its ending tells headerless files apart. Raises MediaError for what is no sound that
    can be read, and whatever `source` raises.
    """
    import av.error  # FFmpeg, some 70 ms and 15 MB, which many servers never need

    try:
        with _open(source, name) as container:
            yield from _decode(container, name, rate_hz)
    except av.error.FFmpegError as error:
        raise MediaError(f"{name}: not a playable sound file ({error.strerror})") from error


def _open(source: ByteSource, name: str) -> av.container.InputContainer:
    import av

    options = {"format_whitelist": FORMATS, "probesize": str(PROBE_BYTES), "analyzeduration": "0"}
    chosen, rate = HEADERLESS.get(PurePosixPath(name.partition("?")[0]).suffix.lower(), (None, ""))
    if rate:
        options["sample_rate"] = rate
    return av.open(source, mode="r", format=chosen, options=options, buffer_size=READ_BYTES, metadata_errors="replace")


def _decode(container: av.container.InputContainer, name: str, rate_hz: int) -> Iterator[bytes]:
    import av.error

    if not container.streams.audio:
        raise MediaError(f"{name}: it contains no sound")
    stream = container.streams.audio[0]
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate_hz)
    n_decoded = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue  # one damaged packet; the next may be whole
        for frame in frames:
            n_decoded += 1
            yield from _resampled(resampler, frame)
    if not n_decoded:
        raise MediaError(f"{name}: the sound in it cannot be decoded")
    yield from _resampled(resampler, None)


def _resampled(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[bytes]:
    for resampled in resampler.resample(frame):
        if resampled.samples:
            yield resampled.to_ndarray().tobytes()
