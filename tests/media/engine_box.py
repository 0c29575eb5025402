"""A media engine in virtual time, with far ends behind fake networks: what the caller said, and what was heard of it, frame by frame.

The engine is the real one with its real sockets on loopback; its clock, its ticks and the arrival of every packet are told to it. A far end
speaks in frames that can be told apart: frame n is a tone of its own, one of `N_TONES` in turn, or silence in pauses. What the engine
forwards of the caller is read back by its frequency.
"""

from __future__ import annotations

import math
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from loopback import wait_arrival
from pylibsrtp import Policy, Session

from active_call.base.world import SystemRandomness, World
from active_call.media.link import messages as link
from active_call.media.receive.ports import PortPool
from active_call.media.worker.engine import Engine
from active_call.testing.fakes.net import Conditions, FakeNetwork
from active_call.testing.sound import audio
from ports import rtp_of_servers

TICK_S = 0.020
START = 1000.0
N_TONES = 24
TALK_FRAMES, PAUSE_FRAMES = 100, 25
"""Two seconds of talk, half a second of pause."""
SILENT = -1
REPEATED = -2
"""What was heard in a tick: a frame's number, nothing, or the frame before once more (concealed)."""
SUITE = "AES_CM_128_HMAC_SHA1_80"
KEYS = bytes(range(30)), bytes(range(30, 60))
_LEVEL = 150.0


def tone_hz(number: int) -> float:
    return 300.0 + 110.0 * (number % N_TONES)


def spoken_frame(number: int, rate_hz: int = 8000) -> audio.Pcm:
    """Frame `number` of the caller."""
    n_samples = rate_hz // 50
    if number % (TALK_FRAMES + PAUSE_FRAMES) >= TALK_FRAMES:
        return np.zeros(n_samples, np.int16)
    wave = np.sin(2 * np.pi * tone_hz(number) * np.arange(n_samples) / rate_hz)
    return np.asarray(wave * 8000).astype(np.int16)


def is_spoken(number: int) -> bool:
    return number % (TALK_FRAMES + PAUSE_FRAMES) < TALK_FRAMES


@cache
def _mulaw_frame(tone: int) -> bytes:
    """The payload of a frame with that tone."""
    return audio.MULAW.encode(spoken_frame(tone if tone != SILENT else TALK_FRAMES))


