"""Sound in messages, in every codec: what is encoded and decoded again is the same tone, whatever the sizes of the messages.

G.722 and Opus are also judged by FFmpeg, both ways.
"""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.codec.messages import OPUS_SETTINGS, PCM_RATES_HZ, new_message_codec
from active_call.codec.opus import OpusEncoder

from .voices import snr_db, speech

CODECS = [*(("pcm", rate) for rate in PCM_RATES_HZ), ("pcmu", 8000), ("pcma", 8000), ("g722", 16_000), ("opus", 16_000)]


def tone(rate_hz: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray[Any, Any]:
    return np.asarray(8000 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("<i2")


def pitch(sound: np.ndarray[Any, Any], rate_hz: int) -> float:
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate_hz / len(sound))


def decoded_by_ffmpeg(codec: str, messages: list[bytes], rate_hz: int) -> np.ndarray[Any, Any]:
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = rate_hz, "mono"
    frames = [frame for message in messages for frame in decoder.decode(av.Packet(message))]
    resampler = av.AudioResampler("s16", "mono", rate_hz)
    return np.concatenate([part.to_ndarray().reshape(-1) for frame in frames for part in resampler.resample(frame)])


@pytest.mark.parametrize(("codec", "rate_hz"), CODECS)
def test_tone_is_the_same_tone_after_both_ways(codec: str, rate_hz: int) -> None:
    ours, theirs = new_message_codec(codec, rate_hz), new_message_codec(codec, rate_hz)
    sent = tone(ours.rate_hz)
    size = ours.rate_hz // 50
    heard = np.concatenate([theirs.decode(ours.encode(sent[at : at + size])) for at in range(0, len(sent), size)])
    assert len(heard) == pytest.approx(len(sent), rel=0.05)
    assert pitch(heard, ours.rate_hz) == pytest.approx(440, abs=3)
    assert np.abs(heard.astype(int)).max() == pytest.approx(8000, rel=0.2)


@pytest.mark.parametrize(("codec", "theirs", "rate_hz"), [("g722", "g722", 16_000), ("opus", "libopus", 48_000)])
def test_messages_are_what_ffmpeg_decodes(codec: str, theirs: str, rate_hz: int) -> None:
    ours = new_message_codec(codec, 16_000)
    frames = np.concatenate((tone(16_000), np.zeros(16_000, "<i2"), tone(16_000, hz=1500))).reshape(-1, 320)
    heard = decoded_by_ffmpeg(theirs, [ours.encode(frame) for frame in frames], rate_hz)
    assert len(heard) == pytest.approx(3 * rate_hz, rel=0.01)
    first, silence, last = np.array_split(heard, 3)
    assert pitch(first, rate_hz) == pytest.approx(440, abs=3)
    assert np.abs(silence[rate_hz // 5 :].astype(int)).max() < 100
    assert pitch(last, rate_hz) == pytest.approx(1500, abs=3)


def test_opus_messages_keep_the_speech_and_delay_it_by_2_5_ms() -> None:
    sound = speech(16_000, 4)
    ours, theirs = new_message_codec("opus", 16_000), new_message_codec("opus", 16_000)
    payloads = [ours.encode(frame) for frame in sound.reshape(-1, 320)]
    heard = np.concatenate([theirs.decode(payload) for payload in payloads])
    assert snr_db(sound[:-40], heard[40:]) > 12
    assert sum(map(len, payloads)) * 8 / 4 < 50_000


def test_silence_in_opus_is_copied_only_when_it_repeats_exactly() -> None:
    ours, plain = new_message_codec("opus", 16_000), OpusEncoder(16_000, OPUS_SETTINGS)
    frames = np.concatenate((tone(16_000, 0.2), np.zeros(16_000, "<i2"))).reshape(-1, 320)
    assert [ours.encode(frame) for frame in frames] == [plain.encode(frame) for frame in frames]


@given(st.lists(st.integers(0, 5), max_size=40))
def test_pcm_in_messages_of_odd_sizes_loses_no_byte(sizes: list[int]) -> None:
    data = bytes(range(sum(sizes) % 251)) * 1
    data = (data * (sum(sizes) // max(len(data), 1) + 1))[: sum(sizes)]
    codec, at, heard = new_message_codec("pcm", 16_000), 0, b""
    for size in sizes:
        heard += codec.decode(data[at : at + size]).tobytes()
        at += size
    assert heard == data[: len(data) // 2 * 2]


def test_message_that_is_no_opus_packet_is_an_error_and_the_next_one_is_decoded() -> None:
    codec, ours = new_message_codec("opus", 16_000), new_message_codec("opus", 16_000)
    for bad in (b"", b"\xff" * 3000, b"\x7b\x05\xff"):
        with pytest.raises(ParseError, match="Opus"):
            codec.decode(bad)
    assert len(codec.decode(ours.encode(tone(16_000)[:320]))) == 320


@pytest.mark.parametrize(("codec", "rate_hz"), [("mp3", 16_000), ("pcm", 11_025)])
def test_codec_that_does_not_exist_is_refused(codec: str, rate_hz: int) -> None:
    with pytest.raises(ValueError, match=r"codec|rate_hz"):
        new_message_codec(codec, rate_hz)
