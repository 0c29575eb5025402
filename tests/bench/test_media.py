"""The bench itself: what it judges by is right."""

from __future__ import annotations

import numpy as np
import pytest

from active_call.bench.datagrams import ROW_BYTES, Incoming, Outgoing, open_peer_socket
from active_call.bench.media_judge import judge, off_grid_ms
from active_call.bench.media_sender import SUITE, Task, key_of, prepare
from active_call.bench.speech import speech
from active_call.codec import g711
from active_call.codec.resample import Upsampler8to16
from active_call.media.detect.speech import SpeechDetector
from active_call.rtp.srtp import SrtpSession


def test_speech_of_the_bench_is_speech_to_the_detector_phrase_by_phrase() -> None:
    sound = speech()
    upsampler, detector, slots = Upsampler8to16(1), SpeechDetector(1), np.array([0])
    upsampler.reset(0)
    detector.reset(0)
    begun = []
    for number, frame in enumerate(sound.frames):
        heard = g711.decode(g711.encode(frame[None], np.zeros(1, np.bool_)), np.zeros(1, np.bool_))
        detections = detector.push(upsampler.process(heard, slots), slots, np.zeros(1))
        begun += [number for detection in detections if detection.started]
    is_phrase = sound.is_phrase
    phrases = np.flatnonzero(is_phrase[1:] & ~is_phrase[:-1]) + 1
    assert len(begun) == len(phrases) == sound.n_phrases(0, len(is_phrase)) > 5
    assert all(0 <= start - phrase <= 10 for start, phrase in zip(begun, phrases, strict=True))


def test_off_grid_is_the_distance_from_the_median_phase_early_or_late() -> None:
    arrivals_s = 100.0 + np.arange(5) * 0.02 + np.array([0.003, 0.003, 0.001, 0.003, 0.013])
    assert off_grid_ms(arrivals_s, np.arange(5) * 160) == pytest.approx([0, 0, 2, 0, 10], abs=1e-6)


def looped_back(task: Task, drop: tuple[int, ...] = (), damage: tuple[int, ...] = ()) -> Incoming:
    """The callers' own packets, sent to a socket of theirs."""
    rows, size = prepare(task)
    for row in damage:
        rows[row, size - 1] ^= 0xFF
    incoming = Incoming(len(rows))
    with open_peer_socket("127.0.0.1") as sock:
        outgoing = Outgoing(rows, np.full(len(rows), size, np.uint64))
        outgoing.point_at("127.0.0.1", [sock.getsockname()[1]] * task.n_peers)
        for row in range(len(rows)):
            if row not in drop:
                assert outgoing.send(sock.fileno(), row, 1) == 1
            incoming.take(sock.fileno())
    return incoming


def test_judge_counts_what_is_missing_and_what_is_not_authentic() -> None:
    task = Task(n_peers=2, n_packets=20, seed="keys")
    incoming = looped_back(task, drop=(6, 8), damage=(11,))  # packets 3 and 4 of the first caller, 5 of the second
    assert incoming.packets().shape == (38, ROW_BYTES)
    openers: list[SrtpSession | None] = [
        SrtpSession(SUITE, key_of("keys", index, "media"), key_of("keys", index, "peer")) for index in range(2)
    ]
    opened = judge(incoming, openers, (0.0, 1e12), [0.001])
    assert (opened.received_by_ssrc, opened.missing, opened.repeated, opened.wrong) == ({1: 18, 2: 20}, 2, 0, 1)
    assert opened.sender_late_ms["max"] == 1.0
