"""Listening in: both sides in step, any number of listeners, and one who does not read."""

from __future__ import annotations

import asyncio
import io
import wave
from collections.abc import Callable

import numpy as np
import pytest

from active_call.api.listening_in import WAITING_PIECES, ListeningIn, endless_wav_header
from active_call.call.events.subscription import EventLog, Subscription
from active_call.call.sound.listening_in import StereoMix
from active_call.call.sound.taps import CALLERS, OURS
from active_call.contract import events

FRAME = 640


def sound(value: int, n_bytes: int = FRAME) -> bytes:
    return np.full(n_bytes // 2, value, "<i2").tobytes()


def sides(stereo: bytes) -> tuple[list[int], list[int]]:
    frames = np.frombuffer(stereo, "<i2").reshape(-1, 2)
    return sorted(set(frames[:, 0].tolist())), sorted(set(frames[:, 1].tolist()))


def test_sides_come_together_caller_left() -> None:
    mix = StereoMix()
    assert mix.push(CALLERS, sound(1)) == b""
    stereo = mix.push(OURS, sound(2))
    assert len(stereo) == 2 * FRAME and sides(stereo) == ([1], [2])


def test_side_that_is_silent_holds_the_other_one_up_for_a_moment_only() -> None:
    mix = StereoMix()
    heard = b"".join(mix.push(CALLERS, sound(1)) for _ in range(20))
    assert len(heard) == 2 * FRAME * 10 and sides(heard) == ([1], [0])
    later = mix.push(OURS, sound(2)) + b"".join(mix.push(OURS, sound(2)) for _ in range(9))
    assert sides(later) == ([1], [2])


class Call:
    def __init__(self) -> None:
        self.log = EventLog()
        self.listeners: list[Callable[[int, bytes], None]] = []

    def listen(self, listener: Callable[[int, bytes], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener) if listener in self.listeners else None

    def subscribe(self) -> Subscription:
        return self.log.subscribe()

    def say(self, n_frames: int) -> None:
        for _ in range(n_frames):
            for listener in list(self.listeners):
                listener(CALLERS, sound(1))
                listener(OURS, sound(2))


def test_listeners_hear_until_the_call_is_over_and_a_slow_one_is_dropped() -> None:
    async def story() -> None:
        call = Call()
        listening, slow = ListeningIn(call), ListeningIn(call)  # type: ignore[arg-type]
        heard: list[bytes] = []

        async def read() -> None:
            heard.extend([piece async for piece in listening.pieces()])

        reading = asyncio.create_task(read())
        for _ in range(WAITING_PIECES + 10):
            call.say(1)
            await asyncio.sleep(0)
        assert slow.is_too_slow and not listening.is_too_slow
        assert [piece async for piece in slow.pieces()] == []
        assert len(call.listeners) == 1
        call.log.append(events.Hangup(reason="done"))
        async with asyncio.timeout(2):
            await reading
        assert sum(map(len, heard)) == (WAITING_PIECES + 10) * 2 * FRAME
        assert call.listeners == [] and call.log.n_subscriptions == 0

    asyncio.run(story())


def test_header_is_one_that_readers_of_wav_take() -> None:
    with pytest.raises(EOFError), wave.open(io.BytesIO(endless_wav_header()[:20])):
        pass
    with wave.open(io.BytesIO(endless_wav_header() + sound(5, 1280))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 16_000, 2)
        assert file.readframes(320) == sound(5, 1280)
