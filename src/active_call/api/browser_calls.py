"""Calls with browsers over plain HTTP: an offer is posted, the answer is returned (like WHIP, RFC 9725, with sound in both directions).

    POST /call/webrtc  application/json {"offer", "playbook" or "content", "option", "vars", "id"} → {"session_id", "sdp"}
    POST /call/webrtc?playbook=x.md  application/sdp → 201 application/sdp, Location: /call/{id}

    PATCH /call/{id}  application/trickle-ice-sdpfrag, If-Match → 204, or 200 with a fragment after an ICE restart (RFC 9725, section 4.3)
    PATCH /call/{id}  application/sdp → 200 application/sdp, the answer to a further offer (POST does the same)

`ETag` identifies the ICE session: it changes with every restart. `DELETE /call/{id}` hangs up; `/events/{id}` and `/command/{id}` serve
these calls, too.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from active_call.agent.playbook.scenes import Playbook
from active_call.api.access import is_operator
from active_call.api.bodies import body_schema, json_object
from active_call.api.library import load_playbook
from active_call.api.renegotiation import ask_again
from active_call.api.sockets.beginnings import Browsers
from active_call.base.errors import ActiveCallError
from active_call.call.handle import CallHandle
from active_call.call.opening.options import merged
from active_call.call.opening.routing import Playbooks
from active_call.call.requests import OtherPath
from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption
from active_call.contract.requests import BrowserCall

ANSWER_S: Final = 10.0
SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"


def browser_call_routes(browsers: Browsers, playbooks: Playbooks) -> APIRouter:
    """`POST /call/webrtc`."""
    router = APIRouter(tags=["calls"])

    @router.post("/call/webrtc", summary="A call with a browser: its offer in, our answer out", openapi_extra=body_schema(BrowserCall))
    async def call_browser(request: Request) -> Response:
        is_sdp = _media_type(request) == SDP
        wanted = await _wanted(request, is_sdp=is_sdp)
        option = merged(CallOption(offer=wanted.offer, caller=wanted.caller), wanted.option or CallOption())
        peer = request.client.host if request.client else ""
        playbook = await _playbook(wanted, playbooks, by_operator=is_operator(request))
        call = browsers.call(option, peer, session_id=wanted.id, playbook=playbook, variables=wanted.vars)
        sdp = await _answer_of(call)
        location = {"Location": f"/call/{call.id}", "ETag": _tag_of(sdp), "Accept-Patch": f"{FRAGMENT}, {SDP}"}
        if is_sdp:
            return Response(sdp, 201, location, SDP)
        return JSONResponse({"session_id": call.id, "sdp": sdp}, 201, location)

    @router.patch("/call/{session_id}", summary="After a change of the browser's network: candidates, a fragment or an offer in, ours out")
    @router.post("/call/{session_id}", include_in_schema=False)
    async def offer_again(session_id: str, request: Request) -> Response:
        call = browsers.calls.find(session_id)
        if call is None:
            raise HTTPException(404, f"no call {session_id!r}")
        kind, tag = _media_type(request), request.headers.get("if-match")
        if kind not in (SDP, FRAGMENT):
            raise HTTPException(415, f"expected 'Content-Type: {FRAGMENT}' or '{SDP}'")
        if kind == FRAGMENT and tag is None:
            raise HTTPException(428, "expected If-Match with the ETag of the last answer, or * to restart ICE")
        offer = (await request.body()).decode("utf-8", "replace")
        try:
            text, tag = await ask_again(call, offer, is_fragment=kind == FRAGMENT, if_match=tag or "*")
        except OtherPath as error:
            raise HTTPException(412, str(error)) from error
        return Response(text, 200, {"ETag": tag}, kind) if text else Response(None, 204, {"ETag": tag})

    return router


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _tag_of(sdp: str) -> str:
    ufrag = next((line.removeprefix("a=ice-ufrag:") for line in sdp.splitlines() if line.startswith("a=ice-ufrag:")), "")
    return f'"{ufrag}"'


async def _wanted(request: Request, *, is_sdp: bool) -> BrowserCall:
    if not is_sdp:
        return wire.convert(await json_object(request), BrowserCall).value
    body: dict[str, Any] = {key: request.query_params[key] for key in ("playbook", "id", "caller") if key in request.query_params}
    return wire.convert({**body, "offer": (await request.body()).decode("utf-8", "replace")}, BrowserCall).value


async def _playbook(wanted: BrowserCall, playbooks: Playbooks, *, by_operator: bool) -> Playbook | None:
    if wanted.content is not None:
        return await playbooks.parse_long(wanted.content, by_operator=by_operator)
    return load_playbook(playbooks, wanted.playbook) if wanted.playbook is not None else None


async def _answer_of(call: CallHandle) -> str:
    """Our description. Raises HTTPException if the call ends before it has one."""
    subscription = call.subscribe(from_seq=1)
    try:
        async with asyncio.timeout(ANSWER_S):
            async for item in subscription:
                match item.event:
                    case events.Answer(sdp=sdp):
                        return sdp
                    case events.Error(error=error):
                        raise ActiveCallError(error)
                    case events.Hangup(reason=reason):
                        raise HTTPException(503, f"the call has ended: {reason}")
    except TimeoutError as error:
        call.send(commands.Hangup(reason="no answer", initiator="system"))
        raise HTTPException(504, f"no answer within {ANSWER_S:g} s") from error
    finally:
        subscription.close()
    raise HTTPException(503, "the call has ended")
