"""The HTTP application. Handlers translate between JSON and the call room, and hold no state of their own."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse

from active_call.api.access import access_check
from active_call.api.answers import add_error_answers
from active_call.api.console_page import console_routes
from active_call.api.docs_page import add_docs_page
from active_call.api.event_stream import event_stream, number_after
from active_call.api.origins import OriginRules
from active_call.api.records import record_routes
from active_call.api.walls import Walls, asked_by
from active_call.base.errors import PlaybookError
from active_call.call.handle import CallHandle
from active_call.call.opening.options import merged
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Playbooks
from active_call.contract import commands, wire
from active_call.contract.json_text import decode_json
from active_call.contract.options import CallOption
from active_call.contract.requests import PlaceCall, PrecacheSpeech
from active_call.store.private_files import FILE_MODE, create_private
from active_call.store.records import RecordStore

log = logging.getLogger("active_call.api")

MAX_NAME_BYTES: Final = 200
"""Of a playbook: file systems end at 255, and the draft has an ending more."""


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the handlers need. `health` gives the body of /health, `is_ready` whether new calls are taken."""

    registry: CallRegistry
    playbooks: Playbooks
    playbook_folder: Path
    records: RecordStore
    health: Callable[[], dict[str, Any]]
    version: str
    token: str | None = None
    explain: Callable[[dict[str, str]], dict[str, Any]] | None = None
    """What would happen to a call like that; raises ValueError for a question that makes no sense."""
    precache: Callable[[PrecacheSpeech], Awaitable[str]] | None = None
    """Makes a sound and keeps it; gives its key."""
    origins: OriginRules = field(default_factory=OriginRules)
    """By which names this server may be asked, and which web pages may do so."""


def create_app(services: ApiServices) -> FastAPI:
    """The application, ready for uvicorn."""
    about = "Phone calls over SIP, held by a playbook."
    app = FastAPI(title="active-call", version=services.version, description=about, docs_url=None, redoc_url=None)
    add_docs_page(app)
    app.include_router(_open_routes(services))
    app.include_router(_call_routes(services), dependencies=[Depends(access_check(services.token))])
    app.include_router(_speech_routes(services), dependencies=[Depends(access_check(services.token))])
    app.include_router(_library_routes(services), dependencies=[Depends(access_check(services.token))])
    app.include_router(record_routes(services.records), dependencies=[Depends(access_check(services.token))])

    app.include_router(console_routes())
    add_error_answers(app)
    app.add_middleware(Walls, rules=services.origins)
    return app


def _open_routes(services: ApiServices) -> APIRouter:
    router = APIRouter()

    @router.get("/health", summary="Whether the server is alive, and what it is doing")
    async def health(request: Request) -> dict[str, Any]:
        facts = services.health()
        return facts if services.origins.any_host or services.origins.knows_host(asked_by(request.scope)) else {"status": facts["status"]}

    @router.get("/ready", summary="200 while new calls are taken, else 503")
    async def ready() -> JSONResponse:
        accepting = services.registry.is_accepting
        return JSONResponse({"accepting": accepting}, status_code=200 if accepting else 503)

    return router


def _call_routes(services: ApiServices) -> APIRouter:
    router = APIRouter(tags=["calls"])

    @router.post("/call", status_code=202, summary="Place a call", openapi_extra=_body_schema(PlaceCall))
    async def place_call(request: Request) -> dict[str, str]:
        body = await _json_object(request)
        decoded = wire.convert(body, PlaceCall)
        if decoded.unknown:
            log.warning("unknown keys ignored", extra={"keys": decoded.unknown, "path": "/call"})
        return {"session_id": _place(services, decoded.value).id}

    @router.get("/list", summary="Calls that are alive")
    async def list_calls() -> dict[str, Any]:
        return {"active_calls": [_describe(call) for call in services.registry.calls.values()]}

    @router.get("/kill/{session_id}", summary="Hang up")
    @router.delete("/call/{session_id}", summary="Hang up")
    async def kill(session_id: str) -> dict[str, str]:
        call = services.registry.find(session_id)
        if call is None:
            return {"status": "not_found", "id": session_id}
        call.send(commands.Hangup(reason="killed", initiator="api"))
        return {"status": "killed", "id": session_id}

    @router.post("/command/{session_id}", summary="Send a command to a call", openapi_extra=_body_schema(commands.Command))
    async def command(session_id: str, request: Request) -> dict[str, str]:
        decoded = wire.decode_command(await request.body())
        if decoded.unknown:
            log.warning("unknown keys ignored", extra={"keys": decoded.unknown, "session_id": session_id})
        call = services.registry.find(session_id)
        if call is None:
            return {"status": "not_found", "id": session_id}
        call.send(decoded.value)
        return {"status": "sent", "id": session_id}

    @router.get("/api/explain", summary="What would happen to a call from an address: the rule, the trunk, the answer")
    async def explain(ip: str, transport: str = "udp", to: str = "", caller: str = "", user_agent: str = "") -> dict[str, Any]:
        if services.explain is None:
            raise HTTPException(404, "nothing is explained here")
        question = {"ip": ip, "transport": transport, "to": to, "caller": caller, "user_agent": user_agent}
        try:
            return services.explain(question)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    @router.get("/events/{session_id}", summary="A call's events as they happen (server-sent events)")
    async def watch(session_id: str, request: Request) -> StreamingResponse:
        call = services.registry.find(session_id)
        if call is None:
            raise HTTPException(404, f"no call {session_id!r}")
        from_seq = number_after(request.headers.get("last-event-id"))
        return StreamingResponse(event_stream(call, from_seq), media_type="text/event-stream")

    return router


