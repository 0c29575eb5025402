"""Calls with browsers over plain HTTP: an offer is posted, the answer comes back (as WHIP, RFC 9725, with sound both ways).

    POST /call/webrtc  application/json {"offer", "playbook" or "content", "option", "vars", "id"} → {"session_id", "sdp"}
    POST /call/webrtc?playbook=x.md  application/sdp → 201 application/sdp, Location: /call/{id}

`DELETE /call/{id}` hangs up; `/events/{id}` and `/command/{id}` serve these calls, too.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, Response

from active_call.agent.playbook.scenes import Playbook
from active_call.api.bodies import body_schema, json_object
from active_call.api.library import load_playbook
from active_call.api.sockets.beginnings import Browsers
from active_call.base.errors import ActiveCallError
from active_call.call.handle import CallHandle
from active_call.call.opening.options import merged
from active_call.call.opening.routing import Playbooks
from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption
from active_call.contract.requests import BrowserCall

ANSWER_S: Final = 10.0
SDP: Final = "application/sdp"


def browser_call_routes(browsers: Browsers, playbooks: Playbooks) -> APIRouter:
    """`POST /call/webrtc`."""
    router = APIRouter(tags=["calls"])

    @router.post("/call/webrtc", summary="A call with a browser: its offer in, our answer out", openapi_extra=body_schema(BrowserCall))
    async def call_browser(request: Request) -> Response:
        is_sdp = request.headers.get("content-type", "").partition(";")[0].strip().lower() == SDP
        wanted = await _wanted(request, is_sdp=is_sdp)
        option = merged(CallOption(offer=wanted.offer, caller=wanted.caller), wanted.option or CallOption())
        peer = request.client.host if request.client else ""
        playbook = _playbook(wanted, playbooks)
        call = browsers.call(option, peer, session_id=wanted.id, playbook=playbook, variables=wanted.vars)
        sdp = await _answer_of(call)
        location = {"Location": f"/call/{call.id}"}
        if is_sdp:
            return Response(sdp, 201, location, SDP)
        return JSONResponse({"session_id": call.id, "sdp": sdp}, 201, location)

    return router


async def _wanted(request: Request, *, is_sdp: bool) -> BrowserCall:
    if not is_sdp:
        return wire.convert(await json_object(request), BrowserCall).value
    body: dict[str, Any] = {key: request.query_params[key] for key in ("playbook", "id", "caller") if key in request.query_params}
    return wire.convert({**body, "offer": (await request.body()).decode("utf-8", "replace")}, BrowserCall).value


def _playbook(wanted: BrowserCall, playbooks: Playbooks) -> Playbook | None:
    if wanted.content is not None:
        return playbooks.parse(wanted.content)
    return load_playbook(playbooks, wanted.playbook) if wanted.playbook is not None else None


async def _answer_of(call: CallHandle) -> str:
    """Our description. Raises HTTPException where the call ends before it has one; then there is no call."""
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
