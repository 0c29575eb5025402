"""The callers of `pipecat_calls`: Twilio's Media Streams over plain WebSockets, with prepared frames; only arrivals are noted.

Reads `{"calls", "payloads", "n_packets", "port"}`, connects, says `{"connected"}`, starts at `{"start_at"}`, says `{"sent"}` at the end,
and on `{"from", "until"}` reports arrivals: per caller [time, samples of sound so far] within it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
import time
from pathlib import Path

from common import FRAME_SAMPLES, listen, say

FRAME_S = 0.02
_MARK = b'"payload": "'


def text_frame(message: dict[str, object]) -> bytes:
    """A masked text frame (RFC 6455 section 5.2); the mask is zero, which is allowed."""
    body = json.dumps(message).encode()
    size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
    return b"\x81" + size + bytes(4) + body


class Caller(asyncio.Protocol):
    """One caller."""

    def __init__(self, index: int, port: int, packets: list[bytes]) -> None:
        self._index, self._port, self._packets = index, port, packets
        self._buffer = b""
        self._is_open = False
        self._n_sent = self._n_samples = 0
        self.opened = asyncio.Event()
        self.arrivals: list[tuple[float, int]] = []
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /ws HTTP/1.1", f"Host: 127.0.0.1:{self._port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        transport.write("\r\n".join(lines).encode())  # type: ignore[attr-defined]

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        if not self._is_open:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            assert b" 101 " in head.split(b"\r\n")[0], head
            self._is_open, self._buffer = True, rest
            sid = {"streamSid": "MZ0", "callSid": str(self._index), "accountSid": "AC0"}
            for message in ({"event": "connected", "protocol": "Call"}, {"event": "start", "streamSid": "MZ0", "start": sid}):
                self._write(text_frame(message))
            self.opened.set()
        self._take_frames(now)

    def _take_frames(self, now: float) -> None:
        while len(self._buffer) >= 4:
            size, start = self._buffer[1], 2
            if size == 126:
                size, start = struct.unpack_from("!H", self._buffer, 2)[0], 4
            if len(self._buffer) < start + size:
                return
            body, self._buffer = self._buffer[start : start + size], self._buffer[start + size :]
            at = body.find(_MARK)
            if at >= 0:
                self.arrivals.append((now, self._n_samples))
                end = body.index(b'"', at + len(_MARK))
                self._n_samples += (end - at - len(_MARK)) * 3 // 4

    def _write(self, data: bytes) -> None:
        self._transport.write(data)  # type: ignore[attr-defined]

    def send(self) -> None:
        self._write(self._packets[(self._n_sent + self._index * 37) % len(self._packets)])
        self._n_sent += 1


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    payload = Path(task["payloads"]).read_bytes()
    packets = []
    for at in range(0, len(payload), FRAME_SAMPLES):
        media = {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": base64.b64encode(payload[at : at + FRAME_SAMPLES]).decode()}
        packets.append(text_frame({"event": "media", "sequenceNumber": "1", "media": media, "streamSid": "MZ0"}))
    callers = [Caller(index, task["port"], packets) for index in range(task["calls"])]
    for caller in callers:
        await loop.create_connection(lambda caller=caller: caller, "127.0.0.1", task["port"])
        await caller.opened.wait()
    await asyncio.sleep(1)
    say({"connected": True})
    start_at = listen()["start_at"]
    total, sent, late_s = task["n_packets"] * len(callers), 0, 0.0
    while sent < total:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        due = min(int((now - start_at) / FRAME_S * len(callers)), total)
        if sent < due:
            late_s = max(late_s, now - start_at - sent * FRAME_S / len(callers))
        while sent < due:
            callers[sent % len(callers)].send()
            sent += 1
    say({"sent": sent, "late_ms": late_s * 1000})
    line = await loop.run_in_executor(None, listen)
    inside = [[one for one in caller.arrivals if line["from"] <= one[0] < line["until"]] for caller in callers]
    say({"arrivals": inside, "lost_connections": sum(caller.is_lost for caller in callers)})


asyncio.run(main())
