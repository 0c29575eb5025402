"""Connect the SIP core with sockets and the clock.

In: datagrams, stream chunks, operations of legs, time. Out: bytes on the wire, events to `on_events`. The driver makes no SIP decisions.
After every input it drains the core until nothing is left: it sends transmits, looks up names, closes connections, reports failures and
passes on events. Then it sets one timer for the core's next timeout.

Each input and each drained item is guarded separately: an exception is logged, and the rest is still done. An error caused by one message
must not close the connection that all calls of a carrier share.

`on_events` runs inside that loop and may call `run` again: the inner call acts on the core at once, and the outer loop drains the rest.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

from msgspec.structs import replace

from active_call.base.errors import TransportError
from active_call.base.world import Clock
from active_call.net.addresses import is_ip, local_address_towards
from active_call.net.certificates import CertificateFiles, MakeContext, ServerCertificate
from active_call.net.icmp import SentRequests, Undelivered
from active_call.net.limits import ConnectionLimits, Refusals
from active_call.net.resolver import Resolver
from active_call.net.sip_connections import Connections, address_of
from active_call.net.sip_listening import ListeningSockets, ListenSpec
from active_call.net.sip_sockets import StreamConnection, describe_failure
from active_call.net.stun import is_stun
from active_call.sip.events import Address, Flow, Listener, LookUp, MessageDropped, SipEvent, Target, Transmit

__all__ = ["CertificateFiles", "ListenSpec", "SipDriver"]

T = TypeVar("T")

_RULES_OF_DROPS = {"too_large": "message_size", "keepalive_flood": "keepalive_flood"}
SWEEP_S = 5.0
"""How often connections are checked for keep-alives and idleness."""


class SipCore(Protocol):
    """The interface of the driver to the sans-IO endpoint."""

    def receive_datagram(self, data: bytes, flow: Flow, now: float) -> None: ...
    def receive_stream(self, data: bytes, flow: Flow, now: float) -> None: ...
    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None: ...
    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None: ...
    def handle_unreachable(self, transmit_id: int, reason: str, now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    @property
    def has_output(self) -> bool: ...
    def take_transmits(self) -> list[Transmit]: ...
    def take_events(self) -> list[SipEvent]: ...
    def take_closes(self) -> list[Flow]: ...
    def take_look_ups(self) -> list[LookUp]: ...
    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None: ...
    def set_listeners(self, listeners: tuple[Listener, ...]) -> None: ...
    def refresh_registrations(self, now: float) -> None: ...
    def half_read_since(self, flow: Flow) -> float | None: ...
    def standing_of(self, host: str, now: float) -> str: ...
    def idle_since(self, connection_id: int) -> float | None: ...
    def connections_in_use(self) -> set[int]: ...


class SipDriver:
    """Drives one SIP core over real sockets. Everything runs in the loop in which `listen` is called."""

    def __init__(
        self,
        endpoint: SipCore,
        clock: Clock,
        resolver: Resolver,
        *,
        server_tls: ssl.SSLContext | None,
        client_tls: MakeContext,
        client_tls_by_uri: MakeContext | None = None,
        on_events: Callable[[list[SipEvent]], None],
        limits: ConnectionLimits | None = None,
        certificate: CertificateFiles | None = None,
        logger: logging.Logger,
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._resolver = resolver
        self._on_events = on_events
        self._certificate = ServerCertificate(server_tls, certificate, logger)
        self._refusals = Refusals(clock, logger)
        self._log = logger
        self._connections = Connections(
            self,
            clock,
            server_tls=server_tls,
            client_tls=client_tls,
            client_tls_by_uri=client_tls_by_uri,
            limits=limits or ConnectionLimits(),
            refusals=self._refusals,
            source_towards=lambda transport, remote_ip: self._sockets.source_towards(transport, remote_ip),
            on_failed=self._transmit_failed_later,
            logger=logger,
        )
        self._sockets = ListeningSockets(
            self._on_datagram,
            self._on_undelivered,
            self._connections.accept,
            certificate=None if server_tls is None else self._certificate.name,
            logger=logger,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[tuple[int, str]] = []
        self._sent_requests = SentRequests()
        self._is_pumping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due: float | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._on_stun: Callable[[bytes], None] = lambda _: None
        self._is_closed = False

    # -- start and stop

    async def listen(self, specs: Sequence[ListenSpec]) -> tuple[Listener, ...]:
        """Open the sockets and pass them to the core; all or none. Raises TransportError, or ConfigError for TLS without a certificate."""
        listeners = self._sockets.open(specs)
        self._endpoint.set_listeners(listeners)
        self._resolver.families = self._sockets.families
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        self._pump()
        return listeners

    def run(self, operation: Callable[[float], T]) -> T:
        """Let `operation(now)` act on the core, then drain it. Exceptions of the operation are passed on."""
        try:
            return operation(self._clock.now())
        finally:
            self._pump()

    async def close(self) -> None:
        """Send what is queued, then close all sockets and connections. The core is not called any more."""
        self._is_closed = True
        for timer in (self._timer, self._sweep_timer):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sockets.close_streams()
        await self._connections.close()
        self._sockets.close()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Our sockets, as the core currently knows them."""
        return self._sockets.listeners

    def set_learnt_address(self, seen: Address) -> None:
        """Peers outside see our UDP socket at this address. Messages to peers and registrars will contain it."""
        self._endpoint.set_listeners(self._sockets.learn(seen))
        self.run(self._endpoint.refresh_registrations)

    def send_stun(self, data: bytes, server: Address) -> None:
        """Send a datagram that is not SIP through the SIP socket. Raises OSError or TransportError."""
        self._sockets.send_datagram(data, server)

    def set_stun_receiver(self, receive: Callable[[bytes], None]) -> None:
        """Pass STUN datagrams, which share our UDP sockets, to `receive`."""
        self._on_stun = receive

    def reload_certificate(self) -> bool:
        """Use the current certificate files for new connections. True if they have changed and are valid. Open ones continue."""
        return self._certificate.reload()

    @property
    def refusals(self) -> Counter[str]:
        """How often each rule of `limits` was violated."""
        return self._refusals.counts

    @property
    def n_connections(self) -> int:
        """Number of stream connections, including those in their handshake."""
        return len(self._connections)

    # -- input from sockets and time

    def read_datagrams(self) -> None:
        """Handle the datagrams that have arrived, at most `DATAGRAMS_AT_ONCE`, without waiting for the loop. Call it outside of `run`."""
        if not (self._is_pumping or self._is_closed):
            self._guard("datagrams", self._sockets.read_datagrams)

    def on_stream_made(self, connection: StreamConnection) -> None:
        """No action: the core learns of a connection by its first bytes."""

    def on_stream_data(self, connection: StreamConnection, data: bytes) -> None:
        """Bytes have arrived on a stream connection."""
        if connection.flow is None or self._is_closed:
            return
        self._feed("stream", partial(self._endpoint.receive_stream, data, connection.flow))

    def on_stream_message(self, connection: StreamConnection, data: bytes) -> None:
        """A whole message has arrived on a WebSocket connection."""
        if connection.flow is None or self._is_closed:
            return
        self._feed("message", partial(self._endpoint.receive_datagram, data, connection.flow))

    def on_stream_refused(self, connection: StreamConnection, rule: str) -> None:
        """No action: `Connections` has counted it."""

    def standing_of(self, remote: str, now: float) -> str:
        """The core's standing of that address."""
        return self._endpoint.standing_of(remote, now)

    def idle_since(self, connection_id: int) -> float | None:
        """When the last SIP message arrived on that connection."""
        return self._endpoint.idle_since(connection_id)

    def connections_in_use(self) -> set[int]:
        """The connections with open calls, registrations or requests of the core."""
        return self._endpoint.connections_in_use()

    def on_stream_lost(self, connection: StreamConnection, reason: str) -> None:
        """A stream connection was closed."""
        if connection.flow is None or self._is_closed:
            return
        self._feed("connection_lost", partial(self._endpoint.handle_connection_lost, connection.flow, reason))

    def _on_datagram(self, data: bytes, flow: Flow) -> None:
        if self._is_closed:
            return
        if is_stun(data):
            self._guard("stun", partial(self._on_stun, data))
            return
        self._feed("datagram", partial(self._endpoint.receive_datagram, data, flow))

    def _on_undelivered(self, remote: Address, report: Undelivered) -> None:
        transmit_id = self._sent_requests.find(remote, report.quoted)
        if transmit_id is None or self._is_closed:
            return
        reason = f"udp {remote.host}:{remote.port}: {report.reason}"
        self._feed("unreachable", partial(self._endpoint.handle_unreachable, transmit_id, reason))

    def _on_timer(self) -> None:
        self._timer = self._timer_due = None
        self._feed("timeout", self._endpoint.handle_timeout)

    def _feed(self, what: str, take: Callable[[float], object]) -> None:
        """Give the core one input, then drain it."""
        self._guard(what, lambda: take(self._clock.now()))
        self._pump()

    def _guard(self, what: str, action: Callable[[], object]) -> bool:
        """Guard one input or one drained item. False if it raised an error."""
        try:
            action()
        except Exception:  # noqa: BLE001 (contains the errors of one input or item)
            self._log.exception("error in the SIP driver", extra={"what": what})
            return False
        return True

    def _sweep(self) -> None:
        self._sweep_timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        self._guard("sweep", lambda: self._connections.handle_timeout(self._clock.now(), self._endpoint.half_read_since))
        local_address_towards.cache_clear()  # routes and addresses of the machine may have changed

    # -- output

    def _pump(self) -> None:
        """Drain the core until nothing is left. A nested call returns at once and leaves the work to the outer one."""
        if self._is_pumping or self._is_closed:
            return
        self._is_pumping = True
        try:
            while self._endpoint.has_output or self._failures:
                self._drain_once()
        finally:
            self._is_pumping = False
            self._arm()

    def _drain_once(self) -> None:
        for transmit in self._endpoint.take_transmits():
            if not self._guard("transmit", partial(self._send, transmit)):
                self._transmit_failed(transmit.id, "an error of ours")
        for look_up in self._endpoint.take_look_ups():
            if not self._guard("look_up", partial(self._look_up, look_up)):
                self._guard("look_up", partial(self._answer, look_up, (), "an error of ours"))
        for flow in self._endpoint.take_closes():
            self._guard("close", partial(self._connections.close_flow, flow))
        failures, self._failures = self._failures, []
        for transmit_id, reason in failures:
            self._guard("failure", partial(self._endpoint.handle_transport_error, transmit_id, reason, self._clock.now()))
        for event in self._endpoint.take_events():
            if isinstance(event, MessageDropped) and event.why in _RULES_OF_DROPS:
                self._refusals.note(_RULES_OF_DROPS[event.why], event.flow.remote.host)
            self._guard("event", partial(self._on_events, [event]))

    def _arm(self) -> None:
        due = self._endpoint.next_timeout()
        if due == self._timer_due:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_due = due
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock.now()), self._on_timer)

    def _send(self, transmit: Transmit) -> None:
        destination = transmit.destination
        if isinstance(destination, Flow):
            if destination.transport == "udp":
                self._send_datagram(transmit, destination.remote, destination.local)
            elif not self._connections.send_on(destination, transmit.data):
                self._transmit_failed(transmit.id, "the connection is gone")
        elif not is_ip(destination.host) and (destination.transport == "udp" or destination.flow is None):
            self._transmit_failed(transmit.id, f"{destination.host} was not resolved")
        elif destination.transport == "udp":
            self._send_datagram(transmit, address_of(destination))
        else:
            self._connections.send_to(transmit, destination)

    def _send_datagram(self, transmit: Transmit, remote: Address, local: Address | None = None) -> None:
        try:
            self._sockets.send_datagram(transmit.data, remote, local)
            self._sent_requests.note(transmit.id, remote, transmit.data)
        except TransportError as error:
            self._transmit_failed(transmit.id, str(error))
        except OSError as error:
            self._transmit_failed(transmit.id, f"udp {remote.host}:{remote.port}: {describe_failure(error)}")

    # -- names

    def _look_up(self, look_up: LookUp) -> None:
        """Answer at once if the resolver knows the answer, else when it does."""
        try:
            known = self._resolver.known(look_up)
        except TransportError as error:
            self._answer(look_up, (), str(error))
            return
        if known is not None:
            self._answer(look_up, known, "")
            return
        task = asyncio.get_running_loop().create_task(self._resolve(look_up), name=f"sip resolve {look_up.host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, look_up: LookUp) -> None:
        hops: tuple[Target, ...] = ()
        reason = "the look-up has failed"
        try:
            hops, reason = await self._resolver.resolve(look_up), ""
        except TransportError as error:
            reason = str(error)
            self._log.warning("next hop could not be resolved", extra={"host": look_up.host, "reason": error.reason})
        finally:
            # Answer in any case: the request that waits for this would otherwise wait forever.
            if not self._is_closed:
                self._answer(look_up, hops, reason)
                self._pump()

    def _answer(self, look_up: LookUp, hops: tuple[Target, ...], reason: str) -> None:
        usable = [hop for hop in hops if hop.transport != "udp" or self._sockets.has_udp_for(hop.host)] or list(hops)
        located = tuple(replace(hop, local=local_address_towards(hop.host)) for hop in usable)
        self._endpoint.handle_look_up(look_up.id, located, reason, self._clock.now())

    def _transmit_failed(self, transmit_id: int, reason: str) -> None:
        self._failures.append((transmit_id, reason))

    def _transmit_failed_later(self, transmit_id: int, reason: str) -> None:
        """Report a failure that may occur outside of `_pump`."""
        self._failures.append((transmit_id, reason))
        self._pump()
