"""Far ends of media streams, many in one loop: they speak, press digits, change keys, and check every packet that they get.

Written from the RFCs with `struct`, libsrtp and the judging side's own G.711, not with the program's rooms (RFC 3550, 3711, 4733). A far
end does not judge time; it counts what is missing, repeated or not authentic.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache

import pylibsrtp

from active_call.testing.phone.rtp import bind_pair
from active_call.testing.sound import audio, voice

FRAME_S = 0.02
EVENT_TYPE = 101
DIGITS = "0123456789*#ABCD"
_SO_TIMESTAMPNS = 35
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}


@lru_cache(maxsize=1)
def speech() -> audio.Pcm:
    """Some seconds of a sentence, in whole frames."""
    pcm = voice.speak("We would like to order forty loaves of rye bread for the feast on Saturday morning, if that can be done.")
    return pcm[: len(pcm) // audio.FRAME_SAMPLES * audio.FRAME_SAMPLES]


def _session(suite: str, key: bytes, *, outbound: bool) -> pylibsrtp.Session | None:
    if not suite:
        return None
    kind = pylibsrtp.Policy.SSRC_ANY_OUTBOUND if outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND
    return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=kind, srtp_profile=PROFILES[suite]))


@dataclass
class Received:
    """What a far end got. `log`: of each packet the kernel's arrival (monotonic seconds), sequence number and timestamp, both unwrapped."""

    packets: int = 0
    repeated: int = 0
    wrong: int = 0
    first: int = -1
    highest: int = -1
    voiced: int = 0
    digits: list[str] = field(default_factory=list)
    log: list[tuple[float, int, int]] = field(default_factory=list)
    goodbyes: int = 0

    @property
    def missing(self) -> int:
        """Between the first packet and the last."""
        return self.highest - self.first + 1 - self.packets if self.packets else 0


class FarEnd:
    """One of them. `suite` empty: plain RTP. Keys are 30 bytes; `send_key` is for what it sends."""

    def __init__(self, chance: random.Random, *, payload_type: int = 0, suite: str = "") -> None:
        self.payload_type, self.suite = payload_type, suite
        self._law = audio.LAWS[payload_type]
        self._chance = chance
        self.send_key, self.receive_key = chance.randbytes(30), chance.randbytes(30)
        self._out = _session(suite, self.send_key, outbound=True)
        self._in = [_session(suite, self.receive_key, outbound=False)]
        self._socket, self._rtcp = bind_pair("127.0.0.1")
        for sock in (self._socket, self._rtcp):
            sock.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._clock_shift = time.time() - time.monotonic()
        self._target: tuple[str, int] | None = None
        self._ssrc, self._sequence, self._timestamp = chance.getrandbits(32), chance.getrandbits(16), chance.getrandbits(32)
        self._frames = [self._law.encode(frame) for frame in speech().reshape(-1, audio.FRAME_SAMPLES)]
        self._quiet = self._law.encode(audio.noise(audio.FRAME_SAMPLES, seed=self._ssrc & 0xFF))
        self._speech: deque[bytes] = deque()
        self._event: deque[tuple[int, bytes]] = deque()
        self._last_event = -1
        self.n_sent = 0
        self.received = Received()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def point_at(self, port: int) -> None:
        self._target = ("127.0.0.1", port)

    def say(self, seconds: float) -> None:
        self._speech.extend(self._frames[n % len(self._frames)] for n in range(int(seconds / FRAME_S)))

    def press(self, digit: str) -> None:
        """Send a digit of 100 ms instead of sound (RFC 4733 section 2.5)."""
        start, code = self._timestamp, DIGITS.index(digit)
        for n in range(1, 6):
            self._event.append((start, struct.pack("!BBH", code, 10, n * 160)))
        self._event.extend([(start, struct.pack("!BBH", code, 0x80 | 10, 5 * 160))] * 3)

    def change_receive_key(self) -> bytes:
        """A new key for what it gets; the old one still opens what is on its way."""
        self.receive_key = self._chance.randbytes(30)
        self._in = [_session(self.suite, self.receive_key, outbound=False), self._in[0]]
        return self.receive_key

    def change_send_key(self, key: bytes) -> None:
        """Protect with `key` from now on."""
        self.send_key = key
        self._out = _session(self.suite, key, outbound=True)

    def send(self) -> None:
        """The packet of one 20 ms."""
        if self._target is None:
            return
        timestamp, kind, payload = self._timestamp, self.payload_type, self._quiet
        if self._event:
            (timestamp, payload), kind = self._event.popleft(), EVENT_TYPE
        elif self._speech:
            payload = self._speech.popleft()
        packet = struct.pack("!BBHII", 0x80, kind, self._sequence, timestamp, self._ssrc) + payload
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + 160) & 0xFFFFFFFF
        self._socket.sendto(packet if self._out is None else self._out.protect(packet), self._target)
        self.n_sent += 1

    def read(self) -> None:
        """Take in what waits."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, ancillary, _, address = self._socket.recvmsg(2048, 64)
                if self._target is not None and address != self._target:
                    continue  # for whoever had this port before
                seconds, nanoseconds = struct.unpack_from("qq", ancillary[0][2])
                self._take(data, seconds + nanoseconds * 1e-9 - self._clock_shift)

    def read_rtcp(self) -> None:
        """Take in reports, and count goodbyes (plain RTCP only)."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data = self._rtcp.recv(2048)
                while len(data) >= 4:
                    self.received.goodbyes += data[1] == 203
                    data = data[4 * (struct.unpack_from("!H", data, 2)[0] + 1) :]

    def _take(self, data: bytes, at: float) -> None:
        seen = self.received
        plain = self._open(data)
        if plain is None or plain[0] != 0x80:
            seen.wrong += 1
            return
        _, kind, sequence, timestamp, _ = struct.unpack("!BBHII", plain[:12])
        if seen.first < 0:
            seen.first = seen.highest = sequence
            seen.log.append((at, sequence, timestamp))
        else:
            step = (sequence - seen.highest + 0x8000) % 0x10000 - 0x8000
            if step <= 0:
                seen.repeated += 1
                return
            seen.highest += step
            seen.log.append((at, seen.highest, seen.log[-1][2] + (timestamp - seen.log[-1][2] + (1 << 31)) % (1 << 32) - (1 << 31)))
        seen.packets += 1
        if kind & 0x7F == EVENT_TYPE:
            if plain[13] & 0x80 and timestamp != self._last_event:
                self._last_event = timestamp
                seen.digits.append(DIGITS[plain[12]])
        elif kind & 0x7F != self.payload_type or len(plain) != 172:
            seen.wrong += 1
        elif plain[12] != plain[13] or plain[12] != self._law.silence:
            seen.voiced += 1

    def _open(self, data: bytes) -> bytes | None:
        for session in self._in:
            if session is None:
                return data
            with contextlib.suppress(pylibsrtp.Error):
                return session.unprotect(data)
        return None

    def close(self) -> None:
        self._socket.close()
        self._rtcp.close()


class FarEnds:
    """All far ends of a test, sent and read for by one task while the context lasts."""

    def __init__(self) -> None:
        self.alive: set[FarEnd] = set()

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            due += FRAME_S
            await asyncio.sleep(max(due - time.monotonic(), 0))
            for far_end in list(self.alive):
                far_end.send()
                far_end.read()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._run())
        try:
            yield
            if task.done():
                task.result()
        finally:
            task.cancel()
            for far_end in self.alive:
                far_end.close()
