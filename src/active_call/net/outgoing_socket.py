"""WebSockets that this server opens to hosts that come from outside, under the policy of `outgoing`.

A URL goes in, an open connection comes out. The host is resolved and checked here, and the connection goes to exactly the checked address.
A redirect is followed only to that address. RFC 6455.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from active_call.base.errors import ActiveCallError
from active_call.base.trust import Place
from active_call.net.outgoing import OutgoingPolicy

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_S: Final = 5.0
MAX_MESSAGE_BYTES: Final = 1024 * 1024
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}


class SocketUnavailable(ActiveCallError):
    """A WebSocket could not be opened."""

    code = "socket_unavailable"


class OutgoingSockets:
    """Opens WebSockets under one policy. `tls` verifies the certificates of `wss`."""

    def __init__(self, policy: OutgoingPolicy, tls: ssl.SSLContext) -> None:
        self._policy = policy
        self._tls = tls

    async def open(self, url: str, headers: Mapping[str, str] | None = None, trusted: frozenset[Place] = frozenset()) -> ClientConnection:
        """Open a connection, which the caller closes. Raises SocketUnavailable or OutgoingRefused."""
        from websockets.asyncio.client import connect  # loaded after the start, with the HTTP API
        from websockets.exceptions import WebSocketException

        host, port, is_secure = _place(url)
        policy = self._policy.trusting(trusted)
        options: dict[str, Any] = {"ssl": self._tls, "server_hostname": host} if is_secure else {}
        error: Exception | None = None
        try:
            addresses = await policy.addresses(host, port)
        except (OSError, UnicodeError) as failure:
            raise SocketUnavailable(f"{host} cannot be resolved: {failure}") from failure
        for address in addresses[:4]:
            try:
                return await connect(
                    url, host=address, port=port, additional_headers=dict(headers or {}), compression=None, proxy=None, open_timeout=OPEN_S,
                    max_size=MAX_MESSAGE_BYTES, **options,
                )  # fmt: skip
            except (OSError, TimeoutError, WebSocketException) as failure:
                error = failure
        raise SocketUnavailable(f"{host}:{port} refused the WebSocket: {error}") from error


def _place(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether it is TLS. Raises SocketUnavailable."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SocketUnavailable(f"not a URL: {error}") from error
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise SocketUnavailable("expected a URL such as wss://example.com/audio")
    return parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == "wss"
