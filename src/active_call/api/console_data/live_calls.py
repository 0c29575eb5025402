"""The live calls as server-sent events: `event: calls` with all of them whenever one has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

import msgspec

from active_call.base.repair import encode_json
from active_call.call.handle import CallDescription, CallHandle
from active_call.call.state import Phase

LOOK_EVERY_S: Final = 0.5
"""How often the stream checks the calls: enough for a page, and no call waits for it."""
KEEPALIVE_LOOKS: Final = 30
MAX_CALLS: Final = 200
"""How many calls are sent, the newest first; more are not useful on a page. The total is sent as `n`."""
PHASES: Final[Mapping[Phase, str]] = {Phase.NEW: "new", Phase.RINGING: "ringing", Phase.ANSWERED: "answered", Phase.ENDED: "ended"}
HIDDEN: Final = frozenset({"sip"})
"""Variables that do not come from the playbook."""


class LiveCalls(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    @property
    def calls(self) -> Mapping[str, CallHandle]: ...


async def live_calls_stream(calls: LiveCalls) -> AsyncIterator[bytes]:
    """The stream's bytes, until the client leaves."""
    told, n_looks = b"", 0
    while True:
        now = encode_json(snapshot(calls))
        if now != told:
            yield b"event: calls\ndata: " + now + b"\n\n"
            told, n_looks = now, 0
        elif n_looks >= KEEPALIVE_LOOKS:
            yield b": keep-alive\n\n"
            n_looks = 0
        n_looks += 1
        await asyncio.sleep(LOOK_EVERY_S)


def snapshot(calls: LiveCalls) -> dict[str, Any]:
    """All live calls now, the newest first."""
    found = sorted((call.describe() for call in calls.calls.values()), key=lambda call: call.started_at, reverse=True)
    return {"n": len(found), "calls": [_told(call) for call in found[:MAX_CALLS]]}


def _told(call: CallDescription) -> dict[str, Any]:
    return {
        "id": call.id,
        "phase": PHASES[call.phase],
        "direction": call.direction,
        "callType": call.call_type,
        "caller": call.caller,
        "callee": call.callee,
        "trunk": call.trunk,
        "playbook": call.playbook,
        "scene": call.scene,
        "variables": {key: _plain(value) for key, value in call.variables.items() if key not in HIDDEN},
        "startedAt": call.started_at,
        "ringingAt": call.ringing_at,
        "answeredAt": call.answered_at,
        "cost": call.cost,
        "bridgedBecause": call.busy_because,
    }


def _plain(value: Any) -> Any:
    """A value in JSON form."""
    try:
        return msgspec.to_builtins(value)
    except TypeError:
        return str(value)
