"""Any sequence of orders to a play queue, against a model that keeps single samples in lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from active_call.media.send.play_queue import Began, Finished, PlayQueue, RanDry, RunsLow
from searches import searching

FRAME = 160
LOW = 16_000


@dataclass
class ModelPlay:
    name: str
    sound: list[int] = field(default_factory=list)
    queued: int = 0
    heard: int = 0
    began: bool = False
    closed: bool = False
    cut: bool = False

    def take(self) -> int | None:
        if self.heard >= len(self.sound):
            return None
        self.heard += 1
        return self.sound[self.heard - 1]

    def has_more(self) -> bool:
        return self.heard < len(self.sound)

    def finished(self, completed: bool) -> Finished:
        return Finished(self.name, completed, self.heard, self.queued)


class Model:
    """What the queue should do, one sample at a time."""

    def __init__(self) -> None:
        self.plays: list[ModelPlay] = []
        self.tails: list[tuple[list[int], Finished]] = []
        self.marks: list[object] = []
        self.paused = False
        self.dismissed: set[str] = set()

    def append(self, name: str, sound: list[int], end: bool) -> None:
        if name in self.dismissed:
            self.dismissed -= {name} if end else set()
            return
        play = next((play for play in self.plays if play.name == name), None)
        if play is None:
            play = ModelPlay(name)
            self.plays.append(play)
        play.queued += len(sound)
        if not play.cut:
            play.sound += sound
        play.closed |= end

    def finish(self, name: str, boundaries: list[int]) -> None:
        for play in self.plays:
            if play.name == name:
                for boundary in boundaries:
                    if boundary > play.heard:
                        if boundary <= play.queued:
                            play.cut |= boundary < len(play.sound) or not play.closed
                            del play.sound[boundary:]
                        break

    def stop(self, fade: int, name: str) -> None:
        self.dismissed = {one for one in self.dismissed if name and one != name}
        for play in list(self.plays):
            if name and play.name != name:
                continue
            self.plays.remove(play)
            tail: list[int] = []
            while play.began and not self.paused and len(tail) < fade and (value := play.take()) is not None:
                tail.append(value)
            faded = [int(v * (0.5 + 0.5 * math.cos(math.pi * (i + 0.5) / len(tail)))) for i, v in enumerate(tail)]
            if faded:
                self.tails.append((faded, play.finished(False)))
            else:
                self.marks.append(play.finished(False))

    def read(self) -> list[int]:
        out = [0] * FRAME
        place = 0
        while self.plays and not self.paused:
            play = self.plays[0]
            before = play.heard
            while place < FRAME and (value := play.take()) is not None:
                out[place] = value
                place += 1
            if play.heard > before and not play.began:
                play.began = True
                self.marks.append(Began(play.name))
            if play.has_more() or not (play.closed or play.cut):
                break
            self.plays.pop(0)
            if not play.closed:
                self.dismissed.add(play.name)
            self.marks.append(play.finished(not play.cut))
        going = []
        for tail, mark in self.tails:
            for i, value in enumerate(tail[:FRAME]):
                out[i] = max(-32768, min(32767, out[i] + value))
            if tail[FRAME:]:
                going.append((tail[FRAME:], mark))
            else:
                self.marks.append(mark)
        self.tails = going
        return out


names = st.sampled_from("abc")
sizes = st.one_of(st.integers(0, 5), st.integers(0, 500), st.sampled_from([159, 160, 161, 320, 17_000]))
orders = st.one_of(
    st.tuples(st.just("append"), names, sizes, st.booleans()),
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("stop"), st.sampled_from([0, 1, 100, 160, 400]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("finish"), names, st.lists(st.integers(0, 900), max_size=3).map(sorted)),
    st.tuples(st.just("pause"), st.booleans()),
)


@searching(70)
@given(st.lists(orders, max_size=25))
def test_any_orders_are_heard_and_told_as_the_model_says(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    plays, model = PlayQueue(), Model()
    next_value = 1
    for step in steps:
        match step:
            case ("append", name, size, end):
                sound = [(next_value + i) % 30_000 - 15_000 for i in range(size)]
                next_value += size
                plays.append(name, np.array(sound, "<i2").tobytes(), end=end)
                model.append(name, sound, end)
            case ("read", n):
                for _ in range(n):
                    frame = np.zeros(FRAME, np.int16)
                    told_nothing = plays.read(frame)
                    expected = model.read()
                    assert np.abs(frame.astype(int) - expected).max() <= len(model.tails) + 2
                    marks = plays.take_marks()
                    assert not (told_nothing and marks)
                    _same_marks(marks, model)
            case ("stop", fade, name):
                plays.stop(fade, name=name)
                model.stop(fade, name)
            case ("finish", name, boundaries):
                plays.finish(name, boundaries)
                model.finish(name, boundaries)
            case ("pause", paused):
                plays.paused = model.paused = paused
    _same_marks(plays.take_marks(), model)
    assert plays.is_idle == (not model.plays and not model.tails)


def _same_marks(marks: list[object], model: Model) -> None:
    """Beginnings and ends are the model's; running low or dry is told of plays that are open only."""
    assert [mark for mark in marks if not isinstance(mark, RunsLow | RanDry)] == model.marks
    model.marks = []
    open_plays = {play.name: play for play in model.plays if not play.closed}
    for mark in marks:
        if isinstance(mark, RunsLow):
            assert mark.left <= LOW
        if isinstance(mark, RanDry):
            assert mark.play in open_plays or not model.plays


def test_finish_lets_the_command_under_way_be_heard_to_its_end_and_drops_the_next() -> None:
    plays = PlayQueue()
    for _ in range(3):
        plays.append("talk", np.arange(1, 401, dtype="<i2").tobytes())
    heard = np.zeros(10 * FRAME, np.int16)
    for frame in heard.reshape(10, FRAME)[:3]:
        plays.read(frame)
    plays.take_marks()
    plays.finish("talk", [400, 800, 1200])
    for frame in heard.reshape(10, FRAME)[3:]:
        plays.read(frame)
    assert np.array_equal(heard[:800], np.tile(np.arange(1, 401), 2))
    assert not heard[800:].any()
    assert plays.take_marks() == [Finished("talk", False, 800, 1200)]


def test_what_still_comes_for_a_play_that_has_finished_is_dropped_until_it_is_closed() -> None:
    plays = PlayQueue()
    plays.append("talk", np.ones(FRAME, "<i2").tobytes())
    plays.finish("talk", [FRAME])
    plays.read(np.zeros(FRAME, np.int16))
    assert plays.take_marks() == [Began("talk"), Finished("talk", False, FRAME, FRAME)]
    plays.append("talk", np.ones(FRAME, "<i2").tobytes())
    assert plays.is_idle
    plays.append("talk", b"", end=True)
    assert plays.is_idle
    plays.append("talk", np.ones(FRAME, "<i2").tobytes(), end=True)
    assert not plays.is_idle
