"""The resamplers by their responses to sines and by what processing in frames must not change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from active_call.codec.resample import DELAY_MS, Downsampler16to8, StreamResampler, Upsampler8to16

SLOT = np.array([0])


def sine(frequency: float, rate: int, n_samples: int, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(n_samples) / rate)).astype(np.float32)


def upsample(signal: np.ndarray) -> np.ndarray:
    sampler = Upsampler8to16(1)
    return np.concatenate([sampler.process(frame[None], SLOT)[0] for frame in signal.reshape(-1, 160)])


def downsample(signal: np.ndarray) -> np.ndarray:
    sampler = Downsampler16to8(1)
    return np.concatenate([sampler.process(frame[None], SLOT)[0] for frame in signal.reshape(-1, 320)])


def level_db(signal: np.ndarray, frequency: float, rate: int) -> float:
    """The level of one frequency in dB re an amplitude of 0.5, by correlation under a Hann window."""
    window = np.hanning(len(signal))
    tone = np.exp(-2j * np.pi * frequency * np.arange(len(signal)) / rate)
    return float(20 * np.log10(abs(np.sum(signal * window * tone)) / window.sum() * 2 / 0.5 + 1e-12))


@pytest.mark.parametrize("frequency", [50, 300, 1000, 1733, 2500, 3000, 3400])
def test_upsampler_pass_band_is_flat_and_images_are_gone(frequency: int) -> None:
    output = upsample(sine(frequency, 8000, 160 * 50))[640:]
    assert level_db(output, frequency, 16000) == pytest.approx(0, abs=0.02)
    assert level_db(output, 8000 - frequency, 16000) < (-70 if frequency < 3400 else -60)


@pytest.mark.parametrize("frequency", [50, 300, 1000, 1733, 2500, 3000, 3400])
def test_downsampler_pass_band_is_flat(frequency: int) -> None:
    assert level_db(downsample(sine(frequency, 16000, 320 * 50))[320:], frequency, 8000) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("frequency", [4700, 5000, 6000, 7000, 7900])
def test_downsampler_aliases_are_gone(frequency: int) -> None:
    assert level_db(downsample(sine(frequency, 16000, 320 * 50))[320:], 8000 - frequency, 8000) < -70


def test_upsampler_frames_join_as_the_whole_filter_says() -> None:
    """Judged by one convolution of the zero-stuffed signal with the impulse response of the whole."""
    signal = np.random.default_rng(3).uniform(-0.4, 0.4, 160 * 6).astype(np.float32)
    impulse = upsample(np.concatenate(([1.0], np.zeros(319))).astype(np.float32) * 0.5) * 2
    stuffed = np.zeros(len(signal) * 2)
    stuffed[::2] = signal
    np.testing.assert_allclose(upsample(signal), np.convolve(stuffed, impulse)[: len(stuffed)], atol=1e-5)


def test_downsampler_frames_join_as_the_whole_filter_says() -> None:
    signal = np.random.default_rng(4).uniform(-0.4, 0.4, 320 * 6).astype(np.float32)
    even = downsample(np.eye(1, 640, 0, dtype=np.float32)[0] * 0.5) * 2
    odd = downsample(np.eye(1, 640, 1, dtype=np.float32)[0] * 0.5) * 2
    expected = np.convolve(signal[::2], even)[: len(signal) // 2] + np.convolve(signal[1::2], odd)[: len(signal) // 2]
    np.testing.assert_allclose(downsample(signal), expected, atol=1e-5)


@pytest.mark.parametrize(("convert", "rates"), [(upsample, (8000, 16000)), (downsample, (16000, 8000))])
def test_delay_is_as_stated(convert: Callable[[np.ndarray], np.ndarray], rates: tuple[int, int]) -> None:
    output = convert(sine(500, rates[0], rates[0] // 50 * 10))
    expected = sine(500, rates[1], len(output))
    shift = round(DELAY_MS * rates[1] / 1000)
    np.testing.assert_allclose(output[400:], expected[400 - shift : -shift], atol=2e-3)


def test_int16_and_float_frames_give_the_same() -> None:
    pcm = np.random.default_rng(5).integers(-20000, 20000, (1, 160)).astype(np.int16)
    as_float = (pcm / 32768).astype(np.float32)
    np.testing.assert_allclose(Upsampler8to16(1).process(pcm, SLOT), Upsampler8to16(1).process(as_float, SLOT), atol=1e-6)
    pcm = np.random.default_rng(6).integers(-20000, 20000, (1, 320)).astype(np.int16)
    as_float = (pcm / 32768).astype(np.float32)
    np.testing.assert_allclose(Downsampler16to8(1).process(pcm, SLOT), Downsampler16to8(1).process(as_float, SLOT), atol=1e-6)


@pytest.mark.parametrize(("sampler_type", "size"), [(Upsampler8to16, 160), (Downsampler16to8, 320)])
def test_slots_keep_their_own_history_in_any_order(sampler_type: type[Upsampler8to16], size: int) -> None:
    generator = np.random.default_rng(7)
    streams = generator.uniform(-0.5, 0.5, (3, 4, size)).astype(np.float32)
    together, slots = sampler_type(5), np.array([4, 0, 2])
    alone = [sampler_type(1) for _ in range(3)]
    for step in range(4):
        order = generator.permutation(3)
        outputs = together.process(streams[order, step], slots[order])
        for row, stream in enumerate(order):
            np.testing.assert_allclose(outputs[row], alone[stream].process(streams[stream, step][None], SLOT)[0], atol=1e-6)
    together.reset(4)
    np.testing.assert_allclose(
        together.process(streams[0, 0][None], np.array([4])), sampler_type(1).process(streams[0, 0][None], SLOT), atol=1e-6
    )


def test_full_scale_square_stays_below_one() -> None:
    square = np.where(np.arange(160 * 5) // 8 % 2, 32767, -32768).astype(np.int16)
    output = upsample(square)
    assert output.max() < 1.0
    assert output.min() >= -1.0


@pytest.mark.parametrize(("source", "target"), [(24000, 8000), (22050, 8000), (16000, 8000), (8000, 16000), (48000, 16000)])
def test_stream_resampler_pieces_of_any_size_equal_one_piece(source: int, target: int) -> None:
    pcm = (sine(440, source, source) * 32767).astype(np.int16).tobytes()
    whole, pieces = StreamResampler(source, target), StreamResampler(source, target)
    expected = whole.push(pcm) + whole.flush()
    output, position, size = b"", 0, 1
    while position < len(pcm):
        output += pieces.push(pcm[position : position + size])
        position, size = position + size, size * 3 % 2000 + 1
    output += pieces.flush()
    assert output == expected
    assert len(output) == 2 * target
    assert level_db(np.frombuffer(output, np.int16)[400:-400] / 32767, 440, target) == pytest.approx(0, abs=0.05)


def test_stream_resampler_is_ready_again_after_flush() -> None:
    pcm = (sine(440, 24000, 2400) * 32767).astype(np.int16).tobytes()
    resampler = StreamResampler(24000, 8000)
    first = resampler.push(pcm) + resampler.flush()
    assert resampler.push(pcm) + resampler.flush() == first


def test_stream_resampler_same_rate_passes_whole_samples() -> None:
    resampler = StreamResampler(8000, 8000)
    assert resampler.push(b"abc") + resampler.push(b"def") + resampler.flush() == b"abcdef"
