"""HTTP requests to hosts that come from outside: they may reach the public internet, and private networks only if allowed.

httpx handles the request as usual. Before each connection the host is resolved here, every address is checked, and the connection goes to
exactly the checked address, so that DNS rebinding has no effect. A redirect is another connection and is checked too. Bodies of responses
are bounded (`bounded_bodies`). Connections are kept for the next request, so requests with different trust never share a client. If the
environment names a proxy (HTTPS_PROXY, NO_PROXY), the host is checked as this machine resolves it, and the proxy connects. Raises
httpx.ConnectError with the reason. RFC 6890 and its registry (special-purpose addresses).
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import httpcore
import httpx
from msgspec import Struct

from active_call.base.addresses import IpAddress, Reach, embedded_ipv4, reach_of
from active_call.base.errors import ActiveCallError
from active_call.base.trust import Place, Trust
from active_call.net.bounded_bodies import ACCEPTED, bounded, unbound
from active_call.net.hosts_file import SystemResolver

RESOLVE_S: Final = 5.0
MAX_LOOK_UPS: Final = 32
"""Names of clients that are resolved at a time. Those of the operator do not wait for them: DNS of a client's choice may never answer."""
KEEP_S: Final = 30.0
"""How long an idle connection is kept for the next request: a caller's turn often takes more than ten seconds."""
MAX_CONNECTIONS: Final = 200

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_SPECIAL: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "168.63.129.16/32",
        "::/96", "64:ff9b:1::/48", "2001::/23", "3fff::/20", "5f00::/16",
    )
)  # fmt: skip
"""Special-purpose ranges in addition to those of `ipaddress` and `base.addresses`. 168.63.129.16 is the host of an Azure VM, which serves
its metadata."""


class OutgoingRefused(ActiveCallError):
    """A host to which requests are not allowed."""

    code = "outgoing_refused"


def is_refusal(error: BaseException | None) -> bool:
    """Whether a request failed because its host is not allowed."""
    while error is not None:
        if isinstance(error, OutgoingRefused | _ConnectRefused):
            return True
        error = error.__cause__
    return False


class AllowedPlace(Struct, frozen=True):
    """A network or a name, with one port or all. `*.example.com` means all subdomains."""

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
    """Parse `10.0.0.0/8`, `127.0.0.1:11434`, `[fd00::/8]:80`, `ollama:11434`, `*.corp.example`. Raises ValueError."""
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
            raise ValueError(f"expected an address, a range or a name, with or without a port, found {text!r}") from None
        return AllowedPlace(None, host, port)


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= 65535):
        raise ValueError(f"expected a port from 1 to 65535, found {whole!r}")
    return int(text)


def is_public(address: IpAddress) -> bool:
    """Whether `address` is on the public internet, also if it is an IPv4 address embedded in IPv6."""
    inner = embedded_ipv4(address) or address
    is_special = any(one in network for network in _SPECIAL for one in (address, inner))
    return reach_of(str(inner)) is Reach.WORLD and not (is_special or inner.is_private or inner.is_reserved)


@dataclass(frozen=True, slots=True)
class OutgoingPolicy:
    """Which hosts are allowed. `allowed`: in addition to the public internet. `trusted`: host and port, wherever they are."""

    allowed: tuple[AllowedPlace, ...] = ()
    trusted: frozenset[Place] = frozenset()
    trusted_names: SystemResolver = field(default_factory=SystemResolver, compare=False, repr=False)
    other_names: SystemResolver = field(default_factory=lambda: SystemResolver(MAX_LOOK_UPS), compare=False, repr=False)

    def trusting(self, places: Iterable[Place]) -> OutgoingPolicy:
        """This policy with `places` also allowed."""
        return replace(self, trusted=self.trusted | frozenset(places))

    def may_ask(self, host: str, address: IpAddress, port: int) -> bool:
        host = host.lower().rstrip(".").strip("[]")
        if is_public(address) or (host, port) in self.trusted:
            return True
        inner = embedded_ipv4(address)
        return any(place.holds(host, one, port) for place in self.allowed for one in (address, inner) if one is not None)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The allowed addresses of `host`, in the system's order. Raises OutgoingRefused, or OSError if there are none."""
        is_trusted = (host.lower().rstrip(".").strip("[]"), port) in self.trusted
        async with asyncio.timeout(RESOLVE_S):
            addresses = await (self.trusted_names if is_trusted else self.other_names).addresses(host.strip("[]"))
        good = [text for text in addresses if self.may_ask(host, ipaddress.ip_address(text), port)]
        if not good:
            raise OutgoingRefused(
                f"{host} is {', '.join(addresses[:3])}: not on the public internet and not listed in [outgoing] allow_private"
            )
        return good


