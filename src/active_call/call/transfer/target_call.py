"""The target's side of an attended transfer that we make ourselves: the party of another call of ours, joined by a bridge.

The other call keeps its signalling, its record and its agent, which is quiet meanwhile. What the transfer is to know goes out by `feed`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from active_call.base.errors import ActiveCallError
from active_call.call.bridging import CallBridge, Party, check_free
from active_call.call.transfer.machine import FarAnswered, FarEnded, Input, Joined, JoinFailed

if TYPE_CHECKING:
    from active_call.call.call import Call


class TargetCall:
    """See the module; offers what `far_leg.FarLeg` does."""

    def __init__(self, session: Call, other: Call, feed: Callable[[Input], None]) -> None:
        self._session = session
        self._other = other
        self._feed = feed
        self._bridge: CallBridge | None = None

    def call(self) -> None:
        """There is nobody to be called: the party is there."""
        self._session.post_later(lambda: self._feed(FarAnswered()))

    def listen(self) -> None:
        """Nothing is heard before `join`."""

    def join(self) -> None:
        """Bridge the two; Joined or JoinFailed follows."""
        try:
            check_free(self._other)
        except ActiveCallError as error:
            reason = str(error)
            self._session.post_later(lambda: self._feed(JoinFailed(reason)))
            return
        self._bridge = CallBridge(Party(self._session, self._joined, self._parted), self._other.bridging.as_party())
        self._bridge.start()

    def _joined(self, bridge: CallBridge) -> None:
        del bridge
        self._feed(Joined())

    def _parted(self, bridge: CallBridge, reason: str) -> None:
        del bridge
        self._feed(FarEnded(0, reason))

    def hang_up(self, *, cause: str = "hangup") -> None:
        """Part the two; the other call goes on with its agent."""
        if self._bridge is not None:
            self._bridge.part(cause)

    def close(self) -> None:
        """The caller's call is over."""
        if self._bridge is not None:
            self._bridge.part("the other call has ended", but=self._session)

    async def release(self) -> None:
        """Nothing is held."""

    def facts(self) -> dict[str, Any]:
        """What the record says of it."""
        return {"sessionId": self._other.id}

    def next_timeout(self) -> float | None:
        return None

    def handle_timeout(self, now: float) -> None:
        """Nothing is waited for."""
