"""Callers for `socket_sound.py`: WebSockets over plain TCP sockets (RFC 6455) with prepared frames. Only arrival times are recorded.

Reads `{"port", "ids", "format", "speech"}`, connects and starts the calls, writes `{"ready"}`, then sends speech on all lines. After
`{"start", "end"}` (monotonic seconds) it writes at `end`: `late_ms` (p99 of the send delay in the window), `late_max_ms`, `received`,
`expected`, `offset_ms` (p50, p99 and max of each message's offset from its call's 20 ms grid) and `lost` (connections). Formats: pcm
(16 kHz), pcmu, g722, opus on `/call`, and `twilio` on `/call/stream/twilio`. Imports nothing from active-call; FFmpeg provides the codecs.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import os
import select
import socket
import struct
import sys
import time
from typing import Any, Final

import av
import numpy as np
from common import listen, say, speech_frames

FRAME_S: Final = 0.02
WAKE_S: Final = 0.001
ANSWER_S: Final = 60.0
PACE_S: Final = 0.05
"""The interval between two calls, the same as in the RTP benchmark."""
NEW_PLAY_S: Final = 0.1
"""A gap of more than this between two messages starts a new stretch of sound."""
MASK: Final = b"\x25\x91\x3c\xe7"


def frame(opcode: int, body: bytes) -> bytes:
    """One masked frame."""
    size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
    key = np.frombuffer(MASK * (len(body) // 4 + 1), np.uint8)[: len(body)]
    return bytes([0x80 | opcode]) + size + MASK + (np.frombuffer(body, np.uint8) ^ key).tobytes()


def encoded(codec: str, pcm: np.ndarray, rate_hz: int) -> list[bytes]:
    """Encode `pcm` (mono) with FFmpeg into 20 ms packets."""
    context = av.CodecContext.create(codec, "w")
    context.sample_rate, context.layout, context.format = rate_hz, "mono", "s16"
    size, out, rest = rate_hz // 50, [], b""
    per_packet = size // 2 if codec == "g722" else size
    for at in range(0, len(pcm) // size * size, size):
        sound = av.AudioFrame.from_ndarray(pcm[at : at + size].reshape(1, -1), format="s16", layout="mono")
        sound.sample_rate, sound.pts = rate_hz, at
        pieces = [bytes(packet) for packet in context.encode(sound)]
        if codec == "libopus":
            out += pieces
            continue
        rest += b"".join(pieces)
        while len(rest) >= per_packet:
            out.append(rest[:per_packet])
            rest = rest[per_packet:]
    return out


def messages(form: str, path: str) -> list[bytes]:
    """The caller's speech as frames of 20 ms."""
    narrow = speech_frames(path).reshape(-1)
    if form == "pcm":
        return [frame(2, row.tobytes()) for row in np.repeat(narrow, 2).reshape(-1, 320)]
    if form == "g722":
        return [frame(2, packet) for packet in encoded("g722", np.repeat(narrow, 2), 16_000)]
    if form == "opus":
        return [frame(2, packet) for packet in encoded("libopus", np.repeat(narrow, 6), 48_000)]
    packets = encoded("pcm_mulaw", narrow, 8000)
    if form == "pcmu":
        return [frame(2, packet) for packet in packets]
    return [
        frame(1, json.dumps({
            "event": "media", "sequenceNumber": "7", "streamSid": "MZ0",
            "media": {"track": "inbound", "timestamp": "100", "payload": base64.b64encode(packet).decode()},
        }).encode())
        for packet in packets
    ]  # fmt: skip


