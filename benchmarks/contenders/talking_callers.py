"""Callers who talk with an agent over Twilio's Media Streams: each says its sentence, waits for the answer, and says it again.

Reads `{"calls", "port", "path", "speech" (µ-law, 8 kHz), "turns", "every", "pace_s"}`, connects one caller every `pace_s`, says
`{"connected"}`; on `{}` it says `{"open"}`, how many are still connected; on `{"talk"}` all talk, each at its own time within `every`
seconds. At the end it reports `delays_ms`, one for each answer (from the caller's last sound to the agent's first), and `cpu_s`, its
processor time while they talk. A frame counts as sound if it is louder than line noise. Callers are to be cheap beside a server: frames are
made once but for their number, and messages are parsed only while an answer is awaited. Imports nothing of active-call.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from pathlib import Path
from typing import Any

import uvloop
from common import FRAME_SAMPLES, listen, say

FRAME_S = 0.02
QUIET = bytes(value ^ sign for value in range(0x70, 0x80) for sign in (0x00, 0x80))
"""Codes of µ-law below some 0.4 % of full scale (G.711: they lie around 0x7F and 0xFF)."""
DIGITS = 6
MIN_LOUD = 40
"""How many loud samples make a frame count as sound."""


def text_frame(body: bytes) -> bytes:
    """A masked text frame (RFC 6455 section 5.2); the mask is zero, which is allowed."""
    size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
    return b"\x81" + size + bytes(4) + body


def media_frames(sound: bytes) -> tuple[bytes, bytes]:
    """What comes before and after the number in each message with these 20 ms of sound; the number has `DIGITS`."""
    after = b'", "timestamp": "20", "payload": "%s"}}' % base64.b64encode(sound)
    before = b'{"event": "media", "sequenceNumber": "2", "streamSid": "MZ0", "media": {"track": "inbound", "chunk": "'
    return text_frame(before + bytes(DIGITS) + after)[: -len(after) - DIGITS], after


class Caller(asyncio.Protocol):
    """One call."""

    def __init__(self, index: int, port: int, path: str) -> None:
        self._index, self._port, self._path = index, port, path
        self._buffer = b""
        self._is_open = False
        self.opened = asyncio.Event()
        self.is_lost = False
        self.place = -1
        """The frame of the sentence to send next; -1: none."""
        self.spoken_at: float | None = None
        self.delays: list[float] = []
        self.n_turns = 0
        self._n_frames = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {self._path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Upgrade: websocket", "Connection: Upgrade"]
        transport.write("\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]).encode())  # type: ignore[attr-defined]

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True
        self.opened.set()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        if not self._is_open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n")[0]:
                self._transport.abort()
                return
            self._is_open, self._buffer = True, rest
            start = {
                "streamSid": "MZ0",
                "callSid": f"CA{self._index}",
                "accountSid": "AC0",
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {},
            }
            connected = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
            for message in (connected, {"event": "start", "sequenceNumber": "1", "streamSid": "MZ0", "start": start}):
                self.write(text_frame(json.dumps(message).encode()))
            self.opened.set()
        self._take_frames(now)

    def _take_frames(self, now: float) -> None:
        while len(self._buffer) >= 4:
            kind, size, start = self._buffer[0] & 0x0F, self._buffer[1] & 0x7F, 2
            if size == 126:
                size, start = struct.unpack_from("!H", self._buffer, 2)[0], 4
            elif size == 127:
                size, start = struct.unpack_from("!Q", self._buffer, 2)[0], 10
            if len(self._buffer) < start + size:
                return
            body, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            if kind == 9:
                self.write(b"\x8a" + bytes([0x80 | len(body)]) + bytes(4) + body)
            elif kind == 1 and (self.spoken_at is not None or b'"media"' not in body[:24]):
                self._take(json.loads(body), now)

    def _take(self, message: dict[str, Any], now: float) -> None:
        if message.get("event") == "mark":
            self.write(text_frame(json.dumps({**message, "sequenceNumber": "1"}).encode()))
        elif message.get("event") == "media" and self.spoken_at is not None:
            sound = base64.b64decode(message["media"]["payload"])
            if len(sound[:FRAME_SAMPLES].translate(None, QUIET)) >= MIN_LOUD:
                self.delays.append((now - self.spoken_at) * 1000)
                self.spoken_at = None

    def send(self, frames: tuple[bytes, bytes]) -> None:
        """The next 20 ms of sound."""
        self._n_frames += 1
        self.write(b"%s%06d%s" % (frames[0], self._n_frames, frames[1]))

    def write(self, data: bytes) -> None:
        if not self.is_lost:
            self._transport.write(data)


async def main() -> None:
    task = listen()
    loop = asyncio.get_running_loop()
    speech = Path(task["speech"]).read_bytes()
    frames = [media_frames(speech[at : at + FRAME_SAMPLES].ljust(FRAME_SAMPLES, b"\xff")) for at in range(0, len(speech), FRAME_SAMPLES)]
    silence = media_frames(b"\xff" * FRAME_SAMPLES)
    callers = [Caller(index, task["port"], task["path"]) for index in range(task["calls"])]
    talking = False
    begins: list[list[float]] = [[] for _ in callers]
    late_s = 0.0

    async def tick() -> None:
        """Send a frame of every caller every 20 ms, spread over that time."""
        nonlocal late_s
        began, sent, n_callers = time.monotonic(), 0, len(callers)
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            due = int((now - began) / FRAME_S * n_callers)
            late_s = max(late_s, (due - sent) * FRAME_S / n_callers if talking else 0.0)
            while sent < due:
                send(sent % n_callers, now)
                sent += 1

    def send(index: int, now: float) -> None:
        caller = callers[index]
        if not caller.opened.is_set() or caller.is_lost:
            return
        if caller.place < 0 and begins[index] and now >= begins[index][0]:
            begins[index].pop(0)
            caller.place, caller.spoken_at = 0, None
        if caller.place < 0:
            caller.send(silence)
            return
        caller.send(frames[caller.place])
        caller.place += 1
        if caller.place == len(frames):
            caller.place, caller.spoken_at = -1, now
            caller.n_turns += 1

    ticking = asyncio.create_task(tick())
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", task["port"])
        await caller.opened.wait()
        await asyncio.sleep(task["pace_s"])
    say({"connected": True})
    while not (await loop.run_in_executor(None, listen)).get("talk"):
        say({"open": sum(not caller.is_lost for caller in callers)})
    began, used_s, talking = time.monotonic(), time.process_time(), True
    for index in range(len(callers)):
        begins[index] = [began + (turn + index / len(callers)) * task["every"] for turn in range(task["turns"])]
    await asyncio.sleep(task["every"] * (task["turns"] + 1))
    ticking.cancel()
    say(
        {
            "delays_ms": [round(delay) for caller in callers for delay in caller.delays],
            "turns": sum(caller.n_turns for caller in callers),
            "lost": sum(caller.is_lost for caller in callers),
            "late_ms": round(late_s * 1000),
            "cpu_s": time.process_time() - used_s,
        }
    )


uvloop.run(main())
