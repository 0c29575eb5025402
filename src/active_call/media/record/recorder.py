"""Recordings in the media process: the tick hands over received and sent frames, and another process encodes and writes them.

Stereo frames of all recordings go in once per tick, in one piece. `take_ended` returns `RecordingEnded` reports. The tick never waits:
between it and the recorder process are a bounded queue and a thread that only sends. If the disk stalls until the queue is full, sound is
lost but not time: every piece carries its tick, and the writer inserts silence for missing pieces, so that both channels and the clock stay
aligned. `error` reports the loss. If a recorder process dies, its recordings end (each is reported), and the next recording starts a new
process.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final

import msgspec

from active_call.media.link.framing import take_frames
from active_call.media.link.messages import Link, RecordingEnded
from active_call.media.record.link import BeginRecording, Ended, EndRecording, RecordPiece, framed

QUEUE_TICKS: Final = 750
"""15 s without an answer of the disk; about 1 MB per recording at 16 kHz."""
FLUSH_MS: Final = 200
"""Default interval between flushes of a file."""
CLOSE_TIMEOUT_S: Final = 5.0
SOCKET_BYTES: Final = 1024 * 1024
READ_BYTES: Final = 64 * 1024

_reports: msgspec.msgpack.Decoder[Ended] = msgspec.msgpack.Decoder(Ended)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Process:
    """A recorder process, its socket, and its recordings."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    recordings: set[int] = field(default_factory=set)
    received: bytearray = field(default_factory=bytearray)

    def receive(self) -> bool:
        """Take the available reports. False if the process is gone."""
        while True:
            try:
                data = self.socket.recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.received += data


class Recorder:
    """The recorder process as seen by the tick. All methods are for the thread of the tick. Only `close` blocks."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Link | None] = SimpleQueue()
        self._open: dict[int, BeginRecording] = {}
        self._failed: deque[tuple[int, str]] = deque()
        """Recordings that could not be handed over, and why. Written by the thread."""
        self._processes: list[_Process] = []
        self._dead: list[subprocess.Popen[bytes]] = []
        self._next_recording = 0
        self.lost_pieces = 0
        self._thread = threading.Thread(target=self._send_all, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, stream: int, path: str, rate_hz: int, flush_ms: int = FLUSH_MS) -> int:
        """Open a file that starts with the first written frame. Returns the number of the recording."""
        self._next_recording += 1
        order = BeginRecording(self._next_recording, stream, path, rate_hz, flush_ms)
        self._open[self._next_recording] = order
        self._queue.put(order)
        return self._next_recording

    def is_open(self, recording: int) -> bool:
        """Whether frames of the recording are still written: it has neither ended nor failed."""
        return recording in self._open

    def write(self, tick: int, recordings: tuple[int, ...], data: bytes) -> None:
        """Hand over one frame of each of `recordings`, which have the same rate. `data`: (recordings, samples, 2) int16."""
        if self._queue.qsize() >= QUEUE_TICKS:
            self.lost_pieces += 1
            return
        self._queue.put(RecordPiece(tick, recordings, data))

    def end(self, recording: int, tick: int) -> None:
        """Finish the file before the frame of `tick`. RecordingEnded follows later. No effect if the recording is over."""
        if recording in self._open:
            self._queue.put(EndRecording(recording, tick))

    def take_ended(self) -> list[RecordingEnded]:
        """The recordings that are complete or have failed."""
        ended: list[RecordingEnded] = []
        while self._failed:
            self._close_failed(*self._failed.popleft(), ended)
        if self._open:
            for process in list(self._processes):
                self._receive(process, ended)
        return ended

    def _receive(self, process: _Process, ended: list[RecordingEnded]) -> None:
        is_alive = process.receive()
        for report in map(_reports.decode, take_frames(process.received)):
            process.recordings.discard(report.recording)
            if self._open.pop(report.recording, None) is not None:
                ended.append(report.report)
        if not is_alive:
            self._processes.remove(process)
            self._dead.append(process.process)
            for number in sorted(process.recordings):
                self._close_failed(number, "the recorder process died", ended)
            process.socket.close()

    def _close_failed(self, number: int, reason: str, ended: list[RecordingEnded]) -> None:
        order = self._open.pop(number, None)
        if order is not None:
            ended.append(RecordingEnded(order.stream, order.path, 0, f"{order.path}: {reason}"))

    def close(self) -> None:
        """Write what is queued and stop. Returns after at most `CLOSE_TIMEOUT_S`, even if the disk has stalled."""
        self._queue.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)
        for child in [*self._dead, *(process.process for process in self._processes)]:
            try:
                child.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                logger.error("recordings are not finished, the disk does not answer", extra={"pid": child.pid})

    # -- the sending thread

    def _send_all(self) -> None:
        process: _Process | None = None
        while (order := self._queue.get()) is not None:
            if isinstance(order, BeginRecording) and (process is None or process.process.poll() is not None):
                process = self._start(order)
            if process is None:
                continue
            if isinstance(order, BeginRecording):
                process.recordings.add(order.recording)
            try:
                process.socket.sendall(framed(order))
            except OSError:
                continue  # it has died: `take_ended` finds its socket closed
        if process is not None:
            with contextlib.suppress(OSError):
                process.socket.shutdown(socket.SHUT_WR)

    def _start(self, order: BeginRecording) -> _Process | None:
        try:
            process = _spawn()
        except OSError as error:
            logger.error("recorder process could not be started", extra={"reason": str(error)})
            self._failed.append((order.recording, f"the recorder process could not be started: {error}"))
            return None
        self._processes.append(process)
        return process


def _spawn() -> _Process:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        command = (sys.executable, "-m", "active_call.media.record.process", str(theirs.fileno()))
        try:
            child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603 - our own program
        except OSError:
            ours.close()
            raise
    return _Process(child, ours)
