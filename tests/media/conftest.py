"""A media process and a peer on loopback. The peer is written from the RFCs with `struct` and libsrtp, not with our own rooms."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pylibsrtp import Error, Policy, Session

from ports import rtp_of_pools

sys.path.insert(0, str(Path(__file__).parent))  # `talk`, the sounds that detectors must keep silent about

from active_call.base.child_processes import StartsChildren
from active_call.base.forked_children import ForkServer
from active_call.base.world import SystemClock
from active_call.media.link.messages import ConfigureRtp
from active_call.media.pool.pool import MediaPool, MediaStream
from active_call.server.preloading import preload_modules

SUITE = "AES_CM_128_HMAC_SHA1_80"


def mu_law(code: int) -> int:
    """ITU-T G.711, the expander's formula."""
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def codes(n: int) -> bytes:
    """A saw-tooth of mu-law bytes that never holds silence: each is one more than the one before, from 0x80 to 0xE0."""
    return bytes(0x80 + i % 0x61 for i in range(n))


def pcm_of(payload: bytes) -> bytes:
    return struct.pack(f"<{len(payload)}h", *[mu_law(code) for code in payload])


@dataclass
class Packet:
    """One RTP packet as the peer got it."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    at: float


@dataclass
class Peer:
    """A phone: one RTP socket, and the RTCP socket next to it."""

    send_key: bytes = b""
    receive_key: bytes = b""
    ssrc: int = 0x1234
    sequence: int = 100
    timestamp: int = 5000
    rtp: socket.socket = field(init=False)
    rtcp: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self.rtp, self.rtcp = _bind_pair()
        self._out = _session(self.send_key, Policy.SSRC_ANY_OUTBOUND)
        self._in = _session(self.receive_key, Policy.SSRC_ANY_INBOUND)

    @property
    def port(self) -> int:
        return int(self.rtp.getsockname()[1])

    def send(self, payload: bytes, port: int, *, payload_type: int = 0, marker: bool = False, hold_clock: bool = False) -> None:
        header = struct.pack("!BBHII", 0x80, marker << 7 | payload_type, self.sequence, self.timestamp, self.ssrc)
        packet = header + payload
        if self._out:
            packet = self._out.protect(packet)
        self.rtp.sendto(packet, ("127.0.0.1", port))
        self.sequence = (self.sequence + 1) & 0xFFFF
        if not hold_clock:
            self.timestamp += 160

    async def receive(self, timeout_s: float = 2.0) -> Packet:
        data = await self._datagram(self.rtp, timeout_s)
        at = time.monotonic()
        if self._in:
            data = self._in.unprotect(data)
        flags, kind, sequence, timestamp, ssrc = struct.unpack("!BBHII", data[:12])
        assert flags == 0x80
        return Packet(kind & 0x7F, bool(kind & 0x80), sequence, timestamp, ssrc, data[12:], at)

    async def receive_or_none(self, timeout_s: float) -> Packet | None:
        try:
            return await self.receive(timeout_s)
        except TimeoutError:
            return None

    async def receive_rtcp(self, timeout_s: float = 5.0) -> bytes:
        data = await self._datagram(self.rtcp, timeout_s)
        return self._in.unprotect_rtcp(data) if self._in else data

    async def collect(self, n: int) -> list[Packet]:
        return [await self.receive() for _ in range(n)]

    def drain(self) -> int:
        """Throw away what waits; returns how many."""
        for n in itertools.count():
            try:
                self.rtp.recv(2048)
            except BlockingIOError:
                return n
        raise AssertionError

    async def _datagram(self, sock: socket.socket, timeout_s: float) -> bytes:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().sock_recv(sock, 2048)

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


def _bind_pair() -> tuple[socket.socket, socket.socket]:
    for _ in range(50):
        rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtp.bind(("127.0.0.1", 0))
        with contextlib.suppress(OSError, OverflowError):
            rtcp.bind(("127.0.0.1", rtp.getsockname()[1] + 1))
            rtp.setblocking(False)
            rtcp.setblocking(False)
            return rtp, rtcp
        rtp.close()
        rtcp.close()
    raise AssertionError("no pair of ports is free")


def _session(key: bytes, direction: int) -> Session | None:
    if not key:
        return None
    return Session(Policy(key=key, ssrc_type=direction, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))


class Call:
    """A stream, its reports, and the peer at its other end."""

    def __init__(self, pool: MediaPool) -> None:
        self.pool = pool
        self.reports: list[Any] = []
        self._news = asyncio.Event()
        self.stream: MediaStream
        self.peer: Peer

    async def open(self, peer: Peer | None = None, **configure: Any) -> Call:
        self.peer = peer or Peer()
        self.stream = await self.pool.open_stream(self._note)
        self.configure(**configure)
        return self

    def configure(self, **changes: Any) -> None:
        settings: dict[str, Any] = {
            "remote_ip": "127.0.0.1",
            "remote_port": self.peer.port,
            "codec": "pcmu",
            "send_payload_type": 0,
            "receive_payload_type": 0,
            "send_event_type": 101,
            "receive_event_type": 101,
        }
        if self.peer.send_key:
            settings |= {"suite": SUITE, "send_key": self.peer.receive_key, "receive_key": self.peer.send_key}
        self.stream.configure(ConfigureRtp(self.stream.stream, **(settings | changes)))

    def _note(self, report: Any) -> None:
        self.reports.append(report)
        self._news.set()

    def told(self, kind: type) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    async def wait_for(self, kind: type, timeout_s: float = 3.0, *, where: Callable[[Any], bool] = lambda report: True) -> Any:
        async with asyncio.timeout(timeout_s):
            while True:
                found = [report for report in self.told(kind) if where(report)]
                if found:
                    return found[0]
                self._news.clear()
                await self._news.wait()

    async def talk(self, payloads: list[bytes], **options: Any) -> None:
        """Send packets, one for each that arrives: the media process's own pace is the clock."""
        for payload in payloads:
            await self.peer.receive()
            self.peer.send(payload, self.stream.port, **options)


