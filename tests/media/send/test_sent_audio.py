"""What streams send, as reports: pieces of the length that was asked for, with samples that count time."""

from __future__ import annotations

from typing import Any

import numpy as np

from active_call.media.link.messages import ForwardSent, SentAudio
from active_call.media.send.sent_audio import SentAudioTap
from active_call.media.worker.slots import Stream


class Sending:
    """The frames that the test says are sent."""

    def __init__(self) -> None:
        self.frames: dict[int, np.ndarray[Any, Any]] = {}

    def sent(self, number: int) -> np.ndarray[Any, Any] | None:
        return self.frames.get(number)


def tap() -> tuple[SentAudioTap, Sending, list[SentAudio]]:
    told: list[Any] = []
    sending = Sending()
    return SentAudioTap(sending, told.append), sending, told


def test_nothing_is_reported_unless_asked_for() -> None:
    forwarding, sending, told = tap()
    sending.frames[1] = np.ones(160, np.int16)
    forwarding.run()
    forwarding.end(Stream(1, 0, None, None))
    assert told == []


def test_every_frame_is_a_report_until_it_ends() -> None:
    forwarding, sending, told = tap()
    stream = Stream(1, 0, None, None)
    forwarding.use(stream, ForwardSent(1, True))
    for number in range(3):
        sending.frames[1] = np.full(160, number, np.int16)
        forwarding.run()
    forwarding.use(stream, ForwardSent(1, False))
    forwarding.run()
    assert told == [SentAudio(1, n * 160, np.full(160, n, "<i2").tobytes()) for n in range(3)]


def test_pieces_have_the_length_that_was_asked_for_and_the_rest_comes_at_the_end() -> None:
    forwarding, sending, told = tap()
    stream = Stream(1, 0, None, None, 16_000)
    forwarding.use(stream, ForwardSent(1, True, 60))
    sending.frames[1] = np.ones(320, np.int16)
    for _ in range(7):
        forwarding.run()
    forwarding.end(stream)
    assert [(report.sample, len(report.pcm)) for report in told] == [(0, 1920), (960, 1920), (1920, 640)]


def test_ticks_in_which_nothing_is_sent_are_left_out_and_counted() -> None:
    forwarding, sending, told = tap()
    forwarding.use(Stream(1, 0, None, None), ForwardSent(1, True, 100))
    sending.frames[1] = np.ones(160, np.int16)
    forwarding.run()
    forwarding.run()
    del sending.frames[1]
    for _ in range(3):
        forwarding.run()
    sending.frames[1] = np.ones(160, np.int16)
    for _ in range(5):
        forwarding.run()
    assert [(report.sample, len(report.pcm)) for report in told] == [(0, 640), (800, 1600)]
