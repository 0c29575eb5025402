"""The codec table against RFC 3551 table 4 and RFC 7587."""

from __future__ import annotations

from active_call.codec.table import CODECS, G722, PCMA, PCMU, RTPMAPS


def test_static_payload_types_are_those_of_rfc3551() -> None:
    assert {codec.static_payload_type: codec.encoding_name for codec in (PCMU, PCMA, G722)} == {0: "PCMU", 8: "PCMA", 9: "G722"}


def test_clock_of_g722_is_8000_although_it_samples_at_16000() -> None:
    assert (CODECS["g722"].rtp_clock_hz, CODECS["g722"].sample_rate_hz) == (8000, 16000)


def test_opus_is_always_48000_and_stereo_in_sdp() -> None:
    assert (CODECS["opus"].rtp_clock_hz, CODECS["opus"].channels, CODECS["opus"].static_payload_type) == (48000, 2, -1)


def test_frames_of_constant_formats_are_one_byte_a_tick() -> None:
    for name in ("pcmu", "pcma", "g722"):
        assert CODECS[name].frame_bytes == CODECS[name].rtp_clock_hz // 50


def test_rtpmaps_name_every_codec_once() -> None:
    assert set(RTPMAPS) == {
        "pcmu/8000",
        "pcma/8000",
        "g722/8000",
        "opus/48000/2",
        "l16/8000",
        "l16/16000",
        "telephone-event/8000",
    }
    assert all(codec.rtpmap.lower() == rtpmap for rtpmap, codec in RTPMAPS.items())


def test_opus_is_decoded_at_the_rate_of_recognition() -> None:
    assert CODECS["opus"].sample_rate_hz == 16_000
