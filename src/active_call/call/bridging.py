"""Two calls whose parties hear each other: `bridge` and `unbridge`, and the end of a bridge with either call.

A CallBridge stands between two sessions and belongs to neither. Each hears of it in its own mailbox: what happens to a call is handled
in its own order. While a bridge stands, the agents of both calls are quiet and hear nothing.

    join ──media joined──> joined (told to both) ──unbridge, or one call ends──> parted (told to who is left)
      └──────cannot──────> parted
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from active_call.base.errors import ActiveCallError, LocalProtocolError, MediaError
from active_call.call.state import Phase
from active_call.contract import events
from active_call.media.pool.pool import Relay

if TYPE_CHECKING:
    from active_call.call.call import Call

SUSPENSION = "bridge"


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a bridge, and how it wants to hear of it."""

    session: Call
    joined: Callable[[CallBridge], None]
    parted: Callable[[CallBridge, str], None]


class CallBridge:
    """Between two calls. `start` it; `part` ends it, once."""

    def __init__(self, one: Party, two: Party) -> None:
        self._parties = (one, two)
        self._joint: Relay | None = None
        self.is_over = False

    def start(self) -> None:
        """Join the two streams; what comes of it is told to both parties."""
        for party in self._parties:
            party.session.bridging.current = self
        self._parties[0].session.spawn(self._join(), "bridge")

    def other(self, session: Call) -> Call:
        """Who is on the other side."""
        one, two = self._parties
        return two.session if session is one.session else one.session

    async def _join(self) -> None:
        one, two = (party.session.leg.stream for party in self._parties)
        try:
            if one is None or two is None:
                raise MediaError("one of the two calls has no media stream")
            joint = await self._parties[0].session.services.join(one, two)
        except ActiveCallError as error:
            self.part(str(error))
            return
        self._joint = joint
        if self._is_parted():  # while the joint was being made
            joint.close()
            return
        for party in self._parties:
            party.session.post_later(partial(self._tell_joined, party))

    def _is_parted(self) -> bool:
        return self.is_over

    def _tell_joined(self, party: Party) -> None:
        if not self.is_over:
            party.joined(self)

    def part(self, reason: str, *, but: Call | None = None) -> None:
        """End it, and tell whoever is left: all `but` the one whose call ends."""
        if self.is_over:
            return
        self.is_over = True
        if self._joint is not None:
            self._joint.close()
        for party in self._parties:
            if party.session.bridging.current is self:
                party.session.bridging.current = None
            if party.session is not but:
                party.session.post_later(partial(party.parted, self, reason))


class Bridging:
    """A call's part in bridges: at most one at a time."""

    def __init__(self, session: Call) -> None:
        self._session = session
        self.current: CallBridge | None = None

    def join(self, target_session_id: str) -> None:
        """Carry out `bridge`. Raises LocalProtocolError when there is nobody to join, or one of the two is taken."""
        other = self._session.find_call(target_session_id)
        if other is None:
            raise LocalProtocolError(f"there is no call {target_session_id!r}")
        if other is self._session:
            raise LocalProtocolError("a call cannot be bridged with itself")
        check_free(self._session)
        check_free(other)
        CallBridge(self.as_party(), other.bridging.as_party()).start()

    def unbridge(self, target_session_id: str | None) -> None:
        """Carry out `unbridge`. Raises LocalProtocolError when there is no such bridge."""
        current = self.current
        if current is None or (target_session_id and current.other(self._session).id != target_session_id):
            raise LocalProtocolError("there is no such bridge")
        current.part("unbridged")

    def end(self) -> None:
        """The call is over."""
        if self.current is not None:
            self.current.part("the other call has ended", but=self._session)

    def as_party(self) -> Party:
        """This call's side of a bridge."""
        return Party(self._session, self._joined, self._parted)

    def _joined(self, bridge: CallBridge) -> None:
        self._session.presence.step_aside(SUSPENSION)
        self._session.emit(events.Bridge(state="joined", target_session_id=bridge.other(self._session).id))

    def _parted(self, bridge: CallBridge, reason: str) -> None:
        self._session.presence.step_back(SUSPENSION)
        self._session.emit(events.Bridge(state="parted", target_session_id=bridge.other(self._session).id, reason=reason))


def check_free(session: Call) -> None:
    """Raise LocalProtocolError where a call cannot be bridged."""
    if session.leg.stream is None or session.facts.phase is not Phase.ANSWERED:
        raise LocalProtocolError(f"the call {session.id!r} is not answered")
    if session.bridging.current is not None:
        raise LocalProtocolError(f"the call {session.id!r} is bridged already")
    if session.transfers.is_under_way:
        raise LocalProtocolError(f"the call {session.id!r} is being transferred")
