"""Another party replaces the peer in a call, by an INVITE with Replaces (RFC 3891): the end of an attended transfer to us.

A new leg enters that names ours; it is answered, becomes the call's own, and the old one is hung up. The agent gets the same events as for
any transfer by the peer: `transfer` with `initiator`. If the new leg cannot be answered, the call is unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from active_call.base.errors import ActiveCallError
from active_call.call.parties.machine_types import Input
from active_call.call.transfer.machine import in_words
from active_call.call.transfer.ports import TransferPorts
from active_call.contract import events
from active_call.legs import events as leg_events
from active_call.legs.leg import Leg


class ReplacesExecutor:
    """One takeover. `begin` it from the mailbox; `over` is called when it has succeeded or failed."""

    def __init__(self, ports: TransferPorts, leg: Leg, record: dict[str, Any], over: Callable[[], None]) -> None:
        self._ports = ports
        self._over = over
        self._leg = leg
        self._record = record
        self._is_over = False
        self._is_held = False
        leg.attach(self._receive)

    def begin(self) -> None:
        """Answer the new leg."""
        self._ports.machine.feed(Input.TAKEOVER_BEGINS)
        self._report("progress")
        self._ports.call.spawn(self._answer(), "takeover")

    async def _answer(self) -> None:
        try:
            await self._leg.open_media(self._ports.state.leg.stream)
            await self._leg.accept(self._ports.state.option)
        except ActiveCallError as error:
            self._leg.reject(503, "Service Unavailable")  # does nothing if it was refused with a more specific code
            self._ports.call.log.warning("call not taken over", extra={"why": str(error)})

    def _receive(self, event: leg_events.LegEvent) -> None:
        """Events before it is ours: answered, on hold (a peer may begin so), or ended."""
        if isinstance(event, leg_events.LegHeld):
            self._is_held = event.on_hold
        elif isinstance(event, leg_events.LegAnswered):
            self._ports.call.later(self._complete)
        elif isinstance(event, leg_events.LegEnded):
            self._ports.call.later(lambda: self._fail(event))

    def _complete(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        before = self._ports.state.leg
        self._ports.adopt(self._leg, is_held=self._is_held)
        before.hang_up(headers={}, by="system", cause="replaced", reason="another leg has taken its place")
        self._close("completed", 200)

    def _fail(self, ended: leg_events.LegEnded) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._ports.call.spawn(self.release(), "takeover's end")
        self._close("failed", ended.code or 487)

    async def release(self) -> None:
        """Free the leg that failed; may be called again, also after it became the call's own."""
        if self._ports.state.leg is not self._leg:
            await self._leg.release()

    def _close(self, state: str, code: int) -> None:
        self._over()
        self._ports.machine.feed(Input.TAKEOVER_OVER)
        self._record |= {"state": state, "code": code, "endTime": self._ports.time.utc_now().isoformat()}
        self._report(state, code, returned=True)

    def _report(self, state: str, code: int | None = None, *, returned: bool | None = None) -> None:
        self._ports.call.emit(
            events.Transfer(
                state=state,
                target=self._leg.caller,
                code=code,
                reason=in_words(code) if code is not None and code >= 300 else None,
                initiator=self._ports.state.peer_role,
                returned=returned,
            )
        )

    def close(self) -> None:
        """The call ends before the takeover is complete."""
        if not self._is_over:
            self._is_over = True
            self._leg.hang_up(headers={}, by="system", cause="cancelled", reason="")
            self._record |= {"state": "cancelled", "code": 487}
            self._report("cancelled", 487, returned=False)