class Line:
    """One connection. `arrivals`: the arrival time of each sound message, in monotonic seconds."""

    def __init__(self, port: int, path: str, is_text: bool) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_text, self._buffer = is_text, b""
        self.is_lost, self.names, self.arrivals = False, set(), []  # type: ignore[var-annotated]
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        self.sock.sendall("\r\n".join([*lines, f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(4096)
            if not data:
                raise SystemExit("the server has closed a connection")
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise SystemExit(f"refused: {head[:200]!r} {self._buffer[:300]!r}")

    def read(self) -> None:
        """Read and parse the received data."""
        try:
            data = self.sock.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.is_lost = True
            return
        now, self._buffer = time.monotonic(), self._buffer + data
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1], at + 2
            if size == 126:
                if len(buffer) - at < 4:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            if len(buffer) < start + size:
                break
            self._take(buffer[at] & 0x0F, buffer[start : start + size], now)
            at = start + size
        self._buffer = buffer[at:]

    def _take(self, opcode: int, body: bytes, now: float) -> None:
        if opcode == 2 or (self._is_text and opcode == 1 and b'"media"' in body[:24]):
            self.arrivals.append(now)
        elif opcode == 1:
            self.names.add(json.loads(body).get("event"))
        elif opcode == 9:
            self.sock.send(frame(10, body))


def offsets(arrivals: np.ndarray) -> np.ndarray:
    """The offset of each message from its call's 20 ms grid, in ms. Each stretch of sound has its own grid."""
    found, begun = [], 0
    for end in [*(np.flatnonzero(np.diff(arrivals) > NEW_PLAY_S) + 1).tolist(), len(arrivals)]:
        stretch = arrivals[begun:end]
        begun = end
        if len(stretch) >= 10:
            difference = stretch - np.arange(len(stretch)) * FRAME_S
            found.append(np.abs(difference - np.median(difference)) * 1000)
    return np.concatenate(found) if found else np.zeros(0)


def begun(task: dict[str, Any]) -> list[Line]:
    """Connect all lines and wait until their calls are up."""
    is_twilio = task["format"] == "twilio"
    invite = frame(1, json.dumps({"command": "invite", "option": {"codec": task["format"]}}).encode())
    lines = [Line(task["port"], "/call/stream/twilio" if is_twilio else f"/call?id={one}&ping=0", is_twilio) for one in task["ids"]]
    for index, line in enumerate(lines):
        if is_twilio:
            start = {"streamSid": "MZ0", "callSid": f"CA{index}", "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000}}
            line.sock.sendall(frame(1, b'{"event": "connected"}'))
            line.sock.sendall(frame(1, json.dumps({"event": "start", "streamSid": "MZ0", "start": start}).encode()))
        else:
            line.sock.sendall(invite)
        line.sock.setblocking(False)
        time.sleep(PACE_S)
    deadline = time.monotonic() + ANSWER_S
    while not all(line.arrivals if is_twilio else "mediaReady" in line.names for line in lines):
        for line in lines:
            line.read()
            if "error" in line.names and "mediaReady" not in line.names:  # refused: too many new calls at once
                line.names.clear()
                line.sock.send(invite)
                time.sleep(PACE_S)
        if time.monotonic() > deadline or any(line.is_lost for line in lines):
            raise SystemExit("not all calls are up")
        time.sleep(0.01)
    return lines


def talk(lines: list[Line], said: list[bytes]) -> dict[str, Any]:
    """Send and receive sound until the window ends; returns its figures."""
    poll = select.epoll()
    by_fd = {line.sock.fileno(): line for line in lines}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    began, sent, n_wakings = time.monotonic(), 0, 0
    window: dict[str, float] | None = None
    late: list[tuple[float, float]] = []
    while window is None or time.monotonic() < window["end"]:
        now = time.monotonic()
        due = int((now - began) / FRAME_S * len(lines)) + 1
        if due > sent:
            late.append((now, now - began - sent * FRAME_S / len(lines)))
        while sent < due:
            tick, index = divmod(sent, len(lines))
            try:
                lines[index].sock.send(said[(tick + index * 37) % len(said)])
            except OSError:
                lines[index].is_lost = True
            sent += 1
        for fd, _ in poll.poll(0):
            by_fd[fd].read()
        n_wakings += 1
        if window is None and n_wakings % 20 == 0 and select.select([sys.stdin], [], [], 0)[0]:
            window = listen()
        time.sleep(WAKE_S)
    start, end = window["start"], window["end"]
    late_ms = np.array([seconds for at, seconds in late if start <= at < end] or [0.0]) * 1000
    heard = [np.array([at for at in line.arrivals if start <= at < end]) for line in lines]
    off = np.concatenate([offsets(one) for one in heard])
    spread = dict(zip(("p50", "p99", "max"), np.round(np.percentile(off, (50, 99, 100)), 2).tolist(), strict=True)) if len(off) else {}
    return {
        "late_ms": round(float(np.percentile(late_ms, 99)), 2), "late_max_ms": round(float(late_ms.max()), 2),
        "received": sum(map(len, heard)), "expected": round((end - start) / FRAME_S) * len(lines),
        "offset_ms": spread, "lost": sum(line.is_lost for line in lines),
    }  # fmt: skip


def main() -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    task = listen()
    said = messages(task["format"], task["speech"])
    lines = begun(task)
    gc.collect()
    gc.disable()  # a collection would count as send delay
    say({"ready": True})
    say(talk(lines, said))


main()
