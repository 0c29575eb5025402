"""Any sequence of orders to a play queue, against a model that keeps single samples in lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from active_call.media.sources import Began, Finished, PlayQueue, RanDry, RunsLow

FRAME = 160
LOW = 16_000
DEFAULT_FADE = 160


@dataclass
class ModelPlay:
    name: str
    sound: list[int] = field(default_factory=list)
    queued: int = 0
    heard: int = 0
    began: bool = False
    closed: bool = False
    cut: bool = False
    repeats: bool = False

    def take(self) -> int | None:
        if self.repeats and self.sound:
            value = self.sound[self.heard % len(self.sound)]
        elif self.heard < len(self.sound):
            value = self.sound[self.heard]
        else:
            return None
        self.heard += 1
        return value

    def has_more(self) -> bool:
        return bool(self.sound) if self.repeats else self.heard < len(self.sound)

    def finished(self, completed: bool) -> Finished:
        return Finished(self.name, completed, self.heard, self.queued)


class Model:
    """What the queue should do, one sample at a time."""

    def __init__(self) -> None:
        self.plays: list[ModelPlay] = []
        self.tails: list[tuple[list[int], Finished]] = []
        self.marks: list[object] = []
        self.paused = False

    def append(self, name: str, sound: list[int], end: bool, replace: bool, repeat: bool) -> None:
        if replace:
            self.stop(DEFAULT_FADE, "", keep=name)
        play = next((play for play in self.plays if play.name == name), None)
        if play is None:
            play = ModelPlay(name)
            self.plays.append(play)
        play.queued += len(sound)
        if not play.cut:
            play.sound += sound
        play.closed |= end or repeat
        play.repeats |= repeat

    def finish(self, name: str, boundaries: list[int]) -> None:
        for play in self.plays:
            if play.name == name and not play.repeats:
                for boundary in boundaries:
                    if boundary > play.heard:
                        if boundary <= play.queued:
                            play.cut |= boundary < len(play.sound) or not play.closed
                            del play.sound[boundary:]
                            play.closed = True
                        break

    def stop(self, fade: int, name: str, keep: str | None = None) -> None:
        for play in list(self.plays):
            if play.name == keep or (name and play.name != name):
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
            if play.has_more() or not play.closed:
                break
            self.plays.pop(0)
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
    st.tuples(st.just("append"), names, sizes, st.booleans(), st.booleans(), st.integers(0, 9).map(lambda n: n == 0)),
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("stop"), st.sampled_from([0, 1, 100, 160, 400]), st.sampled_from(["", "a", "b"])),
    st.tuples(st.just("finish"), names, st.lists(st.integers(0, 900), max_size=3).map(sorted)),
    st.tuples(st.just("pause"), st.booleans()),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(orders, max_size=25))
def test_any_orders_are_heard_and_told_as_the_model_says(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    plays, model = PlayQueue(), Model()
    next_value = 1
    for step in steps:
        match step:
            case ("append", name, size, end, replace, repeat):
                if any(play.name == name and play.repeats for play in model.plays):
                    continue  # the owner's promise
                sound = [(next_value + i) % 30_000 - 15_000 for i in range(size)]
                next_value += size
                plays.append(name, np.array(sound, "<i2").tobytes(), end=end, replace=replace, repeat=repeat)
                model.append(name, sound, end, replace, repeat)
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


def test_repeated_sound_joins_without_a_gap_until_it_is_stopped() -> None:
    plays = PlayQueue()
    sound = np.arange(1, 334, dtype="<i2")
    plays.append("ring", sound[:100].tobytes())
    plays.append("ring", sound[100:].tobytes(), repeat=True)
    heard = np.zeros(50 * FRAME, np.int16)
    for start in range(0, len(heard), FRAME):
        plays.read(heard[start : start + FRAME])
    assert np.array_equal(heard, np.resize(sound, len(heard)))
    assert plays.take_marks() == [Began("ring")]
    plays.stop(0)
    assert plays.take_marks() == [Finished("ring", False, 50 * FRAME, 333)]


def test_repeated_play_without_sound_ends_at_once() -> None:
    plays = PlayQueue()
    plays.append("a", b"", repeat=True)
    plays.append("b", np.ones(160, "<i2").tobytes(), end=True)
    frame = np.zeros(FRAME, np.int16)
    plays.read(frame)
    assert frame.all()


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
