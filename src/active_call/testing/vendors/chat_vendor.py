"""What the simulators of language models share: scripted replies, faults, and an HTTP server on loopback.

A simulator is written from the vendor's documentation, and refuses what the vendor refuses. `Refused` is what it answers then.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

KEY = "test-key"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call that the simulated model makes."""

    name: str
    arguments: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """One reply: pieces of text, then tool calls. `reason`: why it ends, in the vendor's own word; empty: as usual."""

    pieces: tuple[str, ...] = ("Hello", " there", ".")
    calls: tuple[ScriptedCall, ...] = ()
    reason: str = ""


@dataclass(slots=True)
class ChatFaults:
    """What goes wrong from now on."""

    status: int = 0
    """Answer with this status in place of a reply."""
    breaks_after: int | None = None
    """Close the connection after so many events."""
    ends_after: int | None = None
    """End the answer in order after so many events: the last ones never come."""
    error_after: int | None = None
    """Send the vendor's error event after so many events."""
    garbage: str = ""
    """Send it as the data of the first event."""
    first_byte_s: float = 0.0
    """Wait so long before the first byte."""


class Refused(Exception):
    """The request is not as the documentation has it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ChatDialect(Protocol):
    """What one vendor's simulator adds."""

    path: str

    def check(self, request: Request, body: Json) -> None:
        """Raises Refused."""
        ...

    def events(self, reply: ScriptedReply, body: Json) -> Iterator[tuple[str, Json]]:
        """Name (empty: none is sent) and data of each event of a reply."""
        ...

    def error(self, status: int, message: str) -> Json:
        """An error as the body of an answer."""
        ...

    def error_event(self) -> tuple[str, Json]:
        """An error within a stream."""
        ...


class ChatVendor:
    """One simulated vendor: `received` holds the bodies that were accepted, `refused` why others were not."""

    def __init__(self, dialect: ChatDialect) -> None:
        self.dialect = dialect
        self.faults = ChatFaults()
        self.replies: list[ScriptedReply] = []
        self.received: list[Json] = []
        self.refused: list[str] = []
        self.n_abandoned = 0
        """Replies whose client went away before their end."""
        self.url = ""

    def app(self) -> FastAPI:
        """The web application."""
        app = FastAPI()
        app.post(self.dialect.path)(self._answer)
        return app

    async def _answer(self, request: Request) -> Response:
        faults = self.faults
        await asyncio.sleep(faults.first_byte_s)
        try:
            body = await _json_of(request)
            self.dialect.check(request, body)
        except Refused as error:
            self.refused.append(str(error))
            return JSONResponse(self.dialect.error(error.status, str(error)), error.status)
        self.received.append(body)
        if faults.status:
            return JSONResponse(self.dialect.error(faults.status, f"told to say {faults.status}"), faults.status)
        reply = self.replies.pop(0) if self.replies else ScriptedReply()
        return StreamingResponse(self._stream(reply, body), media_type="text/event-stream")

    async def _stream(self, reply: ScriptedReply, body: Json) -> AsyncIterator[bytes]:
        faults, is_over = self.faults, False
        try:
            if faults.garbage:
                yield f"data: {faults.garbage}\n\n".encode()
            for number, (name, data) in enumerate(self.dialect.events(reply, body)):
                if number == faults.breaks_after:
                    raise ConnectionResetError("told to break")
                if number == faults.ends_after:
                    is_over = True
                    return
                if number == faults.error_after:
                    yield _frame(*self.dialect.error_event())
                    is_over = True
                    return
                yield _frame(name, data)
                await asyncio.sleep(0)
            is_over = True
        finally:
            self.n_abandoned += not is_over and faults.breaks_after is None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[ChatVendor]:
        """Run it on a free port of the loopback; `url` is its base."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app(), log_level="critical", lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield self
        finally:
            server.should_exit = True
            await task
            listener.close()


async def _json_of(request: Request) -> Json:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Refused("the body must be application/json", 415)
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise Refused(f"invalid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refused("the body must be an object")
    return body


def _frame(name: str, data: Mapping[str, Any]) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def only_known(value: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    """Refuse fields that the documentation does not have: vendors answer them with 400."""
    if extra := set(value) - known:
        raise Refused(f"{where}: unknown field(s) {', '.join(sorted(extra))}")


def need(condition: object, message: str) -> None:
    """Refuse unless `condition` holds."""
    if not condition:
        raise Refused(message)
