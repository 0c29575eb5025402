"""What adapters get from the server: clock, HTTP client, engine processes and environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import httpx

from active_call.base.trust import Place, Trust
from active_call.base.world import World


class LocalEngines(Protocol):
    """Processes for engines that compute on this machine; started on first use."""

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False, max_wait_s: float | None = None) -> Any:
        """Call a module-level function in an engine process and return its (picklable) result. Raises ProviderError if it dies.

        A `background` request is served when no other one waits, and refused when enough of them wait already.
        """
        ...

    def use_all_cores(self, module: str, warm: Callable[..., Any] | None = None, *args: Any) -> None:
        """Let the functions of `module` run in as many processes as there are cores; else there is one.

        A further process calls `warm(*args)`, which loads its model, before it takes requests.
        """
        ...

    def has_room(self, n_calls: int = 0) -> bool:
        """Whether requests are begun in time, so that one call more may be taken."""
        ...

    async def close(self) -> None: ...


class HttpClients(Protocol):
    """HTTP clients by what a call may ask, as `net.outgoing.GuardedClients`."""

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that only a call with that trust may ask."""
        ...

    def shared(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        """The client that may ask `trusted`, too; not closed by adapters."""
        ...

    def new(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        """Such a client for an adapter that closes it."""
        ...

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS settings of all clients, for connections that are no HTTP requests."""
        ...

    async def addresses(self, host: str, port: int, trusted: frozenset[Place]) -> list[str]:
        """The addresses of `host` that may be asked. Raises ActiveCallError if none may be, and OSError where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What an adapter may use. `local` runs CPU-heavy work in the engine process of its module, off the loop."""

    world: World
    http: httpx.AsyncClient
    local: LocalEngines
    environment: Mapping[str, str]
    new_http: Callable[[], httpx.AsyncClient] | None = None
    """Makes a client like `http` for an adapter whose SDK closes the one that it is given."""
    clients: HttpClients | None = None
    """Without it `http` asks whatever it may, for all calls alike."""
    trusted: frozenset[Place] = frozenset()
    """The hosts that these services may ask beside those that every call may."""

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that an engine may ask for calls with `trust` and not for all."""
        return self.clients.trusted_among(urls, trust) if self.clients is not None else frozenset()

    def trusting(self, trusted: frozenset[Place]) -> Services:
        """The services of an engine that may ask `trusted`, too."""
        clients = self.clients
        if clients is None or not trusted:
            return self
        return replace(self, http=clients.shared(trusted), new_http=lambda: clients.new(trusted), trusted=trusted)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of `host` that a connection may go to; none: there is no rule, and the name is the caller's to resolve.

        Raises ActiveCallError for a host that may not be asked, and OSError for one that does not exist.
        """
        return await self.clients.addresses(host, port, self.trusted) if self.clients is not None else []
