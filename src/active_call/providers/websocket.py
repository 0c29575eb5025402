"""WebSockets to vendors: opens one under the server's rules for outgoing connections, and turns a failure into a ProviderError.

A URL and headers enter; an open connection of `websockets` (RFC 6455) leaves, which writes messages at once (`VendorConnection`). Every
address is checked before connecting, as for HTTP requests. Errors and logs contain no keys. Knows no vendor.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.proxy import get_proxy
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from active_call.base.errors import ActiveCallError, ProviderError
from active_call.providers.credentials import without_secrets
from active_call.providers.http import EXCERPT_CHARS, status_error
from active_call.providers.services import Services

CONNECT_S: Final = 4.0
"""For name, TCP, TLS and handshake. It lies within the supervisor's patience, so that a second attempt fits into the agent's."""
CLOSE_S: Final = 1.0
PING_S: Final = 20.0
"""A connection whose peer answers no ping for this long counts as lost."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
SEND_AHEAD_BYTES: Final = 64 * 1024
"""The most bytes that wait here while the vendor reads nothing."""

GONE_CODES: Final = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, 1014})
"""Close codes (RFC 6455 §7.4.1 and its registry) after which a new connection may work. Other codes are permanent."""

_SILENT: Final = logging.getLogger("active_call.vendor_sockets")
_SILENT.setLevel(logging.CRITICAL + 1)
"""`websockets` logs headers at DEBUG, including keys."""


class VendorConnection(ClientConnection):
    """A connection that writes a message as one frame at once while the peer reads: many small messages are sent, most of them sound."""

    def send_now(self, message: str | bytes) -> bool:
        """Write `message` without waiting. False: it was not written, because the peer does not read or the connection is closing.

        In that case `send` waits until it can be written, or raises ConnectionClosed.
        """
        protocol = self.protocol
        if protocol.state is not State.OPEN or self.transport.get_write_buffer_size() > SEND_AHEAD_BYTES:
            return False
        if isinstance(message, str):
            protocol.send_text(message.encode())
        else:
            protocol.send_binary(message)
        self.send_data()
        return True

    async def send(self, message: Any, *, text: bool | None = None) -> None:
        """As in `websockets`. Only a message that cannot be written at once needs more than `send_now`."""
        if text is not None or not isinstance(message, str | bytes) or not self.send_now(message):
            await super().send(message, text=text)


async def open_socket(
    services: Services,
    provider: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    secrets: Sequence[str] = (),
) -> VendorConnection:
    """A connection to `url` within `CONNECT_S`. Errors never contain `secrets`. Raises ProviderError; the caller closes the connection."""
    reason, retryable = "", True
    try:
        async with asyncio.timeout(CONNECT_S):
            return await _connect(services, url, headers or {}, subprotocols)
    except TimeoutError:
        reason = f"no connection within {CONNECT_S:g} s"
    except InvalidStatus as error:
        body = bytes(error.response.body or b"").decode("utf-8", "replace")
        refusal = status_error(provider, error.response.status_code, without_secrets(body, secrets))
        raise refusal from None
    except InvalidHandshake as error:
        reason = f"no WebSocket: {type(error).__name__} {error}"
    except ssl.SSLCertVerificationError as error:
        reason, retryable = f"its certificate cannot be trusted: {error.verify_message}", False
    except ActiveCallError as error:
        reason, retryable = str(error), False
    except (OSError, WebSocketException, EOFError) as error:
        reason = f"connection failed: {str(error) or type(error).__name__}"
    except ValueError as error:  # a URL or a header that cannot be sent
        reason, retryable = f"cannot be asked: {error}", False
    raise ProviderError(provider, without_secrets(reason, secrets)[:EXCERPT_CHARS], retryable=retryable) from None


async def _connect(services: Services, url: str, headers: Mapping[str, str], subprotocols: Sequence[str]) -> VendorConnection:
    parts = urlsplit(url)
    settings: dict[str, Any] = {
        "additional_headers": dict(headers),
        "subprotocols": [Subprotocol(each) for each in subprotocols] or None,
        "compression": None,
        "open_timeout": None,
        "ping_interval": PING_S,
        "ping_timeout": PING_S,
        "close_timeout": CLOSE_S,
        "max_size": MAX_MESSAGE_BYTES,
        "write_limit": SEND_AHEAD_BYTES,
        "logger": _SILENT,
    }
    is_secure = parts.scheme == "wss"
    if is_secure and services.clients is not None:
        settings["ssl"] = services.clients.tls
    proxy = get_proxy(parse_uri(url))
    host, port = parts.hostname or "", parts.port or (443 if is_secure else 80)
    addresses = await services.addresses(host, port)
    if proxy is not None or not addresses:
        return await _open(url, settings, proxy)
    if is_secure:
        settings["server_hostname"] = host
    for address in addresses[:-1]:
        try:
            async with asyncio.timeout(CONNECT_S / len(addresses)):
                return await _open(url, {**settings, "host": address, "port": port}, None)
        except (TimeoutError, OSError):
            continue
    return await _open(url, {**settings, "host": addresses[-1], "port": port}, None)


async def _open(url: str, settings: Mapping[str, Any], proxy: str | None) -> VendorConnection:
    connection = await _Connect(url, proxy=proxy, create_connection=VendorConnection, **settings)
    assert isinstance(connection, VendorConnection)  # noqa: S101 (made by the line above)
    return connection


class _Connect(connect):
    """Treats a redirect as an error: it leads to a host that was not checked."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def closed_normally(error: ConnectionClosed) -> bool:
    """Whether the vendor closed the connection because everything is said (RFC 6455 §7.4.1: 1000)."""
    return error.rcvd is not None and error.rcvd.code == CloseCode.NORMAL_CLOSURE


def closed_error(provider: str, error: ConnectionClosed, secrets: Sequence[str] = ()) -> ProviderError:
    """The error for a connection that the vendor closed."""
    received = error.rcvd
    if received is None:
        return ProviderError(provider, "the connection broke", retryable=True)
    reason = without_secrets(" ".join(received.reason.split()), secrets)[:EXCERPT_CHARS]
    return ProviderError(
        provider, f"closed the connection: {received.code} {reason or 'no explanation'}", retryable=received.code in GONE_CODES
    )
