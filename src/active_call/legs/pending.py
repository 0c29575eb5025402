"""A leg that is not there yet: a call begins when a WebSocket opens, and only then a message says how its voice is connected.

    waiting --fill(leg)--> filled                            everything goes to the real leg, and its events come back
       |---hang_up, reject, no leg within `wait_s`--> over   LegEnded; a leg that comes later is ended with the same words
       '---release--> over

While it waits, `open_media`, `ring`, `accept` and `dial` wait with it and then go to the real leg, in the order in which they were called.
What needs a call that is up (hold, transfers, digits, texts) raises LocalProtocolError, as it does in every leg that is not answered.

A PendingLeg has the methods of every ability, because nobody knows what the real leg can do. Where that leg lacks the ability they raise
the error of `legs.abilities`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.contract.options import CallOption
from active_call.legs import abilities
from active_call.legs.events import LegEnded, LegEvent
from active_call.legs.leg import Leg
from active_call.media.pool.pool import MediaStream

WAIT_S: Final = 30.0
"""How long a call stays without a leg: a client sends its first message at once, and a person may have to allow the microphone first."""
NO_HEADERS: Final[Mapping[str, str]] = {}


class PendingLeg:
    """Stands for a leg until `fill` gives it. Make it inside the event loop: its deadline begins at once.

    `kind`, `caller`, `callee` and `peer_address` are what is known before; afterwards the real leg's words hold.
    """

    def __init__(self, kind: str, *, caller: str = "", callee: str = "", peer_address: str = "", wait_s: float = WAIT_S) -> None:
        self._before = (kind, caller, callee, peer_address)
        self._leg: Leg | None = None
        self._ended: LegEnded | None = None
        self._is_released = False
        self._settled = asyncio.Event()
        """Filled, over or released."""
        self._untold: list[LegEvent] = []
        """What happened before anybody listened."""
        self._sink: Callable[[LegEvent], None] = self._untold.append
        self._deadline = asyncio.get_running_loop().call_later(wait_s, self._give_up, wait_s)

    # -- the real leg

    @property
    def is_waiting(self) -> bool:
        """Neither a leg nor an end has come."""
        return not self._settled.is_set()

    def fill(self, leg: Leg) -> bool:
        """Go on with `leg`. Returns False when there is a leg already, or the call is over: `leg` is ended then; its maker releases it."""
        if not self.is_waiting:
            leg.attach(lambda _: None)
            self._turn_away(leg)
            return False
        self._leg = leg
        self._settle()
        leg.attach(self._tell)
        return True

    def _turn_away(self, leg: Leg) -> None:
        over = self._ended or LegEnded(by="system", cause="cancelled", reason="the call has a leg already" if self._leg else "")
        if over.code is None or not leg.reject(over.code, over.reason):
            leg.hang_up(headers=NO_HEADERS, by=over.by, cause=over.cause, reason=over.reason)

    def _give_up(self, waited_s: float) -> None:
        self._end(LegEnded(by="system", cause="timeout", code=408, reason=f"no leg within {waited_s:g} s"))

    def _end(self, event: LegEnded) -> None:
        if self._ended is None and self._leg is None:
            self._ended = event
            self._settle()
            self._tell(event)

    def _settle(self) -> None:
        self._deadline.cancel()
        self._settled.set()

    def _tell(self, event: LegEvent) -> None:
        self._sink(event)

    async def _real(self) -> Leg:
        """The real leg, once it is there. Raises LocalProtocolError when the call is over without one."""
        await self._settled.wait()
        if self._leg is None:
            raise LocalProtocolError("the call is over already")
        return self._leg

    # -- as `legs.leg.Leg`

    @property
    def kind(self) -> str:
        """See `legs.leg.Leg`, as all that follows."""
        return self._leg.kind if self._leg is not None else self._before[0]

    @property
    def caller(self) -> str:
        return self._leg.caller if self._leg is not None else self._before[1]

    @property
    def callee(self) -> str:
        return self._leg.callee if self._leg is not None else self._before[2]

    @property
    def call_id(self) -> str:
        return self._leg.call_id if self._leg is not None else ""

    @property
    def headers(self) -> Mapping[str, str]:
        return self._leg.headers if self._leg is not None else NO_HEADERS

    @property
    def trunk(self) -> str:
        return self._leg.trunk if self._leg is not None else ""

    @property
    def offer(self) -> str:
        return self._leg.offer if self._leg is not None else ""

    @property
    def peer_address(self) -> str:
        return self._leg.peer_address if self._leg is not None else self._before[3]

    @property
    def stream(self) -> MediaStream | None:
        return self._leg.stream if self._leg is not None else None

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self._sink = sink
        untold, self._untold = self._untold, []
        for event in untold:
            sink(event)

    async def open_media(self, near: MediaStream | None = None) -> MediaStream | None:
        try:
            leg = await self._real()
        except LocalProtocolError as error:
            raise MediaError(str(error)) from error
        return await leg.open_media(near)

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        await (await self._real()).dial(option, call_id=call_id)

    async def ring(self, *, early_media: bool = False) -> None:
        await self._settled.wait()
        if self._leg is not None:
            await self._leg.ring(early_media=early_media)

    async def accept(self, option: CallOption) -> None:
        await (await self._real()).accept(option)

    def reject(self, code: int, reason: str) -> bool:
        if self._leg is not None:
            return self._leg.reject(code, reason)
        if not 300 <= code <= 699:
            raise LocalProtocolError(f"a {code} rejects nothing")
        is_refused = self._ended is None
        self._end(LegEnded(by="system", cause="rejected", code=code, reason=reason))
        return is_refused

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        if self._leg is not None:
            self._leg.hang_up(headers=headers, by=by, cause=cause, reason=reason)
        else:
            self._end(LegEnded(by=by, cause=cause, reason=reason))

    async def release(self) -> dict[str, float]:
        if self._leg is not None:
            return await self._leg.release()
        self._settle()
        return {}

    # -- as `legs.abilities`

    @property
    def attended_target(self) -> str:
        return abilities.attended_target(self._leg) if self._leg is not None else ""

    @property
    def replaces(self) -> Leg | None:
        return abilities.replaced_by(self._leg) if self._leg is not None else None

    @property
    def has_telephone_events(self) -> bool:
        return self._leg is not None and abilities.has_telephone_events(self._leg)

    def allows(self, method: str) -> bool:
        leg = self._leg
        return leg is not None and isinstance(leg, abilities.Transferable | abilities.Dtmf) and leg.allows(method)

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        abilities.holdable(self._answered).hold(on_hold, inactive=inactive)

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        abilities.transferable(self._answered).refer(target, headers, is_own_call=is_own_call)

    def answer_transfer(self, accepted: bool) -> None:
        leg = self._leg
        if leg is not None and isinstance(leg, abilities.Transferable):
            leg.answer_transfer(accepted)

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        leg = self._leg
        if leg is not None and isinstance(leg, abilities.Transferable):
            leg.notify_transfer(code, reason, final=final)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        abilities.dtmf(self._answered).send_digits_by_signalling(digits, duration_ms)

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        abilities.texting(self._answered).send_message(body, content_type, headers)

    @property
    def _answered(self) -> Leg:
        """The real leg, which knows itself whether it is answered. Raises LocalProtocolError while there is none."""
        if self._leg is None:
            raise LocalProtocolError("the call is not answered yet, or over")
        return self._leg
