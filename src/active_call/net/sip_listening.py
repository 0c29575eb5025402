"""The listening sockets of SIP, opened and closed together. UDP is also sent through them.

In: the sockets to open. Out: the `Listener`s for the core; datagrams and accepted connections to the owner.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.addresses import parse_address
from active_call.base.errors import ConfigError, TransportError
from active_call.net.addresses import is_wildcard
from active_call.net.icmp import Undelivered
from active_call.net.sip_sockets import Accepted, StreamListener, UdpSocket, bind_socket
from active_call.sip.events import Address, Flow, Listener, TransportName


class ListenSpec(Struct, frozen=True):
    """A socket to listen on. `port` 0 means any free one.

    `public_host` None: the bound address, or for a wildcard the local address towards each peer.
    """

    transport: TransportName
    host: str
    port: int
    public_host: str | None = None


class ListeningSockets:
    """See the module. `certificate` is the name of the TLS certificate, empty if there is none."""

    def __init__(
        self,
        on_datagram: Callable[[bytes, Flow], None],
        on_undelivered: Callable[[Address, Undelivered], None],
        on_accepted: Callable[[Accepted, TransportName], None],
        *,
        certificate: str | None,
        logger: logging.Logger,
    ) -> None:
        self._on_datagram = on_datagram
        self._on_undelivered = on_undelivered
        self._on_accepted = on_accepted
        self._certificate = certificate
        self._log = logger
        self._udp: list[UdpSocket] = []
        self._streams: list[StreamListener] = []
        self.listeners: tuple[Listener, ...] = ()

    @property
    def families(self) -> tuple[int, ...]:
        """The IP versions of the sockets. `::` has both."""
        hosts = [listener.bound.host for listener in self.listeners]
        has_v4 = any(":" not in host or host == "::" for host in hosts)
        has_v6 = any(":" in host for host in hosts)
        return tuple(family for family, has in ((4, has_v4), (6, has_v6)) if has)

    def open(self, specs: Sequence[ListenSpec]) -> tuple[Listener, ...]:
        """Open all or none. Raises TransportError, or ConfigError for TLS without a certificate."""
        try:
            self.listeners = tuple(self._open(spec) for spec in specs)
        except (TransportError, ConfigError):
            self.close()
            raise
        return self.listeners

    def learn(self, seen: Address) -> tuple[Listener, ...]:
        """Peers outside see our UDP socket at `seen`. Streams are assumed to be reachable at the same address, on their own ports."""
        self.listeners = tuple(
            replace(entry, learnt=Address(seen.host, seen.port if entry.transport == "udp" else entry.bound.port))
            for entry in self.listeners
        )
        return self.listeners

    def source_towards(self, transport: TransportName, remote_ip: str) -> str | None:
        """The address that a connection to `remote_ip` is bound to: the one that we listen on for that transport, as UDP is sent from it.

        None leaves the choice to the routing table: for a wildcard, another family, and between loopback and other addresses.
        """
        remote = parse_address(remote_ip)
        for listener in self.listeners:
            bound = None if is_wildcard(listener.bound.host) else parse_address(listener.bound.host)
            if listener.transport != transport or remote is None or bound is None:
                continue
            if (bound.version, bound.is_loopback) == (remote.version, remote.is_loopback):
                return listener.bound.host
        return None

    def has_udp_for(self, host: str) -> bool:
        """Whether there is a UDP socket with the family of that address."""
        return any(udp.can_reach(host) for udp in self._udp)

    def send_datagram(self, data: bytes, remote: Address, local: Address | None = None) -> None:
        """Send from the socket bound to the port of `local`, else from any suitable one. Raises OSError or TransportError."""
        fitting = [udp for udp in self._udp if udp.can_reach(remote.host)]
        if not fitting:
            raise TransportError(f"no UDP socket that can reach {remote.host}")
        next((udp for udp in fitting if local is not None and udp.bound.port == local.port), fitting[0]).send(data, remote)

    def read_datagrams(self) -> None:
        """Read what has arrived on the UDP sockets; see `UdpSocket.read_arrived`."""
        for udp in self._udp:
            udp.read_arrived()

    def close_streams(self) -> None:
        """Stop accepting connections."""
        while self._streams:
            self._streams.pop().close()

    def close(self) -> None:
        """Close all of them."""
        self.close_streams()
        while self._udp:
            self._udp.pop().close()

    def _open(self, spec: ListenSpec) -> Listener:
        if spec.transport == "udp":
            sock = bind_socket(socket.SOCK_DGRAM, spec.host, spec.port)
            udp = UdpSocket(sock, self._on_datagram, self._on_undelivered, self._log)
            self._udp.append(udp)
            bound = udp.bound
        else:
            if spec.transport in ("tls", "wss") and self._certificate is None:
                raise ConfigError(f"{spec.transport}_port", "TLS needs a certificate and its key")
            sock = bind_socket(socket.SOCK_STREAM, spec.host, spec.port)
            stream = StreamListener(sock, lambda accepted: self._on_accepted(accepted, spec.transport), self._log)
            self._streams.append(stream)
            bound = stream.bound
        self._log_started(spec.transport, bound)
        return Listener(spec.transport, bound, Address(spec.public_host or bound.host, bound.port))

    def _log_started(self, transport: TransportName, bound: Address) -> None:
        fields = {"transport": transport, "address": f"{bound.host}:{bound.port}"}
        if transport in ("tls", "wss"):
            self._log.info("TLS SIP transport started", extra={**fields, "certificate": self._certificate})
        else:
            self._log.info("SIP transport started", extra=fields)
