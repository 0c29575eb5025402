"""What Opus does beyond plain decoding: FEC, pauses, losses, settings, and packets that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.codec import libopus
from active_call.codec.opus import CLEAN_REPORTS, DTX_BYTES, OpusDecoder, OpusEncoder, OpusSettings, payload_ticks, settings_for
from searches import searching

from .voices import level_db, snr_db, speech, voiced

FRAME = 320


def payloads(sound: np.ndarray, encoder: OpusEncoder, n: int = FRAME) -> list[bytes]:
    return [encoder.encode(sound[at : at + n]) for at in range(0, len(sound) - n + 1, n)]


def test_fec_repairs_a_loss_better_than_concealment() -> None:
    sound = speech(16_000, 6, pause=0.1)
    sent = payloads(sound, OpusEncoder(16_000, OpusSettings(bitrate=32_000, expected_loss_percent=20)))
    whole, repaired, concealed = OpusDecoder(), OpusDecoder(), OpusDecoder()
    frames: dict[str, list[np.ndarray]] = {"whole": [], "repaired": [], "concealed": []}
    for index, payload in enumerate(sent):
        frames["whole"].append(whole.decode(payload))
        is_lost = index % 8 == 5 and index + 1 < len(sent)
        frames["repaired"].append(repaired.decode_fec(sent[index + 1], FRAME) if is_lost else repaired.decode(payload))
        frames["concealed"].append(concealed.conceal(FRAME) if is_lost else concealed.decode(payload))
    expected, with_fec, without = (np.concatenate(frames[name]) for name in frames)
    assert snr_db(expected, with_fec) > snr_db(expected, without) + 3


def is_celt(payload: bytes) -> bool:
    """RFC 6716 table 2."""
    return payload[0] >> 3 >= 16


def test_encoder_without_reported_loss_uses_celt_until_the_next_loss() -> None:
    sound, encoder, decoder = speech(16_000, 6), OpusEncoder(), OpusDecoder()
    frames = sound.reshape(-1, FRAME)
    sent = [encoder.encode(frame) for frame in frames[:100]]
    for _ in range(CLEAN_REPORTS - 1):
        encoder.take_loss(0)
    sent += [encoder.encode(frame) for frame in frames[100:150]]
    assert not any(is_celt(payload) for payload in sent)
    encoder.take_loss(0)
    sent += [encoder.encode(frame) for frame in frames[150:200]]
    assert all(is_celt(payload) for payload in sent[151:])
    encoder.take_loss(1)
    sent += [encoder.encode(frame) for frame in frames[200:250]]
    assert not any(is_celt(payload) for payload in sent[201:])
    for _ in range(CLEAN_REPORTS):
        encoder.take_loss(0)
    sent += [encoder.encode(frame) for frame in frames[250:]]
    assert all(is_celt(payload) for payload in sent[251:])
    heard = np.concatenate([decoder.decode(payload) for payload in sent])
    for at in (150, 200, 250):  # neither change is audible
        around = slice((at - 3) * FRAME, (at + 6) * FRAME)
        assert snr_db(sound[around], heard[104:][around]) > 3


def test_encoder_back_from_celt_repeats_its_data_at_once() -> None:
    encoder, decoder = OpusEncoder(), OpusDecoder()
    for _ in range(CLEAN_REPORTS):
        encoder.take_loss(0)
    sent = payloads(voiced(16_000, 1), encoder)
    encoder.take_loss(10)
    sent += payloads(voiced(16_000, 1), encoder)
    for payload in sent[:60]:
        decoder.decode(payload)
    repaired = decoder.decode_fec(sent[61], FRAME)
    expected = OpusDecoder()
    whole = [expected.decode(payload) for payload in sent]
    assert snr_db(whole[60], repaired) > 6


def test_encoder_with_dtx_or_a_low_bit_rate_never_uses_celt() -> None:
    for settings in (OpusSettings(dtx=True), OpusSettings(bitrate=12_000)):
        encoder = OpusEncoder(16_000, settings)
        for _ in range(CLEAN_REPORTS):
            encoder.take_loss(0)
        assert not any(is_celt(payload) for payload in payloads(voiced(16_000, 0.5), encoder) if len(payload) > DTX_BYTES)


def test_decode_fec_of_several_lost_packets_has_their_whole_duration() -> None:
    sent = payloads(voiced(16_000, 1), OpusEncoder())
    decoder = OpusDecoder()
    for payload in sent[:5]:
        decoder.decode(payload)
    assert len(decoder.decode_fec(sent[8], 3 * FRAME)) == 3 * FRAME
    assert len(decoder.decode_fec(b"", FRAME)) == FRAME
    assert len(decoder.decode(sent[8])) == FRAME


def test_concealment_begins_as_loud_as_the_sound_and_fades() -> None:
    decoder = OpusDecoder()
    played = [decoder.decode(payload) for payload in payloads(voiced(16_000, 1), OpusEncoder())]
    concealed = decoder.conceal(16_000)
    assert len(concealed) == 16_000
    assert abs(level_db(concealed[:FRAME]) - level_db(played[-1])) < 6
    assert level_db(concealed[-FRAME:]) < level_db(played[-1]) - 20


def test_dtx_sends_next_to_nothing_in_pauses_and_is_off_unless_asked_for() -> None:
    pause = np.random.default_rng(1).normal(0, 3, 16_000).astype(np.int16)
    quiet = payloads(pause, OpusEncoder(16_000, OpusSettings(dtx=True)))
    assert sum(len(payload) <= DTX_BYTES for payload in quiet) > 25
    assert all(len(payload) > DTX_BYTES for payload in payloads(pause, OpusEncoder()))
    decoder = OpusDecoder()
    assert all(len(decoder.decode(payload)) == FRAME for payload in quiet)


def test_max_playback_rate_limits_the_band() -> None:
    """RFC 7587 section 6.1: a peer that plays 8 kHz gets narrow band, configuration numbers 0 to 3 (RFC 6716 table 2)."""
    for payload in payloads(voiced(16_000, 0.5), OpusEncoder(16_000, OpusSettings(max_playback_rate_hz=8000))):
        assert payload[0] >> 3 <= 3


@pytest.mark.parametrize(
    ("payload", "ms"),
    [
        (b"\x00", 10),
        (b"\x08", 20),
        (b"\x18", 60),
        (b"\x78", 20),
        (b"\x80", 2.5),
        (b"\xf8", 20),
        (b"\x09\x00", 40),
        (b"\x0a\x00\x00", 40),
        (b"\x0b\x06", 120),
        (b"\x03\x81", 10),
    ],
)
def test_payload_ticks_rfc6716_3_1(payload: bytes, ms: float) -> None:
    assert payload_ticks(payload) == ms * 48


@pytest.mark.parametrize("payload", [b"", b"\x03", b"\x03\x00", b"\x1b\x03", b"\x0b\x07"])
def test_payload_ticks_malformed_raises_parse_error(payload: bytes) -> None:
    with pytest.raises(ParseError):
        payload_ticks(payload)
    with pytest.raises(ParseError):
        OpusDecoder().decode(payload)


@searching(150)
@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_to_their_own_duration_or_refused(payload: bytes) -> None:
    decoder = OpusDecoder(48_000)
    try:
        samples = decoder.decode(payload)
    except ParseError:
        return
    assert len(samples) == payload_ticks(payload) == round(decoder.duration_s(payload) * 48_000)


def test_reset_begins_anew() -> None:
    sound = voiced(16_000, 0.5)
    encoder, decoder = OpusEncoder(), OpusDecoder()
    first = payloads(sound, encoder)
    played = [decoder.decode(payload) for payload in first]
    encoder.reset()
    decoder.reset()
    assert payloads(sound, encoder) == first
    np.testing.assert_array_equal(np.concatenate([decoder.decode(payload) for payload in first]), np.concatenate(played))


def test_encoder_wrong_frame_or_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame of 321"):
        OpusEncoder().encode(np.zeros(321, np.int16))
    with pytest.raises(libopus.OpusError, match="invalid argument"):
        OpusEncoder(16_000, OpusSettings(complexity=11))
    with pytest.raises(libopus.OpusError, match="invalid argument"):
        OpusEncoder(44_100)


def test_libopus_is_there_and_says_its_version() -> None:
    assert libopus.is_available()
    assert libopus.version().startswith("libopus")


def test_libopus_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libopus, "_paths", lambda: ["/nowhere/libopus.so"])
    libopus.load.cache_clear()
    try:
        assert not libopus.is_available()
        with pytest.raises(libopus.OpusError, match="libopus was not found"):
            OpusDecoder()
    finally:
        libopus.load.cache_clear()


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", OpusSettings(fec=False)),
        ("useinbandfec=1", OpusSettings()),
        ("minptime=10; useinbandfec=1; usedtx=1 ;maxplaybackrate=16000", OpusSettings(dtx=True, max_playback_rate_hz=16_000)),
        (
            "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
            OpusSettings(bitrate=20_000, max_playback_rate_hz=16_000),
        ),
        ("USEINBANDFEC=1;stereo=1;cbr=1;x", OpusSettings()),
        ("maxaveragebitrate=510000;useinbandfec=0", OpusSettings(fec=False)),
        ("maxaveragebitrate=1;maxplaybackrate=zero;usedtx=0", OpusSettings(bitrate=6000, fec=False)),
        ("maxplaybackrate=0;;=;useinbandfec=1", OpusSettings(max_playback_rate_hz=8000)),
    ],
)
def test_settings_for_the_peers_parameters_rfc7587_6_1(parameters: str, expected: OpusSettings) -> None:
    assert settings_for(parameters) == expected
    OpusEncoder(16_000, settings_for(parameters))


@given(st.text(alphabet="abcdefimnpstuvwxyz=; -0123456789", max_size=80))
def test_settings_for_any_text_are_usable(parameters: str) -> None:
    OpusEncoder(16_000, settings_for(parameters))
