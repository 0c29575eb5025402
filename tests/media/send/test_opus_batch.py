"""Opus of all streams in one batch: the packets are those of one encoder a stream, and silence is not encoded again and again."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pylibsrtp
import pytest
from loopback import arrived
from numpy.typing import NDArray

from active_call.base.world import SystemRandomness, World
from active_call.codec import opus
from active_call.codec.opus import OpusDecoder, OpusEncoder, settings_for
from active_call.codec.table import TELEPHONE_EVENT
from active_call.media.link import messages as link
from active_call.media.receive.ports import PortPool
from active_call.media.ring.opening import open_sender
from active_call.media.send import opus_batch
from active_call.media.worker.engine import Engine
from media.engine_box import KEYS, SUITE, BoxClock
from ports import rtp_of_servers

N_STREAMS = 3
NARROW, WIDE = (0, 1, 2, 3), (8, 9, 10, 11)
"""Configuration numbers of SILK in the TOC byte (RFC 6716 table 2)."""
FEC = "useinbandfec=1"


def talk(n_frames: int, seed: int) -> NDArray[np.int16]:
    """Something like speech at 16 kHz: a voice with changing pitch and level."""
    chance, at = np.random.default_rng(seed), np.arange(n_frames * 320) / 16_000
    pitch = 2 * np.pi * np.cumsum(130 + 30 * np.sin(2 * np.pi * 0.7 * at + seed)) / 16_000
    voice = sum(np.sin(pitch * n) / n for n in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * at))
    return np.asarray(voice * 3000 + chance.normal(0, 60, len(at))).astype(np.int16)


class Scene:
    """The engine with some Opus streams, every other one secured, and the socket to which all of them send."""

    def __init__(self) -> None:
        self.clock, self.reports = BoxClock(), list[link.Link]()
        self.engine = Engine(
            capacity=8, ports=PortPool(*rtp_of_servers()), world=World(self.clock, SystemRandomness()), watch=self,
            emit=self.reports.append, emit_audio=self.reports.append,
        )  # fmt: skip
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.opened = {number: pylibsrtp.Session(self._policy()) for number in range(1, N_STREAMS + 1) if number % 2}
        self.tick = 0
        for number in range(1, N_STREAMS + 1):
            self.engine.handle(link.OpenStream(number, "127.0.0.1"), 1.0)
            self.configure(number, FEC)

    def _policy(self) -> pylibsrtp.Policy:
        return pylibsrtp.Policy(key=KEYS[0], ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND)

    def watch_rtp(self, fd: int) -> None: ...
    def watch(self, fd: int, on_readable: object) -> None: ...
    def unwatch(self, fd: int) -> None: ...

    def configure(self, number: int, parameters: str, ptime_ms: int = 20) -> None:
        port = self.peer.getsockname()[1]
        keys = {"suite": SUITE, "send_key": KEYS[0], "receive_key": KEYS[1]} if number in self.opened else {}
        order = link.ConfigureRtp(
            number, "127.0.0.1", port, "opus", 96 + number, 96 + number, 101, 101, send_parameters=parameters, rtp_timeout_s=0,
            ptime_ms=ptime_ms, receive_formats=((96 + number, "opus"), (101, TELEPHONE_EVENT.name)), event_clock_hz=48_000, **keys,
        )  # fmt: skip
        self.engine.handle(order, 1.0)

    def play(self, number: int, sound: NDArray[np.int16], *, end: bool = False) -> None:
        self.engine.handle(link.QueueAudio(number, "play", sound.astype("<i2").tobytes(), end=end), 1.0)

    def run(self, n_ticks: int) -> dict[int, list[tuple[int, int, bytes]]]:
        """The packets of each stream that have left: sequence number, timestamp, payload."""
        left: dict[int, list[tuple[int, int, bytes]]] = {number: [] for number in range(1, N_STREAMS + 1)}
        for _ in range(n_ticks):
            self.tick += 1
            self.engine.run_send(self.tick)
            for datagram in arrived(self.peer):
                kind = datagram[1] & 0x7F
                if kind == 101:
                    continue
                number = kind - 96
                datagram = self.opened[number].unprotect(datagram) if number in self.opened else datagram
                sequence, timestamp = struct.unpack_from("!HI", datagram, 2)
                left[number].append((sequence, timestamp, datagram[12:]))
        return left

    def close(self) -> None:
        for number in range(1, N_STREAMS + 1):
            self.engine.handle(link.CloseStream(number), 2.0)
        self.engine.shut_down(2.0)
        self.peer.close()


@pytest.fixture(params=["ring", "one by one"])
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    if request.param == "ring" and open_sender(np.zeros((1, 192), np.uint8)) is None:
        pytest.skip("no io_uring here")
    if request.param == "one by one":
        monkeypatch.setattr("active_call.media.worker.engine.open_sender", lambda rows: None)
    scene = Scene()
    yield scene
    scene.close()


def test_streams_send_what_an_encoder_of_their_own_would_give(scene: Scene) -> None:
    sounds = {number: talk(50, number) for number in range(1, N_STREAMS + 1)}
    for number, sound in sounds.items():
        scene.play(number, sound)
    left = scene.run(50)
    for number, sound in sounds.items():
        encoder = OpusEncoder(16_000, settings_for(FEC))
        assert [payload for _, _, payload in left[number]] == [encoder.encode(frame) for frame in sound.reshape(-1, 320)]
        sequences, timestamps = [sequence for sequence, _, _ in left[number]], [timestamp for _, timestamp, _ in left[number]]
        assert {(later - earlier) & 0xFFFF for earlier, later in pairwise(sequences)} == {1}
        assert {(later - earlier) & 0xFFFFFFFF for earlier, later in pairwise(timestamps)} == {960}


def test_all_streams_are_encoded_in_one_call(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    n_together: list[int] = []

    def note(encoders: list[int], *others: object) -> list[int]:
        n_together.append(len(encoders))
        return opus.encode_all(encoders, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(opus_batch, "encode_all", note)
    for number in range(1, N_STREAMS + 1):
        scene.play(number, talk(10, number))
    scene.run(10)
    assert n_together == [N_STREAMS] * 10


def test_silence_is_copied_exactly_and_sound_after_it_is_heard(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    n_encoded: list[int] = []

    def note(encoders: list[int], *others: object) -> list[int]:
        n_encoded.append(len(encoders))
        return opus.encode_all(encoders, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(opus_batch, "encode_all", note)
    before, after = talk(20, 1), talk(40, 2)
    scene.play(1, before)
    left = scene.run(20)[1]
    n_encoded.clear()
    left += scene.run(200)[1]
    assert sum(n_encoded) <= 60  # of 600 in the three streams
    encoder = OpusEncoder(16_000, settings_for(FEC))
    silence = np.zeros((200, 320), np.int16)
    assert [payload for _, _, payload in left] == [encoder.encode(frame) for frame in [*before.reshape(-1, 320), *silence]]
    scene.play(1, after)
    left += scene.run(40)[1]
    assert len(left) == 260
    decoder = OpusDecoder(16_000)
    heard = np.concatenate([decoder.decode(payload) for _, _, payload in left]).astype(float)
    quiet, loud = heard[25 * 320 : 219 * 320], heard[222 * 320 :]
    assert np.abs(quiet).max() < 100
    kept = [np.abs(np.fft.rfft(part * np.hanning(len(part))))[:4000] for part in (loud, after[: len(loud)].astype(float))]
    assert float(np.corrcoef(kept[0], kept[1])[0, 1]) > 0.9


def test_stream_returns_to_the_batch_after_digits(scene: Scene) -> None:
    scene.play(1, talk(100, 1))
    scene.run(3)
    scene.engine.handle(link.SendDigits(1, "5", 100), 1.0)
    scene.run(40)
    assert len(scene.engine._sending.opus) == N_STREAMS
    assert len(scene.run(10)[1]) == 10
    assert not [report for report in scene.reports if isinstance(report, link.StreamFailed | link.OrderRefused)]


def test_longer_packets_are_not_in_the_batch(scene: Scene) -> None:
    scene.configure(1, FEC, ptime_ms=60)
    assert len(scene.run(30)[1]) == 10
    assert len(scene.engine._sending.opus) == N_STREAMS - 1


def test_late_ticks_make_opus_narrow_and_it_is_wide_again_afterwards(scene: Scene) -> None:
    def configurations(n_seconds: int) -> set[int]:
        """Of the last packets. libopus changes the band in pauses, and slowly: there is one in each second."""
        for number in range(1, N_STREAMS + 1):
            second = np.concatenate((talk(30, number), np.zeros(20 * 320, np.int16)))
            scene.play(number, np.tile(second, n_seconds))
        return {payload[0] >> 3 for packets in scene.run(50 * n_seconds).values() for _, _, payload in packets[-30:]}

    assert configurations(1) <= set(WIDE)
    scene.engine.set_shedding(1)
    assert configurations(8) <= set(WIDE)
    scene.engine.set_shedding(2)
    assert configurations(10) <= set(NARROW)
    scene.configure(2, "useinbandfec=0")  # its new encoder too
    assert configurations(1) <= set(NARROW)
    scene.engine.set_shedding(0)
    assert configurations(8) <= set(WIDE)


def test_muted_stream_sends_silence(scene: Scene) -> None:
    scene.play(3, talk(60, 3))
    scene.run(5)
    scene.engine.handle(link.MuteStream(3, muted=True), 1.0)
    decoder, heard = OpusDecoder(16_000), scene.run(40)[3]
    sound = [decoder.decode(payload) for _, _, payload in heard]
    assert max(int(np.abs(frame.astype(int)).max()) for frame in sound[5:]) < 100
