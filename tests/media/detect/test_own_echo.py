"""The agent's own voice that comes back is told from the caller's, by its sound alone."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.media.detect import own_echo
from active_call.media.detect.own_echo import FRAME, MOST_IN_TICK, WAIT_TICKS, WINDOW, OwnEcho
from active_call.media.detect.speech import Detection
from active_call.media.receive.echo_gate import EchoGate
from active_call.testing.sound.audio import MULAW

RATE_HZ = 8000
SECONDS = 4.0
SLOT = 1


def voice(seed: int, pitch_hz: float) -> np.ndarray:
    """Syllables of a voice-like sound: a pulse train through changing resonances, with pauses between. float64."""
    random = np.random.default_rng(seed)
    n = round(SECONDS * RATE_HZ)
    sound = np.zeros(n)
    at = 400
    while at < n - 3000:
        length = int(random.integers(1000, 2200))
        moments = np.arange(length) / RATE_HZ
        pulses = np.sign(np.sin(2 * np.pi * pitch_hz * random.uniform(0.9, 1.1) * moments)) + 0.3 * random.normal(size=length)
        formants = [random.uniform(300, 900), random.uniform(900, 2500)]
        syllable = sum(np.convolve(pulses, np.exp(-200 * moments[:160]) * np.sin(2 * np.pi * f * moments[:160]), "same") for f in formants)
        syllable = np.asarray(syllable) * np.hanning(length)
        sound[at : at + length] += syllable / np.sqrt((syllable**2).mean()) * 2600
        at += length + int(random.integers(300, 1200))
    return sound


def delayed(sound: np.ndarray, delay_s: float) -> np.ndarray:
    return np.concatenate((np.zeros(round(delay_s * RATE_HZ)), sound))[: len(sound)]


def room(sound: np.ndarray) -> np.ndarray:
    tail = np.random.default_rng(7).normal(size=2000) * np.exp(-6.9 * np.arange(2000) / 2000)
    response = 0.7 * tail / np.sqrt((tail**2).sum())
    response[0] += 1
    return np.convolve(sound, response)[: len(sound)]


def line(sound: np.ndarray) -> np.ndarray:
    """The sound with noise through G.711."""
    noisy = sound + np.random.default_rng(3).normal(size=len(sound)) * 60
    return np.asarray(MULAW.decode(MULAW.encode(np.clip(noisy, -32768, 32767).astype(np.int16))))


def starts(sent: np.ndarray, heard: np.ndarray) -> tuple[list[tuple[float, bool]], list[float]]:
    """Every start of sound in `heard`, and whether it counts as an echo; when an echo became the caller's voice."""
    echo, found, voices = OwnEcho(SLOT + 1), [], []
    echo.begin(SLOT)
    state = "quiet"
    for tick in range(len(sent) // FRAME):
        end = (tick + 1) * FRAME
        echo.sent(tick, np.array([SLOT]), sent[None, end - FRAME : end].astype(np.int16))
        if end < WINDOW:
            continue
        window = heard[end - WINDOW : end]
        level = np.sqrt((window[-640:].astype(float) ** 2).mean())
        if state == "quiet" and level > 500:
            is_echo = echo.starts(SLOT, tick, window)
            found.append((end / RATE_HZ, is_echo))
            state = "echo" if is_echo else "voice"
        elif state == "echo" and not echo.goes_on(SLOT, tick, window):
            voices.append(end / RATE_HZ)
            state = "voice"
        elif state != "quiet" and level < 200:
            state = "quiet"
    return found, voices


@pytest.mark.parametrize("level_db", [-6, -12])
@pytest.mark.parametrize("delay_s", [0.06, 0.15, 0.3])
@pytest.mark.parametrize("is_room", [False, True])
def test_echo_is_an_echo_at_any_delay_and_level(level_db: int, delay_s: float, is_room: bool) -> None:
    sent = voice(1, 110)
    returned = delayed(room(sent) if is_room else sent, delay_s) * 10 ** (level_db / 20)
    found, voices = starts(sent, line(returned))
    assert len(found) >= 3 and all(is_echo for _, is_echo in found) and not voices


@pytest.mark.parametrize("pitch_hz", [110, 115, 200])
def test_caller_of_the_same_pitch_is_heard_at_once_or_soon(pitch_hz: float) -> None:
    found, voices = starts(voice(1, 110), line(voice(2, pitch_hz)))
    heard = [*voices, *(at for at, is_echo in found if not is_echo)]
    assert len(found) >= 5 and all(any(at <= other <= at + 0.22 for other in heard) for at, _ in found)


@pytest.mark.parametrize("level_db", [-10, -16])
def test_caller_over_a_known_echo_is_heard(level_db: int) -> None:
    sent, said = voice(1, 110), voice(2, 180)
    said[: 2 * RATE_HZ] = 0
    found, voices = starts(sent, line(delayed(sent, 0.12) * 10 ** (level_db / 20) + said))
    began = next(at for at in range(2 * RATE_HZ, len(said)) if abs(said[at]) > 500) / RATE_HZ
    heard = min([*voices, *(at for at, is_echo in found if not is_echo)])
    assert began < heard < began + 0.35


def test_nothing_is_an_echo_while_nothing_is_sent() -> None:
    echo = OwnEcho(1)
    echo.begin(0)
    assert not echo.starts(0, 70, line(voice(1, 110))[8000 : 8000 + WINDOW])


@pytest.mark.parametrize("heard_seed", [1, 2])
def test_first_sound_of_a_call_is_compared_three_times_at_most(monkeypatch: pytest.MonkeyPatch, heard_seed: int) -> None:
    """Every caller who answers the greeting passes here, and a comparison takes as long as the voice detector of ten calls."""
    compared: list[int] = []
    correlate = own_echo._shares

    def count(heard: np.ndarray, sent: np.ndarray) -> np.ndarray:
        compared.append(1)
        return correlate(heard, sent)

    monkeypatch.setattr(own_echo, "_shares", count)
    sent = voice(1, 110)
    heard = line(voice(2, 180)) if heard_seed == 2 else line(delayed(sent, 0.1) * 0.25)
    echo = OwnEcho(1)
    echo.begin(0)
    for tick in range(30):
        echo.sent(tick, np.array([0]), sent[None, tick * FRAME : (tick + 1) * FRAME].astype(np.int16))
    at = 29 * FRAME
    assert echo.starts(0, 29, heard[at + FRAME - WINDOW : at + FRAME]) and echo.starts(0, 29, heard[at + FRAME - WINDOW : at + FRAME])
    goes_on = []
    for tick in range(30, 30 + WAIT_TICKS):
        end = (tick + 1) * FRAME
        echo.sent(tick, np.array([0]), sent[None, end - FRAME : end].astype(np.int16))
        goes_on.append(echo.goes_on(0, tick, heard[end - WINDOW : end]))
    assert goes_on[-1] is (heard_seed == 1)
    assert len(compared) <= 3 + (heard_seed == 1)


def test_starts_of_many_callers_in_one_tick_are_compared_up_to_a_limit() -> None:
    n_callers = 2 * MOST_IN_TICK
    echo, slots, sent = OwnEcho(n_callers), np.arange(n_callers), voice(1, 110)
    for slot in slots:
        echo.begin(slot)
    for tick in range(61):
        frame = sent[tick * FRAME : (tick + 1) * FRAME].astype(np.int16)
        echo.sent(tick, slots, np.tile(frame, (n_callers, 1)))
    heard = line(delayed(sent, 0.1) * 0.25)[61 * FRAME - WINDOW : 61 * FRAME]
    assert [echo.starts(slot, 60, heard) for slot in slots] == [slot < MOST_IN_TICK for slot in slots]
    assert echo.starts(n_callers - 1, 61, heard), "the next tick has time again"


def test_echo_that_begins_after_many_words_of_the_caller_is_found_within_four_starts() -> None:
    echo, sent = OwnEcho(1), voice(1, 110)
    echo.begin(0)
    said, returned = line(voice(2, 180) * 2), line(delayed(sent, 0.1) * 0.25)

    def start(tick: int, heard: np.ndarray) -> bool:
        return echo.starts(0, tick, heard[(tick + 1) * FRAME - WINDOW : (tick + 1) * FRAME])

    for tick in range(130):
        echo.sent(tick, np.array([0]), sent[None, tick * FRAME : (tick + 1) * FRAME].astype(np.int16))
        if tick in (60, 66, 72, 78, 84, 90):
            assert not start(tick, said)
    found = [start(129, returned) for _ in range(5)]
    assert found.index(True) < 4 and found[-1], "then it is known where to look"


def test_gate_holds_an_echo_back_and_tells_of_a_caller_over_it_late() -> None:
    gate = EchoGate(1)
    gate.begin(0)
    sent = voice(1, 110)
    quiet, loud = line(delayed(sent, 0.1) * 0.25), line(delayed(sent, 0.1) * 0.25 + voice(2, 180) * 2)
    start = Detection(0, True, 4000, 1.0, 0.9, 64)
    seen: list[Detection] = []
    for tick in range(180):
        end = (tick + 1) * FRAME
        gate.echo.sent(tick, np.array([0]), sent[None, end - FRAME : end].astype(np.int16))
        sound = (quiet if tick < 120 else loud)[max(0, end - WINDOW) : end]
        if tick == 60:
            detections = [start]
            assert gate.held_by(detections, tick, lambda slot, sound=sound: sound) == [0] and not detections
        if tick > 60:
            seen += gate.late_starts(tick, tick / 50, lambda slot, sound=sound: sound, lambda slot, tick=tick: tick * 320)
    (late,) = seen
    assert late.started and late.sample > 120 * 320 - 2560 and late.at > 2.2
    ended = [Detection(0, False, 60_000, 4.0, 0.9, 300)]
    assert gate.held_by(ended, 181, lambda slot: quiet[:WINDOW]) == [] and ended, "the end of what was reported is reported"


def test_end_of_a_held_echo_is_not_reported() -> None:
    gate = EchoGate(1)
    gate.begin(0)
    sent = voice(1, 110)
    for tick in range(61):
        gate.echo.sent(tick, np.array([0]), sent[None, tick * FRAME : (tick + 1) * FRAME].astype(np.int16))
    sound = line(delayed(sent, 0.1) * 0.25)[61 * FRAME - WINDOW : 61 * FRAME]
    detections = [Detection(0, True, 4000, 1.0, 0.9, 64)]
    gate.held_by(detections, 60, lambda slot: sound)
    ended = [Detection(0, False, 6000, 1.2, 0.9, 100)]
    assert gate.held_by(ended, 62, lambda slot: sound) == [] and not ended
