"""`GET /health` and `GET /ready`: how much each requester may see, and the answers. Knows nothing of the framework."""

from __future__ import annotations

from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import Scope

from active_call.api.access import AccessCheck
from active_call.api.services import ApiServices
from active_call.api.walls import asked_by

PATHS: Final = ("/health", "/ready")


def health_answer(services: ApiServices, check: AccessCheck, scope: Scope) -> dict[str, Any]:
    """All facts for clients that may list calls. Everybody else gets the status, which is what a load balancer needs; so does a web page
    without permission (`origins`).
    """
    facts = services.health()
    try:
        check(HTTPConnection(scope))
    except HTTPException:
        return {"status": facts["status"]}
    may_know = services.origins.any_host or services.origins.knows_host(asked_by(scope))
    return facts if may_know else {"status": facts["status"]}


def ready_answer(services: ApiServices) -> JSONResponse:
    """200 while the server accepts new calls, else 503."""
    accepting = services.registry.is_accepting
    return JSONResponse({"accepting": accepting}, status_code=200 if accepting else 503)
