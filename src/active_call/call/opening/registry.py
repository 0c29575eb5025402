"""The live calls: admits new ones, finds them by id, ends them all at shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any, Final, Protocol

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, LimitReached
from active_call.base.one_per_pass import OnePerPass
from active_call.call.call import Call
from active_call.call.cost.spending import Spending
from active_call.call.dependencies import CallDependencies
from active_call.call.handle import CallHandle
from active_call.call.opening.refused_calls import RefusedCalls
from active_call.call.opening.routing import Router
from active_call.contract import bounds
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.legs.abilities import replaced_by
from active_call.legs.leg import Leg
from active_call.legs.sip.refusals import RefusedCall
from active_call.legs.trunks.outbound_guard import ANYTHING, OutboundRequest

log = logging.getLogger("active_call.registry")

BYE_S = 3.0
"""The time for a BYE and its answer."""
CLOSING_S = 15.0
"""The time for the parts of a call to close, each at its own limit."""
HURRIED_S = 1.0
"""Each of these times once `end_calls_now` was called."""
TELL_EVERY_S = 5.0
REFUSALS: Final = {"draining": "Draining", "full": "No room for more calls", "budget": "Budget of the day is spent"}
"""The reason phrase of a 503, by the value of `refuses_because`."""
NO_ROOM: Final = {
    "draining": "the server is draining",
    "full": "the server has reached its limit of calls",
    "budget": "the day's budget is spent: no new calls are taken until midnight UTC",
}
"""The same for a client that requests an outbound call."""


class NoRoom(ActiveCallError):
    """The server is full or draining: try another server, or later."""

    code = "no_room"


class Placing(Protocol):
    """Creates the leg of an outbound call."""

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A leg that will dial `option.callee` as `request` describes. Raises ActiveCallError for an unusable address."""
        ...

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed if `callee` may not be called, ActiveCallError if it is not an address."""
        ...

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has an address; empty if there is none."""
        ...


