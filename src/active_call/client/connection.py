"""How the client reaches the server: URLs, the token, and the errors of refused requests."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from active_call.client.errors import ClientError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
TIMEOUT_S: Final = 15.0
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """One server. `url`: the URL of its HTTP API. Raises ClientError if it is not an http or https URL."""

    url: str = DEFAULT_URL
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    """For your own certificate; None: the system's authorities."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"{self.url!r} is not the URL of a server; expected something like {DEFAULT_URL}")

    def http(self) -> httpx.AsyncClient:
        """A new HTTP client, which the caller must close."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        verify: ssl.SSLContext | bool = self.tls or self.url.startswith("https")
        return httpx.AsyncClient(base_url=self.url.rstrip("/"), headers=headers, timeout=TIMEOUT_S, verify=verify)

    async def socket(self, path: str, query: Mapping[str, object]) -> ClientConnection:
        """An open WebSocket, which the caller must close. Raises ClientError with the server's message."""
        given = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in query.items() if value is not None}
        address = f"ws{self.url.rstrip('/').removeprefix('http')}{path}?{urlencode(given)}"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        options: dict[str, Any] = {"ssl": self.tls} if self.tls is not None and address.startswith("wss") else {}
        try:
            return await connect(
                address,
                additional_headers=headers,
                max_size=MAX_MESSAGE_BYTES,
                compression=None,
                proxy=None,
                open_timeout=TIMEOUT_S,
                **options,
            )
        except InvalidStatus as refused:
            raise refusal(refused.response.status_code, bytes(refused.response.body or b"")) from refused
        except (OSError, TimeoutError, InvalidHandshake) as failure:
            raise ClientError(f"{self.url} cannot be reached: {failure}", code="unreachable") from failure


def refusal(status: int, body: bytes) -> ClientError:
    """The error for a refused request: the server's message and its code."""
    try:
        told = json.loads(body)
        reason, code = str(told.get("error") or told.get("status") or ""), str(told.get("code") or "client_error")
    except (ValueError, AttributeError):
        reason, code = body[:200].decode("utf-8", "replace"), "client_error"
    return ClientError(f"{status}: {reason or 'refused'}", status=status, code=code)


def unreachable(http: httpx.AsyncClient, failure: httpx.HTTPError) -> ClientError:
    """The error for a server that does not answer."""
    return ClientError(f"{http.base_url} cannot be reached: {str(failure) or type(failure).__name__}", code="unreachable")


async def fetch(http: httpx.AsyncClient, method: str, path: str, *, body: object = None, query: Mapping[str, object] | None = None) -> Any:
    """The JSON of a response. Raises ClientError if the server refuses or cannot be reached."""
    params = {key: str(value) for key, value in (query or {}).items() if value is not None}
    try:
        response = await http.request(method, path, json=body, params=params)
    except httpx.HTTPError as failure:
        raise unreachable(http, failure) from failure
    if response.status_code >= 400:
        raise refusal(response.status_code, response.content)
    return response.json() if response.content else None


def in_path(session_id: str) -> str:
    """An id, escaped for use in a path."""
    return quote(session_id, safe="")
