"""Tones, judged by their spectrum, their envelope and the ITU's figures, which are written out here again."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import MediaError
from active_call.media.sounds import tones

RATE_HZ = 8000
FULL_SCALE_DBM0 = 3.14  # G.711: the A-law overload point


def level_dbm0(sound: np.ndarray, frequency_hz: float, rate_hz: int = RATE_HZ) -> float:
    """The level of one sine in `sound`, found by multiplying with it (exact over whole periods of all that sounds)."""
    t = np.arange(len(sound)) / rate_hz
    amplitude = 2 * abs((sound * np.exp(-2j * np.pi * frequency_hz * t)).mean())
    return 20 * math.log10(amplitude / 32768 + 1e-9) + FULL_SCALE_DBM0


def power_dbm0(sound: np.ndarray) -> float:
    return 10 * math.log10((sound.astype(float) ** 2).mean() / (32768**2 / 2)) + FULL_SCALE_DBM0


def envelope(sound: np.ndarray) -> list[tuple[bool, int]]:
    """Whether it sounds and for how many samples, in turn; shorter than 2 ms of silence is the sine's own zero."""
    loud = np.convolve(np.abs(sound.astype(int)) > 0, np.ones(33), mode="same") > 0
    edges = [0, *(np.flatnonzero(np.diff(loud)) + 1).tolist(), len(sound)]
    return [(bool(loud[a]), b - a) for a, b in itertools.pairwise(edges)]


PLANS = [
    ("us", "ringback", (440, 480), -19.0, (2000, 4000)),
    ("us", "busy", (480, 620), -24.0, (500, 500)),
    ("us", "congestion", (480, 620), -24.0, (250, 250)),
    ("ca", "ringback", (440, 480), -19.0, (2000, 4000)),
    ("gb", "ringback", (400, 450), -13.0, (400, 200, 400, 2000)),
    ("uk", "busy", (400,), -10.0, (375, 375)),
    ("fr", "ringback", (440,), -10.0, (1500, 3500)),
    ("fr", "busy", (440,), -10.0, (500, 500)),
    ("de", "ringback", (425,), -10.0, (1000, 4000)),
    ("de", "busy", (425,), -10.0, (480, 480)),
    ("de", "congestion", (425,), -10.0, (240, 240)),
    ("cn", "ringback", (450,), -10.0, (1000, 4000)),
    ("cn", "busy", (450,), -10.0, (350, 350)),
    ("cn", "congestion", (450,), -10.0, (700, 700)),
]


