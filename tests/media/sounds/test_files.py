"""Decoding sound files: each is made here with an encoder, and what comes out is judged by its spectrum and its length."""

from __future__ import annotations

import contextlib
import io
import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import MediaError
from active_call.media.sounds.files import decode
from searches import searching

SECONDS = 2.0


def tone(frequency_hz: float, rate_hz: int, seconds: float = SECONDS, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate_hz)) / rate_hz)


def encoded(container: str, codec: str, rate_hz: int = 44_100, channels: int = 2, frequency_hz: float = 1000.0, fmt: str = "") -> bytes:
    """A tone in both channels."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=container) as output:
        layout = "stereo" if channels == 2 else "mono"
        stream = output.add_stream(codec, rate=rate_hz, layout=layout)
        if fmt:
            stream.codec_context.format = fmt
        samples = np.repeat(tone(frequency_hz, rate_hz)[:, None], channels, axis=1).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate_hz, frame_size=stream.frame_size or 1024)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return buffer.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "16 bit": lambda: encoded("wav", "pcm_s16le"),
    "24 bit": lambda: encoded("wav", "pcm_s24le", fmt="s32"),
    "8 bit": lambda: encoded("wav", "pcm_u8"),
    "float": lambda: encoded("wav", "pcm_f32le", 48_000),
    "alaw": lambda: encoded("wav", "pcm_alaw", 8000, 1),
    "mulaw": lambda: encoded("wav", "pcm_mulaw", 8000, 1),
    "mp3": lambda: encoded("mp3", "libmp3lame"),
    "opus": lambda: encoded("ogg", "libopus", 48_000),
    "flac": lambda: encoded("flac", "flac"),
    "aiff": lambda: encoded("aiff", "pcm_s16be", 11_025, 1),
}


class Forwards:
    """Bytes as a server sends them: some at a time, and never again."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, n_bytes: int, /) -> bytes:
        return self._file.read(min(n_bytes, 1000))


def decoded(data: bytes, rate_hz: int = 8000, name: str = "x", source: type[Forwards] | type[io.BytesIO] = Forwards) -> np.ndarray:
    return np.frombuffer(b"".join(decode(source(data), name, rate_hz)), "<i2").astype(float) / 32768


def peak_and_rest(sound: np.ndarray, rate_hz: int) -> tuple[float, float, float]:
    """The loudest frequency, its amplitude, and everything else relative to it in dB."""
    middle = sound[len(sound) // 4 : len(sound) // 4 + rate_hz]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))) * 4 / len(middle)
    peak = int(spectrum.argmax())
    power = spectrum**2
    rest = power.sum() - power[peak - 3 : peak + 4].sum()
    return float(peak), float(spectrum[peak]), float(10 * np.log10(rest / power[peak - 3 : peak + 4].sum() + 1e-12))


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize("name", FORMATS)
def test_sound_of_any_format_keeps_pitch_level_and_length(name: str, rate_hz: int) -> None:
    sound = decoded(FORMATS[name](), rate_hz)
    frequency_hz, amplitude, rest_db = peak_and_rest(sound, rate_hz)
    assert frequency_hz == 1000
    assert 0.45 < amplitude < 0.55
    assert rest_db < -30
    assert abs(len(sound) / rate_hz - SECONDS) < 0.06


def test_sound_above_half_the_rate_does_not_come_back_as_an_alias() -> None:
    sound = decoded(encoded("wav", "pcm_s16le", 44_100, 1, frequency_hz=5000.0), 8000)
    assert np.sqrt((sound[2000:-2000] ** 2).mean()) < 0.5 * 10 ** (-60 / 20)


@pytest.mark.parametrize(("name", "codec"), [("ring.ulaw", "pcm_mulaw"), ("http://example.com/ring.al?x=1", "pcm_alaw")])
def test_headerless_file_is_known_by_its_ending(name: str, codec: str) -> None:
    container = {"pcm_mulaw": "mulaw", "pcm_alaw": "alaw"}[codec]
    sound = decoded(encoded(container, codec, 8000, 1), name=name)
    assert peak_and_rest(sound, 8000)[0] == 1000
    assert len(sound) == SECONDS * 8000


def test_wav_of_a_stream_with_unknown_length_is_read_to_its_end() -> None:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((tone(1000, 8000) * 32767).astype("<i2").tobytes())
    data = bytearray(buffer.getvalue())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(decoded(bytes(data))) == SECONDS * 8000


@pytest.mark.parametrize("data", [b"", b"<html><body>Not found</body></html>", bytes(5000), b"RIFF", b"ID3" + bytes(2000)])
def test_what_is_no_sound_is_refused_with_its_name(data: bytes) -> None:
    with pytest.raises(MediaError, match=r"https://example\.com/a"):
        decoded(data, name="https://example.com/a")


@pytest.mark.parametrize("source", [Forwards, io.BytesIO])
def test_playlist_does_not_make_the_decoder_open_what_it_names(tmp_path: Path, source: type[Forwards] | type[io.BytesIO]) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(FORMATS["16 bit"]())
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
    ):
        with pytest.raises(MediaError):
            decoded(text.encode(), source=source)


def flat(container: str, codec: str, rate_hz: int, frame_samples: int) -> bytes:
    """One frame of silence, as the file of an attacker who declares what he likes."""
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format=container) as output:
        stream = output.add_stream(codec, rate=rate_hz, layout="mono")
        stream.codec_context.options = {"frame_size": str(frame_samples)}
        frame = av.AudioFrame.from_ndarray(np.zeros((1, frame_samples), np.int16), format="s16", layout="mono")
        frame.sample_rate = rate_hz
        output.mux([*stream.encode(frame), *stream.encode(None)])
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "codec"), [("flac", "flac"), ("matroska", "pcm_s16le"), ("wav", "pcm_s16le"), ("aiff", "pcm_s16be")])
@pytest.mark.parametrize("rate_hz", [1, 100, 1_000_000])
def test_small_file_does_not_become_hours_of_sound_by_the_rate_it_declares(container: str, codec: str, rate_hz: int) -> None:
    data = flat(container, codec, rate_hz, 2000)
    assert len(data) < 20_000
    with pytest.raises(MediaError, match="samples a second"):
        decoded(data)


def test_packet_that_would_become_one_huge_piece_is_refused() -> None:
    with pytest.raises(MediaError, match="packet"):
        decoded(flat("matroska", "pcm_s16le", 8000, 600_000))
    assert len(decoded(flat("matroska", "pcm_s16le", 8000, 60_000))) == 60_000


def test_error_of_the_source_reaches_the_reader() -> None:
    class Broken(Forwards):
        def read(self, n_bytes: int, /) -> bytes:
            data = super().read(n_bytes)
            if not data:
                raise MediaError("the line is cut")
            return data

    with pytest.raises(MediaError, match="the line is cut"):
        decoded(FORMATS["16 bit"](), source=Broken)


_MP3, _OGG = FORMATS["mp3"](), FORMATS["opus"]()


@searching(20)
@given(st.sampled_from([_MP3, _OGG]), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=20), st.integers(0, 12_000))
def test_damaged_file_is_played_as_far_as_possible_or_refused(data: bytes, damage: list[tuple[int, int]], end: int) -> None:
    damaged = bytearray(data[:end])
    for place, value in damage:
        if place < len(damaged):
            damaged[place] = value
    with contextlib.suppress(MediaError):
        decoded(bytes(damaged))
