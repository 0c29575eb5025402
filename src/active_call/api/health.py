"""`GET /health` and `GET /ready`: how much each requester may see, and the answers. Knows nothing of the framework."""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import JSONResponse
from starlette.types import Scope

from active_call.api.services import ApiServices
from active_call.api.walls import asked_by

PATHS: Final = ("/health", "/ready")


def health_answer(services: ApiServices, scope: Scope) -> dict[str, Any]:
    """All facts; only the status for a web page without permission (`origins`)."""
    facts = services.health()
    return facts if services.origins.any_host or services.origins.knows_host(asked_by(scope)) else {"status": facts["status"]}


def ready_answer(services: ApiServices) -> JSONResponse:
    """200 while the server accepts new calls, else 503."""
    accepting = services.registry.is_accepting
    return JSONResponse({"accepting": accepting}, status_code=200 if accepting else 503)
