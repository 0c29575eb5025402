"""Check whether trunks answer: send OPTIONS to each trunk that has an interval for it (RFC 3261 §11).

Trunks go in; `states` has their states, and changes are logged. Any answer but 408 and 5xx counts as reachable, including refusals. Calls
are placed whatever the state. Some carriers send no calls before they have received OPTIONS.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TypedDict

from active_call.base.errors import ActiveCallError
from active_call.legs.sip.plain_text import plain
from active_call.legs.sip.ports import RequestPort
from active_call.legs.trunks.policy import TrunkPolicy
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.syntax.uri import Uri, parse_uri

log = logging.getLogger("active_call.trunks")


class _Options(TypedDict, total=False):
    """The arguments of `Endpoint.request_outside` for an OPTIONS."""

    from_uri: str
    to_uri: str
    transport: sip.TransportName
    local_host: str
    headers: sip.HeaderList


class TrunkWatch:
    """All watched trunks. `run` continues until it is cancelled."""

    def __init__(self, gateway: RequestPort, trunks: Sequence[TrunkPolicy]) -> None:
        self._gateway = gateway
        self._trunks = _watched(trunks)
        self._changed = asyncio.Event()
        self._waiting: dict[sip.TransactionToken, asyncio.Future[sip.RequestCompleted]] = {}
        self._early: dict[sip.TransactionToken, sip.RequestCompleted] = {}
        """Outcomes of requests that failed while they were being sent."""
        self.states: dict[str, str] = {}
        """By trunk: `reachable`, or `unreachable` with code and reason."""

    async def run(self) -> None:
        """Send OPTIONS to all trunks at their intervals, until cancelled."""
        while True:
            self._changed.clear()
            async with asyncio.TaskGroup() as tasks:
                watching = [tasks.create_task(self._watch(trunk), name=f"options {trunk.name}") for trunk in self._trunks]
                await self._changed.wait()
                for task in watching:
                    task.cancel()

    def update(self, trunks: Sequence[TrunkPolicy]) -> None:
        """Watch these trunks from now on."""
        self._trunks = _watched(trunks)
        names = {trunk.name for trunk in self._trunks}
        self.states = {name: state for name, state in self.states.items() if name in names}
        self._changed.set()

    def handle(self, event: sip.RequestCompleted) -> None:
        """Take an answer to a request outside of calls."""
        waiting = self._waiting.pop(event.token, None)
        if waiting is None:
            self._early[event.token] = event
        elif not waiting.done():
            waiting.set_result(event)

    async def _watch(self, trunk: TrunkPolicy) -> None:
        while True:
            self._note(trunk, await self._ask(trunk))
            await asyncio.sleep(trunk.options_interval_s)

    async def _ask(self, trunk: TrunkPolicy) -> str:
        try:
            uri = parse_uri(f"sip:{trunk.address}")
            token = self._gateway.run(lambda endpoint, now: endpoint.request_outside("OPTIONS", str(uri), now, **self._said(trunk, uri)))
        except ActiveCallError as error:
            return f"unreachable: {error}"
        completed = self._early.pop(token, None)
        self._early.clear()
        if completed is None:
            waiting = self._waiting[token] = asyncio.get_running_loop().create_future()
            completed = await waiting
        if completed.response is None or completed.code == 408 or completed.code >= 500:
            return f"unreachable: {completed.code} {plain(completed.reason)}"
        return "reachable"

    def _said(self, trunk: TrunkPolicy, uri: Uri) -> _Options:
        own = self._gateway.own_address_for(uri.host)
        named = trunk.contact_host or (f"[{own}]" if ":" in own else own)
        transport = uri.transport or trunk.transport or ("tls" if trunk.srtp is SrtpPolicy.REQUIRED else "udp")
        said: _Options = {"from_uri": f"sip:{named}", "to_uri": str(uri), "transport": transport, "local_host": own}  # type: ignore[typeddict-item]
        if trunk.contact_host:
            said["headers"] = (("Contact", f"<sip:{trunk.contact_host};transport={transport}>"),)
        return said

    def _note(self, trunk: TrunkPolicy, state: str) -> None:
        if self.states.get(trunk.name) == state:
            return
        self.states[trunk.name] = state
        level = logging.INFO if state == "reachable" else logging.WARNING
        log.log(level, "trunk watched", extra={"trunk": trunk.name, "state": state})


def _watched(trunks: Sequence[TrunkPolicy]) -> list[TrunkPolicy]:
    return [trunk for trunk in trunks if trunk.options_interval_s > 0 and trunk.address]
