"""A leg that exists only in virtual time: a caller for tests of whole calls, without SIP, sockets or processes.

It keeps what every leg promises: `tests/legs/test_conformance.py` holds it to that, together with the real ones.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.contract.options import CallOption
from active_call.legs.events import (
    LegAnswered,
    LegDigit,
    LegEnded,
    LegEvent,
    LegHeld,
    LegHoldAnswered,
    LegMedia,
    LegMessage,
    LegReady,
    LegRequestRefused,
    LegRinging,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.media.link import messages as link
from active_call.sdp.negotiation import NegotiationError
from active_call.testing.fake_stream import FakeStream, join_fakes

__all__ = ["FakeLeg", "FakeStream", "join_fakes"]

READY_WITHOUT_CONFIRMATION_S = 2.0
GIVES_UP_UNCONFIRMED_S = 32.0
ANSWER_S = 0.1
"""How long the far end takes to answer a request inside the call."""


@dataclass(slots=True)
class FakeLeg:
    """A leg whose far end is the test. `speak` lets the caller speak; the recogniser is the test's to script."""

    caller: str = "sip:+15550001@example.com"
    callee: str = "sip:+15559999@example.com"
    kind: str = "sip"
    call_id: str = "fake-call-id"
    trunk: str = ""
    peer_address: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    offer: str = "v=0"
    direction: str = ""
    """`inbound` or `outbound`; empty: what is done with it first decides."""
    answers: bool = True
    answers_after_s: float = 1.0
    refuses: tuple[int, str] = (486, "Busy Here")
    """What a call to this leg is refused with, where it does not answer."""
    is_silent: bool = False
    """It neither answers nor refuses."""
    has_early_media: bool = False
    headers_of_answer: Mapping[str, str] = field(default_factory=dict)
    has_usable_sound: bool = True
    allowed: frozenset[str] = frozenset({"INVITE", "BYE", "REFER", "INFO", "MESSAGE"})
    """What the peer says that it takes; empty: it says nothing."""
    has_telephone_events: bool = True
    contact: str = ""
    """Where others reach the peer, to take our place."""
    replaces: FakeLeg | None = None
    accepted_after_s: float = 0.0
    confirms_after_s: float = 0.05
    is_cancelled: bool = False
    """The caller gives up instead of being accepted."""
    agrees_to_hold: int = 200
    refuses_requests: tuple[int, str] | None = None
    """What our texts and digits are refused with."""
    refuses_transfer: tuple[int, str] | None = None
    opens_after_s: float = 0.0
    """How long the media stream takes to open."""
    stream: FakeStream | None = None
    streams: list[FakeStream] = field(default_factory=list)
    """All that were ever opened."""
    ended: LegEnded | None = None
    hangup_headers: dict[str, str] = field(default_factory=dict)
    rejected: tuple[int, str] | None = None
    messages: list[str] = field(default_factory=list)
    referred_to: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    """What the peer was offered, in order: `sendonly`, `inactive`, `sendrecv`."""
    transfers_answered: list[bool] = field(default_factory=list)
    transfers_told: list[tuple[int, bool]] = field(default_factory=list)
    dialled: CallOption | None = None
    rings: list[bool] = field(default_factory=list)
    """Each time that the caller was told of ringing; true with sound."""
    answered: bool = False
    ready: bool = False
    released: bool = False
    _listener: Callable[[LegEvent], None] = lambda _: None
    _rung: LegRinging | None = None
    _direction: str = "sendrecv"
    _wanted: str = "sendrecv"
    _is_offering: bool = False
    _is_unconfirmed: bool = False
    _is_held: bool = False
    _is_referring: bool = False
    _is_asked: bool = False
    _is_telling: bool = False
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self._listener = sink

    def sink(self, event: LegEvent) -> None:
        """Tell the call of something, as far as a leg could tell it now."""
        if isinstance(event, LegMedia) or (self.ended is None and self._is_news(event)):
            self._listener(event)

    def _is_news(self, event: LegEvent) -> bool:
        match event:
            case LegRinging():
                is_news = not self.answered and event != self._rung
                self._rung = event if is_news else self._rung
                return is_news
            case LegTransferProgress(final=final):
                was_referring, self._is_referring = self._is_referring, self._is_referring and not final
                return was_referring
            case LegTransferRequested():
                was_asked, self._is_asked = self._is_asked, self.answered
                return self.answered and not was_asked
            case _:
                return True

    @property
    def attended_target(self) -> str:
        is_up = self.answered and self.ended is None
        return f"{self.contact}?Replaces={self.call_id}" if self.contact and is_up else ""

    def allows(self, method: str) -> bool:
        return not self.allowed or method in self.allowed

    async def open_media(self, near: object = None) -> FakeStream:
        async with self._opening:
            if self.stream is None and not self.released:
                await asyncio.sleep(self.opens_after_s)
            if self.released:
                raise MediaError("the leg has been released")
            if self.stream is None:
                self.stream = FakeStream(lambda report: self.sink(LegMedia(report)))
                self.streams.append(self.stream)
        return self.stream

    # -- operations

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        self._require(self.direction != "inbound", "only an outbound call can be placed")
        self.direction = "outbound"
        await self.open_media()
        self._require(self.ended is None, "the call was ended before it was placed")
        self._require(self.dialled is None, "the call is placed already")
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

    def _become_ready(self) -> None:
        if self.ended is None and not self.ready:
            self.ready = True
            self.sink(LegReady())

    async def ring(self, *, early_media: bool = False) -> None:
        if self._may_ring and early_media:
            await self.open_media()
        if self._may_ring and (self._rung is None or (early_media and not self._rung.early_media)):
            self.rings.append(early_media)
            self.sink(LegRinging(early_media=early_media, code=183 if early_media else 180))

    @property
    def _may_ring(self) -> bool:
        return self.direction != "outbound" and not self.answered and self.ended is None

    async def accept(self, option: CallOption) -> None:
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
        self._require(300 <= code <= 699, f"a {code} rejects nothing")
        if self.ended is not None or self.answered or self.direction == "outbound":
            return False
        self.rejected = (code, reason)
        self.end("system", "rejected", code, reason)
        return True

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        if self.ended is None:
            self.hangup_headers = dict(headers)
            was_placed = self.direction != "outbound" or self.dialled is not None
            code = None if self.answered or not was_placed else 487 if self.dialled is not None else 603
            self.end(by, cause, code, reason)

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        self._request("MESSAGE", body)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        self._request("INFO", f"INFO {digits}")

    def _request(self, method: str, text: str) -> None:
        self._require_up()
        self.messages.append(text)
        if self.refuses_requests is not None:
            asyncio.get_running_loop().call_later(ANSWER_S, self.sink, LegRequestRefused(method, *self.refuses_requests))

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        self._require_up()
        self._require(re.fullmatch(r"[^\s<>]*[^\s<>:]", target) is not None, f"{target!r} is no address")
        self.referred_to.append(target)
        self._is_referring = True
        if self.refuses_transfer is not None:
            refused = LegTransferProgress(*self.refuses_transfer, final=True, refused=True)
            asyncio.get_running_loop().call_later(ANSWER_S, self.sink, refused)

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        self._require_up()
        self._require(self.ready, "the call is not up yet")
        self._wanted = "inactive" if inactive and on_hold else "sendonly" if on_hold else "sendrecv"
        if not self._is_offering:
            self._offer(200)

    def _offer(self, code: int) -> None:
        """Offer what is wanted, or tell that it is so."""
        if self._wanted == self._direction:
            self.sink(LegHoldAnswered(self._direction != "sendrecv", code))
            return
        self._is_offering = True
        self.holds.append(self._wanted)
        asyncio.get_running_loop().call_later(ANSWER_S, self._offer_answered, self._wanted)

    def _offer_answered(self, offered: str) -> None:
        self._is_offering = False
        if self.ended is None:
            if self.agrees_to_hold < 300:
                self._direction = offered
            elif self._wanted == offered:
                self._wanted = self._direction
            self._offer(self.agrees_to_hold)

    def answer_transfer(self, accepted: bool) -> None:
        if self._is_asked and self.ended is None:
            self._is_asked = False
            self._is_telling = self._is_telling or accepted
            self.transfers_answered.append(accepted)

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        if self._is_telling and self.ended is None:
            self._is_telling = not final
            self.transfers_told.append((code, final))

    async def release(self) -> dict[str, float]:
        self.released = True
        closed = await self.stream.close() if self.stream is not None else None
        return {"packets_sent": closed.packets_sent} if closed is not None else {}

    def _require_unanswered(self) -> None:
        self._require(self.ended is None, "the call is over already")
        self._require(self.direction != "outbound", "only an inbound call can be accepted or refused")
        self._require(not self.answered, "the call is answered already")

    def _require_up(self) -> None:
        self._require(self.answered and self.ended is None, "the call is not answered yet, or over")

    def _require(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise LocalProtocolError(otherwise)

    # -- the far end

    def end(self, by: str, cause: str, code: int | None = None, reason: str = "", q850: int | None = None) -> None:
        """The far end, or somebody, ends the call."""
        if self.ended is None:
            self.ended = LegEnded(by=by, cause=cause, code=code, reason=reason, q850=q850)
            self._listener(self.ended)

    def confirm(self) -> None:
        """The caller acknowledges our answer, where it has not by itself."""
        if self._is_unconfirmed:
            self._is_unconfirmed = False
            self._become_ready()

    def ask_for_transfer(self, target: str, referred_by: str | None = None) -> None:
        """The peer asks us to call somebody else."""
        self.sink(LegTransferRequested(target, referred_by))

    def told(self, code: int, *, final: bool = True, refused: bool = False) -> None:
        """The peer tells how a REFER goes."""
        self.sink(LegTransferProgress(code, "", final, refused))

    def put_on_hold(self, on_hold: bool, *, is_silent: bool = False) -> None:
        """The peer holds us, or takes us back."""
        if self.answered and on_hold != self._is_held:
            self._is_held = on_hold
            self.sink(LegHeld(on_hold, is_silent=is_silent))

    def write(self, text: str) -> None:
        """The peer sends a text."""
        if self.answered:
            self.sink(LegMessage(text, "text/plain"))

    def signal(self, digit: str) -> None:
        """The peer sends a digit by signalling."""
        if self.answered:
            self.sink(LegDigit(digit))

    def press(self, digit: str) -> None:
        """The peer sends a digit in the media."""
        self.sink(LegMedia(link.DigitReceived(1, digit, 100, asyncio.get_running_loop().time())))

    async def speak(self, duration_s: float = 1.0) -> None:
        """The caller makes a sound of this length: detection starts 100 ms after it and ends 100 ms after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        sample = int(began * 16_000)
        await asyncio.sleep(0.1)
        self.sink(LegMedia(link.SpeechStarted(1, began, sample, loop.time(), 0.9)))
        await asyncio.sleep(duration_s)
        ended = began + duration_s
        self.sink(LegMedia(link.SpeechEnded(1, ended, int(ended * 16_000), loop.time(), int(duration_s * 1000))))
