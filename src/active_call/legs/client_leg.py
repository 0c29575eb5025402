"""The common base of legs whose peer is an already connected client (a browser, a socket) without signalling of its own.

new ──dial or accept──> answered ──> over       each kind answers in its `_answer`
 └──────reject, hang_up, the client leaves──────> over
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.contract.options import CallOption
from active_call.legs.events import LegEnded, LegEvent, LegMedia
from active_call.media.link.messages import SOUND_REPORTS, Report
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost

NO_HEADERS: Final[Mapping[str, str]] = {}


class ClientLeg:
    """The life cycle of such a leg, as `legs.leg.Leg` defines it. A kind adds `_open`, `_answer` and `release`."""

    trunk: Final = ""
    headers: Final = NO_HEADERS

    def __init__(self, pool: MediaPool, *, caller: str, callee: str, call_id: str, peer: str) -> None:
        self._pool = pool
        self.caller = caller
        self.callee = callee
        self.call_id = call_id
        self.peer_address = peer
        self.stream: MediaStream | None = None
        self._opening = asyncio.Lock()
        self._is_answered = False
        self._is_released = False
        self._ended: LegEnded | None = None
        self._early_events: list[LegEvent] = []
        self._sink: Callable[[LegEvent], None] = self._early_events.append

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """See `legs.leg.Leg`; the same applies to the following methods."""
        self._sink = sink
        early, self._early_events = self._early_events, []
        for event in early:
            sink(event)

    async def open_media(self, near: MediaStream | None = None) -> MediaStream:
        async with self._opening:
            if self.stream is None and not self._is_released:
                self._keep(await self._open(near))
            if self.stream is None or self._is_released:
                raise MediaError("the leg has been released")
            return self.stream

    def _keep(self, stream: MediaStream) -> None:
        if self._is_released:
            stream.discard()
        else:
            self.stream = stream
            self._opened(stream)

    async def _open(self, near: MediaStream | None) -> MediaStream:
        """Open a stream of the kind. Raises MediaError."""
        raise NotImplementedError

    def _opened(self, stream: MediaStream) -> None:
        """The stream is open."""

    def _report(self, report: Report | StreamLost) -> None:
        if self._ended is None or not isinstance(report, SOUND_REPORTS):  # nobody hears an ended call
            self._sink(LegMedia(report))

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        self.call_id = call_id or self.call_id
        await self._answer(option)

    async def ring(self, *, early_media: bool = False) -> None:
        del early_media  # the client has no ringing state

    async def accept(self, option: CallOption) -> None:
        await self._answer(option)

    async def _answer(self, option: CallOption) -> None:
        """Emit LegAnswered, and LegReady when media flows. Raises ActiveCallError if the call cannot be answered."""
        raise NotImplementedError

    def _require_unanswered(self, is_answered: bool) -> None:
        if self._ended is not None or is_answered:
            raise LocalProtocolError("the call is over" if self._ended is not None else "the call is already answered")

    def reject(self, code: int, reason: str) -> bool:
        if not 300 <= code <= 699:
            raise LocalProtocolError(f"code {code} cannot reject a call; expected 300 to 699")
        if self._is_answered or self._ended is not None:
            return False
        self._end(LegEnded(by="system", cause="rejected", code=code, reason=reason))
        return True

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        del headers
        self._end(LegEnded(by=by, cause=cause, reason=reason))

    def _end(self, event: LegEnded) -> None:
        if self._ended is None:
            self._ended = event
            self._sink(event)
