"""Checks on every request and WebSocket before a route, and on every response. One ASGI application.

In order for a request: the wall (any error inside becomes one log line and one JSON response; a client that disconnects is not an error),
whether a foreign web page may have made it (`origins`), the type of its body, the size of its body. Responses get the headers that tell
browsers what a page of this server may do.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from active_call.api.connections import HEADER_BYTES
from active_call.api.origins import Asked, OriginRules

log = logging.getLogger("active_call.api")

MAX_BODY_BYTES: Final = 1024 * 1024
TEXT_PATH: Final = "/api/playbooks/"
"""Accepts the text of a playbook directly. A foreign page that sends one is refused by its origin."""
OFFER_PATHS: Final = "/call/"
"""Also accept session descriptions and fragments directly (types that no foreign page can send without a preflight: RFC 9725)."""
STREAM_PATH: Final = "/call/stream/"
"""Carriers send forms there, as their products do. The response has no effect and is not readable for a page."""
CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    412: "precondition_failed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "bad_request",
    429: "rate_limited",
    428: "precondition_required",
    431: "too_large",
    500: "internal_error",
    503: "unavailable",
    507: "storage_full",
}
"""The default error word."""

_STRICT: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_CONSOLE: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src 'self' blob:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOCS: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_POLICIES: Final[Mapping[str, str]] = {"/": _CONSOLE, "/docs": _DOCS}
_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def error_code(status: int) -> str:
    """The error word of a status; the default one if it has none."""
    return CODES.get(status, "bad_request" if status < 500 else "internal_error")


@dataclass(slots=True)
class Walls:
    """Wraps `app`, for HTTP and WebSocket alike."""

    app: ASGIApp
    rules: OriginRules = field(default_factory=OriginRules)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = _Answer(scope, send)
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await answer.refuse(*refusal)
                return
            await self.app(scope, _bounded(receive) if scope["type"] == "http" else receive, answer.send)
        except (ClientDisconnect, WebSocketDisconnect):
            log.debug("client has left", extra={"path": _shown_path(scope)})
        except HTTPException as error:  # from the body limit, if no handler was in between
            await answer.refuse(error.status_code, error.detail)
        except Exception as error:  # noqa: BLE001 (a wall: an error ends only its own request)
            _log_failure(scope, error)
            await answer.refuse(500, "internal error of this server; see its log")

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        n_bytes = _header_bytes(scope)
        if n_bytes > HEADER_BYTES:  # headers that came in one piece with their end, which the connection's reader does not limit
            return 431, f"the headers have {n_bytes} bytes; expected at most {HEADER_BYTES}"
        asked = asked_by(scope)
        why = self.rules.why_not(asked)
        if why is not None:
            return 403, why
        return _body_refusal(asked) if scope["type"] == "http" else None


def _header_bytes(scope: Scope) -> int:
    """The approximate size of the first line and the headers on the wire: four bytes between name and value, and at the end."""
    line = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
    return line + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def asked_by(scope: Scope) -> Asked:
    """The input of `origins` for a request."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    return Asked(scope.get("method", "GET"), scope["path"], headers, (scope.get("server") or ("",))[0] or "")


def _body_refusal(asked: Asked) -> tuple[int, str] | None:
    length = asked.get("content-length") or "0"
    if not length.isdigit() or len(length) > 12 or int(length) > MAX_BODY_BYTES:
        return 413, f"the body has {length[:40]} bytes; expected at most {MAX_BODY_BYTES}"
    given = asked.get_all("content-type")
    has_body = length != "0" or asked.get("transfer-encoding") is not None
    if asked.path.startswith(TEXT_PATH) and all(map(_is_text, given)):
        return None
    if asked.path.startswith(STREAM_PATH) and all(map(_is_text, given)):
        return None
    if asked.path.startswith(OFFER_PATHS) and given in (["application/sdp"], ["application/trickle-ice-sdpfrag"]):
        return None
    if asked.method in ("POST", "PUT", "PATCH") and (has_body or given) and not (given and all(map(_is_json, given))):
        return 415, f"expected 'Content-Type: application/json', found {(', '.join(given) or 'none')[:80]!r}"
    return None


def _is_text(content_type: str) -> bool:
    """Content types with which programs send a plain file; curl's default is a form."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.startswith("text/") or media_type in ("application/octet-stream", "application/x-www-form-urlencoded")


def _is_json(content_type: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [value.strip('"') for name, _, value in (part.partition("=") for part in parameters) if name == "charset"]
    is_known = media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))
    return is_known and all(charset in ("utf-8", "utf8", "us-ascii") for charset in charsets)


def _bounded(receive: Receive) -> Receive:
    """`receive`, until the body exceeds its limit."""
    n_bytes = 0

    async def receive_bounded() -> Message:
        nonlocal n_bytes
        message = await receive()
        if message["type"] == "http.request":
            n_bytes += len(message.get("body", b""))
            if n_bytes > MAX_BODY_BYTES:
                raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES} bytes")
        return message

    return receive_bounded


@dataclass(slots=True)
class _Answer:
    """The response to one client."""

    scope: Scope
    to_client: Send
    is_begun: bool = False

    async def send(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept", "websocket.close"):
            self.is_begun = True
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *self._missing(message.get("headers", ()))]}
        await self.to_client(message)

    async def refuse(self, status: int, reason: str) -> None:
        """Respond with JSON, unless a response has begun: then it is cut off."""
        if self.is_begun:
            return
        if self.scope["type"] == "websocket":
            await self.send({"type": "websocket.close", "code": 1008 if status < 500 else 1011, "reason": reason[:100]})
            return
        body = error_body(status, reason)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    def _missing(self, headers: Any) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        policy = _POLICIES.get(self.scope["path"], _STRICT)
        wanted = (*_HEADERS, (b"content-security-policy", policy.encode()))
        return [(name, value) for name, value in wanted if name not in given]


def error_body(status: int, reason: str, code: str | None = None) -> bytes:
    """The body of every refusal."""
    return json.dumps({"error": reason, "code": code or error_code(status)}).encode()


def _log_failure(scope: Scope, error: Exception) -> None:
    log.error("request failed", exc_info=error, extra={"method": scope.get("method", "WEBSOCKET"), "path": _shown_path(scope)})


def _shown_path(scope: Scope) -> str:
    """The path for logs: without the token that a carrier may have put there."""
    path = str(scope["path"])
    carrier, slash, rest = path.removeprefix(STREAM_PATH).partition("/")
    return f"{STREAM_PATH}{carrier}/…" if path.startswith(STREAM_PATH) and slash and rest not in ("answer", "twiml") else path
