"""Instances of one kind of engine by option, shared by calls, and closed when too many lie idle.

A key and a way to create enter; the instance leaves. A call leases what it uses; only what nobody leases is closed, least recently used
first. Used on the loop only. It must not know what an engine does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

MAX_IDLE = 32
"""Instances of one kind that are kept although no call uses them."""


class Closable(Protocol):
    """What can be shared."""

    def close(self) -> Awaitable[None]: ...


E = TypeVar("E", bound=Closable)


@dataclass(slots=True)
class _Kept(Generic[E]):
    engine: E
    n_users: int = 0


class SharedEngines(Generic[E]):
    """The instances of one kind."""

    def __init__(self, max_idle: int = MAX_IDLE) -> None:
        self._kept: OrderedDict[bytes, _Kept[E]] = OrderedDict()
        self._max_idle = max_idle

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def engines(self) -> list[E]:
        """All instances."""
        return [kept.engine for kept in self._kept.values()]

    def get(self, key: bytes, create: Callable[[], E]) -> E:
        """The instance of `key`, created now if need be; whatever `create` raises."""
        if key not in self._kept:
            self._kept[key] = _Kept(create())
        self._kept.move_to_end(key)
        return self._kept[key].engine

    def hold(self, key: bytes) -> None:
        """Somebody uses the instance of `key` until `release`."""
        self._kept[key].n_users += 1

    def release(self, key: bytes) -> None:
        """Somebody uses the instance of `key` no more."""
        if key in self._kept:
            self._kept[key].n_users -= 1

    def take_superfluous(self) -> list[E]:
        """Instances that are idle beyond the limit, for the caller to close; they are gone from here."""
        idle = [key for key, kept in self._kept.items() if kept.n_users == 0]
        return [self._kept.pop(key).engine for key in idle[: max(len(idle) - self._max_idle, 0)]]

    def take_all(self) -> list[E]:
        """Every instance, for the caller to close."""
        engines = self.engines
        self._kept.clear()
        return engines
