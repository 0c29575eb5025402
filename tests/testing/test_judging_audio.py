"""The judge's G.711 against values printed in the Recommendation, and its measures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from active_call.testing.sound import audio

# ITU-T G.711 tables 1a and 2a, decoder output values of 14 (mu) and 13 (A) bits, as 16-bit samples
MULAW_VALUES = {0x80: 32124, 0x00: -32124, 0x8F: 16764, 0xFF: 0, 0x7F: 0, 0xFE: 8, 0x7E: -8, 0xEF: 132, 0xF0: 120}
ALAW_VALUES = {0xAA: 32256, 0x2A: -32256, 0xD5: 8, 0x55: -8, 0xD4: 24, 0xC5: 264, 0xDA: 248}


@pytest.mark.parametrize(("law", "values"), [(audio.MULAW, MULAW_VALUES), (audio.ALAW, ALAW_VALUES)])
def test_law_decodes_the_tabulated_values(law: audio.Law, values: dict[int, int]) -> None:
    assert {octet: int(law.decode(bytes([octet]))[0]) for octet in values} == values


@pytest.mark.parametrize("law", [audio.MULAW, audio.ALAW])
def test_law_encoding_chooses_the_nearest_value_for_every_sample(law: audio.Law) -> None:
    samples = np.arange(-32768, 32768).astype(np.int16)
    decoded = law.decode(law.encode(samples)).astype(np.int32)
    values = law.decode(bytes(range(256))).astype(np.int32)
    nearest = np.abs(samples.astype(np.int32)[:, None] - values[None, :]).min(axis=1)
    assert (np.abs(decoded - samples) == nearest).all()


def test_mulaw_silence_is_the_positive_zero() -> None:
    assert audio.MULAW.encode(audio.silence(20)) == b"\xff" * 160


def test_frame_levels_are_the_root_mean_square_of_each_frame() -> None:
    pcm = np.concatenate((np.full(160, 300), np.zeros(160), np.full(80, 900))).astype(np.int16)
    assert audio.frame_levels(pcm).tolist() == [300.0, 0.0]


def test_wav_whose_length_was_never_filled_in_is_read_to_its_end(tmp_path: Path) -> None:
    pcm = audio.noise(1000)
    audio.write_wav(tmp_path / "a.wav", pcm)
    octets = bytearray((tmp_path / "a.wav").read_bytes())
    octets[40:44] = bytes(4)
    (tmp_path / "a.wav").write_bytes(octets)
    assert audio.read_wav(tmp_path / "a.wav").tolist() == pcm.tolist()


def test_wav_channels_come_back_apart(tmp_path: Path) -> None:
    left, right = audio.noise(500), audio.noise(800, seed=2)
    audio.write_wav(tmp_path / "a.wav", left, right)
    assert audio.read_wav(tmp_path / "a.wav", channel=1).tolist() == right.tolist()
    assert audio.read_wav(tmp_path / "a.wav")[:500].tolist() == left.tolist()
