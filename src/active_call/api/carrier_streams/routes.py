"""The routes of carriers' streams: the WebSocket itself, and the answer document for carriers that take only a URL.

WebSocket /call/stream/{profile}[/{token}]
GET, POST /call/stream/{profile}/answer[?playbook=…&any=value]      (`/twiml` is the same)
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response
from starlette.websockets import WebSocket

from active_call.api.carrier_streams.access import StreamAccess
from active_call.api.carrier_streams.answers import answer_document
from active_call.api.carrier_streams.socket import CarrierSocket, TakesCalls
from active_call.api.refusals import refuse_socket
from active_call.call.opening.routing import Playbooks
from active_call.legs.websocket.carriers.profile import NAMES, StreamProfile, stream_profile
from active_call.media.pool.pool import MediaPool

MAX_FIELDS: Final = 200


def carrier_stream_routes(calls: TakesCalls, pool: MediaPool, playbooks: Playbooks, access: StreamAccess) -> APIRouter:
    """All routes, with their own access rule."""
    router = APIRouter(tags=["media streams"])

    async def serve(client: WebSocket, name: str, token: str) -> None:
        try:
            profile = _profile(name)
            is_proven = access.judge(profile, client, token)
        except HTTPException as refusal:
            await refuse_socket(client, refusal.status_code, str(refusal.detail))
        else:
            await CarrierSocket(client, profile, access, calls, pool, playbooks, is_proven=is_proven).run()

    @router.websocket("/call/stream/{name}")
    async def stream(client: WebSocket, name: str) -> None:
        await serve(client, name, "")

    @router.websocket("/call/stream/{name}/{token}")
    async def stream_with_token(client: WebSocket, name: str, token: str) -> None:
        await serve(client, name, token)

    async def answer(name: str, request: Request) -> Response:
        profile = _profile(name)
        form = _form((await request.body()).decode("utf-8", "replace"))
        if not access.judge(profile, request, form=form):
            raise HTTPException(401, "expected ?token= with media_streams.token, or the carrier's signature")
        told = {**dict(request.query_params), **dict(form)}
        values = {
            key: value for key, value in request.query_params.items() if key not in ("token", profile.answer.caller, profile.answer.callee)
        }
        values |= {"caller": told.get(profile.answer.caller, ""), "callee": told.get(profile.answer.callee, "")}
        values["token"] = access.new_ticket(profile)
        document = answer_document(profile.answer, access.websocket_url(profile, request), values)
        return Response(document, media_type=profile.answer.media_type)

    for path in ("/call/stream/{name}/answer", "/call/stream/{name}/twiml"):
        summary = "The document that tells a carrier to open a stream: TwiML, TeXML, Plivo's XML, an NCCO"
        for method in ("GET", "POST"):
            router.add_api_route(path, answer, methods=[method], summary=summary, include_in_schema=path.endswith("answer"))
    return router


def _form(text: str) -> list[tuple[str, str]]:
    """The fields of a form. Raises HTTPException 400 for too many."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, f"the form has more than {MAX_FIELDS} fields") from None


def _profile(name: str) -> StreamProfile:
    profile = stream_profile(name)
    if profile is None:
        raise HTTPException(404, f"no media-stream profile {name[:40]!r}; expected one of {', '.join(NAMES)}")
    return profile
