"""The media process pauses what plays at the onset of the caller's voice, in virtual ticks, against the whole engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.media.engine_box import Box, FarEnd, box

from active_call.media.link import messages as link
from active_call.media.send.play_queue import PlayQueue
from active_call.testing.fakes.net import Conditions

SPEECH = Path(__file__).parents[2] / "vectors" / "speech" / "joe_01.ulaw"
ONSET = 100
"""The caller's frame in which speech begins."""
PLAY = ((np.arange(8000 * 20) * 37) % 20000 - 10000).astype(np.int16)
"""A ramp in which every place of 20 ms is its own."""


def speech() -> bytes:
    data = SPEECH.read_bytes()
    code = ~np.frombuffer(data, np.uint8)
    loud = (code >> 4 & 7) >= 6
    return data[int(np.argmax(loud)) // 160 * 160 :]


@pytest.fixture
def engine() -> Iterator[Box]:
    with box() as made:
        yield made


def call(engine: Box, sound: bytes) -> FarEnd:
    """A caller who is silent until frame ONSET, and then says `sound`, once."""

    def encode(number: int) -> bytes:
        at = (number - ONSET) * 160
        return (sound[at : at + 160] if at >= 0 else b"").ljust(160, b"\xff")

    far_end = engine.call(Conditions(), 1, encode=encode, detect=True)
    engine.engine.handle(link.QueueAudio(far_end.stream, "a", PLAY.tobytes(), end=True), engine.clock.at)
    return far_end


def click(engine: Box) -> FarEnd:
    """A caller of whom 40 ms of speech are heard: too little to be speech."""
    far_end = call(engine, speech()[: 160 * 2])
    engine.engine.handle(link.Listen(far_end.stream, True, True, min_speech_ms=256), engine.clock.at)
    return far_end


def arm(engine: Box, far_end: FarEnd, **fields: int) -> None:
    engine.engine.handle(link.PauseOnVoice(far_end.stream, True, **fields), engine.clock.at)


def plays(engine: Box, far_end: FarEnd):
    return engine.engine._slots.get(far_end.stream).plays


def of(far_end: FarEnd, kind: type) -> list:
    return [report for report in far_end.reports if isinstance(report, kind)]


def test_plays_stand_still_before_speech_is_sure_and_the_sample_is_told(engine: Box) -> None:
    far_end = call(engine, speech())
    arm(engine, far_end, fade_ms=0)
    paused_tick = started_tick = 0
    for tick in range(130):
        engine.run(1)
        paused_tick = paused_tick or (tick if plays(engine, far_end).paused else 0)
        started_tick = started_tick or (tick if of(far_end, link.SpeechStarted) else 0)
    assert paused_tick and paused_tick < started_tick, "an order of the control process would come a tick after speech is told"
    (report,) = of(far_end, link.PausedOnVoice)
    name, heard, left = plays(engine, far_end).sounding
    assert (report.play, report.heard_ms) == (name, heard / 8) and heard + left == len(PLAY)
    kinds = [type(each) for each in far_end.reports if isinstance(each, link.SpeechStarted | link.PausedOnVoice)]
    assert kinds == [link.SpeechStarted, link.PausedOnVoice]
    engine.engine.handle(link.PausePlay(far_end.stream, False), engine.clock.at)
    engine.run(1100)
    (ended,) = of(far_end, link.PlayEnded)
    assert ended.completed and ended.heard_ms == ended.queued_ms == 20_000


def test_onset_that_is_no_speech_ends_the_pause_and_nothing_is_told(engine: Box) -> None:
    far_end = click(engine)
    arm(engine, far_end)
    states = []
    for _ in range(160):
        engine.run(1)
        states.append(plays(engine, far_end).paused)
    assert not of(far_end, link.SpeechStarted), "a click of 40 ms is no speech: else this test judges nothing"
    assert any(states) and not states[-1]
    assert sum(states) <= 12
    assert not of(far_end, link.PausedOnVoice)
    engine.run(1000)
    assert of(far_end, link.PlayEnded)[0].completed


@pytest.mark.parametrize("case", ["not armed", "taken back", "too little left", "held already"])
def test_plays_go_on_where_no_pause_is_wanted(engine: Box, case: str) -> None:
    far_end = call(engine, speech())
    match case:
        case "taken back":
            arm(engine, far_end)
            engine.engine.handle(link.PauseOnVoice(far_end.stream, False), engine.clock.at)
        case "too little left":
            arm(engine, far_end, unless_left_ms=19_000)
        case "held already":
            arm(engine, far_end)
            engine.run(50)
            engine.engine.handle(link.PausePlay(far_end.stream, True), engine.clock.at)
    engine.run(150)
    assert of(far_end, link.SpeechStarted) and not of(far_end, link.PausedOnVoice)
    assert plays(engine, far_end).paused == (case == "held already")


def test_longer_voice_that_is_asked_for_pauses_after_speech_is_told(engine: Box) -> None:
    far_end = call(engine, speech())
    arm(engine, far_end, voiced_ms=320)
    engine.run(150)
    (started,), (paused,) = of(far_end, link.SpeechStarted), of(far_end, link.PausedOnVoice)
    assert 0.16 <= paused.at - started.detected_at <= 0.36


@pytest.mark.parametrize("order", ["stop", "pause"])
def test_order_that_comes_while_it_is_unsure_has_the_last_word(engine: Box, order: str) -> None:
    far_end = click(engine)
    arm(engine, far_end)
    while not plays(engine, far_end).paused:
        engine.run(1)
    match order:
        case "stop":
            engine.engine.handle(link.StopPlay(far_end.stream), engine.clock.at)
            engine.engine.handle(link.QueueAudio(far_end.stream, "b", bytes(3200), end=True), engine.clock.at)
        case "pause":
            engine.engine.handle(link.PausePlay(far_end.stream, True), engine.clock.at)
    engine.run(40)
    assert plays(engine, far_end).paused == (order == "pause")
    if order != "pause":
        assert [(ended.play, ended.completed) for ended in of(far_end, link.PlayEnded)] == [("a", False), ("b", True)]


def test_closed_stream_leaves_nothing_armed_for_the_next_in_its_slot(engine: Box) -> None:
    far_end = call(engine, speech())
    arm(engine, far_end)
    engine.run(20)
    engine.close(far_end)
    slot_watched = engine.engine._hearing._narrow_detector._n_watched
    assert slot_watched == 0


def test_paused_plays_are_not_read_until_they_go_on_at_their_sample(engine: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    far_end, n_read, read = call(engine, b""), [0], PlayQueue.read
    engine.run(20)

    def counted(queue: PlayQueue, out: np.ndarray) -> bool:
        n_read[0] += 1
        return read(queue, out)

    monkeypatch.setattr(PlayQueue, "read", counted)
    engine.engine.handle(link.PausePlay(far_end.stream, True, fade_ms=40), engine.clock.at)
    engine.run(5)
    n_fading, heard = n_read[0], plays(engine, far_end).sounding[1]
    engine.run(50)
    assert 0 < n_fading <= 3
    assert n_read[0] == n_fading
    engine.engine.handle(link.QueueAudio(far_end.stream, "b", PLAY[:800].tobytes(), end=True), engine.clock.at)
    engine.run(5)
    assert plays(engine, far_end).sounding[1] == heard
    engine.engine.handle(link.PausePlay(far_end.stream, False), engine.clock.at)
    engine.run(1)
    assert plays(engine, far_end).sounding[1] > heard
    engine.run(1100)
    assert [(ended.play, ended.completed, ended.heard_ms) for ended in of(far_end, link.PlayEnded)] == [
        ("a", True, 20_000),
        ("b", True, 100),
    ]
