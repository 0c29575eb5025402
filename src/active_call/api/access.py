"""Who may control calls over HTTP: holders of the token, or, where none is set, clients on this machine."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable

from fastapi import HTTPException, Request


def access_check(token: str | None) -> Callable[[Request], None]:
    """A FastAPI dependency that lets a request pass or raises 401 or 403."""

    def check(request: Request) -> None:
        if token is None:
            if not _is_loopback(request.client.host if request.client else ""):
                raise HTTPException(403, "without http_token in the configuration only clients on this machine may control calls")
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            raise HTTPException(401, "expected 'Authorization: Bearer <http_token>'", headers={"WWW-Authenticate": "Bearer"})

    return check


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
