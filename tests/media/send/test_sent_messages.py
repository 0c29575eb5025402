"""What streams without RTP send, as messages: one per tick, silence left out if asked for; the failure of a stream concerns no other."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from active_call.media.link.messages import MessageSent
from active_call.media.send.sent_messages import SentMessages
from active_call.media.worker.main import PASS_S, REST_S, n_cores, pass_s
from active_call.media.worker.slots import Stream

SOUND, SILENCE = np.ones(320, np.int16), np.zeros(320, np.int16)


class Codec:
    """Counts its steps. A frame of sevens cannot be encoded."""

    rate_hz = 16_000

    def __init__(self) -> None:
        self.n_encoded = 0
        self.is_shedding: list[bool] = []

    def encode(self, frame: np.ndarray[Any, Any]) -> bytes:
        if frame[0] == 7:
            raise ValueError("seven")
        self.n_encoded += 1
        return b"%d" % frame[0]

    def decode(self, message: bytes) -> np.ndarray[Any, Any]:
        raise NotImplementedError(message)

    def set_shedding(self, is_shedding: bool) -> None:
        self.is_shedding.append(is_shedding)


class Scene:
    def __init__(self) -> None:
        self.frames: dict[int, np.ndarray[Any, Any]] = {}
        self.told: list[Any] = []
        self.failed: list[tuple[int, str]] = []
        self.messages = SentMessages(self, self.told.append, lambda stream, error: self.failed.append((stream.number, str(error))))

    def sent(self, number: int) -> np.ndarray[Any, Any] | None:
        return self.frames.get(number)

    def stream(self, number: int, silent_frames: int = 0) -> Codec:
        codec = Codec()
        self.messages.use(Stream(number, number, None, None, 16_000), codec, silent_frames)
        return codec

    def run(self, *frames: np.ndarray[Any, Any], number: int = 1) -> list[bytes]:
        before = len(self.told)
        for frame in frames:
            self.frames[number] = frame
            self.messages.run()
        return [report.data for report in self.told[before:] if report.stream == number]


def test_every_frame_is_a_message_until_the_stream_ends() -> None:
    scene = Scene()
    codec = scene.stream(1)
    assert scene.run(SOUND, SILENCE, SOUND) == [b"1", b"0", b"1"]
    assert (scene.told[0], codec.n_encoded) == (MessageSent(1, b"1"), 3)
    scene.frames.clear()
    scene.messages.run()
    scene.messages.end(Stream(1, 1, None, None))
    assert scene.run(SOUND) == [] and len(scene.told) == 3


def test_long_silence_is_not_encoded_if_asked_for_and_reported_once() -> None:
    scene = Scene()
    codec = scene.stream(1, silent_frames=2)
    assert scene.run(*[SILENCE] * 3, SOUND, *[SILENCE] * 6, SOUND) == [b"", b"1", b"0", b"0", b"", b"1"]
    assert codec.n_encoded == 4


def test_report_on_a_play_is_followed_by_a_message_even_in_a_long_silence() -> None:
    scene = Scene()
    scene.stream(1, silent_frames=2)
    assert scene.run(*[SILENCE] * 5) == [b""]
    scene.messages.note_play(1)
    scene.messages.note_play(2)
    assert scene.run(*[SILENCE] * 5) == [b""]
    scene.messages.note_play(1)
    assert scene.run(SOUND, *[SILENCE] * 5) == [b"1", b"0", b"0", b""]


def test_stream_whose_sound_cannot_be_encoded_fails_and_the_others_are_sent() -> None:
    scene = Scene()
    scene.stream(1)
    scene.stream(2)
    scene.frames[2] = SOUND
    assert scene.run(SOUND * 7) == []
    assert scene.failed == [(1, "seven")]
    assert scene.told == [MessageSent(2, b"1")]
    scene.run(SOUND, number=2)
    assert scene.failed == [(1, "seven")]


def test_messages_of_a_tick_are_counted_unless_all_are_empty() -> None:
    scene = Scene()
    for number in (1, 2):
        scene.stream(number, silent_frames=1)
        scene.frames[number] = SILENCE
    scene.run(SOUND)
    assert scene.messages.n_sent == 2
    for _ in range(3):
        scene.run(SILENCE)
    assert scene.messages.n_sent == 0


def test_late_process_encodes_with_less_effort_also_for_streams_that_come_later() -> None:
    scene = Scene()
    first = scene.stream(1)
    scene.messages.set_shedding(True)
    scene.messages.set_shedding(True)
    second = scene.stream(2)
    scene.messages.set_shedding(False)
    assert (first.is_shedding, second.is_shedding) == ([False, True, False], [True, False])


@pytest.mark.parametrize(
    ("n_messages", "spare_s", "rest_s"),
    [(0, 0.015, 0.0), (50, 0.015, 50 * PASS_S), (500, 0.015, 0.015 - REST_S), (50, 0.001, 0.0), (50, -1.0, 0.0)],
)
def test_tick_rests_after_messages_only_as_long_as_it_has_time(n_messages: int, spare_s: float, rest_s: float) -> None:
    assert pass_s(n_messages, spare_s, 1) == pytest.approx(rest_s)


def test_tick_does_not_rest_if_the_control_process_may_have_another_core() -> None:
    assert pass_s(50, 0.015, 2) == 0.0


def test_cores_are_those_that_the_process_may_use_now() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert n_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert n_cores() == len(before)
