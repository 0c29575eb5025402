"""Undelivered webhooks: listed, and sent again."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from active_call.store.webhook_delivery import WebhookDelivery


def webhook_routes(webhooks: WebhookDelivery) -> APIRouter:
    """The routes below `/api/webhooks`."""
    router = APIRouter(prefix="/api/webhooks", tags=["webhooks"])

    @router.get("", summary="The number of waiting events, and the dead letters: events that were refused for good, or for three days")
    async def state() -> dict[str, Any]:
        spool = webhooks.spool
        return {"waiting": len(spool.waiting), "dead": [spool.dead[key].described() for key in sorted(spool.dead)]}

    @router.post("/dead/{delivery_id}/replay", status_code=202, summary="Send a dead letter again")
    async def replay(delivery_id: str) -> dict[str, str]:
        if not await webhooks.replay(delivery_id):
            raise HTTPException(404, f"no dead letter {delivery_id!r}")
        return {"status": "waiting", "id": delivery_id}

    @router.post("/replay", status_code=202, summary="Send all dead letters again")
    async def replay_all() -> dict[str, int]:
        return {"waiting": sum([await webhooks.replay(key) for key in sorted(webhooks.spool.dead)])}

    return router
