"""Compressed stereo recordings: Ogg/Opus, MP3, and G.711 in WAV. Each is playable up to its last second if the writer dies.

Interleaved (samples, 2) int16 goes in, a file grows. Used in the recorder process only: encoding takes longer than a tick. Encoders and
multiplexers are FFmpeg's, through PyAV. RFC 7845 (Opus in Ogg; two pages a second), RFC 6716.
"""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final

import av
import av.audio
import av.error

from active_call.media.record.wav import ALAW, MULAW, N_CHANNELS, StereoWav

FRAME_BYTES: Final = N_CHANNELS * 2
OPUS_BITS_PER_SECOND: Final = 32_000
"""Both voices are clear at an eighth of the size of PCM; measured in docs/decisions/0031."""
OPUS_OPTIONS: Final = {"application": "voip", "frame_duration": "20", "compression_level": "1"}
MP3_BITS_PER_SECOND: Final = 32_000
PAGE_US: Final = 500_000


class _File:
    """The file for the multiplexer: no buffer, no seeking, disk errors passed on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.write_error: OSError | None = None

    def write(self, data: bytes) -> int:
        view, start = memoryview(data), self._file.tell()
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            self.write_error = error
            with contextlib.suppress(OSError):
                self._file.truncate(start)  # players stumble over half a page
            raise
        return len(data)


class StereoCompressed:
    """One file in `container` (`ogg` or `mp3`). Every method raises OSError on disk errors."""

    def __init__(self, path: str, rate_hz: int, container: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._raw = Path(path).open("wb", buffering=0)  # noqa: SIM115 - it stays open for the whole call
        self._file = _File(self._raw)
        self._rate_hz = rate_hz
        self._n_samples = 0
        options = {"flush_packets": "1", **({"page_duration": str(PAGE_US)} if container == "ogg" else {"write_xing": "0"})}
        self._output = av.open(self._file, mode="w", format=container, options=options)
        if container == "ogg":
            self._stream = self._output.add_stream("libopus", rate=rate_hz, layout="stereo", options=OPUS_OPTIONS)
            self._stream.bit_rate = OPUS_BITS_PER_SECOND
        else:
            self._stream = self._output.add_stream("libmp3lame", rate=rate_hz, layout="stereo")
            self._stream.bit_rate = MP3_BITS_PER_SECOND
            self._stream.codec_context.format = "s16p"
        self._fifo = av.AudioFifo()

    @property
    def duration_ms(self) -> int:
        """Duration of the sound given to the file."""
        return self._n_samples * 1000 // self._rate_hz

    def append(self, data: bytes | bytearray) -> None:
        """Encode interleaved samples. Full pages are written."""
        self._fifo.write(_frame(data, self._rate_hz, self._n_samples))
        self._n_samples += len(data) // FRAME_BYTES
        self._encode()

    def _encode(self, *, is_last: bool = False) -> None:
        context = self._stream.codec_context
        try:
            if not context.is_open:
                context.open()
            while (frame := self._fifo.read(context.frame_size, partial=is_last)) is not None:
                self._output.mux(self._stream.encode(frame))
            if is_last:
                self._output.mux(self._stream.encode(None))
        except av.error.FFmpegError as error:
            raise self._file.write_error or OSError(error.errno, error.strerror) from error

    def close(self) -> None:
        """Write what the encoder still holds, and the end of the file."""
        try:
            if self._file.write_error is None:
                self._encode(is_last=True)
                self._output.close()
        finally:
            with contextlib.suppress(OSError):
                self._raw.close()


class StereoG711:
    """A WAV file of A-law or mu-law. Every method raises OSError on disk errors."""

    def __init__(self, path: str, rate_hz: int, law: str) -> None:
        self._wav = StereoWav(path, rate_hz, ALAW if law == "pcma" else MULAW)
        self._encoder = av.CodecContext.create("pcm_alaw" if law == "pcma" else "pcm_mulaw", "w")
        assert isinstance(self._encoder, av.AudioCodecContext)  # noqa: S101 (for the type)
        self._encoder.sample_rate = self._rate_hz = rate_hz
        self._encoder.layout = "stereo"
        self._encoder.format = "s16"
        self._encoder.time_base = Fraction(1, rate_hz)

    @property
    def duration_ms(self) -> int:
        """Duration of the sound in the file."""
        return self._wav.duration_ms

    def append(self, data: bytes | bytearray) -> None:
        """Encode interleaved samples and write them."""
        self._wav.append(b"".join([bytes(packet) for packet in self._encoder.encode(_frame(data, self._rate_hz, 0))]))

    def close(self) -> None:
        """Close the file."""
        self._wav.close()


def _frame(data: bytes | bytearray, rate_hz: int, first: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="s16", layout="stereo", samples=len(data) // FRAME_BYTES)
    frame.planes[0].update(bytes(data).ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = rate_hz
    frame.pts = first
    return frame
