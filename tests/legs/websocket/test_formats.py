"""Sound on a socket, in every format: what is encoded and decoded again is the same tone, whatever the sizes of the messages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.legs.websocket.formats import PCM_RATES_HZ, FormatError, sound_format


def tone(rate_hz: int, seconds: float = 1.0) -> bytes:
    return np.asarray(8000 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype("<i2").tobytes()


def pitch(pcm: bytes, rate_hz: int) -> float:
    sound = np.frombuffer(pcm, "<i2")
    return float(np.abs(np.fft.rfft(sound)).argmax() * rate_hz / len(sound))


@pytest.mark.parametrize(
    ("codec", "rate_hz"),
    [*(("pcm", rate) for rate in PCM_RATES_HZ), ("pcmu", None), ("pcma", None), ("g722", None), ("opus", None), (None, None)],
)
def test_tone_is_the_same_tone_after_both_ways(codec: str | None, rate_hz: int | None) -> None:
    ours, theirs = sound_format(codec, rate_hz), sound_format(codec, rate_hz)
    sent = tone(ours.rate_hz)
    frame = 2 * ours.rate_hz // 50
    heard = b"".join(theirs.decode(ours.encode(sent[at : at + frame])) for at in range(0, len(sent), frame))
    assert len(heard) == pytest.approx(len(sent), rel=0.05)
    assert pitch(heard, ours.rate_hz) == pytest.approx(440, abs=3)
    assert np.abs(np.frombuffer(heard, "<i2").astype(int)).max() == pytest.approx(8000, rel=0.2)


@given(st.lists(st.integers(0, 5), max_size=40))
def test_pcm_in_messages_of_odd_sizes_loses_no_byte(sizes: list[int]) -> None:
    data = bytes(range(sum(sizes) % 251)) * 1
    data = (data * (sum(sizes) // max(len(data), 1) + 1))[: sum(sizes)]
    form, at, heard = sound_format("pcm", 16_000), 0, b""
    for size in sizes:
        heard += form.decode(data[at : at + size])
        at += size
    assert heard == data[: len(data) // 2 * 2]


@pytest.mark.parametrize(("codec", "rate_hz", "part"), [("mp3", None, "option.codec"), ("pcm", 11_025, "rate"), ("pcmu", 16_000, "rate")])
def test_format_that_does_not_exist_is_named(codec: str, rate_hz: int | None, part: str) -> None:
    with pytest.raises(FormatError, match=part):
        sound_format(codec, rate_hz)


def test_message_that_is_no_opus_packet_is_an_error() -> None:
    with pytest.raises(FormatError, match="Opus"):
        sound_format("opus").decode(b"\xff" * 3000)
