"""The calls that are alive: admits new ones, finds them by id, ends them all at shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from active_call.agent.playbook import Playbook
from active_call.base.errors import ActiveCallError
from active_call.call.leg import Leg
from active_call.call.routing import Router
from active_call.call.services import CallServices
from active_call.call.session import Session
from active_call.contract.options import CallOption
from active_call.legs.outbound_guard import ANYTHING, OutboundRequest

log = logging.getLogger("active_call.directory")


class NoRoom(ActiveCallError):
    """The server is full or draining: try elsewhere or later."""

    code = "no_room"


class Placing(Protocol):
    """Makes the leg of a call that we place."""

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A leg that will dial `option.callee`, as `request` wants it. Raises ActiveCallError when the address cannot be used."""
        ...

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed where `callee` may not be called, ActiveCallError where it is no address."""
        ...

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has any; empty where there is none."""
        ...


class Directory:
    """All live calls of this process. `has_room` is asked before each new one."""

    def __init__(
        self,
        services: CallServices,
        router: Router | None,
        placing: Placing,
        has_room: Callable[[], bool],
        *,
        max_calls: int | None = None,
    ) -> None:
        self._services = services
        self._router = router
        self._placing = placing
        self._has_room = has_room
        self._max_calls = max_calls
        self._sessions: dict[str, Session] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.on_new_session: Callable[[Session], object] = lambda _: None
        """Told of each session before it runs."""
        self.on_refused: Callable[[str], object] = lambda _: None
        """Told of each inbound call that is refused, by `full` or `draining`."""
        self.is_draining = False
        self.n_calls_total = 0

    @property
    def sessions(self) -> Mapping[str, Session]:
        return self._sessions

    @property
    def is_accepting(self) -> bool:
        is_full = self._max_calls is not None and len(self._sessions) >= self._max_calls
        return not self.is_draining and not is_full and self._has_room()

    def find(self, session_id: str) -> Session | None:
        """The live call of that session id or, failing that, of that protocol's own id (SIP Call-ID)."""
        found = self._sessions.get(session_id)
        return found or next((session for session in self._sessions.values() if session.leg.call_id == session_id), None)

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A further leg of a live call. Raises ActiveCallError when the address cannot be used."""
        return self._placing.new_leg(option, request)

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed where `callee` may not be called, ActiveCallError where it is no address."""
        return self._placing.check_outbound(callee, request)

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has any; empty where there is none."""
        return self._placing.way_out(trunk)

    def handle_incoming(self, leg: Leg) -> None:
        """A new inbound call, or a leg that takes the place of one; refused with 503 where there is no room."""
        if leg.replaces is not None:
            self._replace(leg, leg.replaces)
            return
        if not self.is_accepting:
            why = "draining" if self.is_draining else "full"
            log.warning("call refused", extra={"why": why, "call_id": leg.call_id})
            self.on_refused(why)
            leg.attach(lambda _: None)
            leg.reject(503, "Draining" if self.is_draining else "No room for more calls")
            return
        session_id = f"s.{self._services.world.randomness.uuid()}"
        self._start(Session(session_id, leg, self._services, direction="inbound", router=self._router, house=self))

    def _replace(self, leg: Leg, replaced: Leg) -> None:
        session = next((one for one in self._sessions.values() if one.leg is replaced), None)
        if session is not None:
            session.take_over(leg)
        else:  # the far leg of a transfer, say
            leg.attach(lambda _: None)
            leg.reject(603, "Decline")

    def place(
        self,
        option: CallOption,
        *,
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Session:
        """Place a call; it rings in the background. Raises NoRoom, or ActiveCallError for an address that cannot be dialled."""
        if not self.is_accepting:
            raise NoRoom("the server is draining" if self.is_draining else "no room for more calls")
        session_id = session_id or f"c.{self._services.world.randomness.uuid()}"
        if session_id in self._sessions:
            raise ActiveCallError(f"a call with the id {session_id!r} exists already")
        leg = self._placing.new_leg(option)
        session = Session(
            session_id, leg, self._services, direction="outbound", option=option, playbook=playbook, variables=variables, house=self
        )
        self._start(session)
        return session

    async def drain(self, timeout_s: float) -> None:
        """Take no more calls; wait for those that are alive, and end what is left after `timeout_s`."""
        self.is_draining = True
        if self._tasks and timeout_s > 0:
            await asyncio.wait(self._tasks.values(), timeout=timeout_s)
        for session in list(self._sessions.values()):
            session.hang_up(by="system", cause="shutdown", reason="server is shutting down")
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=3.0)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, session: Session) -> None:
        self._sessions[session.id] = session
        self.n_calls_total += 1
        self.on_new_session(session)
        task = asyncio.get_running_loop().create_task(session.run(), name=f"call {session.id}")
        self._tasks[session.id] = task
        task.add_done_callback(lambda done: self._ended(session.id, done))

    def _ended(self, session_id: str, task: asyncio.Task[None]) -> None:
        self._sessions.pop(session_id, None)
        self._tasks.pop(session_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("call's own wall was broken", exc_info=task.exception(), extra={"session_id": session_id})
