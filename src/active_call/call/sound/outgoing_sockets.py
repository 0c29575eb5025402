"""A call's interface to the WebSockets that this server opens for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from active_call.base.trust import Place


class OpenedSocket(Protocol):
    """A WebSocket with the interface of `websockets`."""

    async def send(self, message: bytes | str) -> None: ...

    def __aiter__(self) -> AsyncIterator[bytes | str]: ...

    async def close(self) -> None: ...


class OpensSockets(Protocol):
    """See `net.outgoing_socket.OutgoingSockets.open`."""

    async def __call__(
        self, url: str, headers: Mapping[str, str] | None = None, trusted: frozenset[Place] = frozenset()
    ) -> OpenedSocket: ...
