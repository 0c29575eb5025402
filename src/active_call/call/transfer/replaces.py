"""Somebody else takes the peer's place in a call, by an INVITE with Replaces (RFC 3891): the end of an attended transfer to us.

A new leg enters that names ours; it is answered, becomes the call's own, and the old one is hung up. The agent hears of it as of any
transfer that the peer has made: `transfer` events with `initiator`. What cannot be answered leaves the call as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from active_call.base.errors import ActiveCallError
from active_call.call.transfer.machine import in_words
from active_call.contract import events
from active_call.legs import events as leg_events

if TYPE_CHECKING:
    from active_call.call.call import Call
    from active_call.legs.leg import Leg

SUSPENSION = "takeover"


class ReplacesExecutor:
    """One of them. `begin` it in the call's turn."""

    def __init__(self, session: Call, leg: Leg, record: dict[str, Any]) -> None:
        self._session = session
        self._leg = leg
        self._record = record
        self._is_over = False
        record |= {"target": leg.caller, "startTime": session.utc_now().isoformat()}
        leg.attach(self._receive)

    def begin(self) -> None:
        """Answer the new leg."""
        session = self._session
        session.presence.step_aside(SUSPENSION)
        self._tell("progress")
        session.spawn(self._answer(), "takeover")

    async def _answer(self) -> None:
        try:
            await self._leg.open_media(self._session.leg.stream)
            await self._leg.accept(self._session.option)
        except ActiveCallError as error:
            self._leg.reject(503, "Service Unavailable")  # nothing happens where it was refused with a better code
            self._session.log.warning("call not taken over", extra={"why": str(error)})

    def _receive(self, event: leg_events.LegEvent) -> None:
        """Until it is ours: whether it is answered, or gone."""
        if isinstance(event, leg_events.LegAnswered):
            self._session.post_later(self._complete)
        elif isinstance(event, leg_events.LegEnded):
            self._session.post_later(lambda: self._fail(event))

    def _complete(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        session, before = self._session, self._session.leg
        session.adopt(self._leg)
        before.hang_up(headers={}, by="system", cause="replaced", reason="another leg has taken its place")
        self._close("completed", 200)

    def _fail(self, ended: leg_events.LegEnded) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._session.spawn(self.release(), "takeover's end")
        self._close("failed", ended.code or 487)

    async def release(self) -> None:
        """Free the leg that has come to nothing; harmless a second time, and where it became the call's own."""
        if self._session.leg is not self._leg:
            await self._leg.release()

    def _close(self, state: str, code: int) -> None:
        session = self._session
        session.transfers.end_takeover()
        session.presence.step_back(SUSPENSION)
        self._record |= {"state": state, "code": code, "endTime": session.utc_now().isoformat()}
        self._tell(state, code, returned=True)

    def _tell(self, state: str, code: int | None = None, *, returned: bool | None = None) -> None:
        self._session.emit(
            events.Transfer(
                state=state,
                target=self._leg.caller,
                code=code,
                reason=in_words(code) if code is not None and code >= 300 else None,
                initiator=self._session.peer_role,
                returned=returned,
            )
        )

    def close(self) -> None:
        """The call is over before it has come about."""
        if not self._is_over:
            self._is_over = True
            self._leg.hang_up(headers={}, by="system", cause="cancelled", reason="")
            self._record |= {"state": "cancelled", "code": 487}
            self._tell("cancelled", 487, returned=False)
