"""The other end of the bench: many peers in one process with its own clock, which send prepared packets and judge what comes back.

`python -m active_call.media.bench_sender`. On standard input a JSON line of `Task` fields; on standard output the peers' RTP ports as a
JSON line; then a line with the media process's ports starts it; at the end a JSON line with what was seen. Packets are built and encrypted
beforehand, so that sending is cheap; peers are spread evenly over the 20 ms. Arrivals are the kernel's time stamps.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from active_call.codec import g711
from active_call.media.load import percentile
from active_call.rtp.packet import is_rtcp
from active_call.rtp.srtp import SrtpSession

SUITE: Final = "AES_CM_128_HMAC_SHA1_80"
TICK_S: Final = 0.020
CHECK_EVERY: Final = 16
"""Of the packets received, every so many is decrypted and compared; all are counted."""
MAX_MEASURED: Final = 40
"""So many peers look at what they get; the others only count, so that the sender keeps its time."""
MAX_PASSES: Final = 4
_SO_TIMESTAMPNS: Final = 35
_HEADER: Final = struct.Struct("!BBHII")
_TIMESPEC: Final = struct.Struct("qq")
_PLAIN_BYTES: Final = 172


@dataclass(frozen=True, slots=True)
class Task:
    """What to do: `n_peers` for `n_packets` each. Keys are hexadecimal, empty for plain RTP."""

    n_peers: int
    n_packets: int
    peer_key: str
    media_key: str


class Peer:
    """One far end."""

    def __init__(self, index: int, task: Task, speech: list[bytes]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        if index < MAX_MEASURED:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            self.receive = self._measure
        else:
            self.receive = self._count
        self._socket.bind(("127.0.0.1", 0))
        self._srtp = SrtpSession(SUITE, bytes.fromhex(task.peer_key), bytes.fromhex(task.media_key)) if task.peer_key else None
        self._address = ("127.0.0.1", 0)
        self._packets = self._prepare(index, task.n_packets, speech)
        self.arrivals: list[float] = []
        self.timestamps: list[int] = []
        self.sequences: list[int] = []
        self.n_received = 0
        self.n_wrong = 0

    def _prepare(self, index: int, n_packets: int, speech: list[bytes]) -> list[bytes]:
        packets = []
        for n in range(n_packets):
            packet = _HEADER.pack(0x80, 0 if n else 0x80, n, n * 160, index + 1) + speech[(n + index * 37) % len(speech)]
            packets.append(packet if self._srtp is None else self._srtp.protect(packet))
        packets.reverse()
        return packets

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def point_at(self, port: int) -> None:
        self._address = ("127.0.0.1", port)

    def send(self) -> None:
        if self._packets:
            self._socket.sendto(self._packets.pop(), self._address)

    def _count(self) -> None:
        """Take one packet and only count it."""
        data = self._socket.recv(2048)
        if not is_rtcp(data):
            self.sequences.append(data[2] << 8 | data[3])
            self.n_received += 1

    def _measure(self) -> None:
        """Take one packet, with the kernel's arrival time, and look at it."""
        data, ancillary, _, _ = self._socket.recvmsg(2048, 64)
        if is_rtcp(data):
            return  # a neighbour's: peers' ports lie side by side
        seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
        _, kind, sequence, timestamp, _ = _HEADER.unpack_from(data)
        self.n_received += 1
        self.arrivals.append(seconds + nanoseconds * 1e-9)
        self.timestamps.append(timestamp)
        self.sequences.append(sequence)
        if kind & 0x7F or not self._is_right(data):
            self.n_wrong += 1

    def _is_right(self, data: bytes) -> bool:
        if len(self.arrivals) % CHECK_EVERY:
            return True
        if self._srtp is None:
            return len(data) == _PLAIN_BYTES
        plain = self._srtp.unprotect(data)
        return plain is not None and len(plain) == _PLAIN_BYTES

    def n_missing(self) -> int:
        """Packets that did not come, between the first and the last that did."""
        if not self.sequences:
            return 1
        span = (self.sequences[-1] - self.sequences[0]) & 0xFFFF
        return span + 1 - len(set(self.sequences))

    def offsets_ms(self) -> NDArray[np.float64]:
        """How far each packet was off this stream's own 20 ms grid."""
        if not self.arrivals:
            return np.zeros(0)
        media_s = ((np.array(self.timestamps) - self.timestamps[0]) & 0xFFFFFFFF) / 8000
        offsets = np.array(self.arrivals) - self.arrivals[0] - media_s
        return np.asarray(np.abs(offsets - np.median(offsets)) * 1000)


def babble(seconds: int = 4) -> list[bytes]:
    """Frames of something between talk and silence, mu-law: harmonics with a syllable's envelope, two thirds of the time."""
    time_s = np.arange(8000 * seconds) / 8000
    voice = sum(np.sin(2 * math.pi * 120 * k * time_s + k) / k for k in range(1, 20))
    envelope = np.clip(np.sin(2 * math.pi * 3 * time_s), 0, 1) * (time_s % 3 < 2)
    pcm = (voice * envelope * 4000).astype(np.int16).reshape(-1, 160)
    payload = g711.encode(pcm, np.zeros(len(pcm), np.bool_))
    return [row.tobytes() for row in payload]


def run(peers: list[Peer], n_packets: int) -> float:
    """Send and receive for as long as there are packets. Returns how late, in ms, the latest packet was sent: the sender's own fault."""
    poll = select.epoll()
    by_fd = {peer.fileno(): peer for peer in peers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    start = time.monotonic() + 0.05
    total = n_packets * len(peers)
    n_sent = 0
    worst_s = 0.0
    while n_sent < total:
        time.sleep(0.001)
        now = time.monotonic()
        due = min(int((now - start) / TICK_S * len(peers)), total)
        if n_sent < due:
            worst_s = max(worst_s, now - start - n_sent * TICK_S / len(peers))
        while n_sent < due:
            peers[n_sent % len(peers)].send()
            n_sent += 1
        for _ in range(MAX_PASSES):
            events = poll.poll(0, len(peers))
            for fd, _ in events:
                by_fd[fd].receive()
            if not events:
                break
    poll.close()
    return worst_s * 1000


def judge(peers: list[Peer]) -> dict[str, Any]:
    """What was seen, over all peers. The first half second of each, while streams are still being set up, does not count."""
    offsets = np.sort(np.concatenate([peer.offsets_ms()[25:] for peer in peers])).tolist()
    return {
        "packet_offset_ms": {
            "p50": round(percentile(offsets, 50), 3),
            "p99": round(percentile(offsets, 99), 3),
            "max": round(offsets[-1], 3) if offsets else 0.0,
        },
        "received": sum(peer.n_received for peer in peers),
        "missing": sum(peer.n_missing() for peer in peers),
        "wrong": sum(peer.n_wrong for peer in peers),
    }


def main() -> int:
    """Speak the protocol of the module's docstring."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    task = Task(**json.loads(sys.stdin.readline()))
    speech = babble()
    peers = [Peer(index, task, speech) for index in range(task.n_peers)]
    print(json.dumps([peer.port for peer in peers]), flush=True)
    for peer, port in zip(peers, json.loads(sys.stdin.readline()), strict=True):
        peer.point_at(port)
    late_ms = run(peers, task.n_packets)
    print(json.dumps(judge(peers) | {"sender_late_ms": round(late_ms, 1)}), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
