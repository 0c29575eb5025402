"""Hold: by a command of ours, with music for the peer, or by the peer. The agent stops at the sample and goes on from there.

| who holds | on the wire                  | the peer hears         | here                                             |
|-----------|------------------------------|------------------------|--------------------------------------------------|
| we        | re-INVITE sendonly, inactive | music, or nothing      | plays frozen, hearing suspended                  |
| the peer  | sendonly, inactive, 0.0.0.0  | what it plays to itself | the same; the watchdog of its packets is suspended |

A wish of ours becomes true when the peer has agreed to it, and only then is it told; what is refused is told by an `error` event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from active_call.base.errors import LocalProtocolError
from active_call.call.state import Phase
from active_call.contract import commands, events
from active_call.legs.abilities import holdable
from active_call.legs.events import LegHeld, LegHoldAnswered

if TYPE_CHECKING:
    from active_call.call.call import Call

SUSPENSION = "hold"


class Holding:
    """The holds of one call."""

    def __init__(self, session: Call) -> None:
        self._session = session
        self._is_wanted = False
        self._has_music = False
        self._moh: str | None = None
        self.by_us = False
        self.by_peer = False

    @property
    def is_on_hold(self) -> bool:
        return self.by_us or self.by_peer

    def hold(self, command: commands.Hold) -> None:
        """Put the peer on hold. Raises LocalProtocolError when it is, when there is no call, or for an unknown mode."""
        if command.mode not in ("sendonly", "inactive"):
            raise LocalProtocolError(f"a call cannot be held {command.mode!r}; expected 'sendonly' or 'inactive'")
        if self._session.facts.phase is not Phase.ANSWERED:
            raise LocalProtocolError("the call is not answered")
        if self._is_wanted:
            raise LocalProtocolError("the call is on hold already")
        holdable(self._session.leg).hold(True, inactive=command.mode == "inactive")
        self._is_wanted = True
        self._moh, self._has_music = command.moh, command.mode == "sendonly"

    def unhold(self) -> None:
        """Take the peer back. Raises LocalProtocolError when it is not on hold by us."""
        if not self._is_wanted:
            raise LocalProtocolError("the call is not on hold by us")
        holdable(self._session.leg).hold(False)
        self._is_wanted = False

    def answered(self, answer: LegHoldAnswered) -> None:
        """What has become of it."""
        session = self._session
        if answer.code >= 300:
            self._is_wanted = answer.on_hold
            wish = "taken back from hold" if answer.on_hold else "put on hold"
            session.emit(events.Error(sender="hold", error=f"the peer refuses to be {wish} ({answer.code})", code=answer.code))
        if answer.on_hold == self.by_us:
            return
        self.by_us = answer.on_hold
        if not self.by_us:
            session.music.stop(SUSPENSION)
        elif self._has_music:
            session.music.start(SUSPENSION, self._moh)
        self._apply()
        session.emit(events.Hold(on_hold=self.by_us, initiator="system"))

    def held(self, event: LegHeld) -> None:
        """The peer holds us, or takes us back."""
        session = self._session
        self.by_peer = event.on_hold
        self._apply()
        session.emit(events.Hold(on_hold=event.on_hold, initiator=session.peer_role))
        session.transfers.caller_held(event.on_hold, is_silent=event.is_silent)

    def forget(self) -> None:
        """The call goes on with another leg: what was held is gone."""
        was_on_hold = self.is_on_hold
        self.by_us = self.by_peer = self._is_wanted = False
        self._session.music.stop(SUSPENSION)
        if was_on_hold:
            self._apply()
            self._session.emit(events.Hold(on_hold=False, initiator=self._session.peer_role))

    def _apply(self) -> None:
        session = self._session
        session.speaking.pause(self.is_on_hold, SUSPENSION)
        if self.is_on_hold:
            session.presence.step_aside(SUSPENSION)
        else:
            session.presence.step_back(SUSPENSION)
