"""A call that is not there: the ports that parts get, with everything written down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any

from active_call.base.errors import LocalProtocolError
from active_call.call.items import Item, Later
from active_call.call.log import CallLog
from active_call.call.parties.machine import CallMachine
from active_call.call.parties.machine_types import AnyInput, CallStates, Input, Refuse
from active_call.call.ports import CallPorts
from active_call.call.shared_state import CallState
from active_call.call.state import facts_of
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.testing.fakes.call import FakeLeg


class FakeCall:
    """Writes down what is emitted, posted and hung up. `work_off` does what was posted; tasks run on the loop."""

    def __init__(self, session_id: str = "s.test", leg: FakeLeg | None = None, option: CallOption = CallOption()) -> None:  # noqa: B008
        self.leg = leg or FakeLeg()
        facts = facts_of(self.leg, session_id, "inbound", datetime(2026, 3, 4, 12, tzinfo=UTC), {})
        self.state = CallState(facts, self.leg, option, option)
        self.emitted: list[events.Event] = []
        self.posted: list[Item] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.hung_up: list[tuple[str, str, str]] = []
        self.now_s = 0.0
        log = CallLog(logging.getLogger("test"), {})
        self.ports = CallPorts(self.emitted.append, self.posted.append, self.spawn, lambda: self.now_s, log)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.append(task)
        return task

    def hang_up(self, *, by: str, cause: str, reason: str = "", headers: object = None) -> None:
        self.hung_up.append((by, cause, reason))

    def work_off(self) -> None:
        """Do what was posted to be done later."""
        posted, self.posted[:] = list(self.posted), []
        for item in posted:
            assert isinstance(item, Later)
            item.do()

    async def settle(self) -> None:
        """Let tasks run and what they post be done, until nothing is left that is due now."""
        for _ in range(5):
            await asyncio.sleep(0)
            self.work_off()

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()


class FakeMachine:
    """A real machine without its executor: inputs are written down, refusals raise."""

    def __init__(self) -> None:
        self.machine = CallMachine(is_inbound=True)
        self.machine.receive(Input.LEG_ANSWERED)
        self.fed: list[AnyInput] = []

    @property
    def now(self) -> CallStates:
        return self.machine.now

    def feed(self, item: AnyInput) -> None:
        self.fed.append(item)
        for action in self.machine.receive(item):
            if isinstance(action, Refuse):
                raise LocalProtocolError(action.reason)
