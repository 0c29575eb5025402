"""Every codec against FFmpeg: the program for formats that lie in a file as they are, its library (PyAV) for packets."""

from __future__ import annotations

import shutil
import subprocess

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from active_call.codec import g711
from active_call.codec.opus import OpusDecoder, OpusEncoder, OpusSettings
from active_call.codec.stream import new_decoder, new_encoder
from active_call.codec.table import AUDIO_CODECS, CODECS

from .voices import snr_db, speech, voiced

Samples = NDArray[np.int16]
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg is not installed")

MU_SEGMENT_ENDS = (31, 95, 223, 479, 991, 2015, 4063, 8159)
"""G.711 table 2a, column 3: the last decision value of each segment, of 14-bit samples."""
A_SEGMENT_ENDS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
"""G.711 table 1a, column 3, of 13-bit samples; the lowest segment there is two of the code's."""


def ffmpeg(data: bytes, source: str, target: str) -> bytes:
    command = ["ffmpeg", "-v", "error", *source.split(), "-i", "-", *target.split(), "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def packets(name: str, sound: Samples, ms: int = 20) -> list[bytes]:
    encoder = new_encoder(name)
    n = encoder.sample_rate_hz * ms // 1000
    return [encoder.encode(sound[at : at + n]) for at in range(0, len(sound) - n + 1, n)]


def decode_with_av(decoder: str, payloads: list[bytes], rate_hz: int = 48_000) -> Samples:
    context = av.CodecContext.create(decoder, "r")
    context.sample_rate, context.layout = rate_hz, "mono"
    frames = [frame.to_ndarray() for payload in [*payloads, None] for frame in context.decode(payload and av.Packet(payload))]
    sound = np.concatenate([frame[0] for frame in frames])
    return sound if sound.dtype == np.int16 else np.clip(np.rint(sound * 32768), -32768, 32767).astype(np.int16)


# -- G.711 -------------------------------------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize(("name", "theirs"), [("pcmu", "mulaw"), ("pcma", "alaw")])
def test_g711_decode_every_code_equals_ffmpeg(name: str, theirs: str) -> None:
    codes = bytes(range(256))
    expected = np.frombuffer(ffmpeg(codes, f"-f {theirs} -ar 8000 -ac 1", "-f s16le -c:a pcm_s16le"), np.int16)
    np.testing.assert_array_equal(new_decoder(name).decode(codes), expected)


@needs_ffmpeg
@pytest.mark.parametrize(("law", "theirs"), [(False, "mulaw"), (True, "alaw")])
def test_g711_encode_every_sample_differs_from_ffmpeg_at_the_edges_of_steps_only(law: bool, theirs: str) -> None:
    """FFmpeg takes the nearer of two codes where G.711 gives decision values, which at the ends of segments are not half way."""
    data = ffmpeg(EVERY_SAMPLE.tobytes(), "-f s16le -ar 8000 -ac 1", f"-f {theirs} -c:a pcm_{theirs}")
    law_of = np.array([law])
    ours = g711.encode(EVERY_SAMPLE[None], law_of)[0]
    theirs_decoded = g711.decode(np.frombuffer(data, np.uint8)[None], law_of)[0].astype(int)
    ours_decoded = g711.decode(ours[None], law_of)[0].astype(int)
    assert (ours_decoded != theirs_decoded).mean() < 0.015
    values = np.unique(ours_decoded)
    assert (np.abs(np.searchsorted(values, ours_decoded) - np.searchsorted(values, theirs_decoded)) <= 1).all()


def test_g711_encode_mu_law_changes_code_at_the_decision_values_of_table_2a() -> None:
    codes = g711.encode(EVERY_SAMPLE[None], np.array([False]))[0]
    segment = 7 - (codes >> 4 & 7)
    for index, end in enumerate(MU_SEGMENT_ENDS[:-1]):
        below, above = end * 4 - 1, end * 4
        assert (segment[below + 32768], segment[above + 32768]) == (index, index + 1)


def test_g711_encode_a_law_changes_segment_at_the_decision_values_of_table_1a() -> None:
    codes = g711.encode(EVERY_SAMPLE[None], np.array([True]))[0]
    segment = (codes ^ 0x55) >> 4 & 7
    for index, end in enumerate(A_SEGMENT_ENDS[:-1]):
        below, above = end * 8 - 1, end * 8
        assert (segment[below + 32768], segment[above + 32768]) == (index, index + 1)


# -- G.722 -------------------------------------------------------------------------------------------------------------------------------

HARD_SIGNALS = {
    "speech": speech(16_000, 3, seed=3),
    "noise": np.random.default_rng(5).integers(-32768, 32768, 16_000).astype(np.int16),
    "square": np.where(np.arange(16_000) // 40 % 2, 32767, -32768).astype(np.int16),
    "silence": np.zeros(1600, np.int16),
}


@needs_ffmpeg
@pytest.mark.parametrize("signal", HARD_SIGNALS)
@pytest.mark.parametrize("ms", [10, 20, 60])
def test_g722_encoder_equals_ffmpeg_bit_for_bit(signal: str, ms: int) -> None:
    ours = b"".join(packets("g722", HARD_SIGNALS[signal], ms))
    theirs = ffmpeg(HARD_SIGNALS[signal].tobytes(), "-f s16le -ar 16000 -ac 1", "-f g722 -c:a g722")
    assert ours == theirs[: len(ours)]
    assert len(theirs) - len(ours) < 8 * ms


@needs_ffmpeg
@pytest.mark.parametrize("signal", HARD_SIGNALS)
def test_g722_decoder_equals_ffmpeg_bit_for_bit(signal: str) -> None:
    payloads = packets("g722", HARD_SIGNALS[signal])
    decoder = new_decoder("g722")
    ours = np.concatenate([decoder.decode(payload) for payload in payloads])
    theirs = np.frombuffer(ffmpeg(b"".join(payloads), "-f g722", "-f s16le -c:a pcm_s16le"), np.int16)
    np.testing.assert_array_equal(ours, theirs[: len(ours)])


@needs_ffmpeg
def test_g722_decoder_any_bytes_equal_ffmpeg() -> None:
    data = np.random.default_rng(9).bytes(16_000)
    theirs = np.frombuffer(ffmpeg(data, "-f g722", "-f s16le -c:a pcm_s16le"), np.int16)
    np.testing.assert_array_equal(new_decoder("g722").decode(data), theirs)


# -- L16 ---------------------------------------------------------------------------------------------------------------------------------


@needs_ffmpeg
@pytest.mark.parametrize("name", ["l16_8000", "l16_16000"])
def test_l16_is_big_endian_samples_as_ffmpeg_writes_them(name: str) -> None:
    rate = CODECS[name].sample_rate_hz
    sound = speech(rate, 1)
    ours = b"".join(packets(name, sound))
    assert ours == ffmpeg(sound.tobytes(), f"-f s16le -ar {rate} -ac 1", "-f s16be -c:a pcm_s16be")
    np.testing.assert_array_equal(new_decoder(name).decode(ours), sound)


# -- Opus --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_opus_decoder_equals_ffmpeg_with_libopus_bit_for_bit(ms: int) -> None:
    payloads = packets("opus", speech(16_000, 2), ms)
    decoder = OpusDecoder(48_000)
    ours = np.concatenate([decoder.decode(payload) for payload in payloads])
    np.testing.assert_array_equal(ours, decode_with_av("libopus", payloads))


def test_opus_payloads_are_understood_by_ffmpegs_own_decoder() -> None:
    sound = speech(16_000, 2)
    payloads = packets("opus", sound)
    decoder = OpusDecoder(48_000)
    ours = np.concatenate([decoder.decode(payload) for payload in payloads])
    theirs = decode_with_av("opus", payloads)
    assert max(snr_db(ours[4800:-4800], np.roll(theirs, shift)[4800:-4800]) for shift in range(-8, 9)) > 20


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_opus_decoder_takes_what_ffmpeg_encodes(layout: str) -> None:
    """48 kHz full band music settings, which no peer of ours would choose for speech, and stereo, which becomes mono."""
    context = av.CodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format, context.bit_rate = 48_000, layout, "s16", 96_000
    sound = voiced(48_000, 1)
    n_channels = 2 if layout == "stereo" else 1
    payloads = []
    for at in range(0, len(sound) - 959, 960):
        frame = av.AudioFrame.from_ndarray(np.repeat(sound[at : at + 960], n_channels)[None], format="s16", layout=layout)
        frame.sample_rate, frame.pts = 48_000, at
        payloads += [bytes(packet) for packet in context.encode(frame)]
    decoder = OpusDecoder(48_000)
    decoded = np.concatenate([decoder.decode(payload) for payload in payloads])
    assert max(snr_db(sound[: len(decoded) - 500], np.roll(decoded, -shift)[: len(decoded) - 500]) for shift in range(280, 340)) > 15


# -- all of them -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", AUDIO_CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("ms", [10, 20, 40, 60])
def test_every_codec_carries_speech_in_packets_of_any_duration(codec, ms: int) -> None:
    sound = speech(codec.sample_rate_hz, 2)
    decoder = new_decoder(codec.name)
    payloads = packets(codec.name, sound, ms)
    assert decoder.sample_rate_hz == codec.sample_rate_hz
    assert all(decoder.duration_s(payload) == pytest.approx(ms / 1000) for payload in payloads)
    if codec.frame_bytes:
        assert {len(payload) for payload in payloads} == {codec.frame_bytes * ms // 20}
    decoded = np.concatenate([decoder.decode(payload) for payload in payloads])
    assert decoded.dtype == np.int16
    assert len(decoded) == len(payloads) * codec.sample_rate_hz * ms // 1000
    n = len(decoded) - 400
    shifts = {"g722": range(15, 30), "opus": range(90, 130)}.get(codec.name, range(1))
    assert max(snr_db(sound[:n], np.roll(decoded, -shift)[:n]) for shift in shifts) > (6 if codec.name == "opus" else 15)


def test_opus_complexity_and_bitrate_are_taken() -> None:
    sound = speech(16_000, 2, pause=0.0)

    def n_bytes(settings: OpusSettings) -> int:
        encoder = OpusEncoder(16_000, settings)
        return sum(len(encoder.encode(sound[at : at + 320])) for at in range(0, len(sound), 320))

    assert n_bytes(OpusSettings(bitrate=12_000)) < 0.7 * n_bytes(OpusSettings(bitrate=32_000))
