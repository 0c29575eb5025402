"""Listening in: who gets which sound, and when it is asked for."""

from __future__ import annotations

import numpy as np

from active_call.call.sound.taps import CALLERS, OURS, SoundTaps
from active_call.media.link.messages import CallerAudio, SentAudio


class Stream:
    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self.n_asked = 0

    def forward_sent(self, enabled: bool, *, piece_ms: int = 20) -> None:
        assert piece_ms == 20
        self.n_asked += 1 if enabled else -1


def tone(rate_hz: int) -> bytes:
    return np.asarray(8000 * np.sin(2 * np.pi * 400 * np.arange(rate_hz) / rate_hz)).astype("<i2").tobytes()


def test_sound_is_asked_for_while_somebody_listens_also_on_a_later_stream() -> None:
    forwarded: list[bool] = []
    taps, first, second = SoundTaps(forwarded.append), Stream(8000), Stream(16_000)
    taps.use(first)  # type: ignore[arg-type]
    taps.caller(CallerAudio(1, 0, b"\1\1"))
    assert (forwarded, first.n_asked) == ([], 0)
    one, other = taps.add(lambda *_: None), taps.add(lambda *_: None)
    assert (forwarded, first.n_asked) == ([True], 1)
    taps.use(second)  # type: ignore[arg-type]
    assert second.n_asked == 1
    one()
    one()
    assert forwarded == [True]
    other()
    assert forwarded == [True, False]
    assert second.n_asked == 0


def test_both_sides_come_at_16_khz() -> None:
    heard: dict[int, list[bytes]] = {OURS: [], CALLERS: []}
    taps = SoundTaps(lambda _: None)
    taps.use(Stream(8000))  # type: ignore[arg-type]
    taps.add(lambda side, pcm: heard[side].append(pcm))
    taps.sent(SentAudio(1, 0, tone(8000)))
    taps.caller(CallerAudio(1, 0, tone(16_000)))
    assert [len(b"".join(heard[side])) for side in (OURS, CALLERS)] == [32_000, 32_000]
    ours = np.frombuffer(b"".join(heard[OURS]), "<i2")
    assert abs(int(np.abs(np.fft.rfft(ours)).argmax()) - 400) <= 2


def test_secret_input_is_silence_for_listeners_and_the_agents_side_is_heard() -> None:
    heard: list[tuple[int, bytes]] = []
    taps = SoundTaps(lambda _: None)
    taps.use(Stream(16_000))  # type: ignore[arg-type]
    taps.add(lambda side, pcm: heard.append((side, pcm)))
    for taps.is_secret in (False, True, False):
        taps.caller(CallerAudio(1, 0, b"\1\2" * 160))
    taps.is_secret = True
    taps.sent(SentAudio(1, 0, b"\3\4" * 320))
    assert heard == [(CALLERS, b"\1\2" * 160), (CALLERS, bytes(320)), (CALLERS, b"\1\2" * 160), (OURS, b"\3\4" * 320)]


def test_listener_that_fails_is_left_out_and_others_hear_on() -> None:
    heard: list[int] = []

    def fail(side: int, pcm: bytes) -> None:
        raise RuntimeError(side, pcm)

    taps = SoundTaps(lambda _: None)
    taps.use(Stream(16_000))  # type: ignore[arg-type]
    taps.add(fail)
    taps.add(lambda side, _: heard.append(side))
    for _ in range(2):
        taps.caller(CallerAudio(1, 0, b"\0\0"))
    assert heard == [CALLERS, CALLERS]
