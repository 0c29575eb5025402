"""Who may control calls over HTTP: holders of the token, or, where none is set, clients on this machine."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from active_call.api.origins import is_loopback, was_forwarded

AccessCheck = Callable[[HTTPConnection], None]
"""Lets a request or a WebSocket pass, or raises HTTPException 401 or 403."""


def access_check(token: str | None) -> AccessCheck:
    """A FastAPI dependency. A WebSocket of a web page, which cannot set headers, may give the token as `?token=`."""

    def check(request: HTTPConnection) -> None:
        if token is None:
            if not is_loopback(request.client.host if request.client else ""):
                raise HTTPException(403, "without http_token in the configuration only clients on this machine may control calls")
            if was_forwarded(request.headers.keys()):
                raise HTTPException(403, "without http_token in the configuration no client behind a proxy may control calls")
            return
        given = request.headers.get("authorization", "")
        if not given and request.scope["type"] == "websocket":
            given = f"Bearer {request.query_params.get('token', '')}"
        if not has_token(given, token):
            raise HTTPException(401, "expected 'Authorization: Bearer <http_token>'", headers={"WWW-Authenticate": "Bearer"})

    return check


def has_token(authorization: str, token: str) -> bool:
    """Whether an `Authorization` header holds `token`; takes as long for a wrong one."""
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), token.encode()) and scheme.lower() == "bearer"
