"""The stream connections of the SIP driver: find, open, accept, keep alive and count them.

In: targets with bytes for them, accepted sockets, the time. Out: bytes on connections; failures by transmit id; chunks and losses to the
owner. A target uses

1. its own flow while that is open (RFC 5626); 2. a connection to the same address and port with the same transport (RFC 3261 §18, RFC
5923). Over TLS it must also be verified for the same
   name (RFC 5922 §5), except that an address literal may use any: carriers name their edge by address in Record-Route. A new TLS connection
   could not be verified there, but the existing one was verified by name;
3. a new connection. An address that was reached by a name before is verified by that name again, so that a dialog survives the loss of its
   connection.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

from active_call.base.world import Clock
from active_call.net.addresses import is_ip
from active_call.net.certificates import MakeContext, is_named_by_uri
from active_call.net.limits import HALF_READ_S, Admission, ConnectionLimits, Refusals
from active_call.net.locating import DEFAULT_PORTS
from active_call.net.sip_sockets import Accepted, StreamConnection, StreamOwner, describe_failure
from active_call.sip.events import Address, Flow, Target, Transmit, TransportName

if TYPE_CHECKING:
    from active_call.net.sip_websocket import WebSocketConnection

CONNECT_DEADLINE_S = 3.5
"""TCP and TLS together: the core gives up an address after 4 s (`EndpointConfig.next_hop_after_s`), and needs the reason before that."""
HANDSHAKE_DEADLINE_S = 5.0
SHUTDOWN_DEADLINE_S = 2.0
SILENT_CONNECTION_S = 30.0
"""An accepted connection that has sent nothing in this time is closed."""
KEEPALIVE_S = 30.0
MAX_WAITING = 1000
"""Maximum number of transmits that wait for one connection to open."""

MAX_NAMES = 1024
"""Number of addresses whose host name is remembered."""

SECURE: tuple[TransportName, ...] = ("tls", "wss")
X509_V_ERR_HOSTNAME_MISMATCH = 62
"""From openssl/x509_vfy.h."""

Place = tuple[TransportName, str, int]
Key = tuple[TransportName, str, int, str]
"""An address and the name of its verified certificate; empty without verification."""
Failed = Callable[[int, str], None]


@dataclass(slots=True)
class _Dialling:
    """A connection that is being opened, and the transmits that wait for it."""

    waiting: list[Transmit] = field(default_factory=list)


class ConnectionsOwner(StreamOwner, Protocol):
    """Receives the events of connections, and knows the standing of their peers."""

    def standing_of(self, remote: str, now: float) -> str:
        """`known`, `peer`, `unknown` or `silenced` (`sip.access.reading`)."""
        ...

    def idle_since(self, connection_id: int) -> float | None:
        """When the last SIP message arrived; None if there was none."""
        ...

    def connections_in_use(self) -> set[int]:
        """The connections with open calls, registrations or requests."""
        ...


class Connections:
    """All stream connections of one driver."""

    def __init__(
        self,
        owner: ConnectionsOwner,
        clock: Clock,
        *,
        server_tls: ssl.SSLContext | None,
        client_tls: MakeContext,
        client_tls_by_uri: MakeContext | None,
        limits: ConnectionLimits,
        refusals: Refusals,
        source_towards: Callable[[TransportName, str], str | None],
        on_failed: Failed,
        logger: logging.Logger,
    ) -> None:
        self._owner = owner
        self._clock = clock
        self._server_tls = server_tls
        self._client_tls = client_tls
        self._client_tls_by_uri = client_tls_by_uri
        self._admission = Admission(limits)
        self._refusals = refusals
        self._source_towards = source_towards
        self._on_failed = on_failed
        self._log = logger
        self._by_id: dict[int, StreamConnection] = {}
        self._by_key: dict[Key, StreamConnection] = {}
        self._by_place: dict[Place, StreamConnection] = {}
        self._names: dict[Place, str] = {}
        self._dialling: dict[Key, _Dialling] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_handshake: set[int] = set()
        self._remotes: dict[int, str] = {}
        self._strangers: set[int] = set()
        """Connections accepted from addresses that no trunk lists."""
        self._limits = limits
        self._n_opened = 0
        self._is_closed = False

    def __len__(self) -> int:
        """Number of open connections, including those in their handshake."""
        return len(self._by_id) + len(self._in_handshake)

    # -- sending

    def send_on(self, flow: Flow, data: bytes) -> bool:
        """Send on the connection that `flow` names. False if it is closed."""
        connection = self._by_id.get(flow.connection_id) if flow.connection_id is not None else None
        return connection is not None and connection.send(data, self._clock.now())

    def send_to(self, transmit: Transmit, target: Target) -> None:
        """Send to a next hop, over an existing or a new connection. `on_failed` reports failures."""
        if target.flow is not None and self.send_on(target.flow, transmit.data):
            return
        if not is_ip(target.host):
            self._on_failed(transmit.id, f"{target.host}: the connection is gone, and the name was not resolved")
            return
        key = self._key_of(target)
        connection = self._by_key.get(key) if key[3] and target.name is not None else self._by_place.get(key[:3])
        if connection is not None and connection.send(transmit.data, self._clock.now()):
            return
        if self._is_closed:
            self._on_failed(transmit.id, "the server is stopping")
            return
        dialling = self._dialling.get(key)
        if dialling is None:
            dialling = self._dialling[key] = _Dialling()
            self._spawn(self._dial(key, dialling), f"sip connect {key[0]} {key[1]}:{key[2]}")
        if len(dialling.waiting) >= MAX_WAITING:
            self._on_failed(transmit.id, "too much waits for this connection")
            return
        dialling.waiting.append(transmit)

    def close_flow(self, flow: Flow) -> None:
        """Close the connection that `flow` names after its queued data was sent."""
        connection = self._by_id.get(flow.connection_id) if flow.connection_id is not None else None
        if connection is not None:
            connection.close("closed by us")

    # -- opening

    async def _dial(self, key: Key, dialling: _Dialling) -> None:
        reason = "not connected"
        try:
            connection = await self._open(key)
        except (OSError, ssl.SSLError, ssl.CertificateError, TimeoutError) as error:
            reason = describe_failure(error)
            fields = {"transport": key[0], "host": key[3] or key[1], "address": f"{key[1]}:{key[2]}", "reason": reason}
            self._log.warning("connection could not be opened", extra=fields)
        else:
            self._opened(key, connection, dialling)
            return
        finally:
            if self._dialling.get(key) is dialling:
                del self._dialling[key]
        for transmit in dialling.waiting:
            self._on_failed(transmit.id, f"{key[0]} {key[1]}:{key[2]}: {reason}")

    async def _open(self, key: Key) -> StreamConnection:
        if key[0] not in SECURE:
            return await self._connect(key)
        # The host of the URI is the SNI and must be in the certificate (RFC 5922 §7.1). An address literal is checked as such.
        try:
            return await self._connect(key, await asyncio.to_thread(self._client_tls))
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != X509_V_ERR_HOSTNAME_MISMATCH or self._client_tls_by_uri is None:
                raise
            connection = await self._connect(key, await asyncio.to_thread(self._client_tls_by_uri))
            if is_named_by_uri(connection.peer_certificate, key[3]):
                return connection
            connection.abort("the certificate is for another name")
            raise

    async def _connect(self, key: Key, context: ssl.SSLContext | None = None) -> StreamConnection:
        transport, host, port, name = key
        connection = self._new_connection(transport, key)
        options: dict[str, Any] = {}
        if context is not None:
            options = {"ssl": context, "server_hostname": name or host, "ssl_shutdown_timeout": SHUTDOWN_DEADLINE_S}
        source = self._source_towards(transport, host)
        if source is not None:
            options["local_addr"] = (source, 0)
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                await asyncio.get_running_loop().create_connection(lambda: connection, host, port, **options)
                if transport in ("ws", "wss"):
                    await cast("WebSocketConnection", connection).opened.wait()
        finally:
            self._in_handshake.discard(connection.id)
        if connection.flow is None or not connection.is_open:
            raise ConnectionResetError(connection.why_closed or "closed by the peer")
        return connection

    def _opened(self, key: Key, connection: StreamConnection, dialling: _Dialling) -> None:
        place, name = key[:3], key[3]
        self._by_key[key] = connection
        self._by_place[place] = connection
        if name:
            if len(self._names) >= MAX_NAMES:
                self._names.clear()
            self._names[place] = name
        fields = {"transport": key[0], "host": name or key[1], "address": f"{key[1]}:{key[2]}", "connection_id": connection.id}
        self._log.info("connection opened", extra=fields)
        now = self._clock.now()
        for transmit in dialling.waiting:
            if not connection.send(transmit.data, now):
                self._on_failed(transmit.id, "the connection was lost")

    def _key_of(self, target: Target) -> Key:
        address = address_of(target)
        place = target.transport, address.host, address.port
        if target.transport not in SECURE:
            return *place, ""
        name = target.name if target.name is not None else self._names.get(place, "")
        return *place, "" if is_ip(name) else name.lower().rstrip(".")

    # -- accepting

    def accept(self, accepted: Accepted, transport: TransportName) -> None:
        """Take an accepted socket, or close it without an answer if it violates a rule of `limits`."""
        remote = accepted.remote.host
        rule = self._broken_rule(remote, transport)
        if self._is_closed or rule is not None:
            accepted.sock.close()
            if rule is not None:
                self._refusals.note(rule, remote)
            return
        connection = self._new_connection(transport)
        self._admission.opened(remote)
        self._remotes[connection.id] = remote
        if self._owner.standing_of(remote, self._clock.now()) != "known":
            self._strangers.add(connection.id)
        self._spawn(self._welcome(accepted, connection, transport), f"sip accept {transport} {accepted.remote.host}")

    def _broken_rule(self, remote: str, transport: TransportName) -> str | None:
        """The rule that one more connection from `remote` would violate, if any."""
        now = self._clock.now()
        standing = self._owner.standing_of(remote, now)
        if standing == "silenced":
            return "silenced"
        n_handshakes = len(self._in_handshake & self._strangers)
        is_known, is_tls = standing == "known", transport in SECURE
        return self._admission.broken_rule(remote, len(self), now, is_known=is_known, n_handshakes=n_handshakes, is_tls=is_tls)

    async def _welcome(self, accepted: Accepted, connection: StreamConnection, transport: TransportName) -> None:
        tls: dict[str, Any] = {}
        if transport in SECURE:
            tls = {
                "ssl": self._server_tls,
                "ssl_handshake_timeout": HANDSHAKE_DEADLINE_S,
                "ssl_shutdown_timeout": SHUTDOWN_DEADLINE_S,
            }
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted.sock, **tls)
        except (OSError, ssl.SSLError, TimeoutError) as error:
            accepted.sock.close()
            self._refusals.counts["handshake"] += 1
            fields = {"transport": transport, "remote": accepted.remote.host, "reason": describe_failure(error)}
            self._log.info("connection failed in its handshake", extra=fields)
        finally:
            self._in_handshake.discard(connection.id)
            if connection.id not in self._by_id:
                self._left(connection.id)

    def _new_connection(self, transport: TransportName, dialled: Key | None = None) -> StreamConnection:
        self._n_opened += 1
        self._in_handshake.add(self._n_opened)
        number, now, is_outgoing = self._n_opened, self._clock.now(), dialled is not None
        if transport not in ("ws", "wss"):
            return StreamConnection(self, number, transport, now, is_outgoing=is_outgoing)
        # With `websockets`, which few servers need for SIP.
        from active_call.net.sip_websocket import WebSocketConnection, client_protocol, server_protocol

        if dialled is None:
            web_hosts = self._limits.web_hosts
            return WebSocketConnection(self, number, transport, now, server_protocol(), is_outgoing=False, web_hosts=web_hosts)
        protocol = client_protocol(dialled[3] or dialled[1], dialled[2], is_secure=transport == "wss")
        return WebSocketConnection(self, number, transport, now, protocol, is_outgoing=True)

    # -- events of connections (StreamOwner)

    def on_stream_made(self, connection: StreamConnection) -> None:
        """A connection can be used from its first byte on. `_opened` adds the names of one that we opened."""
        self._in_handshake.discard(connection.id)
        if self._is_closed:
            connection.abort("the server is stopping")
            return
        self._by_id[connection.id] = connection
        if not connection.is_outgoing and connection.flow is not None:
            remote = connection.flow.remote
            self._by_place.setdefault((connection.flow.transport, remote.host, remote.port), connection)

    def on_stream_data(self, connection: StreamConnection, data: bytes) -> None:
        self._owner.on_stream_data(connection, data)

    def on_stream_message(self, connection: StreamConnection, data: bytes) -> None:
        self._owner.on_stream_message(connection, data)

    def on_stream_refused(self, connection: StreamConnection, rule: str) -> None:
        self._refusals.note(rule, connection.flow.remote.host if connection.flow is not None else "")
        self._owner.on_stream_refused(connection, rule)

    def on_stream_lost(self, connection: StreamConnection, reason: str) -> None:
        known = self._by_id.pop(connection.id, None) is not None
        self._left(connection.id)
        for key in [key for key, kept in self._by_key.items() if kept is connection]:
            del self._by_key[key]
        for place in [place for place, kept in self._by_place.items() if kept is connection]:
            del self._by_place[place]
        if known and not self._is_closed:
            self._owner.on_stream_lost(connection, reason)

    # -- time

    def handle_timeout(self, now: float, half_read_since: Callable[[Flow], float | None]) -> None:
        """Ping connections that we opened (RFC 5626 §4.4.1). Close those without a message or with an incomplete one."""
        self._close_idle(now)
        for connection in list(self._by_id.values()):
            if (connection.is_outgoing or connection.is_message_based) and now - connection.last_sent_at >= KEEPALIVE_S:
                connection.ping(now)
            if connection.is_message_based or connection.flow is None:
                since = connection.half_read_since(now)
            else:
                since = half_read_since(connection.flow)
            if since is not None and now - since >= HALF_READ_S:
                self._refuse(connection, "half_read_message", "a message was not completed in time")
            elif not (connection.is_outgoing or connection.has_spoken) and now - connection.opened_at >= SILENT_CONNECTION_S:
                self._refuse(connection, "silent_connection", "it never sent anything")

    def _close_idle(self, now: float) -> None:
        """Close idle connections of unknown peers."""
        if not self._limits.stranger_idle_s or not self._strangers:
            return
        in_use = self._owner.connections_in_use()
        for connection_id in self._strangers - in_use:
            connection = self._by_id.get(connection_id)
            if connection is None:
                continue
            since = self._owner.idle_since(connection_id)
            if now - (connection.opened_at if since is None else since) >= self._limits.stranger_idle_s:
                self._refuse(connection, "idle_connection", "nothing came of it for long")

    def _refuse(self, connection: StreamConnection, rule: str, why: str) -> None:
        self.on_stream_refused(connection, rule)
        connection.close(why)

    def _left(self, connection_id: int) -> None:
        """An accepted connection was closed, or its handshake has failed."""
        remote = self._remotes.pop(connection_id, None)
        self._strangers.discard(connection_id)
        if remote is not None:
            self._admission.closed(remote)

    async def close(self) -> None:
        """Close everything. Queued data gets a moment to be sent."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        connections = list(self._by_id.values())
        for connection in connections:
            connection.close("the server is stopping")
        try:
            async with asyncio.timeout(SHUTDOWN_DEADLINE_S):
                for connection in connections:
                    await connection.closed.wait()
        except TimeoutError:
            for connection in connections:
                connection.abort("the server is stopping")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def address_of(target: Target) -> Address:
    """Address and port of a resolved next hop."""
    return Address(target.host.strip("[]"), target.port or DEFAULT_PORTS[target.transport])
