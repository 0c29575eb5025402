"""Creates the HTTP application at the first request other than health checks, because that takes a third of a second and 10 MB.

It is created in a thread, so that calls continue; requests wait for it. `/health` and `/ready` are answered from the start.
"""

from __future__ import annotations

import asyncio
import logging

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from active_call.api.access import access_check
from active_call.api.health import PATHS, health_answer, ready_answer
from active_call.api.services import ApiServices
from active_call.api.walls import Walls

log = logging.getLogger("active_call.api")


class LateApp:
    """An ASGI application. Used on one loop."""

    def __init__(self, services: ApiServices) -> None:
        self._services = services
        self._check = services.access or access_check(services.token)
        self._early = Walls(self._answer_early, services.origins)
        self._late = Walls(self._answer_late, services.origins)
        """Protects requests until the application exists, which has its own walls."""
        self._whole: ASGIApp | None = None
        self._making: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if self._whole is not None:
            await self._whole(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] in PATHS and scope["method"] == "GET":
            await self._early(scope, receive, send)
        else:
            await self._late(scope, receive, send)

    async def made(self) -> ASGIApp:
        """The whole application, once it is created."""
        if self._whole is None:
            if self._making is None or (self._making.done() and self._making.exception() is not None):
                self._making = asyncio.get_running_loop().create_task(asyncio.to_thread(_make, self._services), name="http application")
            self._whole = await asyncio.shield(self._making)
        return self._whole

    async def _answer_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (await self.made())(scope, receive, send)

    async def _answer_early(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked_health = scope["path"] == "/health"
        response = JSONResponse(health_answer(self._services, self._check, scope)) if asked_health else ready_answer(self._services)
        await response(scope, receive, send)


def _make(services: ApiServices) -> ASGIApp:
    from active_call.api.app import create_app

    return create_app(services)