def places_of(urls: Iterable[str | None]) -> frozenset[Place]:
    """Host and port of each http(s) or ws(s) URL in `urls`."""
    return frozenset(place for place in (place_of(url) for url in urls if url) if place is not None)


def place_of(url: str) -> Place | None:
    """Host and port of an http(s) or ws(s) URL; None if it has none."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return None
    port = parsed.port or {"http": 80, "https": 443, "ws": 80, "wss": 443}.get(parsed.scheme)
    return (parsed.host.lower().rstrip("."), port) if parsed.host and port else None


def shown_url(url: str) -> str:
    """`url` for logs: without user, password, query and fragment, which may contain secrets."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "(no URL)"
    port = f":{parsed.port}" if parsed.port else ""
    return f"{parsed.scheme}://{parsed.host}{port}{parsed.path}"


def no_cookies() -> CookieJar:
    """A cookie jar that stays empty: one client serves many calls, and a cookie of one caller must not be sent for another."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def guarded_client(policy: OutgoingPolicy, timeout_s: float = 15.0, *, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """A client whose connections are all checked by `policy` and which keeps no cookies.

    Creating `tls` takes 50 ms: create it once for several clients.
    """
    transport = _GuardedTransport(policy, tls or httpx.create_ssl_context())
    headers = {"Accept-Encoding": ACCEPTED}
    return httpx.AsyncClient(
        transport=transport,
        timeout=timeout_s,
        trust_env=False,
        max_redirects=5,
        cookies=no_cookies(),
        headers=headers,
        event_hooks={"response": [unbound]},
    )


class GuardedClients:
    """Clients under one policy: one for all calls, plus one for each set of trusted hosts. Call `close` at the end."""

    def __init__(self, policy: OutgoingPolicy, tls: ssl.SSLContext | None = None) -> None:
        self._policy = policy
        self._tls = tls or httpx.create_ssl_context()
        self._clients: dict[frozenset[Place], httpx.AsyncClient] = {}

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that are allowed for a call with `trust`, but possibly not for other calls."""
        return (places_of(urls) & trust.hosts) - self._policy.trusted if trust.hosts else frozenset()

    def shared(self, trusted: frozenset[Place] = frozenset()) -> httpx.AsyncClient:
        """The client that also allows `trusted`. All users with the same set share it; they must not close it."""
        client = self._clients.get(trusted)
        if client is None:
            client = self._clients[trusted] = self.new(trusted)
        return client

    def new(self, trusted: frozenset[Place] = frozenset()) -> httpx.AsyncClient:
        """Like `shared`, but a new client that the caller closes."""
        return guarded_client(self._policy.trusting(trusted), tls=self._tls)

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS settings of all clients, for connections other than HTTP requests."""
        return self._tls

    async def addresses(self, host: str, port: int, trusted: frozenset[Place] = frozenset()) -> list[str]:
        """The addresses of `host` that are allowed with `trusted`. Raises OutgoingRefused, OSError and TimeoutError."""
        return await self._policy.trusting(trusted).addresses(host, port)

    async def close(self) -> None:
        """Close the shared clients."""
        for client in self._clients.values():
            await client.aclose()


class _GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport with a pool whose connections are made by `_GuardedNetwork` or by the environment's proxy."""

    def __init__(self, policy: OutgoingPolicy, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._policy = policy
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context, max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEP_S, network_backend=_GuardedNetwork(policy)
        )
        proxies = {scheme: url for scheme, url in getproxies().items() if scheme in ("http", "https")}
        self._proxied = {scheme: httpx.AsyncHTTPTransport(verify=context, proxy=url) for scheme, url in proxies.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises httpx.ConnectError for a host that is not allowed."""
        url = request.url
        proxied = self._proxied.get(url.scheme)
        if proxied is None or proxy_bypass(url.host):
            return bounded(await super().handle_async_request(request))
        try:
            await self._policy.addresses(url.host, url.port or {"https": 443}.get(url.scheme, 80))
        except OutgoingRefused as error:
            raise httpx.ConnectError(str(error), request=request) from error
        except (OSError, TimeoutError, UnicodeError):
            pass  # only the proxy can resolve that name
        return bounded(await proxied.handle_async_request(request))

    async def aclose(self) -> None:
        await super().aclose()
        for transport in self._proxied.values():
            await transport.aclose()


class _ConnectRefused(httpcore.ConnectError):
    """An OutgoingRefused for httpcore, whose pool drops the cause of errors that it raises again."""


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Resolves and checks the host, and connects to the checked address. TLS verifies the certificate by the name, as usual."""

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
        raise httpcore.ConnectError("Unix sockets are not allowed")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _judged(self, host: str, port: int) -> list[str]:
        try:
            return await self._policy.addresses(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"{host} was not resolved within {RESOLVE_S:g} s") from error
        except OutgoingRefused as error:
            raise _ConnectRefused(str(error)) from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(str(error)) from error
