"""G.711 for every code and every sample, against SoX and the decision values of the recommendation."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from active_call.codec import g711

CODES = np.arange(256, dtype=np.uint8)
SAMPLES = np.arange(-32768, 32768).astype(np.int16)
MU, A = np.array([False]), np.array([True])


def convert_with_sox(data: bytes, source: str, target: str) -> bytes:
    command = ["sox", "-D", "-t", source, "-r", "8000", "-c", "1", "-", "-t", target, "-"]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@pytest.mark.skipif(shutil.which("sox") is None, reason="SoX is not installed")
@pytest.mark.parametrize(("law", "sox_name"), [(MU, "ul"), (A, "al")])
def test_decode_every_code_equals_sox(law: np.ndarray, sox_name: str) -> None:
    expected = np.frombuffer(convert_with_sox(CODES.tobytes(), sox_name, "s16"), np.int16)
    np.testing.assert_array_equal(g711.decode(CODES[None], law)[0], expected)


def test_decode_itu_g711_known_values() -> None:
    """Tables 1 and 2: largest, smallest and segment ends, scaled to 16 bits (13-bit A-law times 8, 14-bit mu-law times 4)."""
    mu = g711.decode(np.array([[0x80, 0x00, 0xFF, 0x7F, 0xEF, 0x8F]], np.uint8), MU)[0]
    a = g711.decode(np.array([[0xAA, 0x2A, 0xD5, 0x55, 0xC5, 0x80]], np.uint8), A)[0]
    assert mu.tolist() == [32124, -32124, 0, 0, 132, 16764]
    assert a.tolist() == [32256, -32256, 8, -8, 264, 5504]


@pytest.mark.parametrize("law", [MU, A])
def test_encode_every_sample_takes_a_nearest_code(law: np.ndarray) -> None:
    """The decision values lie half way between the quantized ones, but at the segment ends; there the step below counts."""
    values = g711.decode(CODES[None], law)[0].astype(np.int64)
    chosen = values[g711.encode(SAMPLES[None], law)[0]]
    ordered = np.sort(values)
    above = np.clip(np.searchsorted(ordered, SAMPLES), 1, 255)
    nearest = np.minimum(np.abs(ordered[above] - SAMPLES), np.abs(ordered[above - 1] - SAMPLES))
    granularity = 8 if law[0] else 4  # of the 13- and 14-bit samples
    assert (np.abs(chosen - SAMPLES) <= nearest + granularity).mean() > 0.98
    assert (np.diff(chosen) >= 0).all()


@pytest.mark.parametrize("law", [MU, A])
def test_encode_of_decoded_codes_is_the_same_code(law: np.ndarray) -> None:
    again = g711.encode(g711.decode(CODES[None], law), law)[0]
    expected = CODES.copy()
    if not law[0]:
        expected[0x7F] = 0xFF  # negative zero becomes positive zero
    np.testing.assert_array_equal(again, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("law", "name"), [(MU, "ulaw"), (A, "alaw")])
def test_every_code_and_sample_equals_audioop(law: np.ndarray, name: str) -> None:
    audioop = pytest.importorskip("audioop")
    decoded = np.frombuffer(getattr(audioop, f"{name}2lin")(CODES.tobytes(), 2), np.int16)
    encoded = np.frombuffer(getattr(audioop, f"lin2{name}")(SAMPLES.tobytes(), 2), np.uint8)
    np.testing.assert_array_equal(g711.decode(CODES[None], law)[0], decoded)
    np.testing.assert_array_equal(g711.encode(SAMPLES[None], law)[0], encoded)


def test_rows_of_different_laws_are_kept_apart() -> None:
    law = np.array([False, True, False])
    payload = np.random.default_rng(1).integers(0, 256, (3, 160), dtype=np.uint8)
    pcm = np.empty((3, 160), np.int16)
    assert g711.decode(payload, law, out=pcm) is pcm
    back = np.empty((3, 160), np.uint8)
    assert g711.encode(pcm, law, out=back) is back
    for row in range(3):
        np.testing.assert_array_equal(pcm[row], g711.decode(payload[row : row + 1], law[row : row + 1])[0])
        np.testing.assert_array_equal(back[row], g711.encode(pcm[row : row + 1], law[row : row + 1])[0])


def test_silence_and_quiet_bytes_are_what_they_say() -> None:
    for law, silence, quiet in ((MU, g711.SILENCE_PCMU, g711.QUIET_PCMU), (A, g711.SILENCE_PCMA, g711.QUIET_PCMA)):
        levels = np.abs(g711.decode(CODES[None], law)[0].astype(int))
        assert g711.SILENCE[int(law[0])] == bytes([silence]) * 160
        assert g711.encode(np.zeros((1, 1), np.int16), law)[0, 0] == silence
        assert levels[list(quiet)].max() <= 248
        assert silence in quiet


@pytest.mark.parametrize("is_alaw", [False, True])
def test_one_stream_of_bytes_is_coded_as_in_a_batch(is_alaw: bool) -> None:
    codes, law = np.arange(256, dtype=np.uint8), np.array([is_alaw])
    pcm = g711.decode_bytes(codes.tobytes(), is_alaw=is_alaw)
    assert np.array_equal(np.frombuffer(pcm, "<i2"), g711.decode(codes.reshape(1, -1), law)[0])
    samples = np.arange(-32_768, 32_768).astype("<i2")
    payload = g711.encode_bytes(samples.tobytes(), is_alaw=is_alaw)
    assert np.array_equal(np.frombuffer(payload, np.uint8), g711.encode(samples.reshape(1, -1), law)[0])
