"""The interface of a call for others: the API, the command line, other calls, other nodes. Only the call registry holds the call itself.

A handle outlives its call. `send` to an ended call does nothing; `subscribe` returns its hangup; `describe` says how it ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from active_call.call.events.command_watch import CommandWatcher
from active_call.call.events.subscription import Subscription
from active_call.call.parties.messages import CallMessage
from active_call.call.parties.parties import WITH_AGENT, Mix
from active_call.call.requests import Request
from active_call.call.sound.taps import Listener
from active_call.call.state import CallFacts, Phase
from active_call.contract import commands
from active_call.legs.abilities import attended_target
from active_call.legs.leg import Leg


class CallDescription(Struct, frozen=True):
    """A call at one moment. Times are aware UTC; None: has not happened."""

    id: str
    call_id: str
    """The protocol's own id of the call (SIP Call-ID)."""
    direction: str
    """`inbound` or `outbound`."""
    call_type: str
    caller: str
    callee: str
    phase: Phase
    started_at: datetime
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str = ""
    ended_by: str = ""
    sip_code: int | None = None
    error: str = ""
    playbook: str = ""
    trunk: str = ""
    scene: str = ""
    """The id of the playbook's scene that the agent is in; empty without an agent."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """The invitation's headers; for an outbound call, those of its answer."""
    variables: Mapping[str, Any] = msgspec.field(default_factory=dict)
    usage: Sequence[Mapping[str, Any]] = ()
    """The call's usage so far, by engine: kind, provider, model, units, cost."""
    cost: Mapping[str, Any] | None = None
    """Its cost so far; None if nothing was used."""
    attended_target: str = ""
    """How a third party can replace us in this call (RFC 3891); empty if that is impossible."""
    mix: Mix = WITH_AGENT
    """The parties of the call, and who hears whom."""
    busy_because: str = ""
    """Why the call cannot be bridged now; empty if it can."""

    @property
    def session_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def is_over(self) -> bool:
        """The call has ended."""
        return self.phase is Phase.ENDED


class Subscribe(Protocol):
    """See `EventLog.subscribe`."""

    def __call__(self, *, from_seq: int | None = None) -> Subscription: ...


def _no_sound(listener: Listener) -> Callable[[], None]:
    """Stands for listening to a call without sound: `listener` is never called."""
    del listener
    return lambda: None


def _no_commands(watcher: CommandWatcher) -> Callable[[], None]:
    """Stands for watching a call whose commands are not available: `watcher` is never called."""
    del watcher
    return lambda: None


@dataclass(frozen=True, slots=True)
class CallHandle:
    """One call, by its id. Made by the call registry, or for a call on another node."""

    id: str
    _send: Callable[[commands.Command | CallMessage], None] = field(repr=False)
    _request: Callable[[Request], asyncio.Future[None]] = field(repr=False)
    _subscribe: Subscribe = field(repr=False)
    _describe: Callable[[], CallDescription] = field(repr=False)
    _listen: Callable[[Listener], Callable[[], None]] = field(default=_no_sound, repr=False)
    _watch_commands: Callable[[CommandWatcher], Callable[[], None]] = field(default=_no_commands, repr=False)

    def send(self, command: commands.Command | CallMessage) -> None:
        """Put a command, or another call's message, into the call's mailbox. A failure becomes an `error` event there."""
        self._send(command)

    def request(self, command: Request) -> asyncio.Future[None]:
        """As `send`, for a sender that waits for the result: done when the command was executed, not when it has been heard.

        The future raises ActiveCallError if the call cannot execute it, or has ended; then there is no `error` event.
        """
        return self._request(command)

    def subscribe(self, *, from_seq: int | None = None) -> Subscription:
        """The call's events from number `from_seq` on, or from now on if None; for an ended call, at least its hangup."""
        return self._subscribe(from_seq=from_seq)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Pass both sides' sound (`sound.taps`) to `listener` until the returned function is called. It must not block."""
        return self._listen(listener)

    def watch_commands(self, watcher: CommandWatcher) -> Callable[[], None]:
        """Call `watcher` with each command to the call until the returned function is called. It must not block."""
        return self._watch_commands(watcher)

    def describe(self) -> CallDescription:
        """The call's current state."""
        return self._describe()


def describe(facts: CallFacts, leg: Leg, mix: Mix, busy_because: str, scene: str = "") -> CallDescription:
    """Describe a call by its facts and its leg."""
    return CallDescription(
        id=facts.session_id,
        call_id=facts.call_id or leg.call_id,
        direction=facts.direction,
        call_type=facts.call_type,
        caller=facts.caller,
        callee=facts.callee,
        phase=facts.phase,
        started_at=facts.started_at,
        ringing_at=facts.ringing_at,
        answered_at=facts.answered_at,
        ended_at=facts.ended_at,
        end_reason=facts.end_reason,
        ended_by=facts.ended_by,
        sip_code=facts.sip_code,
        error=facts.error,
        playbook=facts.playbook,
        trunk=facts.trunk,
        scene=scene,
        headers=dict(leg.headers),
        variables=dict(facts.variables),
        usage=tuple(facts.usage),
        cost=facts.cost,
        attended_target=attended_target(leg),
        mix=mix,
        busy_because=busy_because,
    )