@cache
def _port_ranges() -> Iterator[int]:
    """First ports of this process for a pool, one after another."""
    return itertools.cycle(range(*rtp_of_pools(), 100))


_fork_servers: list[ForkServer] = []


def _forked_children() -> ForkServer:
    """Starts media processes as a server does, by forking: the fork server of this test process."""
    if not _fork_servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.set_inheritable(True)
            code = "import sys; from active_call.base.fork_server import resume; resume(*sys.argv[1:])"
            load = f"{preload_modules.__module__}:{preload_modules.__name__}"
            command = [sys.executable, "-c", code, str(theirs.fileno()), "", load, "3600"]
            _fork_servers.append(ForkServer(ours, os.posix_spawn(sys.executable, command, os.environ)))
    return _fork_servers[0]


def pytest_sessionfinish() -> None:
    while _fork_servers:
        _fork_servers.pop().close()


class Media:
    """Opens pools and calls, and closes them."""

    children: StartsChildren | None = None
    """Starts the media processes; None: the fork server of this test process."""

    @asynccontextmanager
    async def pool(self, **options: Any) -> AsyncIterator[MediaPool]:
        first = next(_port_ranges())
        settings: dict[str, Any] = {"n_workers": 1, "port_range": (first, first + 99), "capacity": 16}
        settings["children"] = self.children or _forked_children()
        pool = MediaPool(bind_ip="127.0.0.1", clock=SystemClock(), logger=logging.getLogger("test"), **(settings | options))
        await pool.start()
        try:
            yield pool
        finally:
            await pool.close()

    @asynccontextmanager
    async def call(self, peer: Peer | None = None, *, pool: MediaPool | None = None, **configure: Any) -> AsyncIterator[Call]:
        async with contextlib.AsyncExitStack() as stack:
            if pool is None:
                pool = await stack.enter_async_context(self.pool())
            call = await Call(pool).open(peer, **configure)
            stack.callback(call.peer.close)
            yield call
            await call.stream.close()


@pytest.fixture
def media() -> Media:
    return Media()


@pytest.fixture
def secured_peer() -> Callable[..., Peer]:
    return lambda send_key=bytes(range(30)), receive_key=bytes(range(30, 60)): Peer(send_key, receive_key)


@pytest.fixture
def make_peer() -> type[Peer]:
    return Peer


@pytest.fixture
def unprotect_error() -> type[Exception]:
    return Error


@pytest.fixture
def saw() -> Callable[[int], bytes]:
    return codes


@pytest.fixture
def decode() -> Callable[[bytes], bytes]:
    return pcm_of
