"""The TCP connections of the HTTP server: their limit, which are closed when there are too many, and which are refused.

An accepted connection enters; a uvicorn protocol that serves it leaves. Connections that wait for their client (for a request, or the rest
of a body) are closed for new ones beyond the limit, the longest waiting first: an attacker's idle connections cost a few descriptors, but
never the next request. A connection that serves a request is never closed for another. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

from msgspec import Struct

from active_call.net.limits import HandshakeRate, Refusals

TLS_HANDSHAKE_S: Final = 10.0
ACCEPTS_AT_ONCE: Final = 64
PAUSE_S: Final = 0.25
"""The pause after the system has refused a descriptor."""
BACKLOG: Final = 128
HEADER_BYTES: Final = 32 * 1024
"""The limit of a request's first line and headers together."""
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class HttpLimits(Struct, frozen=True):
    """The limits of the HTTP server. `first_reserved`: descriptors from this number on are reserved for calls."""

    connections: int = 512
    first_reserved: int = 1 << 30
    header_bytes: int = HEADER_BYTES
    header_s: float = 10.0
    """From the connection, or the first byte of a further request, to the end of the request's headers."""
    body_s: float = 30.0
    idle_s: float = 15.0
    tls_per_address_s: float = 50.0
    """TLS handshakes per second of one address, after a burst of twice as many; this machine is free."""
    tls_total_s: float = 150.0
    unread_s: float = 30.0
    """How long a client may leave its response unread."""

    @property
    def per_address(self) -> int:
        """Half of all, so that one address never takes all connections."""
        return max(1, self.connections // 2)


class Served(Protocol):
    """The protocol of one connection."""

    def give_way(self) -> None:
        """Close the connection now."""
        ...


class Connections:
    """Counts connections and decides which are closed. `make_protocol` creates the protocol of one, `refusals` counts by rule."""

    def __init__(self, limits: HttpLimits, refusals: Refusals) -> None:
        self.limits = limits
        self.refusals = refusals
        self._open: dict[Served, str] = {}
        self._n_by_address: Counter[str] = Counter()
        self._waiting: dict[Served, None] = {}
        """Connections waiting for their client, the longest waiting first."""
        self._handshakes = HandshakeRate(limits.tls_per_address_s, limits.tls_total_s)

    def may_shake_hands(self, remote: str, now: float) -> bool:
        """Whether one more TLS handshake may begin now; it costs about 2 ms. Otherwise the refusal is counted."""
        may = self._handshakes.take(remote, now)
        if not may:
            self.refusals.note("http_handshake_rate", remote)
        return may

    def __len__(self) -> int:
        return len(self._open)

    def make_room(self, remote: str, descriptor: int) -> str | None:
        """Admit one more connection from `remote`; closes a waiting one for it if needed. Otherwise returns the violated rule."""
        if descriptor >= self.limits.first_reserved:
            self.shed()
            return "descriptors"
        if self._n_by_address[_source(remote)] >= self.limits.per_address and not self.shed(_source(remote)):
            return "http_connections_per_address"
        if len(self._open) >= self.limits.connections and not self.shed():
            return "http_connections"
        return None

    def opened(self, served: Served, remote: str) -> None:
        self._open[served] = _source(remote)
        self._n_by_address[_source(remote)] += 1
        self._waiting[served] = None

    def closed(self, served: Served) -> None:
        """The connection has closed; may be called again."""
        self._waiting.pop(served, None)
        source = self._open.pop(served, None)
        if source is not None:
            self._n_by_address[source] -= 1
            if self._n_by_address[source] <= 0:
                del self._n_by_address[source]

    def waits(self, served: Served, is_waiting: bool) -> None:
        """Whether it waits for its client from now on."""
        if not is_waiting:
            self._waiting.pop(served, None)
        elif served in self._open:
            self._waiting.setdefault(served)

    def shed(self, source: str | None = None) -> bool:
        """Close the connection that has waited longest, from `source` if given; False if none waits."""
        served = next((one for one in self._waiting if source is None or self._open[one] == source), None)
        if served is None:
            return False
        self.refusals.note("http_gave_way", self._open[served])
        self.closed(served)
        served.give_way()
        return True


class Listener:
    """Accepts on a bound socket, which it closes at the end. `make` creates the protocol of an accepted connection.

    `tls` returns the context of HTTPS, None for plain HTTP.
    """

    def __init__(
        self,
        listening: socket.socket,
        connections: Connections,
        make: Callable[[], asyncio.Protocol],
        tls: Callable[[], ssl.SSLContext | None] = lambda: None,
    ) -> None:
        self._socket = listening
        self._connections = connections
        self._make = make
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._starting: set[asyncio.Task[None]] = set()
        self._resuming: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._socket.setblocking(False)
        self._socket.listen(BACKLOG)
        self._loop.add_reader(self._socket.fileno(), self._accept_some)

    def close(self) -> None:
        """Stop accepting; open connections belong to their protocols."""
        if self._resuming is not None:
            self._resuming.cancel()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _accept_some(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                accepted, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORT:
                    return
                self._connections.refusals.note("descriptors", "")
                self._connections.shed()
                self._pause()
                return
            self._admit(accepted, str(address[0]))

    def _pause(self) -> None:
        """Avoids a busy loop while there is no descriptor."""
        self._loop.remove_reader(self._socket.fileno())
        self._resuming = self._loop.call_later(PAUSE_S, self._loop.add_reader, self._socket.fileno(), self._accept_some)

    def _admit(self, accepted: socket.socket, remote: str) -> None:
        accepted.setblocking(False)
        rule = self._connections.make_room(remote, accepted.fileno())
        if rule is not None:
            self._connections.refusals.note(rule, remote)
            _say_no(accepted)
            return
        if self._tls() is not None and not self._connections.may_shake_hands(remote, self._loop.time()):
            accepted.close()
            return
        protocol = self._make()
        self._connections.opened(protocol, remote)  # type: ignore[arg-type]
        task = self._loop.create_task(self._serve(accepted, protocol), name="http connection")
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _serve(self, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            context = self._tls()
            handshake_s = TLS_HANDSHAKE_S if context is not None else None
            await self._loop.connect_accepted_socket(lambda: protocol, accepted, ssl=context, ssl_handshake_timeout=handshake_s)
        except OSError:
            self._connections.closed(protocol)  # type: ignore[arg-type]
            accepted.close()


def _say_no(accepted: socket.socket) -> None:
    """Send 503 at once, without reading the request."""
    body = json.dumps({"error": "too many connections", "code": "too_many_connections"}).encode()
    head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    with contextlib.suppress(OSError):
        accepted.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    accepted.close()


def _source(remote: str) -> str:
    """The unit that counts as one address: IPv4, also within IPv6; the /64 for IPv6."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
