"""The sockets of the SIP bench's caller: whole messages out and in, over UDP, or over TCP or TLS connections that stay open.

It uses plain sockets and shares no code with the server. Over UDP the time of arrival is the kernel's; over a stream it is the time of
reading. All times are wall-clock times, which the kernel's time stamps use.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from typing import Final, Protocol

from active_call.base.errors import TransportError

_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("qq")
_BUFFER_BYTES: Final = 4 * 1024 * 1024
_DATAGRAMS_A_WAKE: Final = 64
_MAX_BYTES: Final = 65_535
_CONNECT_DEADLINE_S: Final = 5.0

Arrival = tuple[bytes, float]


class Lines(Protocol):
    """The interface for sending and receiving."""

    local: str
    """`host:port` for Via and Contact."""

    def send(self, data: bytes, call: int) -> None:
        """Send one message of a call."""

    def wait(self, timeout_s: float) -> Iterator[Arrival]:
        """What has arrived; waits up to `timeout_s` for the first message."""

    def close(self) -> None:
        """Close every socket."""


class UdpLine:
    """One UDP socket for all calls."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((host, 0))
        self._socket.connect((host, port))
        self._socket.setblocking(False)
        self.local = f"{host}:{self._socket.getsockname()[1]}"

    def send(self, data: bytes, call: int) -> None:
        """Send one message of a call."""
        del call
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            self._socket.send(data)

    def wait(self, timeout_s: float) -> Iterator[Arrival]:
        """What has arrived; waits up to `timeout_s` for the first message."""
        if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
            return
        for _ in range(_DATAGRAMS_A_WAKE):
            try:
                data, ancillary, _, _ = self._socket.recvmsg(_MAX_BYTES, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
            yield data, seconds + nanoseconds * 1e-9

    def close(self) -> None:
        """Close every socket."""
        self._socket.close()


class StreamLines:
    """Several connections, opened in advance; each call uses one of them."""

    def __init__(self, host: str, port: int, *, tls: bool, n_connections: int) -> None:
        context = trusting_context() if tls else None
        self._connections = [connect(host, port, context) for _ in range(n_connections)]
        self._unread = {sock.fileno(): bytearray() for sock in self._connections}
        self._by_fd = {sock.fileno(): sock for sock in self._connections}
        self._poll = select.epoll()
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        self.local = f"{host}:{self._connections[0].getsockname()[1]}"

    def send(self, data: bytes, call: int) -> None:
        """Send one message of a call."""
        sock = self._connections[call % len(self._connections)]
        try:
            if sock.send(data) != len(data):
                raise TransportError("the server does not read")
        except (BlockingIOError, ssl.SSLWantWriteError) as error:
            raise TransportError("the server does not read") from error

    def wait(self, timeout_s: float) -> Iterator[Arrival]:
        """What has arrived; waits up to `timeout_s` for the first message."""
        for fd, _ in self._poll.poll(max(0.0, timeout_s)):
            yield from self._read(fd)

    def close(self) -> None:
        """Close every socket."""
        self._poll.close()
        for sock in self._connections:
            sock.close()

    def _read(self, fd: int) -> Iterator[Arrival]:
        sock, unread = self._by_fd[fd], self._unread[fd]
        while True:
            try:
                data = sock.recv(_MAX_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            if not data:
                raise TransportError("the server has closed a connection")
            unread += data
        at = time.time()
        for message in cut_messages(unread):
            yield message, at


def cut_messages(unread: bytearray) -> Iterator[bytes]:
    """The complete messages at the front of `unread`, which keeps the rest."""
    while (end := unread.find(b"\r\n\r\n")) >= 0:
        head = bytes(unread[: end + 2])
        start = head.lower().find(b"\r\ncontent-length:")
        length = int(head[start + 17 : head.index(b"\r\n", start + 2)]) if start >= 0 else 0
        if len(unread) < end + 4 + length:
            return
        yield bytes(unread[: end + 4 + length])
        del unread[: end + 4 + length]


def count_connections(host: str, port: int, *, tls: bool, seconds: float, at_once: int = 8) -> int:
    """How many connections could be opened, used for one OPTIONS and closed in `seconds`, `at_once` of them at a time.

    They come from many loopback addresses, because a server limits the rate from one address.
    """
    context = trusting_context() if tls else None
    end = time.monotonic() + seconds
    counts = [0] * at_once

    def work(index: int) -> None:
        for number in itertools.count():
            if time.monotonic() >= end:
                return
            with contextlib.suppress(OSError), connect(host, port, context, f"127.0.{index + 1}.{number % 250 + 1}") as sock:
                sock.settimeout(_CONNECT_DEADLINE_S)
                sock.sendall(_options(sock, host, port, "tls" if tls else "tcp"))
                counts[index] += sock.recv(_MAX_BYTES).startswith(b"SIP/2.0 200 ")

    threads = [threading.Thread(target=work, args=(index,)) for index in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def _options(sock: socket.socket, host: str, port: int, transport: str) -> bytes:
    local = sock.getsockname()[1]
    return (
        f"OPTIONS sip:{host}:{port} SIP/2.0\r\nVia: SIP/2.0/{transport.upper()} {host}:{local};branch=z9hG4bK{time.monotonic_ns()}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:bench@{host}>;tag=b\r\nTo: <sip:{host}:{port}>\r\nCall-ID: {local}.{time.monotonic_ns()}\r\n"
        f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def connect(host: str, port: int, context: ssl.SSLContext | None, own_ip: str = "") -> socket.socket:
    """A non-blocking connection with its TLS handshake done. Raises OSError."""
    sock = socket.create_connection((host, port), _CONNECT_DEADLINE_S, source_address=(own_ip, 0) if own_ip else None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if context is not None:
        sock = context.wrap_socket(sock)
    sock.setblocking(False)
    return sock


def trusting_context() -> ssl.SSLContext:
    """Trusts the bench server's newly created certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
