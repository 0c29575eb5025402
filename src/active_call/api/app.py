"""The HTTP application. Handlers translate between JSON and the call room, and hold no state of their own."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.requests import HTTPConnection

from active_call.api.access import AccessCheck, access_check, is_operator
from active_call.api.answers import add_error_answers
from active_call.api.asyncapi import asyncapi_routes
from active_call.api.bodies import body_schema, json_object
from active_call.api.browser_calls import browser_call_routes
from active_call.api.carrier_streams.access import StreamAccess
from active_call.api.carrier_streams.routes import carrier_stream_routes
from active_call.api.console_data.routes import console_data_routes
from active_call.api.console_data.text_talks import text_talk_routes
from active_call.api.console_page import console_routes
from active_call.api.docs_page import add_docs_page
from active_call.api.event_stream import event_stream, number_after
from active_call.api.health import health_answer, ready_answer
from active_call.api.library import library_routes, load_playbook
from active_call.api.listening_in import listening_routes, listening_sockets
from active_call.api.metrics import metrics_routes
from active_call.api.openapi import describe_fully
from active_call.api.records import record_routes
from active_call.api.services import ApiServices
from active_call.api.sockets.beginnings import Browsers
from active_call.api.sockets.playbook_runs import PlaybookRuns
from active_call.api.sockets.routes import socket_routes
from active_call.api.walls import Walls
from active_call.api.webhooks import webhook_routes
from active_call.base.errors import ActiveCallError, ConfigError, MediaError, ProviderError
from active_call.base.world import World
from active_call.call.handle import CallHandle
from active_call.call.opening.options import merged
from active_call.contract import commands, wire
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.contract.requests import PlaceCall, PrecacheSpeech

log = logging.getLogger("active_call.api")

CALL_TYPES: Final = {"websocket": "webSocket"}
"""Kinds of legs with another name in `/list`."""
TTS_KEYS: Final = frozenset(info.encode_name for info in msgspec.structs.fields(commands.Tts))
"""`POST /precache` accepts a whole `tts` command; fields about playing have no effect there."""


ABOUT: Final = "Phone calls over SIP, with an agent that follows a playbook."


def create_app(services: ApiServices) -> FastAPI:
    """The application, ready for uvicorn."""
    app = FastAPI(title="active-call", version=services.version, description=ABOUT, docs_url=None, redoc_url=None)
    runs, check = PlaybookRuns(World()), services.access or access_check(services.token)
    guarded = [Depends(_admission(check))]
    add_docs_page(app)
    app.include_router(_open_routes(services, check))
    for router in (
        _call_routes(services),
        _speech_routes(services),
        library_routes(services.playbook_folder, services.playbooks, runs),
        record_routes(services.records),
        listening_routes(services.registry),
        console_data_routes(services.registry, services.records, services.console),
        metrics_routes(services.registry),
    ):
        app.include_router(router, dependencies=guarded)
    if services.begin_talk is not None:
        talks = text_talk_routes(services.begin_talk, services.playbooks, World().randomness)
        app.include_router(talks, dependencies=guarded)
    if services.webhooks is not None:
        app.include_router(webhook_routes(services.webhooks), dependencies=guarded)
    if services.media is not None:
        browsers = Browsers(services.registry, services.media, services.browsers, World())
        app.include_router(browser_call_routes(browsers, services.playbooks), dependencies=guarded)
        access = StreamAccess(services.streams, check, time.time, check.count_wrong_token)
        app.include_router(carrier_stream_routes(services.registry, services.media, services.playbooks, access))
    app.include_router(socket_routes(services.registry, runs, check, services.media, services.browsers))
    app.include_router(listening_sockets(services.registry, check))
    app.include_router(console_routes())
    app.include_router(asyncapi_routes())
    add_error_answers(app)
    describe_fully(app)
    app.add_middleware(Walls, rules=services.origins)
    return app


def _admission(check: AccessCheck) -> Callable[[HTTPConnection], Awaitable[None]]:
    """The access check as FastAPI needs it: with the type of its parameter."""

    async def admit(client: HTTPConnection) -> None:
        check(client)

    return admit


def _open_routes(services: ApiServices, check: AccessCheck) -> APIRouter:
    router = APIRouter()

    @router.get("/health", summary="The state of the server; for clients that may list calls also its counters")
    async def health(request: Request) -> dict[str, Any]:
        return health_answer(services, check, request.scope)

    @router.get("/ready", summary="200 while the server accepts new calls, else 503")
    async def ready() -> JSONResponse:
        return ready_answer(services)

    return router


def _call_routes(services: ApiServices) -> APIRouter:
    router = APIRouter(tags=["calls"])

    @router.post("/call", status_code=202, summary="Place a call", openapi_extra=body_schema(PlaceCall))
    async def place_call(request: Request) -> dict[str, str]:
        body = await json_object(request)
        decoded = wire.convert(body, PlaceCall)
        if decoded.unknown:
            log.warning("unknown keys ignored", extra={"keys": decoded.unknown, "path": "/call"})
        return {"session_id": (await _place(services, decoded.value, by_operator=is_operator(request))).id}

    @router.get("/list", summary="Live calls")
    async def list_calls() -> dict[str, Any]:
        return {"active_calls": [_describe(call) for call in services.registry.calls.values()]}

    @router.get("/iceservers", summary="STUN and TURN servers for clients in browsers")
    async def ice_servers() -> list[dict[str, Any]]:
        return [dict(server) for server in services.ice_servers]

    @router.get("/kill/{session_id}", summary="Hang up")
    @router.delete("/call/{session_id}", summary="Hang up")
    async def kill(session_id: str) -> Response:
        call = services.registry.find(session_id)
        if call is None:
            return _not_found(session_id)
        call.send(commands.Hangup(reason="killed", initiator="api"))
        return JSONResponse({"status": "killed", "id": session_id})

    @router.post("/command/{session_id}", summary="Send a command to a call", openapi_extra=body_schema(commands.Command))
    async def command(session_id: str, request: Request) -> Response:
        decoded = wire.decode_command(await request.body())
        if decoded.unknown:
            log.warning("unknown keys ignored", extra={"keys": decoded.unknown, "session_id": session_id})
        call = services.registry.find(session_id)
        if call is None:
            return _not_found(session_id)
        call.send(decoded.value)
        return JSONResponse({"status": "sent", "id": session_id})

    @router.get("/api/explain", summary="What would happen to a call from an address: the rule, the trunk, the answer")
    async def explain(ip: str, transport: str = "udp", to: str = "", caller: str = "", user_agent: str = "") -> dict[str, Any]:
        if services.explain is None:
            raise HTTPException(404, "this server cannot explain calls")
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

    @router.post("/precache", summary="Synthesise a sound now and keep it for calls", openapi_extra=body_schema(PrecacheSpeech))
    async def precache(request: Request) -> Response:
        try:
            wanted = _speech_to_keep(await json_object(request))
            if services.precache is None:
                raise HTTPException(404, "this server keeps no sounds")
            kept = await services.precache(wanted)
        except (ConfigError, ContractError) as error:
            return _not_kept(400, error)
        except (MediaError, ProviderError) as error:
            return _not_kept(500, error)
        status = "exists" if kept.was_kept else "cached"
        return JSONResponse({"status": status, "key": kept.key, "cacheKey": kept.key, "bytes": kept.n_bytes})

    return router


def _speech_to_keep(body: dict[str, Any]) -> PrecacheSpeech:
    """The speech of a `tts` command; the `command` key is optional. Raises ContractError."""
    if body.pop("command", "tts") != "tts":
        raise ContractError("command", "expected 'tts'; only speech can be prepared")
    decoded = wire.convert(body, PrecacheSpeech)
    unknown = [key for key in decoded.unknown if key not in TTS_KEYS]
    if unknown:
        log.warning("unknown keys ignored", extra={"keys": unknown, "path": "/precache"})
    return decoded.value


def _not_kept(status: int, error: ActiveCallError) -> Response:
    """An error response. Clients of the contract expect `status` in every response of this route."""
    return JSONResponse({"status": "error", "error": str(error), "code": error.code}, status)


def _not_found(session_id: str) -> Response:
    return JSONResponse({"status": "not_found", "id": session_id}, status_code=404)


async def _place(services: ApiServices, wanted: PlaceCall, *, by_operator: bool) -> CallHandle:
    if wanted.content is not None:
        playbook = await services.playbooks.parse_long(wanted.content, by_operator=by_operator)
    elif wanted.playbook is not None:
        playbook = load_playbook(services.playbooks, wanted.playbook)
    else:
        raise ContractError("playbook", "missing; name a playbook, or give one as 'content'")
    option = merged(CallOption(callee=wanted.callee, caller=wanted.caller, sip=wanted.sip), wanted.option or CallOption())
    return services.registry.place(option, playbook=playbook, variables=wanted.vars, session_id=wanted.id)


def _describe(call: CallHandle) -> dict[str, Any]:
    facts = call.describe()
    return {
        "id": call.id,
        "callType": CALL_TYPES.get(facts.call_type, facts.call_type),
        "cs.option": {"caller": facts.caller, "callee": facts.callee},
        "createdTime": facts.started_at.isoformat(),
        "startTime": facts.answered_at.isoformat() if facts.answered_at else None,
        "ringTime": facts.ringing_at.isoformat() if facts.ringing_at else None,
        "answerTime": facts.answered_at.isoformat() if facts.answered_at else None,
        "direction": facts.direction,
        "playbook": facts.playbook,
        "cost": facts.cost,
    }
