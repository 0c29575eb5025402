"""What a part of a call may ask of its call. Parts know these and never the call itself; a test gives them fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from active_call.base.errors import MediaError
from active_call.call.company.machine_types import AnyInput, CallStates
from active_call.call.handle import CallHandle
from active_call.call.items import Item, Later
from active_call.call.log import CallLog
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.legs.leg import Leg
from active_call.legs.trunks.outbound_guard import ANYTHING, OutboundRequest

Emit = Callable[[events.Event], object]
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class CallPorts:
    """What every part gets.

    `emit` tells an event to everybody; `post` puts an item into the mailbox; `spawn` runs a named task of the call, whose failure is told
    and ends nothing else; `now` gives monotonic seconds.
    """

    emit: Emit
    post: Callable[[Item], None]
    spawn: Spawn
    now: Callable[[], float]
    log: CallLog

    def later(self, do: Callable[[], object]) -> None:
        """Have `do` called in its turn, as an item of the mailbox."""
        self.post(Later(do))


class HangUp(Protocol):
    """Ends the call; its leg tells when it is over."""

    def __call__(self, *, by: str, cause: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None: ...


class MachinePort(Protocol):
    """The call's state machine."""

    @property
    def now(self) -> CallStates:
        """The state."""
        ...

    def feed(self, item: AnyInput) -> None:
        """Something has happened: carry out what follows. Raises LocalProtocolError if it is refused."""
        ...


class CallNetwork(Protocol):
    """The other calls of this server, and the ways out of it."""

    def find(self, session_id: str) -> CallHandle | None:
        """The live call of that session id or, failing that, of that protocol's own id."""
        ...

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A leg that will dial `option.callee`, as `request` wants it. Raises ActiveCallError if the address cannot be used."""
        ...

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed where `callee` may not be called, ActiveCallError where it is no address."""
        ...

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has any; empty if there is none."""
        ...


class NoNetwork:
    """Of a call that stands alone: there is no other call, and none can be placed."""

    def find(self, session_id: str) -> CallHandle | None:
        """There is none."""
        return None

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """Raises MediaError."""
        raise MediaError("this server cannot place calls")

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Nothing is forbidden."""

    def way_out(self, trunk: str) -> str:
        """There is none."""
        return ""
