"""`/api/console/…`: the live calls as a stream, a playbook's findings and scenes, a record explained, trunks, settings.

All routes are read-only.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from msgspec.structs import replace

from active_call.api.access import is_operator
from active_call.api.bodies import json_object
from active_call.api.console_data.explained import explain_record
from active_call.api.console_data.facts import ConsoleFacts
from active_call.api.console_data.live_calls import LiveCalls, live_calls_stream
from active_call.api.console_data.playbook_view import view_of
from active_call.contract import wire
from active_call.store.records import RecordStore, RecordsUnavailable


def console_data_routes(calls: LiveCalls, records: RecordStore, facts: ConsoleFacts) -> APIRouter:
    """The routes; the caller sets the access rule."""
    router = APIRouter(prefix="/api/console", tags=["console"])

    @router.get("/calls", summary="All live calls, sent again whenever one of them changes (server-sent events)")
    async def live_calls() -> StreamingResponse:
        return StreamingResponse(live_calls_stream(calls), media_type="text/event-stream")

    @router.get("/settings", summary="The settings in use, and where each value comes from")
    async def settings() -> list[dict[str, Any]]:
        return list(facts.settings())

    @router.get("/trunks", summary="Trunks and accounts with their states and last refusals")
    async def trunks() -> dict[str, Any]:
        return {"trunks": list(facts.trunks()), "accounts": list(facts.accounts()), "refusals": facts.refusals()}

    @router.post("/playbook", summary="The mistakes of a playbook, by line, and its scenes")
    async def playbook(request: Request) -> dict[str, Any]:
        content = (await json_object(request)).get("content")
        if not isinstance(content, str):
            raise wire.ContractError("content", "missing; expected the playbook as text")
        resources = facts.resources()
        if not is_operator(request):  # findings quote values
            resources = replace(resources, environment=None)
        return await asyncio.to_thread(view_of, content, resources)

    @router.get("/explain/{record_id}", summary="What happened in a call, in plain words")
    async def explain(record_id: str) -> list[dict[str, str]]:
        try:
            record = await records.get(record_id)
        except RecordsUnavailable as error:
            raise HTTPException(503, str(error), headers={"Retry-After": "5"}) from error
        if record is None:
            raise HTTPException(404, f"no record of {record_id!r}")
        return [{"level": remark.level, "text": remark.text} for remark in explain_record(record)]

    return router
