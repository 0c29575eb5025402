"""The sockets of the SIP driver: UDP sockets, TCP and TLS listeners, stream connections.

In: addresses, bytes to send. Out: datagrams and chunks with their flow, and opened and closed connections. This module knows no SIP
messages; the core does the framing. Sockets are read by `add_reader`, so that a send error belongs to the datagram that caused it and an
accept error does not end a listener. Both work the same under asyncio and uvloop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from msgspec import Struct

from active_call.base.errors import TransportError
from active_call.net import icmp
from active_call.net.addresses import is_wildcard, local_address_towards
from active_call.sip.events import Address, Flow, TransportName

MAX_DATAGRAM_BYTES = 65_535
UDP_BUFFER_BYTES = 4 * 1024 * 1024
"""Requested from the kernel, which may grant less (net.core.rmem_max): a second of 2,000 messages of 2 kB."""
SEND_ATTEMPTS = 4
DATAGRAMS_PER_WAKE = 64
"""Maximum number of datagrams read in one wake-up, before the loop runs other tasks."""
DATAGRAMS_AT_ONCE = 16
"""Maximum number of datagrams read between two steps of the loop."""
ACCEPTS_PER_WAKE = 64
ACCEPT_PAUSE_S = 1.0
"""How long a listener pauses when the process is out of file descriptors."""
BACKLOG = 1024
MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""A peer with more queued data than this does not read."""
KEPT_FLOWS = 4096
PING = b"\r\n\r\n"
"""RFC 5626 §3.5.1."""
DEAD_PEER_S = 30
"""A connection with unacknowledged data or unanswered probes for this long is closed (RFC 9293 §3.8.3, TCP_USER_TIMEOUT)."""


