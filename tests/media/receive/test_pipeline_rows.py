"""One arithmetic in the receiving half: a stream whose frames come one by one is heard as one whose frames come from the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_box import Box, box, spoken_frame

from active_call.media.link import messages as link
from active_call.testing.fakes.net import Conditions
from active_call.testing.sound import audio

N_TICKS = 150


def forwarded(made: Box, stream: int) -> np.ndarray[Any, Any]:
    """What was forwarded of a stream, from its first sound on."""
    pieces = [report.pcm for report in made.reports if isinstance(report, link.CallerAudio) and report.stream == stream]
    sound = np.frombuffer(b"".join(pieces), "<i2")
    return sound[int(np.flatnonzero(sound)[0]) :]


def mulaw(number: int) -> bytes:
    return audio.MULAW.encode(spoken_frame(number))


def linear(number: int) -> bytes:
    """The samples that the same frame has after G.711."""
    return np.asarray(audio.MULAW.decode(mulaw(number)), np.int16).astype(">i2").tobytes()


def test_same_sound_from_the_batch_decoded_alone_and_fed_is_the_same_sample_by_sample() -> None:
    with box() as made:
        batched = made.call(Conditions(), 1, encode=mulaw)
        alone = made.call(Conditions(), 2, codec="l16_8000", encode=linear, payload_type=97)
        made.engine.handle(link.OpenStream(9, "", 8000), made.clock.at)
        made.engine.handle(link.Listen(9, False, True), made.clock.at)
        for number in range(N_TICKS):
            pcm = np.frombuffer(linear(number), ">i2").astype("<i2").tobytes()
            made.engine.handle(link.FeedAudio(9, pcm), made.clock.at)
            made.run(1)
        sounds = [forwarded(made, stream) for stream in (batched.stream, alone.stream, 9)]
        n_samples = min(len(sound) for sound in sounds)
        assert n_samples > 320 * (N_TICKS - 10)
        for sound in sounds[1:]:
            assert np.array_equal(sound[:n_samples], sounds[0][:n_samples])
        heard = [made.close(far_end) for far_end in (batched, alone)]
        assert heard[0].packets_received == heard[1].packets_received
        assert heard[0].packets_lost == heard[1].packets_lost == 0
        assert heard[0].jitter_ms == pytest.approx(heard[1].jitter_ms)


def heard_from(made: Box, stream: int, sample: int) -> np.ndarray[Any, Any]:
    """What was forwarded of a stream from `sample` on."""
    reports = [report for report in made.reports if isinstance(report, link.CallerAudio) and report.stream == stream]
    pieces = [report for report in reports if report.sample >= sample]
    assert pieces[0].sample == sample
    return np.frombuffer(b"".join(piece.pcm for piece in pieces), "<i2")


def test_sound_that_nobody_heard_before_joins_as_if_it_had_been_forwarded_all_the_time() -> None:
    with box() as made:
        always = made.call(Conditions(), 1, encode=mulaw, detect=True)
        made.run(N_TICKS)
        whole = heard_from(made, always.stream, 0)
    with box() as made:
        later = made.call(Conditions(), 1, encode=mulaw, detect=True)
        made.engine.handle(link.Listen(later.stream, True, False), made.clock.at)
        made.run(N_TICKS // 2)
        made.engine.handle(link.Listen(later.stream, True, True), made.clock.at)
        made.run(N_TICKS // 2)
        first = min(report.sample for report in made.reports if isinstance(report, link.CallerAudio))
        tail = heard_from(made, later.stream, first)
    assert len(tail) > 320 * (N_TICKS // 2 - 10)
    assert first > 0
    assert np.array_equal(tail, whole[first : first + len(tail)])