def _speech_routes(services: ApiServices) -> APIRouter:
    router = APIRouter(tags=["speech"])

    @router.post("/precache", summary="Make a sound now and keep it for calls", openapi_extra=_body_schema(PrecacheSpeech))
    async def precache(request: Request) -> dict[str, str]:
        decoded = wire.convert(await _json_object(request), PrecacheSpeech)
        if decoded.unknown:
            log.warning("unknown keys ignored", extra={"keys": decoded.unknown, "path": "/precache"})
        if services.precache is None:
            raise HTTPException(404, "nothing is kept here")
        return {"status": "cached", "key": await services.precache(decoded.value)}

    return router


def _library_routes(services: ApiServices) -> APIRouter:
    router = APIRouter(prefix="/api", tags=["library"])
    folder = services.playbook_folder

    @router.get("/playbooks", summary="Playbooks on this server")
    async def list_playbooks() -> list[dict[str, str]]:
        found = sorted(folder.glob("*.md")) if folder.is_dir() else []
        return [{"name": path.name, "updated": datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat()} for path in found]

    @router.get("/playbooks/{name}", summary="The text of a playbook")
    async def read_playbook(name: str) -> dict[str, str]:
        path = _playbook_path(folder, name)
        if not path.is_file():
            raise HTTPException(404, f"no playbook {name!r}")
        return {"name": name, "content": await asyncio.to_thread(path.read_text, encoding="utf-8")}

    @router.post("/playbooks/{name}", summary="Write a playbook; refused when it does not parse")
    async def write_playbook(name: str, request: Request) -> dict[str, str]:
        content = (await _json_object(request)).get("content")
        if not isinstance(content, str):
            raise wire.ContractError("content", "missing; expected the playbook as text")
        path = _playbook_path(folder, name)
        services.playbooks.parse(content)
        await asyncio.to_thread(_write_whole, path, content)
        return {"status": "written", "name": name}

    return router


def _place(services: ApiServices, wanted: PlaceCall) -> CallHandle:
    if wanted.content is not None:
        playbook = services.playbooks.parse(wanted.content)
    elif wanted.playbook is not None:
        try:
            playbook = services.playbooks.load(wanted.playbook)
        except PlaybookError as error:
            raise HTTPException(404 if error.line == 0 else 400, str(error)) from error
    else:
        raise wire.ContractError("playbook", "missing; name a playbook, or give one as 'content'")
    option = merged(CallOption(callee=wanted.callee, caller=wanted.caller, sip=wanted.sip), wanted.option or CallOption())
    return services.registry.place(option, playbook=playbook, variables=wanted.vars, session_id=wanted.id)


def _describe(call: CallHandle) -> dict[str, Any]:
    facts = call.describe()
    return {
        "id": call.id,
        "callType": facts.call_type,
        "cs.option": {"caller": facts.caller, "callee": facts.callee},
        "startTime": facts.started_at.isoformat(),
        "ringTime": facts.ringing_at.isoformat() if facts.ringing_at else None,
        "answerTime": facts.answered_at.isoformat() if facts.answered_at else None,
        "direction": facts.direction,
        "playbook": facts.playbook,
    }


async def _json_object(request: Request) -> dict[str, Any]:
    body = decode_json(await request.body())
    if not isinstance(body, dict):
        raise wire.ContractError("", f"the body is a JSON object, found {type(body).__name__}")
    return body


def _playbook_path(folder: Path, name: str) -> Path:
    try:
        path = (folder / name).resolve()
    except (OSError, ValueError, RuntimeError):  # NUL, links that lead to each other
        path = Path()
    is_short = len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES
    if not is_short or path.parent != folder.resolve() or path.suffix != ".md":
        raise HTTPException(400, f"{name[:80]!r} is no name of a playbook; expected something like 'sales.md'")
    return path


def _write_whole(path: Path, content: str) -> None:
    """A playbook may hold keys of vendors: a new one is the owner's alone, one that is there keeps its mode. Never half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else FILE_MODE
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with create_private(draft) as file:
            file.write(content.encode())
        draft.chmod(mode)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _body_schema(cls: Any) -> dict[str, Any]:
    """The JSON schema of a contract type, for the OpenAPI page."""
    (schema,), components = msgspec.json.schema_components([cls], ref_template="#/x-contract/{name}")
    inline = json.loads(json.dumps(schema))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(inline, components)}}}}


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """`schema` with its references replaced by what they name; contract types do not refer to themselves."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(components[schema["$ref"].rpartition("/")[2]], components)
        return {key: _inlined(value, components) for key, value in schema.items() if key != "discriminator"}
    if isinstance(schema, list):
        return [_inlined(entry, components) for entry in schema]
    return schema
