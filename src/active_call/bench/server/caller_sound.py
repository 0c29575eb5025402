"""The sound of the callers: every packet built and encrypted in advance, sent by `sendmmsg`, and the log of received packets.

It uses only pylibsrtp, NumPy and system calls, so that it shares no packet, codec or cipher code with the server. G.711 mu-law
(ITU-T G.711), RTP (RFC 3550), SRTP with AES_CM_128_HMAC_SHA1_80 (RFC 3711). Lines are spread evenly over the 20 ms.
"""

from __future__ import annotations

import ctypes
import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pylibsrtp import Policy, Session

from active_call.bench.datagrams import ADDRESS, IOVEC, MESSAGE, ROW_BYTES, Incoming, Rows, address_of, open_peer_socket, send_messages
from active_call.bench.server.task import Task, key_of
from active_call.bench.speech import speech

TICK_S: Final = 0.020
TICKS_PER_S: Final = 50
FRAME: Final = 160
LINES_PER_SOCKET: Final = 16
MARGIN_TICKS: Final = 3 * TICKS_PER_S
PLAIN_BYTES: Final = 12 + FRAME
TAG_BYTES: Final = 10
ULAW_BIAS: Final = 132
ULAW_CLIP: Final = 32635
NOT_SENDING: Final = -1
SSRC_BASE: Final = 0x0BE7_0000
_HEADER: Final = struct.Struct("!BBHII")


def encode_ulaw(samples: NDArray[np.int16]) -> NDArray[np.uint8]:
    """16-bit samples to mu-law bytes, of the same shape."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), ULAW_CLIP) + ULAW_BIAS
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    sign = np.where(samples < 0, 0x80, 0)
    return np.asarray(~(sign | (exponent << 4) | mantissa) & 0xFF, np.uint8)


def session_for_sending(key: bytes) -> Session:
    """libsrtp's session of a caller's own packets."""
    return Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_OUTBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))


def prepare(task: Task) -> tuple[Rows, int]:
    """Every packet of every line, (lines * packets, ROW_BYTES), and their lengths. Row n is packet n % n_packets of its line."""
    payloads = [row.tobytes() for row in encode_ulaw(speech().frames)]
    rows: Rows = np.zeros((task.n_lines * task.n_packets, ROW_BYTES), np.uint8)
    size = PLAIN_BYTES + (TAG_BYTES if task.seed else 0)
    for line in range(task.n_lines):
        first = line * 37  # each line begins at another word
        packets = [
            _HEADER.pack(0x80, 0 if number else 0x80, number & 0xFFFF, number * FRAME, SSRC_BASE + line)
            + payloads[(first + number) % len(payloads)]
            for number in range(task.n_packets)
        ]
        if task.seed:
            protect = session_for_sending(key_of(task, line)).protect
            packets = [protect(packet) for packet in packets]
        start = line * task.n_packets
        rows[start : start + task.n_packets, :size] = np.frombuffer(b"".join(packets), np.uint8).reshape(-1, size)
    return rows, size


class Sound:
    """All lines. A line sends from `begin` on until `end`, or until its packets are used up."""

    def __init__(self, task: Task, ip: str) -> None:
        rows, size = prepare(task)
        n_lines = task.n_lines
        self._rows, self._n_packets, self._n_lines = rows, task.n_packets, n_lines
        self._base = int(address_of(rows))
        self._first_tick = np.full(n_lines, NOT_SENDING, np.int64)
        self._addresses = np.zeros(n_lines, ADDRESS)
        self._addresses["family"] = 2
        self._addresses["ip"] = np.array([int(part) for part in ip.split(".")], np.uint8)
        self._names = address_of(self._addresses) + np.arange(n_lines, dtype=np.uint64) * np.uint64(ADDRESS.itemsize)
        self._vectors = np.zeros(LINES_PER_SOCKET, IOVEC)
        self._vectors["size"] = size
        self._messages = np.zeros(LINES_PER_SOCKET, MESSAGE)
        step = np.arange(LINES_PER_SOCKET, dtype=np.uint64) * np.uint64(IOVEC.itemsize)
        self._messages["iov"] = address_of(self._vectors) + step
        self._messages["n_iov"] = 1
        self._messages["name_bytes"] = ADDRESS.itemsize
        self._where = ctypes.c_void_p(int(address_of(self._messages)))
        self._sockets = [open_peer_socket(ip) for _ in range(-(-n_lines // LINES_PER_SOCKET))]
        self._fds = [sock.fileno() for sock in self._sockets]
        self.incoming = Incoming((task.n_packets + MARGIN_TICKS) * n_lines, with_sources=True)
        self._start_at = 0.0
        self._position = 0
        self.n_sent = 0
        self.late: list[tuple[float, float]] = []
        """For each wake-up with due packets: when it was, and how late in seconds."""

    def port(self, line: int) -> int:
        """Where the sound for `line` should be sent; lines share ports."""
        port: int = self._sockets[line // LINES_PER_SOCKET].getsockname()[1]
        return port

    def start(self, at: float) -> None:
        """The grid begins at `at`, in monotonic seconds."""
        self._start_at = at

    def begin(self, line: int, port: int, now: float) -> None:
        """Send the packets of `line` to `port` from the next tick on."""
        self._addresses["port"][line] = port
        self._first_tick[line] = int((now - self._start_at) / TICK_S) + 1

    def end(self, line: int) -> None:
        """Send no more of `line`."""
        self._first_tick[line] = NOT_SENDING

    def send(self, now: float) -> None:
        """Send what is due."""
        due = int((now - self._start_at) / TICK_S * self._n_lines) + 1
        position, n_lines = self._position, self._n_lines
        if due <= position:
            return
        self.late.append((now, now - self._start_at - position * TICK_S / n_lines))
        while position < due:
            tick, line = divmod(position, n_lines)
            socket = line // LINES_PER_SOCKET
            count = min((socket + 1) * LINES_PER_SOCKET - line, n_lines - line, due - position)
            self._send_some(tick, line, count, self._fds[socket])
            position += count
        self._position = position

    def _send_some(self, tick: int, line: int, count: int, fd: int) -> None:
        first = self._first_tick[line : line + count]
        number = tick - first
        active = np.flatnonzero((first >= 0) & (number >= 0) & (number < self._n_packets))
        n_active = len(active)
        if not n_active:
            return
        rows = (line + active) * self._n_packets + number[active]
        self._vectors["base"][:n_active] = self._base + rows * ROW_BYTES
        self._messages["name"][:n_active] = self._names[line + active]
        self.n_sent += send_messages(fd, self._where, n_active)

    def read(self) -> None:
        """Read what has come."""
        for fd in self._fds:
            self.incoming.take(fd)

    @property
    def ports(self) -> set[int]:
        """All local ports."""
        return {sock.getsockname()[1] for sock in self._sockets}

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()


def opened(packet: bytes, session: Any) -> bytes | None:
    """A packet of the server, decrypted; None if it is not authentic."""
    if session is None:
        return packet
    try:
        plain: bytes = session.unprotect(packet)
    except Exception:  # noqa: BLE001 (libsrtp reports every error by the same class)
        return None
    return plain


def session_for_receiving(key: bytes) -> Session:
    """libsrtp's session for the server's packets."""
    return Session(Policy(key=key, ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))