class BoxClock:
    """The clock that the box sets."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(1_700_000_000 + self.at, UTC)


@dataclass
class Heard:
    """What was heard of one far end. `frames[i]`: see `SILENT`; `delays_s`: of each frame heard, from its being spoken to its tick."""

    frames: list[int]
    delays_s: list[float]

    @property
    def numbers(self) -> list[int]:
        return [frame for frame in self.frames if frame >= 0]


@dataclass
class FarEnd:
    """A caller. `drift_ppm`: by how much its clock is fast. `encode` makes a payload of 20 ms of samples."""

    stream: int
    network: FakeNetwork
    rtp: socket.socket
    target: tuple[str, int]
    srtp: Session | None
    encode: Callable[[int], bytes]
    payload_type: int
    timestamp_step: int
    drift_ppm: float
    ssrc: int
    sequence: int
    timestamp: int
    n_frames: int = 0
    spoken_at: list[float] = field(default_factory=list)
    reports: list[Any] = field(default_factory=list)

    @property
    def next_at(self) -> float:
        return START + 0.005 + self.n_frames * TICK_S / (1 + self.drift_ppm * 1e-6)

    def speak(self) -> None:
        """The packet of one frame goes into the network."""
        header = struct.pack("!BBHII", 0x80, self.payload_type, self.sequence & 0xFFFF, self.timestamp & 0xFFFFFFFF, self.ssrc & 0xFFFFFFFF)
        packet = header + self.encode(self.n_frames)
        self.network.send(self.srtp.protect(packet) if self.srtp else packet, self.next_at)
        self.spoken_at.append(self.next_at)
        self.n_frames += 1
        self.sequence += 1
        self.timestamp += self.timestamp_step


class Box:
    """The engine, its time and its far ends."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self.clock = BoxClock()
        self._on_readable: dict[int, Callable[[float, float], None]] = {}
        self._fds: dict[int, int] = {}
        self._opened: dict[int, int] = {}
        self.far_ends: dict[int, FarEnd] = {}
        self.reports: list[Any] = []
        """Of all streams."""
        self._tick = 0
        self.engine = Engine(
            capacity=32,
            ports=PortPool(*ports),
            world=World(self.clock, SystemRandomness()),
            watch=self,
            emit=self._take,
            emit_audio=self._take,
        )

    def watch_rtp(self, fd: int) -> None:
        self._on_readable[fd] = lambda now, unix_now: self.engine.take_in([fd], now, unix_now)

    def watch(self, fd: int, on_readable: Callable[[float], None]) -> None:
        self._on_readable[fd] = lambda now, _: on_readable(now)

    def unwatch(self, fd: int) -> None:
        del self._on_readable[fd]

    def _take(self, report: Any) -> None:
        self.reports.append(report)
        if isinstance(report, link.Opened):
            self._opened[report.stream] = report.port
        elif report.stream in self.far_ends:
            self.far_ends[report.stream].reports.append(report)

    def call(
        self,
        conditions: Conditions,
        seed: int,
        *,
        secured: bool = False,
        drift_ppm: float = 0.0,
        codec: str = "pcmu",
        encode: Callable[[int], bytes] | None = None,
        payload_type: int = 0,
        timestamp_step: int = 160,
        detect: bool = False,
    ) -> FarEnd:
        """Open a stream and a far end for it, which speaks from the next tick on."""
        chance, stream = random.Random(seed), len(self.far_ends) + 1
        before = set(self._on_readable)
        self.engine.handle(link.OpenStream(stream, "127.0.0.1"), self.clock.at)
        self._fds[stream] = next(fd for fd in self._on_readable if fd not in before)  # RTP comes first
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        order = link.ConfigureRtp(
            stream,
            "127.0.0.1",
            rtp.getsockname()[1],
            codec,
            payload_type,
            payload_type,
            -1,
            -1,
            suite=SUITE if secured else "",
            send_key=KEYS[0] if secured else b"",
            receive_key=KEYS[1] if secured else b"",
            receive_formats=((payload_type, codec),),
            rtp_timeout_s=0,
        )
        self.engine.handle(order, self.clock.at)
        self.engine.handle(link.Listen(stream, detect, True), self.clock.at)
        policy = Policy(key=KEYS[1], ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80)
        far_end = self.far_ends[stream] = FarEnd(
            stream,
            FakeNetwork(conditions, seed),
            rtp,
            ("127.0.0.1", self._opened[stream]),
            Session(policy) if secured else None,
            encode or (lambda number: _mulaw_frame(number % N_TONES if is_spoken(number) else SILENT)),
            payload_type,
            timestamp_step,
            drift_ppm,
            ssrc=chance.getrandbits(32),
            sequence=chance.getrandbits(16),
            timestamp=chance.getrandbits(32),
        )
        return far_end

    def run(self, n_ticks: int) -> None:
        """Let so many ticks pass."""
        for _ in range(n_ticks):
            due_at = START + self._tick * TICK_S
            for far_end in self.far_ends.values():
                while far_end.next_at <= due_at:
                    far_end.speak()
                for at, packet in far_end.network.take_arrived(due_at):
                    self.clock.at = at
                    self.deliver(far_end, packet)
            self.clock.at = due_at
            self.engine.run_send(self._tick)
            self.engine.run_receive(due_at)
            self._tick += 1

    def deliver(self, far_end: FarEnd, packet: bytes) -> None:
        """The engine gets a packet of a far end, now."""
        far_end.rtp.sendto(packet, far_end.target)
        fd = self._fds[far_end.stream]
        on_readable = self._on_readable.get(fd)
        if on_readable is None:
            return  # the stream was given up
        wait_arrival(fd)
        on_readable(self.clock.at, 0.0)  # Unix time 0: the kernel's stamp is not of this world

    def deliver_together(self, far_end: FarEnd, packets: list[bytes]) -> None:
        """All these packets wait in the socket when the engine reads it."""
        for packet in packets:
            far_end.rtp.sendto(packet, far_end.target)
        fd = self._fds[far_end.stream]
        wait_arrival(fd)
        self._on_readable[fd](self.clock.at, 0.0)

    def heard(self, far_end: FarEnd) -> Heard:
        """What has been forwarded of a far end so far."""
        pieces = [report for report in far_end.reports if isinstance(report, link.CallerAudio)]
        assert [piece.sample for piece in pieces] == list(np.cumsum([0, *(len(piece.pcm) // 2 for piece in pieces)])[:-1])
        sound = np.frombuffer(b"".join(piece.pcm for piece in pieces), np.int16).reshape(-1, 320)
        (started,) = [report for report in far_end.reports if isinstance(report, link.MediaStarted)]
        first_tick = math.ceil((started.at - START) / TICK_S - 1e-6)
        return identify(sound, far_end.spoken_at, START + first_tick * TICK_S)

    def close(self, far_end: FarEnd) -> link.StreamClosed:
        """Close the stream; its last report."""
        self.engine.handle(link.CloseStream(far_end.stream), self.clock.at)
        (closed,) = [report for report in far_end.reports if isinstance(report, link.StreamClosed)]
        return closed


def identify(sound: np.ndarray[Any, Any], spoken_at: list[float], first_tick_at: float) -> Heard:
    """Which frame each row of 16 kHz samples (n, 320) is, by its frequency; of those with the same, the one that is expected next."""
    tones = np.concatenate([_tones(part) for part in np.array_split(sound, len(sound) // 1000 + 1)])
    frames: list[int] = []
    delays: list[float] = []
    last, since = -1, 0
    for tick, tone in enumerate(tones.tolist()):
        since += 1
        if tone < 0:
            frames.append(SILENT)
            continue
        expected = last + since
        number = expected + (tone - expected + N_TONES // 2) % N_TONES - N_TONES // 2
        if last >= 0 and number <= last:
            frames.append(REPEATED)
            continue
        frames.append(number)
        last, since = number, 0
        delays.append(first_tick_at + tick * TICK_S - spoken_at[number] if number < len(spoken_at) else float("nan"))
    return Heard(frames, delays)


def _tones(sound: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The number of each row's tone, -1 where there is none. The edges of a row are left out: filters reach over them."""
    middle = sound[:, 60:260].astype(np.float64)
    loud = np.sqrt((middle**2).mean(axis=1)) > _LEVEL
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(200), 1600, axis=1))
    tones = np.round((spectrum.argmax(axis=1) * 10.0 - 300.0) / 110.0).astype(int)
    return np.where(loud & (tones >= 0) & (tones < N_TONES), tones, -1)


@contextmanager
def box() -> Iterator[Box]:
    first_port = rtp_of_servers()[0]
    made = Box((first_port, first_port + 199))
    try:
        yield made
    finally:
        made.engine.shut_down(made.clock.at)
        for far_end in made.far_ends.values():
            far_end.rtp.close()
