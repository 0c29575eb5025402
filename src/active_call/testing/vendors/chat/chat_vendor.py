"""The base of the simulated language models: scripted replies as server-sent events, and faults within a reply."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.testing.vendors.wire.faults import Faults
from active_call.testing.vendors.wire.server import Refused, Request, Response, VendorServer

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call that the simulated model makes."""

    name: str
    arguments: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """One reply: pieces of text, then tool calls. `reason`: the vendor's finish reason; empty: the usual one."""

    pieces: tuple[str, ...] = ("Hello", " there", ".")
    calls: tuple[ScriptedCall, ...] = ()
    reason: str = ""


class Unusual(Exception):
    """The request does not match the documentation."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ChatVendor(VendorServer):
    """A language model service. It sends `replies` in order; `received` holds the accepted request bodies.

    A vendor implements `check`, `events`, `error` and `error_event`.
    """

    def __init__(self, *, faults: Faults | None = None) -> None:
        super().__init__(faults=faults)
        self.replies: list[ScriptedReply] = []
        self.received: list[Json] = []
        self.n_abandoned = 0
        """Replies whose client disconnected before their end."""
        self.ends_after: int | None = None
        """A reply ends normally after this many events; the rest is not sent."""
        self.error_after: int | None = None
        """The vendor's error event is sent after this many events."""
        self.garbage = ""
        """The data of an extra event before all others."""

    # -- what a vendor says

    def check(self, request: Request, body: Json) -> None:
        """Check a request body. Raises Unusual."""
        raise NotImplementedError

    def events(self, reply: ScriptedReply, body: Json) -> Iterator[tuple[str, Json]]:
        """Name (empty: not sent) and data of each event of a reply."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> Json:
        """An error as a response body."""
        raise NotImplementedError

    def error_event(self) -> tuple[str, Json]:
        """An error within a stream."""
        raise NotImplementedError

    # -- answering

    async def respond(self, request: Request) -> Response:
        try:
            body = _object_in(request)
            self.check(request, body)
        except Unusual as error:
            self.complain(str(error))
            raise Refused(error.status, self.error(error.status, str(error))) from error
        self.received.append(body)
        reply = self.replies.pop(0) if self.replies else ScriptedReply()
        return Response(200, self._stream(reply, body), {"content-type": "text/event-stream"})

    async def _stream(self, reply: ScriptedReply, body: Json) -> AsyncGenerator[bytes, None]:
        is_over = False
        try:
            if self.garbage:
                yield f"data: {self.garbage}\n\n".encode()
            for number, (name, data) in enumerate(self.events(reply, body)):
                if number == self.ends_after:
                    break
                if number == self.error_after:
                    yield _frame(*self.error_event())
                    break
                yield _frame(name, data)
                await asyncio.sleep(0)
            is_over = True
        finally:
            self.n_abandoned += not is_over


def _object_in(request: Request) -> Json:
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise Unusual("the body must be application/json", 415)
    body = request.json()
    if not isinstance(body, dict):
        raise Unusual("the body must be an object")
    return body


def _frame(name: str, data: Mapping[str, Any]) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def only_known(value: Mapping[str, Any], known: frozenset[str] | set[str], where: str) -> None:
    """Refuse fields that are not in the documentation: vendors answer them with 400."""
    if extra := set(value) - known:
        raise Unusual(f"{where}: unknown field(s) {', '.join(sorted(extra))}")


def need(condition: object, message: str) -> None:
    """Refuse unless `condition` holds."""
    if not condition:
        raise Unusual(message)
