"""A leg without optional abilities that exists only in virtual time: no signalling, no sockets, no processes.

The test is the far end: fields say what it does, methods under "the far end" let it act. `fake_call.FakeLeg` adds the abilities of a SIP
leg. Both give the guarantees of every leg: `tests/legs/test_conformance.py` tests them and the real legs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegEvent, LegMedia, LegReady, LegRinging
from active_call.media.link import messages as link
from active_call.sdp.negotiation import NegotiationError
from active_call.testing.fakes.stream import FakeStream

READY_WITHOUT_CONFIRMATION_S = 2.0
GIVES_UP_UNCONFIRMED_S = 32.0
GIVES_UP_WITHOUT_KEYS_S = 10.0
"""How long after the answer the leg waits for the keys of its media."""


@dataclass(slots=True)
class BareFakeLeg:
    """A leg with no optional ability, as a WebSocket has. `speak` lets the caller speak; the test scripts the recogniser."""

    caller: str = "sip:+15550001@example.com"
    callee: str = "sip:+15559999@example.com"
    kind: str = "websocket"
    call_id: str = "fake-call-id"
    trunk: str = ""
    peer_address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    offer: str = "v=0"
    direction: str = ""
    """`inbound` or `outbound`; empty: the first operation decides."""
    answers: bool = True
    answers_after_s: float = 1.0
    refuses: tuple[int, str] = (486, "Busy Here")
    """The code with which it refuses a call, if it does not answer."""
    is_silent: bool = False
    """It neither answers nor refuses."""
    has_early_media: bool = False
    headers_of_answer: Mapping[str, str] = field(default_factory=dict)
    has_usable_sound: bool = True
    accepted_after_s: float = 0.0
    confirms_after_s: float = 0.05
    is_cancelled: bool = False
    """The caller gives up instead of being accepted."""
    opens_after_s: float = 0.0
    """How long the media stream takes to open."""
    keys_after_s: float | None = None
    """How long after the answer the keys of the media are known (DTLS-SRTP); None: with the answer."""
    stream: FakeStream | None = None
    streams: list[FakeStream] = field(default_factory=list)
    """All streams that were ever opened."""
    ended: LegEnded | None = None
    hangup_headers: dict[str, str] = field(default_factory=dict)
    rejected: tuple[int, str] | None = None
    dialled: CallOption | None = None
    rings: list[bool] = field(default_factory=list)
    """One entry each time the caller was told of ringing; true with sound."""
    answered: bool = False
    ready: bool = False
    released: bool = False
    _listener: Callable[[LegEvent], None] | None = None
    _untold: list[LegEvent] = field(default_factory=list)
    """What happened before anybody listened."""
    _rung: LegRinging | None = None
    _is_unconfirmed: bool = False
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """See `legs.leg.Leg`."""
        self._listener = sink
        untold, self._untold = self._untold, []
        for event in untold:
            sink(event)

    def sink(self, event: LegEvent) -> None:
        """Report an event to the call, as far as a leg could report it now. The caller's sound comes only if the call has asked for it."""
        if isinstance(event, LegMedia) and isinstance(event.report, link.CallerAudio) and not self._forwards_sound:
            return
        if isinstance(event, LegMedia) or (self.ended is None and self._is_news(event)):
            self._report(event)

    @property
    def _forwards_sound(self) -> bool:
        return self.stream is None or (self.stream.listen_order is not None and self.stream.listen_order.forward_audio)

    def _report(self, event: LegEvent) -> None:
        if self._listener is None:
            self._untold.append(event)
        else:
            self._listener(event)

    def _is_news(self, event: LegEvent) -> bool:
        if not isinstance(event, LegRinging):
            return True
        is_news = not self.answered and event != self._rung
        self._rung = event if is_news else self._rung
        return is_news

    async def open_media(self, near: object = None) -> FakeStream:
        """See `legs.leg.Leg`."""
        async with self._opening:
            if self.stream is None and not self.released:
                await asyncio.sleep(self.opens_after_s)
            if self.released:
                raise MediaError("the leg has been released")
            if self.stream is None:
                self.stream = FakeStream(lambda report: self.sink(LegMedia(report)), is_configured=self.keys_after_s is None)
                self.streams.append(self.stream)
        return self.stream

    # -- operations

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        """See `legs.leg.Leg`."""
        self._require(self.direction != "inbound", "only an outbound call can be placed")
        self.direction = "outbound"
        await self.open_media()
        self._require(self.ended is None, "the call was ended before it was placed")
        self._require(self.dialled is None, "the call is already placed")
        self.dialled = option
        self.call_id = call_id or self.call_id or "fake-call-id"
        loop = asyncio.get_running_loop()
        loop.call_later(option.handshake_timeout or 60, self._gives_up_ringing)
        if self.is_silent:
            return
        self.sink(LegRinging(early_media=self.has_early_media, code=183 if self.has_early_media else 180))
        if self.has_early_media:
            loop.call_later(0.1, self._is_heard)
        loop.call_later(self.answers_after_s + 0.1 * self.has_early_media, self._decide)

    def _gives_up_ringing(self) -> None:
        if not self.answered:
            self.end("system", "timeout", 408 if self.is_silent else 487)

    def _is_heard(self) -> None:
        self.sink(LegMedia(link.MediaStarted(1, asyncio.get_running_loop().time(), "127.0.0.1", 4000)))

    def _decide(self) -> None:
        if self.ended is None and not self.answers:
            self.end("callee", "rejected", *self.refuses)
        elif self.ended is None:
            self.headers = self.headers_of_answer
            self._answer()
            self._become_ready()

    def _answer(self) -> None:
        self.answered = True
        self.sink(LegAnswered("v=0"))
        if self.keys_after_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self.keys_after_s, self._learn_keys)
            loop.call_later(GIVES_UP_WITHOUT_KEYS_S, self._gives_up_without_keys)

    def _learn_keys(self) -> None:
        """The keys are known: the stream that was opened without them is configured now."""
        if self.ended is None and self.stream is not None:
            self.stream.configure(link.ConfigureRtp(1, "127.0.0.1", 4000, "pcmu", 0, 0))
            self._become_ready()

    def _gives_up_without_keys(self) -> None:
        if self.stream is not None and not self.stream.is_configured:
            self.end("system", "no_media", reason="the keys of the media did not come")

    def _become_ready(self) -> None:
        has_media = self.stream is not None and self.stream.is_configured
        if self.ended is None and not self.ready and has_media:
            self.ready = True
            self.sink(LegReady())

    async def ring(self, *, early_media: bool = False) -> None:
        """See `legs.leg.Leg`."""
        if self._may_ring and early_media:
            await self.open_media()
        if self._may_ring and (self._rung is None or (early_media and not self._rung.early_media)):
            self.rings.append(early_media)
            self.sink(LegRinging(early_media=early_media, code=183 if early_media else 180))

    @property
    def _may_ring(self) -> bool:
        return self.direction != "outbound" and not self.answered and self.ended is None

    async def accept(self, option: CallOption) -> None:
        """See `legs.leg.Leg`."""
        self._require_unanswered()
        self.direction = "inbound"
        await self.open_media()
        await asyncio.sleep(self.accepted_after_s)
        if self.is_cancelled:
            self.end("caller", "cancelled", 487)
        self._require_unanswered()
        if not self.has_usable_sound:
            self.end("system", "no_media", 488, "no codec in common")
            raise NegotiationError("no codec in common")
        self._answer()
        self._is_unconfirmed = self.confirms_after_s > GIVES_UP_UNCONFIRMED_S
        asyncio.get_running_loop().call_later(GIVES_UP_UNCONFIRMED_S, self._gives_up_unconfirmed)
        await asyncio.sleep(min(self.confirms_after_s, READY_WITHOUT_CONFIRMATION_S))
        self._become_ready()

    def _gives_up_unconfirmed(self) -> None:
        if self._is_unconfirmed:
            self.end("system", "no_ack")

    def reject(self, code: int, reason: str) -> bool:
        """See `legs.leg.Leg`."""
        self._require(300 <= code <= 699, f"code {code} cannot reject a call; expected 300 to 699")
        if self.ended is not None or self.answered or self.direction == "outbound":
            return False
        self.rejected = (code, reason)
        self.end("system", "rejected", code, reason)
        return True

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        """See `legs.leg.Leg`."""
        if self.ended is None:
            self.hangup_headers = dict(headers)
            was_placed = self.direction != "outbound" or self.dialled is not None
            code = None if self.answered or not was_placed else 487 if self.dialled is not None else 603
            self.end(by, cause, code, reason)

    async def release(self) -> dict[str, float]:
        """See `legs.leg.Leg`."""
        self.released = True
        closed = await self.stream.close() if self.stream is not None else None
        return {"packets_sent": closed.packets_sent} if closed is not None else {}

    def _require_unanswered(self) -> None:
        self._require(self.ended is None, "the call is already over")
        self._require(self.direction != "outbound", "only an inbound call can be accepted or refused")
        self._require(not self.answered, "the call is already answered")

    def _require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise LocalProtocolError(otherwise)

    # -- the far end

    def end(self, by: str, cause: str, code: int | None = None, reason: str = "", q850: int | None = None) -> None:
        """The far end, or somebody, ends the call."""
        if self.ended is None:
            self.ended = LegEnded(by=by, cause=cause, code=code, reason=reason, q850=q850)
            self._report(self.ended)

    def confirm(self) -> None:
        """The caller acknowledges our answer, unless it has already done so by itself."""
        if self._is_unconfirmed:
            self._is_unconfirmed = False
            self._become_ready()

    def press(self, digit: str) -> None:
        """The peer sends a digit in the media."""
        self.sink(LegMedia(link.DigitReceived(1, digit, 100, asyncio.get_running_loop().time())))

    async def speak(self, duration_s: float = 1.0) -> None:
        """The caller makes a sound of this length: detection starts 100 ms after it and ends 100 ms after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sample = int(began * 16_000)
        await asyncio.sleep(0.1)
        paused_at = loop.time()
        self.sink(LegMedia(link.SpeechStarted(1, began, sample, loop.time(), 0.9)))
        if isinstance(self.stream, FakeStream) and self.stream.pause_by_voice():
            self.sink(LegMedia(link.PausedOnVoice(1, "", 0.0, paused_at)))
        await asyncio.sleep(duration_s)
        ended = began + duration_s
        self.sink(LegMedia(link.SpeechEnded(1, ended, int(ended * 16_000), loop.time(), int(duration_s * 1000))))
