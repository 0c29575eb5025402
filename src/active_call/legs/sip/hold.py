"""Hold inside a SIP call, both directions (RFC 3264 §8.4): our request, the peer's agreement, and the peer's own hold.

    sendrecv ──want──> offered ──2xx──> sendonly or inactive         LegHoldAnswered has the resulting state
                          └──refused──> unchanged
    the peer's SDP stops our media: LegHeld(True); it resumes our media: LegHeld(False)

Requests of the call and answers of the peer go in. Offers leave through `send_offer`, one at a time. A request that arrives during an open
offer is executed after it. An offer that cannot be sent because another one is open is repeated after `RETRY_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from active_call.base.errors import LocalProtocolError
from active_call.legs.events import LegHeld, LegHoldAnswered
from active_call.legs.sip.media import SipMedia
from active_call.sdp.negotiation import Direction

RETRY_S: Final = 0.5
MAX_TRIES: Final = 20


class Holding:
    """The hold state of one call.

    `send_offer` sends a re-INVITE with the SDP of `media`; it raises LocalProtocolError during another offer.
    """

    def __init__(self, media: SipMedia, send_offer: Callable[[Direction], None], emit: Callable[[LegHeld | LegHoldAnswered], None]) -> None:
        self._media = media
        self._send_offer = send_offer
        self._emit = emit
        self._wanted: Direction = "sendrecv"
        self._offered: Direction | None = None
        self._n_tries = 0
        self._retry: asyncio.TimerHandle | None = None
        self._is_held = False

    def want(self, direction: Direction) -> None:
        """Offer `direction`; LegHoldAnswered follows."""
        self._wanted = direction
        self._n_tries = 0
        if self._offered is None and self._retry is None:
            self._offer()

    def on_answer(self, code: int) -> None:
        """Our offer has its final response. If it is 2xx, `media` has taken the answer."""
        offered, self._offered = self._offered, None
        if offered is None:  # our offer in a 2xx to a re-INVITE without SDP
            self.on_agreement()
        elif code < 300:
            self._media.direction = offered
            self.on_agreement()
            self._go_on(code)
        elif code == 491:
            self._media.take_back_offer()
            self._try_again()
        else:
            self._media.take_back_offer()
            if self._wanted == offered:
                self._wanted = self._media.direction
            self._go_on(code)

    def on_agreement(self) -> None:
        """The peer's SDP was accepted: report whether we are held, if that has changed."""
        agreement = self._media.agreement
        is_held = agreement is not None and agreement.on_hold
        if is_held != self._is_held:
            self._is_held = is_held
            self._emit(LegHeld(is_held, is_silent=is_held and agreement is not None and not agreement.receive))

    def _go_on(self, code: int) -> None:
        """Report the current state, or execute a request that arrived meanwhile."""
        if self._wanted == self._media.direction:
            self._emit(LegHoldAnswered(self._media.direction != "sendrecv", code))
        else:
            self._offer()

    def _offer(self) -> None:
        if self._wanted == self._media.direction:
            self._go_on(200)
            return
        try:
            self._send_offer(self._wanted)
            self._offered = self._wanted
        except LocalProtocolError:
            self._media.take_back_offer()
            self._try_again()

    def _try_again(self) -> None:
        self._n_tries += 1
        if self._n_tries > MAX_TRIES:
            self._wanted = self._media.direction
            self._go_on(491)
        else:
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._on_retry)

    def _on_retry(self) -> None:
        self._retry = None
        self._offer()