@pytest.mark.parametrize(("country", "name", "frequencies", "each_dbm0", "cadence_ms"), PLANS)
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 48_000])
def test_tone_of_a_country_has_its_frequencies_level_and_cadence(
    country: str, name: str, frequencies: tuple[int, ...], each_dbm0: float, cadence_ms: tuple[int, ...], rate_hz: int
) -> None:
    tone = tones.network_tone(name, country)
    period = sum(cadence_ms) * rate_hz // 1000
    sound = tones.render(tone, rate_hz, 0, 2 * period)
    assert np.array_equal(sound[:period], sound[period:])
    steady = sound[rate_hz // 100 : rate_hz // 100 + rate_hz // 10]  # 100 ms: whole periods of everything on a 10 Hz grid
    if 425 in frequencies:
        steady = sound[rate_hz // 100 : rate_hz // 100 + 2 * rate_hz // 25]  # 80 ms: 34 periods
    for frequency_hz in frequencies:
        assert level_dbm0(steady, frequency_hz, rate_hz) == pytest.approx(each_dbm0, abs=0.1)
    silence_from = cadence_ms[0] * rate_hz // 1000
    assert sound[silence_from - rate_hz // 100 : silence_from].any()
    assert not sound[silence_from : silence_from + cadence_ms[1] * rate_hz // 1000].any()
    assert sound[sum(cadence_ms[:2]) * rate_hz // 1000 :][: rate_hz // 100].any()


def test_dial_tone_goes_on_without_end_and_without_a_seam() -> None:
    tone = tones.network_tone("dial", "us")
    hour = 3600 * RATE_HZ
    sound = tones.render(tone, RATE_HZ, hour, 8000)
    assert [round(level_dbm0(sound, f), 1) for f in (350, 440)] == [-13.0, -13.0]
    assert np.array_equal(sound[100:200], tones.render(tone, RATE_HZ, hour + 100, 100))


def test_e180_tone_without_a_level_of_its_own_has_minus_10_dbm0_in_all() -> None:
    for country in ("gb", "jp", "au", "de"):
        sound = tones.render(tones.network_tone("dial", country), RATE_HZ, 800, 8000)
        assert power_dbm0(sound) == pytest.approx(-10.0, abs=0.1)


def test_e180_special_information_tone_is_three_steps_and_a_pause() -> None:
    sound = tones.render(tones.network_tone("sit", "de"), RATE_HZ, 0, 4 * RATE_HZ)
    for n, frequency_hz in enumerate((950, 1400, 1800)):
        step = sound[n * 2640 : (n + 1) * 2640]
        assert level_dbm0(step[400:2400], frequency_hz) == pytest.approx(-10.0, abs=0.1)
    assert not sound[3 * 2640 :].any()


@pytest.mark.parametrize("digit", "0123456789*#ABCD")
def test_q23_digit_has_its_two_frequencies_and_levels(digit: str) -> None:
    rows, columns = (697, 770, 852, 941), (1209, 1336, 1477, 1633)
    place = "123A456B789C*0#D".index(digit)
    sound = tones.render(tones.dtmf(digit, 120, 60), RATE_HZ, 0, 180 * 8)
    assert [length for _, length in envelope(sound)] == pytest.approx([960, 480], abs=20)
    spectrum = np.abs(np.fft.rfft(sound[80:880] * np.hanning(800), 80_000)) * 4 / 800  # 0.1 Hz a bin
    for frequency_hz, dbm0 in ((rows[place // 4], -9.0), (columns[place % 4], -7.0)):
        around = spectrum[10 * frequency_hz - 150 : 10 * frequency_hz + 150]
        assert abs(around.argmax() - 150) <= 5  # the other sine's skirt moves the top a little
        assert 20 * math.log10(around.max() / 32768) + FULL_SCALE_DBM0 == pytest.approx(dbm0, abs=0.2)


def test_digits_and_pauses_follow_one_another() -> None:
    sound = tones.render(tones.dtmf("12,3", 80, 60), RATE_HZ, 0, 8 * (3 * 140 + 1000))
    assert [length for _, length in envelope(sound)] == pytest.approx([640, 480, 640, 480 + 8000, 640, 480], abs=34)


@pytest.mark.parametrize("source", ["tone:us/busy", "dtmf:5", "tone:beep", "tone:sit"])
def test_edges_of_a_tone_do_not_click(source: str) -> None:
    """A click is energy where the tone has none: the band above 2.5 kHz must stay 60 dB under the tone."""
    tone = tones.tone_of(source)
    assert tone is not None
    sound = tones.render(tone, RATE_HZ, 0, RATE_HZ).astype(float)
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    assert 10 * math.log10(spectrum[2500:].sum() / spectrum.sum()) < -60


@given(st.sampled_from(["tone:gb/ringback", "tone:us/dial", "tone:sit", "dtmf:147#"]), st.lists(st.integers(1, 9000), max_size=6))
def test_tone_in_any_portions_is_the_same_tone(source: str, sizes: list[int]) -> None:
    tone = tones.tone_of(source)
    assert tone is not None
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    portions = [tones.render(tone, RATE_HZ, start, size) for start, size in zip(starts, sizes, strict=True)]
    assert np.array_equal(np.concatenate([*portions, np.zeros(0, np.int16)]), tones.render(tone, RATE_HZ, 0, sum(sizes)))


def test_pieces_end_with_a_tone_that_sounds_once_and_go_on_when_it_is_to_be_repeated() -> None:
    once = tones.network_tone("beep")
    assert b"".join(tones.pieces(once, RATE_HZ)) == tones.render(once, RATE_HZ, 0, 2400).tobytes()
    again = tones.pieces(once, RATE_HZ, repeat=True)
    heard = b"".join([next(again) for _ in range(3)])
    assert heard[:4800] == heard[4800:9600]


NONE = (
    "tone:xx/busy tone:us/none tone:none tone:us/same_as tone:ca/same_as tone:5000 tone:440/0.01 tone:440/x tone:440/100,425 "
    "tone:440@5/100 tone:1e9/100 tone:440/999999999 tone: dtmf: dtmf:x dtmf:1/5 dtmf:1/x"
)


@pytest.mark.parametrize("source", NONE.split())
def test_tone_that_there_is_not_is_refused(source: str) -> None:
    with pytest.raises(MediaError):
        tones.tone_of(source)


def test_source_that_is_no_tone_is_left_to_others() -> None:
    assert tones.tone_of("https://example.com/tone.wav") is None
    assert tones.tone_of("tones/busy.wav") is None


def test_every_tone_of_every_country_can_be_rendered() -> None:
    for country in tones._tables():
        for name in ("dial", "ringback", "busy", "congestion", "sit", "beep"):
            if country != "default":
                assert tones.render(tones.network_tone(name, country), RATE_HZ, 0, 8000).any()
