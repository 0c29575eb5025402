"""The events that web services receive: `call.started`, `call.answered`, `call.ended`, `call.transfer`, `recording.ready` and `turn`.

The handle of each new call enters; deliveries leave, each with the call's facts and the event. A call never waits for them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from active_call.base.world import World
from active_call.call.events.subscription import Subscription
from active_call.call.handle import CallHandle
from active_call.contract import events, wire
from active_call.store.webhook_spool import Delivery

log = logging.getLogger("active_call.call")

RECORD_S: Final = 30.0
"""How long the record of an ended call is awaited."""

Deliver = Callable[[Delivery], Awaitable[None]]
ReadRecord = Callable[[str], Awaitable[Mapping[str, Any] | None]]


class Wanted(Struct, frozen=True):
    """The events that one web service receives; empty: all except `turn`."""

    target: str
    types: tuple[str, ...] = ()

    def wants(self, kind: str) -> bool:
        return kind in self.types if self.types else kind != "turn"


class CallWebhooks:
    """Follows all calls of a server. `read_record` returns a closed record."""

    def __init__(self, wanted: Sequence[Wanted], deliver: Deliver, read_record: ReadRecord, world: World) -> None:
        self._wanted, self._deliver, self._read_record, self._world = tuple(wanted), deliver, read_record, world
        self._tasks: set[asyncio.Task[None]] = set()
        self._n_told = 0

    def follow(self, call: CallHandle) -> None:
        """A new call: send its events until its end."""
        if not self._wanted:
            return
        self._report(call, "call.started", {})
        subscription = call.subscribe()
        subscription.notify(lambda: self._take(call, subscription))

    async def close(self) -> None:
        """Wait until deliveries in progress are stored."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, call: CallHandle, subscription: Subscription) -> None:
        for item in subscription.take():
            event = item.event
            if isinstance(event, events.Hangup) and not event.refer:
                self._spawn(self._report_recording(call))
            kind = _kind_of(event)
            if kind:
                self._report(call, kind, json.loads(wire.encode_event(event)), event.timestamp)

    def _report(self, call: CallHandle, kind: str, data: Mapping[str, Any], at_ms: int = 0) -> None:
        now = self._world.clock.utc_now()
        at_ms = at_ms or int(now.timestamp() * 1000)
        for wanted in self._wanted:
            if wanted.wants(kind):
                self._n_told += 1
                identity = f"wh_{int(now.timestamp() * 1000):013x}{self._n_told % 65536:04x}{self._world.randomness.uuid()[:8]}"
                body = {"id": identity, "type": kind, "timestamp": at_ms, "sessionId": call.id, "call": _facts(call), "data": dict(data)}
                text = json.dumps(body, ensure_ascii=False)
                self._spawn(self._deliver(Delivery(identity, wanted.target, kind, now.timestamp(), text, call.id)))

    async def _report_recording(self, call: CallHandle) -> None:
        """The recording is complete when the call's record exists."""
        if not any(wanted.wants("recording.ready") for wanted in self._wanted):
            return
        pause_s = 0.2
        deadline = self._world.clock.now() + RECORD_S
        while self._world.clock.now() < deadline:
            await asyncio.sleep(pause_s)
            record = await self._read_record(call.id)
            if record is not None and record.get("status") != "active":
                if record.get("recording"):
                    path = f"/api/records/{call.id}/recording"
                    told = {"path": path, "durationMs": record.get("recordingMs"), "error": record.get("recordingError")}
                    self._report(call, "recording.ready", {key: value for key, value in told.items() if value is not None})
                return
            pause_s = min(2.0, pause_s * 2)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("webhook of a call is lost", exc_info=task.exception())


def _kind_of(event: events.Event) -> str:
    match event:
        case events.Answer(refer=False):
            return "call.answered"
        case events.Hangup(refer=False):
            return "call.ended"
        case events.Transfer():
            return "call.transfer"
        case events.Turn():
            return "turn"
        case _:
            return ""


def _facts(call: CallHandle) -> dict[str, Any]:
    now = call.describe()
    facts = {"direction": now.direction, "caller": now.caller, "callee": now.callee, "trunk": now.trunk, "playbook": now.playbook}
    return {key: value for key, value in facts.items() if value}
