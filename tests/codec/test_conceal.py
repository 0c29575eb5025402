"""Concealment by what can be heard of it: no click at either end, the energy goes on, silence after a while, and it beats silence."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.codec.conceal import Concealer, find_periods
from active_call.codec.stream import new_decoder, new_encoder

from .voices import level_db, snr_db, speech, voiced

SLOT = np.array([0])
RATES = [8000, 16_000]


def play(sound: np.ndarray, rate: int, lost: set[int]) -> np.ndarray:
    """The sound in frames of 20 ms without those that are `lost`."""
    n = rate // 50
    concealer = Concealer(1, rate)
    frames = []
    for index in range(len(sound) // n):
        frame = sound[None, index * n : (index + 1) * n].copy()
        if index in lost:
            frame[:] = 32767  # whatever lies there must not be heard
        concealer.process(frame, SLOT, np.array([index in lost]))
        frames.append(frame[0])
    return np.concatenate(frames)


def largest_step(sound: np.ndarray) -> int:
    return int(np.abs(np.diff(sound.astype(int))).max())


@pytest.mark.parametrize("rate", RATES)
def test_nothing_lost_nothing_is_changed(rate: int) -> None:
    sound = speech(rate, 2)
    np.testing.assert_array_equal(play(sound, rate, set()), sound[: len(sound) // (rate // 50) * (rate // 50)])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("pitch_hz", [70, 98, 147, 190])
def test_find_periods_finds_the_pitch_of_a_voice(rate: int, pitch_hz: int) -> None:
    time = np.arange(rate // 25) / rate
    voice = sum(1000 / k * np.sin(2 * np.pi * k * pitch_hz * time + k) for k in range(1, 8)).astype(np.float32)
    found = int(find_periods(voice[None], rate)[0]) * pitch_hz / rate
    assert found == pytest.approx(round(found), abs=0.03)  # the period, or a multiple of it, which serves as well
    assert round(found) >= 1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("pitch_hz", [80, 120, 165, 220, 300])
def test_lost_frame_of_a_voice_goes_on_without_a_click_and_as_loud(rate: int, pitch_hz: int) -> None:
    sound = voiced(rate, 1, pitch_hz=pitch_hz)
    n = rate // 50
    for index in range(10, 30):
        played = play(sound, rate, {index})
        gap = slice(index * n, (index + 1) * n)
        around = slice((index - 1) * n, (index + 2) * n)
        assert largest_step(played[around]) <= 1.25 * largest_step(sound[around])
        assert abs(level_db(played[gap]) - level_db(sound[gap])) < 3
        np.testing.assert_array_equal(played[: index * n], sound[: index * n])
        np.testing.assert_array_equal(played[(index + 2) * n :], sound[(index + 2) * n : len(played)])


@pytest.mark.parametrize("rate", RATES)
def test_steady_tone_is_concealed_nearly_perfectly(rate: int) -> None:
    tone = (8000 * np.sin(2 * np.pi * 125 * np.arange(rate) / rate)).astype(np.int16)
    n = rate // 50
    played = play(tone, rate, {20})
    assert snr_db(tone[20 * n : 20 * n + n // 2], played[20 * n : 20 * n + n // 2]) > 40  # not faded yet


@pytest.mark.parametrize("rate", RATES)
def test_long_loss_is_silent_after_60_ms_and_sound_returns_softly(rate: int) -> None:
    sound = voiced(rate, 1)
    n = rate // 50
    played = play(sound, rate, set(range(20, 30)))
    gap = played[20 * n : 30 * n]
    levels = [level_db(gap[at : at + n // 2]) for at in range(0, 3 * n, n // 2)]
    assert levels[0] > levels[2] > levels[4] > levels[5]
    assert not gap[3 * n :].any()
    assert largest_step(played[29 * n : 31 * n]) <= 1.25 * largest_step(sound)
    np.testing.assert_array_equal(played[30 * n + rate // 100 :], sound[30 * n + rate // 100 : len(played)])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("share", [0.05, 0.2])
def test_speech_with_random_losses_is_nearer_to_the_original_than_with_silence(rate: int, share: float) -> None:
    sound = speech(rate, 20, pause=0.2)
    n = rate // 50
    generator = np.random.default_rng(int(share * 100))
    lost = set(np.flatnonzero(generator.random(len(sound) // n) < share).tolist())
    played = play(sound, rate, lost)
    silenced = sound[: len(played)].copy()
    for index in lost:
        silenced[index * n : (index + 1) * n] = 0
    gaps = np.zeros(len(played), bool)
    for index in lost:
        gaps[index * n : (index + 1) * n] = True
    assert abs(level_db(played[gaps]) - level_db(sound[: len(played)][gaps])) < 3
    assert largest_step(played) <= 1.25 * largest_step(sound)
    spectra = [
        np.abs(np.fft.rfft(s[: len(s) // n * n].reshape(-1, n)[sorted(lost)] * np.hanning(n), axis=1))
        for s in (sound[: len(played)], played, silenced)
    ]
    error, error_of_silence = (np.mean((np.log10(other + 100) - np.log10(spectra[0] + 100)) ** 2) for other in spectra[1:])
    assert error < 0.6 * error_of_silence


def test_loss_in_a_noise_or_silence_stays_within_its_level() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 1000, 8000).astype(np.int16)
    played = play(noise, 8000, {20, 21, 30})
    assert np.abs(played).max() <= 1.3 * np.abs(noise).max()
    assert not play(np.zeros(8000, np.int16), 8000, {20, 21}).any()


def test_extremes_do_not_wrap() -> None:
    square = np.where(np.arange(8000) // 33 % 2, 32767, -32768).astype(np.int16)
    played = play(square, 8000, {10, 20, 21, 35}).astype(int)
    assert played.max() <= 32767
    assert played.min() >= -32768
    assert largest_step(play(square, 8000, {10})) <= largest_step(square)


def test_begin_forgets_what_was_and_does_not_fade_the_first_frame_in() -> None:
    sound = voiced(8000, 1)
    concealer = Concealer(2, 8000)
    slots = np.array([1])
    concealer.process(sound[None, :160].copy(), slots, np.array([False]))
    concealer.begin(1)
    frame = np.ones((1, 160), np.int16)
    concealer.process(frame, slots, np.array([True]))
    assert not frame.any()
    first = sound[None, 160:320].copy()
    concealer.process(first, slots, np.array([False]))
    np.testing.assert_array_equal(first[0], sound[160:320])


def test_streams_do_not_touch_each_other() -> None:
    sounds = [voiced(8000, 1, pitch_hz=pitch, seed=pitch) for pitch in (90, 130, 170, 210)]
    losses = [{5, 6}, set(), {6, 9, 10, 11, 12}, {0, 1, 7}]
    slots = np.array([3, 0, 2, 1])
    concealer = Concealer(5, 8000)
    rows: list[list[np.ndarray]] = [[], [], [], []]
    for index in range(20):
        frames = np.stack([sound[index * 160 : index * 160 + 160] for sound in sounds])
        concealer.process(frames, slots, np.array([index in lost for lost in losses]))
        for row, frame in zip(rows, frames, strict=True):
            row.append(frame.copy())
    for sound, lost, row in zip(sounds, losses, rows, strict=True):
        np.testing.assert_array_equal(np.concatenate(row), play(sound[: 20 * 160], 8000, lost))


@pytest.mark.parametrize("name", ["pcmu", "pcma", "g722", "l16_8000", "l16_16000"])
@pytest.mark.parametrize("ms", [10, 20, 60])
def test_decoders_conceal_in_any_packet_duration(name: str, ms: int) -> None:
    encoder, decoder = new_encoder(name), new_decoder(name)
    n = encoder.sample_rate_hz * ms // 1000
    sound = voiced(encoder.sample_rate_hz, 1)
    payloads = [encoder.encode(sound[at : at + n]) for at in range(0, len(sound) - n + 1, n)]
    lost = len(payloads) // 2
    decoded = [decoder.decode(payload) for payload in payloads[:lost]]
    decoded.append(decoder.decode_fec(payloads[lost + 1], n))
    decoded += [decoder.decode(payload) for payload in payloads[lost + 1 :]]
    assert {len(piece) for piece in decoded} == {n}
    assert largest_step(np.concatenate(decoded[lost - 1 : lost + 2])) <= 1.4 * largest_step(np.concatenate(decoded[: lost - 1]))
    first_10_ms = decoded[lost][: encoder.sample_rate_hz // 100]
    assert abs(level_db(first_10_ms) - level_db(decoded[lost - 1])) < 6
    assert len(decoder.conceal(encoder.sample_rate_hz)) == encoder.sample_rate_hz
    assert not decoder.conceal(80).any()
    decoder.reset()
    assert len(decoder.decode(payloads[0])) == n
