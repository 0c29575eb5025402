"""Error responses: always `{"error", "code"}`, wherever the error comes from."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from active_call.api.walls import error_body
from active_call.base.errors import ActiveCallError, LimitReached, MediaError, NotAllowed, ProviderError, QuotaReached
from active_call.call.opening.registry import NoRoom

_METHODS: Final = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def add_error_answers(app: FastAPI) -> None:
    """Let `app` respond so."""

    @app.exception_handler(ActiveCallError)
    async def refused(_: Request, error: ActiveCallError) -> Response:
        if isinstance(error, NotAllowed):
            return _answer(403, str(error), error.rule)
        if isinstance(error, LimitReached):
            status = 429 if isinstance(error, QuotaReached) else 503
            return _answer(status, str(error), error.rule, {"Retry-After": str(error.retry_after_s)})
        if isinstance(error, NoRoom):
            return _answer(503, str(error), error.code, {"Retry-After": "5"})
        return _answer(_status_of(error), str(error), error.code)

    @app.exception_handler(HTTPException)
    async def answered(request: Request, error: HTTPException) -> Response:
        headers = {"Allow": _allowed(app, request)} if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED else dict(error.headers or {})
        return _answer(error.status_code, str(error.detail), None, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid_request(_: Request, error: RequestValidationError) -> Response:
        return _answer(400, "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()) or "bad request")


def _allowed(app: FastAPI, request: Request) -> str:
    """All methods of the path (RFC 9110 §10.2.1). Starlette names only those of the first route with it."""
    asked = ({**request.scope, "method": method} for method in _METHODS)
    return ", ".join(one["method"] for one in asked if any(route.matches(one)[0] is Match.FULL for route in app.routes))


def _answer(status: int, reason: str, code: str | None = None, headers: dict[str, str] | None = None) -> Response:
    return Response(error_body(status, reason, code), status, headers, "application/json")


def _status_of(error: ActiveCallError) -> int:
    """The status, by who must act: the client, a vendor, or this server."""
    match error:
        case ProviderError():
            return 502
        case MediaError():
            return 503
        case _:
            return 400
