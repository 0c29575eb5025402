"""The far ends of the bench: all callers in one process with its own clock. They send prepared packets and afterwards evaluate what they
received.

`python -m active_call.bench.media_sender`, controlled by `bench` with JSON lines:

| to it                         | from it                                                                      |
|-------------------------------|------------------------------------------------------------------------------|
| the fields of `Task`          | the caller's RTP ports, once every packet is built and encrypted             |
| `{"ports": …, "start_at": …}` | starts reading now, and sending at `start_at`                                |
|                               | `{"sent": n}` when the last packet has left; it keeps reading                |
| `{"from": …, "until": …}`     | the observations (`Judgement`); offsets cover arrivals between the two times |

Times are CLOCK_MONOTONIC. The callers are spread evenly over the 20 ms. `PEERS_PER_SOCKET` callers share a source address, and the media
process has a separate port for each as usual. So sending and reading take one system call for many packets, and the peers use a small part
of their core. They send no RTCP.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from active_call.bench.datagrams import ROW_BYTES, Incoming, Outgoing, Rows, open_peer_socket
from active_call.bench.media_judge import judge
from active_call.bench.speech import speech
from active_call.codec import g711
from active_call.rtp.srtp import SrtpSession
from active_call.rtp.srtp_suites import KEY_BYTES

SUITE: Final = "AES_CM_128_HMAC_SHA1_80"
IP: Final = "127.0.0.1"
TICK_S: Final = 0.020
TICKS_PER_S: Final = 50
PEERS_PER_SOCKET: Final = 16
WAKE_S: Final = 0.001
READ_EVERY: Final = 4
"""Sockets are read in every n-th wake-up; arrival times are the kernel's."""
DRAIN_S: Final = 0.1
MARGIN_TICKS: Final = 12 * TICKS_PER_S
"""Our own packets continue while streams are set up and closed; the log must have room for them."""
_HEADER: Final = struct.Struct("!BBHII")


@dataclass(frozen=True, slots=True)
class Task:
    """The work: `n_peers` with `n_packets` each, encrypted if `seed` (of the keys) is not empty."""

    n_peers: int
    n_packets: int
    seed: str


def key_of(seed: str, index: int, direction: str) -> bytes:
    """The SRTP key of one caller: `peer` for what it sends, `media` for what it receives. Empty without a seed."""
    return hashlib.blake2b(f"{seed} {index} {direction}".encode(), digest_size=KEY_BYTES).digest() if seed else b""


def first_frame(index: int) -> int:
    """Where in the sound a caller begins: each at another position."""
    return index * 37


def session_of(task: Task, index: int) -> SrtpSession | None:
    """The caller's end of the secured stream; None when it is plain."""
    return SrtpSession(SUITE, key_of(task.seed, index, "peer"), key_of(task.seed, index, "media")) if task.seed else None


def prepare(task: Task) -> tuple[Rows, int]:
    """Every packet of every caller, (packets * callers, ROW_BYTES), and their lengths. Row n is packet n // n_peers of n % n_peers."""
    frames = speech().frames
    payloads = [row.tobytes() for row in g711.encode(frames, np.zeros(len(frames), np.bool_))]
    rows: Rows = np.zeros((task.n_packets * task.n_peers, ROW_BYTES), np.uint8)
    size = 0
    for index in range(task.n_peers):
        srtp = session_of(task, index)
        packets = []
        for number in range(task.n_packets):
            header = _HEADER.pack(0x80, 0 if number else 0x80, number & 0xFFFF, number * 160, index + 1)
            packet = header + payloads[(first_frame(index) + number) % len(payloads)]
            packets.append(packet if srtp is None else srtp.protect(packet))
        size = len(packets[0])
        rows[index :: task.n_peers, :size] = np.frombuffer(b"".join(packets), np.uint8).reshape(-1, size)
    return rows, size


class Peers:
    """The callers, ready to start."""

    def __init__(self, task: Task) -> None:
        rows, size = prepare(task)
        self._task = task
        self._outgoing = Outgoing(rows, np.full(len(rows), size, np.uint64))
        self.incoming = Incoming((task.n_packets + MARGIN_TICKS) * task.n_peers)
        self._sockets = [open_peer_socket(IP) for _ in range(-(-task.n_peers // PEERS_PER_SOCKET))]
        self._fds = [sock.fileno() for sock in self._sockets]
        self.n_sent = 0
        self.late_s: list[float] = []
        """For each wake-up that sent something: how late its first packet was. This is the sender's own error."""

    @property
    def ports(self) -> list[int]:
        """The callers' ports."""
        ports = [sock.getsockname()[1] for sock in self._sockets]
        return [ports[index // PEERS_PER_SOCKET] for index in range(self._task.n_peers)]

    def run(self, ports: list[int], start_at: float) -> None:
        """Send everything, from `start_at` on, and read meanwhile."""
        self._outgoing.point_at(IP, ports)
        n_peers, total = self._task.n_peers, self._task.n_packets * self._task.n_peers
        position = wakings = 0
        while position < total:
            now = time.monotonic()
            due = min(int((now - start_at) / TICK_S * n_peers), total)
            if due > position:
                self.late_s.append(now - start_at - position * TICK_S / n_peers)
                self._send(position, due)
                position = due
            wakings += 1
            if wakings % READ_EVERY == 0:
                self.read()
            time.sleep(WAKE_S)

    def _send(self, first: int, end: int) -> None:
        n_peers = self._task.n_peers
        while first < end:
            peer = first % n_peers
            until_next_socket = min(PEERS_PER_SOCKET - peer % PEERS_PER_SOCKET, n_peers - peer)
            count = min(until_next_socket, end - first)
            self.n_sent += self._outgoing.send(self._fds[peer // PEERS_PER_SOCKET], first, count)
            first += count

    def read(self) -> None:
        """Read what has come."""
        for fd in self._fds:
            self.incoming.take(fd)

    def read_until_told(self) -> dict[str, Any]:
        """Keep reading until a line comes, and slightly longer; returns the line."""
        while not select.select([sys.stdin], [], [], WAKE_S * READ_EVERY)[0]:
            self.read()
        line: dict[str, Any] = json.loads(sys.stdin.readline())
        ends_at = time.monotonic() + DRAIN_S
        while time.monotonic() < ends_at:
            self.read()
            time.sleep(WAKE_S)
        return line

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()


def main() -> int:
    """Run the protocol of the module's docstring."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    task = Task(**json.loads(sys.stdin.readline()))
    peers = Peers(task)
    print(json.dumps(peers.ports), flush=True)
    start = json.loads(sys.stdin.readline())
    peers.run(start["ports"], start["start_at"])
    print(json.dumps({"sent": peers.n_sent}), flush=True)
    window = peers.read_until_told()
    sessions = [session_of(task, index) for index in range(task.n_peers)]
    seen = judge(peers.incoming, sessions, (window["from"], window["until"]), peers.late_s)
    print(json.dumps(asdict(seen)), flush=True)
    peers.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
