"""What adapters get from the server: clock, HTTP client, engine processes and environment."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import httpx
from msgspec import Struct
from msgspec.structs import replace

from active_call.base.trust import Place, Trust
from active_call.base.world import World


class LocalEngines(Protocol):
    """Processes for local engines; started at first use."""

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False, max_wait_s: float | None = None) -> Any:
        """Call a module-level function in an engine process and return its (picklable) result. Raises ProviderError if the process dies.

        A `background` request runs when no other one waits, and is refused when enough of them wait already.
        """
        ...

    def use_all_cores(self, module: str, warm: Callable[..., Any] | None = None, *args: Any) -> None:
        """Let the functions of `module` run in as many processes as there are cores. The default is one process.

        Each further process calls `warm(*args)`, which loads its model, before it takes requests.
        """
        ...

    def has_room(self, n_calls: int = 0) -> bool:
        """Whether requests start in time, so that one more call may be accepted."""
        ...

    async def close(self) -> None: ...


class HttpClients(Protocol):
    """HTTP clients by the hosts that a call may reach, as `net.outgoing.GuardedClients`."""

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that only a call with that trust may reach."""
        ...

    def shared(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        """The client that may also reach `trusted`. Adapters do not close it."""
        ...

    def new(self, trusted: frozenset[Place]) -> httpx.AsyncClient:
        """The same kind of client, for an adapter that closes it."""
        ...

    @property
    def tls(self) -> ssl.SSLContext:
        """The TLS settings of all clients, for connections other than HTTP requests."""
        ...

    async def addresses(self, host: str, port: int, trusted: frozenset[Place]) -> list[str]:
        """The allowed addresses of `host`. Raises ActiveCallError if none is allowed, and OSError if there is none."""
        ...


class Services(Struct, frozen=True):
    """What an adapter may use. `local` runs CPU-heavy work in the engine process of its module, off the loop."""

    world: World
    http: httpx.AsyncClient
    local: LocalEngines
    environment: Mapping[str, str]
    new_http: Callable[[], httpx.AsyncClient] | None = None
    """Makes a client like `http`, for an adapter whose SDK closes the client it is given."""
    clients: HttpClients | None = None
    """None: `http` may reach any host, for all calls alike."""
    trusted: frozenset[Place] = frozenset()
    """The hosts that these services may reach in addition to those open to every call."""

    def trusted_among(self, urls: Iterable[str | None], trust: Trust) -> frozenset[Place]:
        """The hosts of `urls` that an engine may reach for calls with `trust` but not for all calls."""
        return self.clients.trusted_among(urls, trust) if self.clients is not None else frozenset()

    def trusting(self, trusted: frozenset[Place]) -> Services:
        """The services of an engine that may also reach `trusted`."""
        clients = self.clients
        if clients is None or not trusted:
            return self
        return replace(self, http=clients.shared(trusted), new_http=lambda: clients.new(trusted), trusted=trusted)

    async def addresses(self, host: str, port: int) -> list[str]:
        """The allowed addresses of `host` for a connection. Empty: there is no rule, and the caller resolves the name.

        Raises ActiveCallError for a host that is not allowed, and OSError for one that does not exist.
        """
        return await self.clients.addresses(host, port, self.trusted) if self.clients is not None else []