def bind_socket(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    """A non-blocking socket bound to `host`, an address of this machine. Raises TransportError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UDP_BUFFER_BYTES)
            icmp.ask_for_reports(sock)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise TransportError(f"cannot listen: {error.strerror or error}", where=f"{host}:{port}") from error
    return sock


def plain_address(name: Sequence[object]) -> Address:
    """A socket name as an Address. An IPv4-mapped IPv6 address becomes IPv4."""
    host = str(name[0])
    mapped = host[7:] if host.startswith("::ffff:") and "." in host else host
    return Address(mapped, cast("int", name[1]))


class UdpSocket:
    """One UDP socket. If `on_datagram` raises, the wake-up ends, and the following datagrams are read in the next one.

    `on_undelivered` is called from the loop, never from inside `send`.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_datagram: Callable[[bytes, Flow], None],
        on_undelivered: Callable[[Address, icmp.Undelivered], None],
        logger: logging.Logger,
    ) -> None:
        self.bound = plain_address(sock.getsockname())
        self._sock = sock
        self._is_v6 = sock.family == socket.AF_INET6
        self._on_datagram = on_datagram
        self._on_undelivered = on_undelivered
        self._is_closed = False
        self._log = logger
        self._flows: dict[tuple[object, ...], Flow] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)

    def can_reach(self, host: str) -> bool:
        """Whether the socket's family matches the address `host`."""
        return self._is_v6 if ":" in host else not self._is_v6 or self.bound.host == "::"

    def send(self, data: bytes, remote: Address) -> None:
        """Send one datagram. Raises OSError. A full send buffer counts as packet loss; the core retransmits."""
        host = f"::ffff:{remote.host}" if self._is_v6 and ":" not in remote.host else remote.host
        try:
            self._send_past_reports(data, (host, remote.port))
        except BlockingIOError:
            self._log.warning("datagram dropped", extra={"why": "send buffer full", "size_bytes": len(data)})

    def _send_past_reports(self, data: bytes, address: tuple[str, int]) -> None:
        """Send again if the error may be the ICMP error of an earlier datagram: read the error queue first."""
        for _ in range(SEND_ATTEMPTS - 1):
            try:
                self._sock.sendto(data, address)
            except BlockingIOError:
                raise
            except OSError:
                reports = icmp.take_reports(self._sock)
                self._loop.call_soon(self._report, reports or [])  # also without reports: reading may have to be restarted
                if not reports:
                    break
            else:
                return
        self._sock.sendto(data, address)

    def close(self) -> None:
        self._is_closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def read_arrived(self) -> None:
        """Read at most `DATAGRAMS_AT_ONCE` datagrams now. An error is handled in the next step of the loop."""
        for _ in range(DATAGRAMS_AT_ONCE):
            try:
                data, name = self._sock.recvfrom(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:
                self._loop.call_soon(self._restart)  # the kernel tells it once, and the loop has ended its poll
                return
            self._on_datagram(data, self._flows.get(name) or self._new_flow(name))

    def _read(self) -> None:
        """Read what has arrived. Then empty the error queue: what is in it has ended the poll, even if a datagram was there to read."""
        n_read = 0
        try:
            for _ in range(DATAGRAMS_PER_WAKE):
                try:
                    data, name = self._sock.recvfrom(MAX_DATAGRAM_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:
                    if not self._restart():
                        self._log.warning("datagram could not be received", extra={"error": str(error)})
                    return
                n_read += 1
                self._on_datagram(data, self._flows.get(name) or self._new_flow(name))
        finally:
            reports = None if self._is_closed else icmp.take_reports(self._sock)
            if reports is not None or not n_read:
                self._report(reports or [])

    def _restart(self) -> bool:
        """Report what the network has turned back, and read on. Whether there was anything."""
        reports = None if self._is_closed else icmp.take_reports(self._sock)
        self._report(reports or [])
        return reports is not None

    def _report(self, reports: list[icmp.Undelivered]) -> None:
        if self._is_closed:
            return
        # libuv ends a poll after an error.
        self._loop.remove_reader(self._sock.fileno())
        self._loop.add_reader(self._sock.fileno(), self._read)
        for report in reports:
            self._on_undelivered(plain_address(report.remote), report)

    def _new_flow(self, name: tuple[object, ...]) -> Flow:
        if len(self._flows) >= KEPT_FLOWS:
            self._flows.clear()
        remote = plain_address(name)
        local = Address(local_address_towards(remote.host), self.bound.port) if is_wildcard(self.bound.host) else self.bound
        flow = self._flows[name] = Flow("udp", local, remote)
        return flow


class StreamOwner(Protocol):
    """Receives the events of stream connections: made once, then data or whole messages, then lost once."""

    def on_stream_made(self, connection: StreamConnection) -> None: ...

    def on_stream_data(self, connection: StreamConnection, data: bytes) -> None: ...

    def on_stream_message(self, connection: StreamConnection, data: bytes) -> None: ...

    def on_stream_refused(self, connection: StreamConnection, rule: str) -> None: ...

    def on_stream_lost(self, connection: StreamConnection, reason: str) -> None: ...


class StreamConnection(asyncio.Protocol):
    """One TCP or TLS connection after its handshake. `on_stream_lost` is called exactly once."""

    is_message_based = False
    """Whether the transport itself delimits messages."""

    def __init__(self, owner: StreamOwner, connection_id: int, transport_name: TransportName, now: float, *, is_outgoing: bool) -> None:
        self.id = connection_id
        self.is_outgoing = is_outgoing
        self.flow: Flow | None = None
        self.opened_at = now
        self.last_sent_at = now
        self.has_spoken = False
        self.closed = asyncio.Event()
        self._owner = owner
        self._transport_name: TransportName = transport_name
        self._transport: asyncio.Transport | None = None
        self._why = ""

    @property
    def is_open(self) -> bool:
        """Whether the connection can send."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def why_closed(self) -> str:
        """Why the connection was closed, if it was."""
        return self._why

    def send(self, data: bytes, now: float) -> bool:
        """Send or queue bytes. False if the connection is closed."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._owner.on_stream_refused(self, "unread_responses")
            self.abort("the peer does not read")
            return False
        transport.write(data)
        self.last_sent_at = now
        return True

    def half_read_since(self, now: float) -> float | None:
        """When the incomplete message started, if the transport itself knows. Call every few seconds."""
        del now
        return None

    def ping(self, now: float) -> None:
        """Send a keep-alive, which also refreshes NAT bindings (RFC 5626 §3.5.1)."""
        self.send(PING, now)

    def close(self, why: str) -> None:
        """Close after the queued data was sent."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.close()

    def abort(self, why: str) -> None:
        """Close at once."""
        self._why = self._why or why
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            _set_stream_options(sock)
        local, remote = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        if not local or not remote:
            # The peer closed the connection before it was accepted here.
            self.abort("closed by the peer")
            return
        self.flow = Flow(self._transport_name, plain_address(local), plain_address(remote), self.id)
        self._owner.on_stream_made(self)

    @property
    def peer_certificate(self) -> Mapping[str, Any]:
        """The verified certificate of the peer as `ssl` returns it; empty if there is none."""
        return (self._transport.get_extra_info("peercert") if self._transport is not None else None) or {}

    def data_received(self, data: bytes) -> None:
        self.has_spoken = True
        self._owner.on_stream_data(self, data)

    def eof_received(self) -> bool:
        self._why = self._why or "closed by the peer"
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.closed.set()
        self._owner.on_stream_lost(self, self._why or (f"connection failed: {exc}" if exc else "closed by the peer"))


def _set_stream_options(sock: socket.socket) -> None:
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", DEAD_PEER_S),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", DEAD_PEER_S * 1000),
    ]
    for level, name, value in options:
        with contextlib.suppress(OSError):
            if hasattr(socket, name):
                sock.setsockopt(level, getattr(socket, name), value)


class Accepted(Struct, frozen=True):
    """A connection that the kernel has accepted, before its TLS handshake."""

    sock: socket.socket
    remote: Address


class StreamListener:
    """One listening TCP socket, for TCP or TLS. `on_accepted` takes ownership of each connection."""

    def __init__(self, sock: socket.socket, on_accepted: Callable[[Accepted], None], logger: logging.Logger) -> None:
        self.bound = plain_address(sock.getsockname())
        self._sock = sock
        self._on_accepted = on_accepted
        self._log = logger
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._start()

    def close(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _start(self) -> None:
        self._resume = None
        self._loop.add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_WAKE):
            try:
                sock, name = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                # EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog until other connections are closed.
                self._log.error("connection could not be accepted", extra={"error": str(error), "pause_s": ACCEPT_PAUSE_S})
                self._loop.remove_reader(self._sock.fileno())
                self._resume = self._loop.call_later(ACCEPT_PAUSE_S, self._start)
                return
            sock.setblocking(False)
            self._on_accepted(Accepted(sock, plain_address(name)))


def describe_failure(error: BaseException) -> str:
    """The text for a failed connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message or error}"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError) and not error.strerror:
        return str(error) or "connection reset by the peer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
