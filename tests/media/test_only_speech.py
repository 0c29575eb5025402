"""Of a stream that forwards only speech the control process gets what the caller says and what lies closely around it, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_box import box
from test_streams_without_rtp import Fed, talk

from active_call.bench.speech import speech
from active_call.media.link import messages as link
from active_call.media.link.messages import CallerAudio, SpeechEnded, SpeechStarted

S = 16_000
"""Samples of a second of what is forwarded."""


def scene(*pauses_s: float) -> np.ndarray[Any, Any]:
    """Phrases with these pauses before, between and behind them, in soft noise, at 8 kHz."""
    spoken = speech()
    edges = np.flatnonzero(np.diff(spoken.is_phrase.astype(np.int8)))
    phrase = spoken.frames[edges[0] + 1 : edges[1] + 1].ravel()
    pieces = [np.zeros(int(pauses_s[0] * 8000), np.int16)]
    for pause_s in pauses_s[1:]:
        pieces += [phrase, np.zeros(int(pause_s * 8000), np.int16)]
    sound = np.concatenate(pieces)
    return (sound + np.random.default_rng(4).normal(0, 6, len(sound))).astype(np.int16)


def spans(pieces: list[CallerAudio]) -> list[tuple[int, int]]:
    """The stretches of sound that came, as first and last sample."""
    found: list[tuple[int, int]] = []
    for piece in pieces:
        end = piece.sample + len(piece.pcm) // 2
        if found and found[-1][1] == piece.sample:
            found[-1] = (found[-1][0], end)
        else:
            found.append((piece.sample, end))
    return found


def heard_by(sound: np.ndarray[Any, Any], *orders: link.Listen) -> list[Fed]:
    """The same sound, listened to in each of these ways at one time."""
    with box() as made:
        streams = [Fed(made, order.stream, 8000) for order in orders]
        for stream, order in zip(streams, orders, strict=True):
            stream.order(order)
        talk(dict.fromkeys(streams, sound), len(sound) // 160 + 5)
        return streams


def test_only_speech_and_what_lies_around_it_is_forwarded_sample_by_sample() -> None:
    whole, spoken = heard_by(scene(2.0, 4.0, 3.0), link.Listen(1, True, True), link.Listen(2, True, True, only_speech=True))
    starts, ends, pieces = spoken.told(SpeechStarted), spoken.told(SpeechEnded), spoken.told(CallerAudio)
    assert len(starts) == len(ends) == 2
    found = spans(pieces)
    assert len(found) == 2
    for (first, last), started, ended in zip(found, starts, ends, strict=True):
        assert started.sample - 1.2 * S < first <= started.sample - 0.25 * S
        assert ended.sample + 0.4 * S <= last <= ended.sample + S
    reports = spoken.made.reports
    assert reports.index(pieces[0]) < reports.index(starts[0])  # what a recogniser looks back at is there when the beginning is told
    every = whole.sound(CallerAudio)
    offset = whole.told(CallerAudio)[0].sample
    for piece in pieces:
        own = np.frombuffer(piece.pcm, "<i2")
        assert np.array_equal(own, every[piece.sample - offset : piece.sample - offset + len(own)])


def test_pause_within_an_utterance_is_forwarded_whole() -> None:
    (stream,) = heard_by(scene(1.0, 1.3, 1.0), link.Listen(2, True, True, only_speech=True))
    assert len(stream.told(SpeechStarted)) == 2
    assert len(spans(stream.told(CallerAudio))) == 1


@pytest.mark.parametrize("order", [link.Listen(1, True, False), link.Listen(1, False, False)])
def test_sound_that_nobody_wants_any_more_does_not_come(order: link.Listen) -> None:
    sound = scene(1.0, 3.0)
    with box() as made:
        stream = Fed(made, 1, 8000)
        stream.order(link.Listen(1, True, True, only_speech=True))
        talk({stream: sound[: 8000 // 2]}, 25)
        stream.order(order)
        talk({stream: sound[8000 // 2 :]}, 150)
        assert stream.told(CallerAudio) == []


def test_listener_who_comes_in_silence_hears_from_then_on() -> None:
    sound = scene(6.0)
    with box() as made:
        stream = Fed(made, 1, 8000)
        stream.order(link.Listen(1, True, True, only_speech=True))
        talk({stream: sound[:16_000]}, 100)
        assert stream.told(CallerAudio) == []
        stream.order(link.Listen(1, True, True))
        talk({stream: sound[16_000:24_000]}, 50)
        ((first, last),) = spans(stream.told(CallerAudio))
        assert first >= 1.8 * S
        assert last - first >= 0.9 * S
        stream.order(link.Listen(1, True, True, only_speech=True))
        n_before = len(stream.told(CallerAudio))
        talk({stream: sound[24_000:32_000]}, 50)
        assert len(stream.told(CallerAudio)) <= n_before + 1
