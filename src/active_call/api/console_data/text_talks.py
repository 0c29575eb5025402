"""`/api/console/talks`: tests a playbook by typing. It runs like a call without a line: text enters, the call's events leave.

A talk is one text call (`TextCall`). Few may exist at a time, and an idle one ends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from fastapi import APIRouter, HTTPException, Request

from active_call.agent.playbook.scenes import Playbook
from active_call.api.access import is_operator
from active_call.api.bodies import body_schema, json_object
from active_call.api.console_data.text_call import BeginTextCall
from active_call.api.library import load_playbook
from active_call.base.world import Randomness
from active_call.call.opening.routing import Playbooks
from active_call.contract import events, wire
from active_call.contract.requests import BeginTalk, TalkTurn

MAX_TALKS: Final = 8
"""The limit at a time, because each may ask a language model."""
IDLE_S: Final = 600.0
HIDDEN: Final = frozenset({"sip"})
"""Variables that do not come from the playbook."""


class _Talk:
    """One talk: its call, and the events since the last answer."""

    def __init__(self, begin: BeginTextCall, playbook: Playbook) -> None:
        self._told: list[events.Event] = []
        self.turn = asyncio.Lock()
        """Handles one line at a time."""
        self.idle: asyncio.TimerHandle | None = None
        self.call = begin(playbook, self._told.append)

    def answer(self, talk_id: str) -> dict[str, Any]:
        """The events since the last answer, and the state of the call."""
        told, self._told[:] = [msgspec.to_builtins(event) for event in self._told], []
        shown = {key: _plain(value) for key, value in self.call.variables().items() if key not in HIDDEN}
        return {"id": talk_id, "events": told, "scene": self.call.scene, "variables": shown, "over": self.call.is_over}


class Talks:
    """All talks of a server."""

    def __init__(self, begin: BeginTextCall, randomness: Randomness) -> None:
        self._begin = begin
        self._randomness = randomness
        self._talks: dict[str, _Talk] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def begin(self, playbook: Playbook) -> dict[str, Any]:
        """Begin a talk; returns what the agent says first. Raises HTTPException 503 if there are too many."""
        if len(self._talks) >= MAX_TALKS:
            raise HTTPException(503, f"there are {MAX_TALKS} talks by text already; end one first", headers={"Retry-After": "60"})
        talk_id = f"t.{self._randomness.uuid()}"
        talk = self._talks[talk_id] = _Talk(self._begin, playbook)
        return await self._answered(talk_id, talk, talk.call.settled)

    async def take_turn(self, talk_id: str, turn: TalkTurn) -> dict[str, Any]:
        """The caller says or presses something. Raises HTTPException 404, or 409 during another turn."""
        talk = self._find(talk_id)
        if talk.turn.locked():
            raise HTTPException(409, "the agent still answers the line before")
        if turn.digits:
            return await self._answered(talk_id, talk, lambda: talk.call.presses(turn.digits or ""))
        return await self._answered(talk_id, talk, lambda: talk.call.says(turn.text or ""))

    async def end(self, talk_id: str) -> dict[str, Any]:
        """Hang up. Raises HTTPException 404."""
        talk = self._find(talk_id)
        await self._close(talk_id, talk)
        return talk.answer(talk_id)

    def _find(self, talk_id: str) -> _Talk:
        talk = self._talks.get(talk_id)
        if talk is None:
            raise HTTPException(404, f"no talk {talk_id[:80]!r}")
        return talk

    async def _answered(self, talk_id: str, talk: _Talk, act: Callable[[], Any]) -> dict[str, Any]:
        if talk.idle is not None:
            talk.idle.cancel()
        try:
            async with talk.turn:
                await act()
        finally:  # also if the client has gone meanwhile
            talk.idle = asyncio.get_running_loop().call_later(IDLE_S, self._end_idle, talk_id, talk)
        if talk.call.is_over:
            await self._close(talk_id, talk)
        return talk.answer(talk_id)

    def _end_idle(self, talk_id: str, talk: _Talk) -> None:
        task = asyncio.get_running_loop().create_task(self._close(talk_id, talk), name="idle talk ends")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, talk_id: str, talk: _Talk) -> None:
        self._talks.pop(talk_id, None)
        if talk.idle is not None:
            talk.idle.cancel()
        await talk.call.close()


def text_talk_routes(begin: BeginTextCall, playbooks: Playbooks, randomness: Randomness) -> APIRouter:
    """The routes; they need the scope `control`, because a model may be used."""
    router, talks = APIRouter(prefix="/api/console/talks", tags=["console"]), Talks(begin, randomness)

    @router.post("", status_code=201, summary="Try a playbook by text: what the agent says first", openapi_extra=body_schema(BeginTalk))
    async def begin_talk(request: Request) -> dict[str, Any]:
        wanted = wire.convert(await json_object(request), BeginTalk).value
        if wanted.content is not None:
            return await talks.begin(await playbooks.parse_long(wanted.content, by_operator=is_operator(request)))
        if wanted.playbook is None:
            raise wire.ContractError("playbook", "missing; name a playbook, or give one as 'content'")
        return await talks.begin(load_playbook(playbooks, wanted.playbook))

    @router.post("/{talk_id}", summary="The caller says `text` or presses `digits`: what follows", openapi_extra=body_schema(TalkTurn))
    async def take_turn(talk_id: str, request: Request) -> dict[str, Any]:
        turn = wire.convert(await json_object(request), TalkTurn).value
        if not (turn.text or turn.digits):
            raise wire.ContractError("text", "missing; expected what the caller says, or 'digits'")
        return await talks.take_turn(talk_id, turn)

    @router.delete("/{talk_id}", summary="Hang up")
    async def end_talk(talk_id: str) -> dict[str, Any]:
        return await talks.end(talk_id)

    return router


def _plain(value: Any) -> Any:
    """A value in JSON form."""
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return str(value)