class CallRegistry:
    """All live calls of this process. `has_room` is asked before each new one."""

    def __init__(
        self,
        services: CallDependencies,
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
        self._calls: dict[str, Call] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.on_new_call: Callable[[CallHandle], object] = lambda _: None
        """Called with each call before it runs."""
        self.on_refused: Callable[[str], object] = lambda _: None
        """Called for each refused inbound call, with `full`, `draining` or `budget`."""
        self.refused_calls = RefusedCalls(services.world, services.records)
        """Records of calls that were refused before set-up."""
        self.is_draining = False
        self._beginnings = OnePerPass(services.before_step, is_held=True)
        self._ends_now = asyncio.Event()
        self.n_calls_total = 0

    def reconfigure(self, services: CallDependencies, router: Router | None, max_calls: int | None) -> None:
        """Change the services of new calls; live calls keep theirs."""
        self._services, self._router, self._max_calls = services, router, max_calls

    @property
    def calls(self) -> Mapping[str, CallHandle]:
        """Handles of all live calls, by session id."""
        return {session_id: call.handle() for session_id, call in self._calls.items()}

    @property
    def spending(self) -> Spending:
        """The usage and cost of all calls."""
        return self._services.spending

    @property
    def n_calls(self) -> int:
        """How many calls are alive."""
        return len(self._calls)

    @property
    def n_free(self) -> float:
        """How many more calls the configured limit allows; infinite without one."""
        return inf if self._max_calls is None else max(self._max_calls - len(self._calls), 0)

    @property
    def n_beginning(self) -> int:
        """The number of calls that wait for their first step. It grows when the loop is overloaded."""
        return self._beginnings.n_waiting

    @property
    def refuses_because(self) -> str:
        """Why no new call is accepted now: `draining`, `full`, or `budget` if the day's is spent; empty while calls are accepted."""
        if self.is_draining:
            return "draining"
        if (self._max_calls is not None and len(self._calls) >= self._max_calls) or not self._has_room():
            return "full"
        return "budget" if self._services.spending.is_spent else ""

    @property
    def is_accepting(self) -> bool:
        """Whether a new call is accepted now."""
        return not self.refuses_because

    @property
    def takes_invites(self) -> bool:
        """Whether INVITEs should reach `handle_incoming`. True also if the budget refuses calls, so each gets its reason and a record."""
        return self.refuses_because in ("", "budget")

    def find(self, session_id: str) -> CallHandle | None:
        """The handle of the live call of that session id or, failing that, of that protocol's own id (SIP Call-ID)."""
        found = self._calls.get(session_id) or next((call for call in self._calls.values() if call.state.leg.call_id == session_id), None)
        return found.handle() if found is not None else None

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """Another leg of a live call. Raises ActiveCallError for an unusable address."""
        return self._placing.new_leg(option, request)

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed if `callee` may not be called, ActiveCallError if it is not an address."""
        return self._placing.check_outbound(callee, request)

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has an address; empty if there is none."""
        return self._placing.way_out(trunk)

    def handle_incoming(self, leg: Leg, *, router: Router | None = None, variables: Mapping[str, Any] | None = None) -> None:
        """A new inbound call, or a leg that replaces that of a call; refused with 503 if there is no room.

        `router`: decides instead of the configured one. `variables`: initial variables of the call.
        """
        replaced = replaced_by(leg)
        if replaced is not None:
            self._replace(leg, replaced)
            return
        if why := self.refuses_because:
            log.warning("call refused", extra={"why": why, "call_id": leg.call_id})
            self.on_refused(why)
            self.refused_calls.note(RefusedCall(why, 503, caller=leg.caller, callee=leg.callee, call_id=leg.call_id, trunk=leg.trunk))
            leg.attach(lambda _: None)
            leg.reject(503, REFUSALS[why])
            return
        session_id = f"s.{self._services.world.randomness.uuid()}"
        chosen = router if router is not None else self._router
        self._start(Call(session_id, leg, self._services, direction="inbound", variables=variables, router=chosen, network=self))

    def _replace(self, leg: Leg, replaced: Leg) -> None:
        call = next((one for one in self._calls.values() if one.state.leg is replaced), None)
        if call is not None:
            call.take_over(leg)
        else:  # such as the far leg of a transfer
            leg.attach(lambda _: None)
            leg.reject(603, "Decline")

    def place(
        self,
        option: CallOption,
        *,
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        leg: Leg | None = None,
    ) -> CallHandle:
        """Place a call; it rings in the background.

        Raises NoRoom, ContractError for an id that no URL can hold, or ActiveCallError for an address that cannot be dialled.

        `leg`: an existing connection of a client, with which the call is held; None: a leg to `option.callee` is created.
        """
        if why := self.refuses_because:
            self._note_unplaced(option, why)
            raise NoRoom(NO_ROOM[why])
        session_id = session_id or f"c.{self._services.world.randomness.uuid()}"
        if reason := bounds.against_session_id(session_id):
            raise ContractError("id", f"{reason}, found {session_id[:80]!r}")
        if session_id in self._calls:
            raise ActiveCallError(f"a call with the id {session_id!r} already exists")
        try:
            leg = self._placing.new_leg(option) if leg is None else leg
        except LimitReached as busy:
            self._note_unplaced(option, busy.rule, str(busy))
            raise
        call = Call(
            session_id, leg, self._services, direction="outbound", option=option, playbook=playbook, variables=variables, network=self
        )
        self._start(call)
        return call.handle()

    def end_calls_now(self) -> None:
        """End the waiting of a current or later drain: calls are ended at once, each with BYE and record."""
        self._ends_now.set()

    async def drain(self, timeout_s: float) -> None:
        """Accept no more calls; wait for live ones, and end the rest after `timeout_s`.

        Cancelling acts like `end_calls_now` and is passed on at the end: every call still gets its BYE and its record.
        """
        if not self.is_draining:
            log.info("stopping, no new calls are taken", extra={"calls": len(self._tasks), "waits_s": timeout_s if self._tasks else 0})
        self.is_draining = True
        draining = asyncio.get_running_loop().create_task(self._drain(timeout_s), name="drain")
        cancelled: asyncio.CancelledError | None = None
        while not draining.done():
            try:
                await asyncio.shield(draining)
            except asyncio.CancelledError as error:
                if draining.cancelled():
                    raise
                cancelled = error
                self.end_calls_now()
        if cancelled is not None:
            raise cancelled
        draining.result()

    async def _drain(self, timeout_s: float) -> None:
        if self._tasks:
            await self._wait_for_calls(timeout_s)
        if self._tasks:
            log.info("stopping: ending the remaining calls", extra={"n_calls": len(self._tasks)})
        for call in list(self._calls.values()):
            try:
                call.hang_up(by="system", cause="shutdown", reason="server is shutting down")
            except Exception:  # a call that cannot be ended does not keep others from ending
                log.exception("call could not be ended", extra={"session_id": call.id})
        await self._wait(BYE_S)
        for task in self._tasks.values():
            task.cancel()
        await self._wait(CLOSING_S)
        for call in list(self._calls.values()):
            log.error("call does not end; its record is closed without it", extra={"session_id": call.id})
            call.close_record()
            self._calls.pop(call.id, None)
            self._tasks.pop(call.id, None)  # another drain does not wait for it again

    async def _wait_for_calls(self, timeout_s: float) -> None:
        """Wait until the last call has ended, the time is over, or `end_calls_now` is called; the rest is logged at intervals."""
        clock = self._services.world.clock
        ending_now = asyncio.get_running_loop().create_task(self._ends_now.wait())
        deadline = clock.now() + timeout_s
        tell_at = clock.now() + TELL_EVERY_S
        try:
            while self._tasks and not ending_now.done() and (now := clock.now()) < deadline:
                if now >= tell_at:
                    tell_at = now + TELL_EVERY_S
                    log.info("stopping", extra={"n_calls": len(self._tasks), "left_s": round(deadline - now)})
                wait_s = max(min(deadline, tell_at) - now, 0.001)
                await asyncio.wait([ending_now, *self._tasks.values()], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending_now.cancel()

    async def _wait(self, timeout_s: float) -> None:
        """Wait until all calls have ended, at most for `timeout_s`, or for `HURRIED_S` once `end_calls_now` was called."""
        if not self._tasks:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        ended = loop.create_task(_all_ended(self._tasks.values()))
        hurried = loop.create_task(self._ends_now.wait())
        try:
            await asyncio.wait((ended, hurried), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait((ended,), timeout=max(began + min(timeout_s, HURRIED_S) - loop.time(), 0.0))
        finally:
            ended.cancel()
            hurried.cancel()

    def _start(self, call: Call) -> None:
        self._calls[call.id] = call
        self.n_calls_total += 1
        self._services.records.begin(call.open_record())
        self.on_new_call(call.handle())
        task = asyncio.get_running_loop().create_task(self._run(call), name=f"call {call.id}")
        self._tasks[call.id] = task
        task.add_done_callback(lambda done: self._ended(call.id, done))

    async def _run(self, call: Call) -> None:
        """Run a call until it ends. In a burst, `OnePerPass` spreads the starts over iterations, so that messages are read in between."""
        await self._beginnings.turn()
        await call.run()

    def _note_unplaced(self, option: CallOption, rule: str, detail: str = "") -> None:
        """A call requested by a client cannot be placed now."""
        refused = RefusedCall(rule, 503, caller=option.caller or "", callee=option.callee or "", detail=detail, direction="outbound")
        self.refused_calls.note(refused)

    def _ended(self, session_id: str, task: asyncio.Task[None]) -> None:
        call = self._calls.pop(session_id, None)
        self._tasks.pop(session_id, None)
        if call is not None:
            call.close_record()  # a call that was cancelled before its first step has not closed it
        if not task.cancelled() and task.exception() is not None:
            log.error("call failed outside its own wall", exc_info=task.exception(), extra={"session_id": session_id})


async def _all_ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait for `tasks` without cancelling them."""
    await asyncio.wait(list(tasks))
