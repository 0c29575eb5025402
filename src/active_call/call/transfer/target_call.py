"""The target's side of an attended transfer that we make ourselves: the party of another of our calls, joined by a bridge.

The other call keeps its signalling, its record and its agent, which is silent meanwhile. The transfer gets its inputs by `feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from active_call.call.handle import CallHandle
from active_call.call.parties.bridging import BridgeListener, Bridging
from active_call.call.ports import CallPorts
from active_call.call.transfer.machine import FarAnswered, FarEnded, Input, Joined, JoinFailed


class TargetCall:
    """See the module; has the interface of `TargetLeg`."""

    def __init__(self, ports: CallPorts, bridging: Bridging, other: CallHandle, feed: Callable[[Input], None]) -> None:
        self._ports = ports
        self._bridging = bridging
        self._other = other
        self._feed = feed
        self._bridge_id = ""

    def call(self) -> None:
        """The party is already connected: FarAnswered follows."""
        self._ports.later(lambda: self._feed(FarAnswered()))

    def listen(self) -> None:
        """Nothing is audible before `join`."""

    def join(self) -> None:
        """Bridge the two; Joined or JoinFailed follows."""
        busy_because = self._other.describe().busy_because
        if busy_because:
            self._ports.later(lambda: self._feed(JoinFailed(busy_because)))
            return
        listener = BridgeListener(
            joined=lambda: self._feed(Joined()),
            refused=lambda reason: self._feed(JoinFailed(reason)),
            parted=lambda reason: self._feed(FarEnded(0, reason)),
        )
        self._bridge_id = self._bridging.invite(self._other, listener)

    def hang_up(self, *, cause: str = "hangup") -> None:
        """Separate the two; the other call continues with its agent."""
        if self._bridging.is_in(self._bridge_id):
            self._bridging.part(cause)

    def close(self) -> None:
        """The caller's call has ended."""
        if self._bridging.is_in(self._bridge_id):
            self._bridging.end()

    async def release(self) -> None:
        """Does nothing."""

    def facts(self) -> dict[str, Any]:
        """Its part of the record."""
        return {"sessionId": self._other.id}

    def next_timeout(self) -> float | None:
        """None."""
        return None

    def handle_timeout(self, now: float) -> None:
        """Does nothing."""
