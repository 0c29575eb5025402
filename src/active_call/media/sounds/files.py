"""Decode sound files for playing: WAV, MP3, Ogg (Opus, Vorbis), FLAC and others become s16le mono at one rate, piece by piece.

Bytes come from a source that is read forwards and may block. A generator, run in a thread of its owner, yields pieces of PCM. This module
knows no network, no cache and no call. FFmpeg decodes, mixes down and resamples, through PyAV.

FFmpeg opens nothing itself here: it gets bytes only, and only demultiplexers that cannot refer to further files (no playlists).
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
"""Telephony file formats without a header: the demultiplexer, and the rate if it must be given."""
PROBE_BYTES: Final = 64 * 1024
"""Enough to detect the format, and little enough not to wait long for a slow server."""
READ_BYTES: Final = 16 * 1024
MIN_RATE_HZ: Final = 4000
"""The lowest rate that is decoded. A file of a few kilobytes that claims one sample a second would become gigabytes at our rate."""
MAX_RATE_HZ: Final = 768_000
MAX_PACKET_BYTES: Final = 1024 * 1024
"""The largest packet that is decoded, which becomes sound in one piece."""


class ByteSource(Protocol):
    """The source of a file's bytes. With a `seek` method it may be read in any order, else only forwards."""

    def read(self, n_bytes: int, /) -> bytes:
        """Up to `n_bytes`, at least one before the end. Blocks until there are some."""
        ...


def decode(source: ByteSource, name: str, rate_hz: int) -> Iterator[bytes]:
    """Yield the sound of `source` as s16le mono at `rate_hz`, as fast as it is consumed. Closes nothing.

    `name` (a path or URL) is used in errors; its extension identifies headerless formats. Raises MediaError if the source is not decodable
    sound, and whatever `source` raises.
    """
    import av.error  # FFmpeg takes about 70 ms and 15 MB, and many servers never need it

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
        if packet.size > MAX_PACKET_BYTES:
            raise MediaError(f"{name}: it has a packet of {packet.size} bytes; expected at most {MAX_PACKET_BYTES}")
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            continue  # one damaged packet; the next may be intact
        for frame in frames:
            if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
                raise MediaError(f"{name}: {frame.sample_rate} samples a second; expected {MIN_RATE_HZ} to {MAX_RATE_HZ}")
            n_decoded += 1
            yield from _resampled(resampler, frame)
    if not n_decoded:
        raise MediaError(f"{name}: the sound in it cannot be decoded")
    yield from _resampled(resampler, None)


def _resampled(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[bytes]:
    for resampled in resampler.resample(frame):
        if resampled.samples:
            yield resampled.to_ndarray().tobytes()
