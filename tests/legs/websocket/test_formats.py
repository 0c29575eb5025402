"""Sound formats on a socket: which exist, and how long the sound in a message is."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.codec.messages import MESSAGE_CODECS, PCM_RATES_HZ, new_message_codec
from active_call.legs.websocket.formats import FormatError, sound_format

FORMATS = [(None, None), *(("pcm", rate) for rate in PCM_RATES_HZ), *((codec, None) for codec in MESSAGE_CODECS if codec != "pcm")]


@pytest.mark.parametrize(("codec", "rate_hz"), FORMATS)
def test_every_format_has_a_codec_of_its_rate_and_tells_the_length_of_a_message(codec: str | None, rate_hz: int | None) -> None:
    form = sound_format(codec, rate_hz)
    made = new_message_codec(form.codec, form.message_rate_hz)
    assert made.rate_hz == form.rate_hz
    message = made.encode(np.full(form.rate_hz // 50, 500, np.int16))
    assert form.length_s(message) == pytest.approx(0.02)


@pytest.mark.parametrize(("codec", "rate_hz", "part"), [("mp3", None, "option.codec"), ("pcm", 11_025, "rate"), ("pcmu", 16_000, "rate")])
def test_format_that_does_not_exist_is_named(codec: str, rate_hz: int | None, part: str) -> None:
    with pytest.raises(FormatError, match=part):
        sound_format(codec, rate_hz)


@pytest.mark.parametrize("message", [b"", b"\xff" * 3000, b"\x03"])
def test_message_that_is_no_opus_packet_is_an_error(message: bytes) -> None:
    with pytest.raises(FormatError, match="Opus"):
        sound_format("opus").length_s(message)
