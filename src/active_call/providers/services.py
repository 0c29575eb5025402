"""What adapters get from the server: clock, HTTP client, engine processes and environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from active_call.base.world import World


class LocalEngines(Protocol):
    """Processes for engines that compute on this machine; started on first use."""

    async def run(self, function: Callable[..., Any], *args: Any, background: bool = False) -> Any:
        """Call a module-level function in an engine process and return its (picklable) result. Raises ProviderError if it dies.

        A `background` request is served when no other one waits, and refused when enough of them wait already.
        """
        ...

    def use_all_cores(self, module: str) -> None:
        """Let the functions of `module` run in as many processes as there are cores; else there is one."""
        ...

    def has_room(self) -> bool:
        """Whether requests are begun in time, so that one call more may be taken."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What an adapter may use. `local` runs CPU-heavy work in the engine process of its module, off the loop."""

    world: World
    http: httpx.AsyncClient
    local: LocalEngines
    environment: Mapping[str, str]
    new_http: Callable[[], httpx.AsyncClient] | None = None
    """Makes a client like `http` for an adapter whose SDK closes the one that it is given."""
