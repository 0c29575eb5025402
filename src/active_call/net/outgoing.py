"""HTTP requests to hosts that somebody outside has named: they reach the public internet, and private networks only where allowed.

A request enters httpx as always. Before a connection is made the host is resolved here, every address is judged, and the connection goes to
precisely the address that was judged: a name that leads elsewhere a moment later (DNS rebinding) changes nothing. A redirect is a further
connection and is judged likewise. Where the environment names a proxy (HTTPS_PROXY, NO_PROXY), the name is judged as this machine knows it,
and the proxy connects. Raises httpx.ConnectError with the reason. RFC 6890 and its registry (special-purpose addresses).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx

from active_call.base.addresses import IpAddress, Reach, embedded_ipv4, reach_of
from active_call.base.errors import ActiveCallError

RESOLVE_S: Final = 5.0
MAX_CONNECTIONS: Final = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "168.63.129.16/32",
        "::/96", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16",
    )
)  # fmt: skip
"""Special-purpose ranges beside those that `ipaddress` and `base.addresses` know. 168.63.129.16 is the host of an Azure machine, which
serves its metadata."""


class OutgoingRefused(ActiveCallError):
    """A host that may not be asked."""

    code = "outgoing_refused"


@dataclass(frozen=True, slots=True)
class AllowedPlace:
    """A network or a name, with one port or all. `*.example.com` names all below."""

    network: Network | None
    name: str = ""
    port: int | None = None

    def holds(self, host: str, address: IpAddress, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address in self.network
        return host == self.name or (self.name.startswith("*.") and host.endswith(self.name[1:]))


def parse_place(text: str) -> AllowedPlace:
    """`10.0.0.0/8`, `127.0.0.1:11434`, `[fd00::/8]:80`, `ollama:11434`, `*.corp.example`. Raises ValueError."""
    text = text.strip().lower()
    host, port = text, None
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = _port(rest.removeprefix(":"), text) if rest else None
    elif text.count(":") == 1:
        host, _, rest = text.partition(":")
        port = _port(rest, text)
    try:
        return AllowedPlace(ipaddress.ip_network(host, strict=False), port=port)
    except ValueError:
        if not host or any(sign in host for sign in "/: \t@"):
            raise ValueError(f"expected an address, a range or a name, with a port or without, found {text!r}") from None
        return AllowedPlace(None, host, port)


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise ValueError(f"expected a port from 1 to 65535, found {whole!r}")
    return int(text)


def is_public(address: IpAddress) -> bool:
    """Whether `address` is one of the public internet, also behind the forms in which IPv6 carries IPv4."""
    inner = embedded_ipv4(address) or address
    is_special = any(one in network for network in _SPECIAL for one in (address, inner))
    return reach_of(str(inner)) is Reach.WORLD and not (is_special or inner.is_private or inner.is_reserved)


@dataclass(slots=True)
class OutgoingPolicy:
    """Who may be asked. `allowed`: beside the public internet. `trusted`: host and port of what the operator has written down."""

    allowed: tuple[AllowedPlace, ...] = ()
    trusted: set[tuple[str, int]] = field(default_factory=set)

    def trust(self, urls: Iterable[str | None]) -> None:
        """The operator names these URLs: their hosts may be asked wherever they lie."""
        for url in urls:
            place = place_of(url) if url else None
            if place is not None:
                self.trusted.add(place)

    def may_ask(self, host: str, address: IpAddress, port: int) -> bool:
        host = host.lower().rstrip(".").strip("[]")
        if is_public(address) or (host, port) in self.trusted:
            return True
        inner = embedded_ipv4(address)
        return any(place.holds(host, one, port) for place in self.allowed for one in (address, inner) if one is not None)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host` that may be asked, in the system's order. Raises OutgoingRefused, or OSError when there are none."""
        async with asyncio.timeout(RESOLVE_S):
            found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))
        good = [text for text in addresses if self.may_ask(host, ipaddress.ip_address(text), port)]
        if not good:
            raise OutgoingRefused(
                f"{host} is {', '.join(addresses[:3])}: not on the public internet, nor listed in [outgoing] allow_private"
            )
        return good


def place_of(url: str) -> tuple[str, int] | None:
    """Host and port of an http(s) URL; None where it has none."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    port = parsed.port or {"http": 80, "https": 443}.get(parsed.scheme)
    return (parsed.host.lower().rstrip("."), port) if parsed.host and port else None


def shown_url(url: str) -> str:
    """`url` for logs: without user, password, query and fragment, where secrets stand."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "(no URL)"
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.scheme}://{parsed.host}{port}{parsed.path}"


def guarded_client(policy: OutgoingPolicy, timeout_s: float = 15.0, *, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """A client whose every connection `policy` has judged. To make `tls` takes 50 ms: those who need several clients make it once."""
    tls = tls or httpx.create_ssl_context()
    return httpx.AsyncClient(transport=_GuardedTransport(policy, tls), timeout=timeout_s, trust_env=False, max_redirects=5)


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport over a pool whose connections are made by `_GuardedNetwork`, or over the environment's proxy."""

    def __init__(self, policy: OutgoingPolicy, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._policy = policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_connections=MAX_CONNECTIONS, keepalive_expiry=5.0, network_backend=_GuardedNetwork(policy)
        )
        proxies = {scheme: url for scheme, url in getproxies().items() if scheme in ("http", "https")}
        self._proxied = {scheme: httpx.AsyncHTTPTransport(verify=context, proxy=url) for scheme, url in proxies.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ConnectError for a host that may not be asked."""
        url = request.url
        proxied = self._proxied.get(url.scheme)
        if proxied is None or proxy_bypass(url.host):
            return await super().handle_async_request(request)
        try:
            await self._policy.addresses(url.host, url.port or {"https": 443}.get(url.scheme, 80))
        except OutgoingRefused as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except (OSError, TimeoutError, UnicodeError):
            pass  # only the proxy knows that name
        return await proxied.handle_async_request(request)

    async def aclose(self) -> None:
        await super().aclose()
        for transport in self._proxied.values():
            await transport.aclose()


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves, judges, and connects to what was judged. TLS checks the certificate by the name, as always."""

    def __init__(self, policy: OutgoingPolicy) -> None:
        self._policy = policy
        self._network: Any = httpcore.AnyIOBackend()

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None, socket_options: Any = None
    ) -> httpcore.AsyncNetworkStream:
        error: Exception = httpcore.ConnectError("no address")
        for address in (await self._judged(host, port))[:4]:
            try:
                stream: httpcore.AsyncNetworkStream = await self._network.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
                return stream
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                error = failure
        raise error

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("not over sockets of this machine")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> list[str]:
        try:
            return await self._policy.addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved within {RESOLVE_S:g} s") from error
        except (OutgoingRefused, OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
