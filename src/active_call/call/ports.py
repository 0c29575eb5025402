"""The parts' interface to their call. Parts know these ports and never the call; tests use fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from msgspec import Struct

from active_call.base.errors import MediaError
from active_call.call.handle import CallHandle
from active_call.call.items import Item, Later
from active_call.call.log import CallLog
from active_call.call.parties.machine_types import AnyInput, CallStates
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.legs.leg import Leg
from active_call.legs.trunks.outbound_guard import ANYTHING, OutboundRequest

Emit = Callable[[events.Event], object]
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class CallPorts(Struct, frozen=True):
    """The port that every part gets.

    `emit` sends an event to all receivers; `post` puts an item into the mailbox; `spawn` runs a named task of the call, whose failure is
    reported and ends nothing else; `now` gives monotonic seconds.
    """

    emit: Emit
    post: Callable[[Item], None]
    spawn: Spawn
    now: Callable[[], float]
    log: CallLog

    def later(self, do: Callable[[], object]) -> None:
        """Run `do` later, as an item of the mailbox."""
        self.post(Later(do))


class HangUp(Protocol):
    """Ends the call. Its leg reports when it has ended."""

    def __call__(self, *, by: str, cause: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None: ...


class MachinePort(Protocol):
    """The call's state machine."""

    @property
    def now(self) -> CallStates:
        """The state."""
        ...

    def feed(self, item: AnyInput) -> None:
        """Pass an input and execute the actions. Raises LocalProtocolError if it is refused."""
        ...


class CallNetwork(Protocol):
    """The other calls of this server, and outbound calling."""

    def find(self, session_id: str) -> CallHandle | None:
        """The live call of that session id or, failing that, of that protocol's own id."""
        ...

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A leg that will dial `option.callee` as `request` describes. Raises ActiveCallError for an unusable address."""
        ...

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed if `callee` may not be called, ActiveCallError if it is not an address."""
        ...

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has an address; empty if there is none."""
        ...


class NoNetwork:
    """For a call alone: there is no other call, and none can be placed."""

    def find(self, session_id: str) -> CallHandle | None:
        """None."""
        return None

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """Raises MediaError."""
        raise MediaError("this server cannot place calls")

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Everything is allowed."""

    def way_out(self, trunk: str) -> str:
        """Empty."""
        return ""
