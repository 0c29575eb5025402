"""Sound that is fed to a stream without RTP: a frame in every tick, in order, with a delay that stays bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.media.link.messages import MediaStarted
from active_call.media.receive.fed_audio import LONG_FRAMES, MAX_WAITING_MS, START_FRAMES, FedAudio

RATE_HZ = 8000
FRAME = 160


def fed(rate_hz: int = RATE_HZ) -> tuple[FedAudio, list[Any]]:
    told: list[Any] = []
    return FedAudio(7, rate_hz, told.append), told


def loud(n_frames: float, first: int = 1000) -> bytes:
    return np.arange(first, first + round(n_frames * FRAME), dtype="<i2").tobytes()


def frames(source: FedAudio, n: int) -> list[np.ndarray[Any, Any] | None]:
    return [source.pop() for _ in range(n)]


def test_first_piece_starts_the_stream_once() -> None:
    source, told = fed()
    assert not source.started
    assert source.arrival_of_frame(3.0) == 3.0
    source.feed(b"", 1.0)
    assert not source.started
    source.feed(loud(1), 1.0)
    source.feed(loud(1), 1.02)
    assert told == [MediaStarted(7, 1.0, "", 0)]
    assert source.started


def test_frames_begin_once_enough_waits() -> None:
    source, _ = fed()
    source.feed(loud(1), 1.0)
    assert source.pop() is None
    source.feed(loud(1), 1.02)
    frame = source.pop()
    assert frame is not None
    assert frame.tolist() == list(range(1000, 1160))


def test_single_piece_is_heard_after_as_many_ticks_as_would_have_filled_the_buffer() -> None:
    source, _ = fed()
    source.feed(loud(1), 1.0)
    found = frames(source, START_FRAMES + 2)
    assert [frame is not None for frame in found] == [False] * START_FRAMES + [True, False]


def test_end_of_the_sound_is_filled_with_silence() -> None:
    source, _ = fed()
    source.feed(loud(2.5), 1.0)
    last = frames(source, 3)[-1]
    assert last is not None
    assert (len(last), last[:80].tolist(), last[80:].any()) == (FRAME, list(range(1320, 1400)), False)
    assert source.pop() is None


def test_burst_is_heard_to_its_end_and_the_delay_is_taken_back_in_pauses() -> None:
    source, _ = fed()
    source.feed(loud(20) + bytes(2 * 30 * FRAME), 1.0)
    heard = frames(source, 21)
    assert np.concatenate([frame for frame in heard if frame is not None])[: 20 * FRAME].tolist() == list(range(1000, 1000 + 20 * FRAME))
    assert source.depth == LONG_FRAMES


def test_more_than_anybody_waits_for_pushes_out_the_oldest() -> None:
    source, _ = fed()
    n_kept = MAX_WAITING_MS // 20
    for number in range(n_kept + 5):
        source.feed(np.full(FRAME, 1000 + number, "<i2").tobytes(), 1.0)
    assert source.n_dropped == 5 * FRAME
    assert source.depth == n_kept
    first = source.pop()
    assert first is not None
    assert set(first.tolist()) == {1005}


def test_frames_of_48_khz_come_at_16() -> None:
    source, _ = fed(48_000)
    assert source.rate_hz == 16_000
    tone = (8000 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)).astype("<i2")
    source.feed(tone.tobytes(), 1.0)
    sound = np.concatenate([frame for frame in frames(source, 50) if frame is not None])[1600:]
    assert len(sound) % 320 == 0
    spectrum = np.abs(np.fft.rfft(sound[:8000]))
    assert int(spectrum.argmax()) * 2 == 1000


def test_arrival_of_a_frame_goes_back_by_what_still_waits() -> None:
    source, _ = fed()
    source.feed(loud(4), 5.0)
    source.pop()
    assert source.arrival_of_frame(9.0) == pytest.approx(5.0 - 3 * 0.02)


@given(st.lists(st.one_of(st.integers(0, 700), st.just(-1)), max_size=80))
def test_whatever_the_pieces_every_sample_is_heard_once_and_in_order(steps: list[int]) -> None:
    """-1 is a tick; anything else a piece of so many samples. All are louder than a pause."""
    source, _ = fed()
    given_samples: list[int] = []
    heard: list[int] = []

    def tick() -> None:
        frame = source.pop()
        if frame is not None:
            assert len(frame) == FRAME
            heard.extend(sample for sample in frame.tolist() if sample)

    for step in steps:
        if step < 0:
            tick()
        else:
            piece = [1000 + (len(given_samples) + i) % 30_000 for i in range(step)]
            given_samples += piece
            source.feed(np.array(piece, "<i2").tobytes(), 0.0)
    for _ in range(len(given_samples) // FRAME + 5):
        tick()
    assert heard == given_samples
