"""A leg with all optional abilities that exists only in virtual time: for tests of whole calls, without SIP, sockets or processes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from active_call.legs.events import (
    LegDigit,
    LegEvent,
    LegHeld,
    LegHoldAnswered,
    LegMessage,
    LegRequestRefused,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.legs.signalling import SignallingMessage
from active_call.testing.fakes.leg import BareFakeLeg
from active_call.testing.fakes.stream import FakeStream, join_fakes

__all__ = ["BareFakeLeg", "FakeLeg", "FakeStream", "join_fakes"]

ANSWER_S = 0.1
"""How long the far end takes to answer a request inside the call."""


@dataclass(slots=True)
class FakeLeg(BareFakeLeg):
    """A leg that can do what a SIP leg can: hold, transfer, digits, texts (`legs.abilities`)."""

    kind: str = "sip"
    allowed: frozenset[str] = frozenset({"INVITE", "BYE", "REFER", "INFO", "MESSAGE"})
    """The methods that the peer says it accepts; empty: it says nothing."""
    has_telephone_events: bool = True
    contact: str = ""
    """The address at which others reach the peer, to take our place."""
    replaces: FakeLeg | None = None
    begins_on_hold: bool = False
    """The peer's first description puts us on hold, with music of its own."""
    agrees_to_hold: int = 200
    refuses_requests: tuple[int, str] | None = None
    """The code with which the peer refuses our texts and digits."""
    refuses_transfer: tuple[int, str] | None = None
    messages: list[str] = field(default_factory=list)
    on_the_wire: list[SignallingMessage] = field(default_factory=list)
    """What was said of the call between the two sides, with the whole texts."""
    referred_to: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    """What the peer was offered, in order: `sendonly`, `inactive`, `sendrecv`."""
    transfers_answered: list[bool] = field(default_factory=list)
    transfers_told: list[tuple[int, bool]] = field(default_factory=list)
    _direction: str = "sendrecv"
    _wanted: str = "sendrecv"
    _is_offering: bool = False
    _is_held: bool = False
    _is_referring: bool = False
    _is_asked: bool = False
    _is_telling: bool = False

    def signalling(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """See `legs.abilities.KeepsSignalling`."""
        return tuple(message if whole else replace(message, text="") for message in self.on_the_wire)

    def _is_news(self, event: LegEvent) -> bool:
        match event:
            case LegTransferProgress(final=final):
                was_referring, self._is_referring = self._is_referring, self._is_referring and not final
                return was_referring
            case LegTransferRequested():
                was_asked, self._is_asked = self._is_asked, self.answered
                return self.answered and not was_asked
            case _:
                return BareFakeLeg._is_news(self, event)  # a slotted dataclass has no bare super()

    @property
    def attended_target(self) -> str:
        """See `legs.abilities.Replaceable`."""
        is_up = self.answered and self.ended is None
        return f"{self.contact}?Replaces={self.call_id}" if self.contact and is_up else ""

    def allows(self, method: str) -> bool:
        """See `legs.abilities`."""
        return not self.allowed or method in self.allowed

    def _answer(self) -> None:
        BareFakeLeg._answer(self)
        if self.begins_on_hold:
            self.put_on_hold(True)

    # -- operations

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        """See `legs.abilities.Texting`."""
        self._request("MESSAGE", body)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        """See `legs.abilities.Dtmf`."""
        self._request("INFO", f"INFO {digits}")

    def _request(self, method: str, text: str) -> None:
        self._require_up()
        self.messages.append(text)
        if self.refuses_requests is not None:
            asyncio.get_running_loop().call_later(ANSWER_S, self.sink, LegRequestRefused(method, *self.refuses_requests))

    def refer(self, target: str, headers: Mapping[str, str], *, is_own_call: bool = False) -> None:
        """See `legs.abilities.Transferable`."""
        self._require_up()
        self._require(re.fullmatch(r"[^\s<>]*[^\s<>:]", target) is not None, f"{target!r} is no address")
        self.referred_to.append(target)
        self._is_referring = True
        if self.refuses_transfer is not None:
            refused = LegTransferProgress(*self.refuses_transfer, final=True, refused=True)
            asyncio.get_running_loop().call_later(ANSWER_S, self.sink, refused)

    def hold(self, on_hold: bool, *, inactive: bool = False) -> None:
        """See `legs.abilities.Holdable`."""
        self._require_up()
        self._require(self.ready, "the call is not up yet")
        self._wanted = "inactive" if inactive and on_hold else "sendonly" if on_hold else "sendrecv"
        if not self._is_offering:
            self._offer(200)

    def _offer(self, code: int) -> None:
        """Offer the wanted direction, or report that it is already in effect."""
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
        """See `legs.abilities.Transferable`."""
        if self._is_asked and self.ended is None:
            self._is_asked = False
            self._is_telling = self._is_telling or accepted
            self.transfers_answered.append(accepted)

    def notify_transfer(self, code: int, reason: str, *, final: bool) -> None:
        """See `legs.abilities.Transferable`."""
        if self._is_telling and self.ended is None:
            self._is_telling = not final
            self.transfers_told.append((code, final))

    def _require_up(self) -> None:
        self._require(self.answered and self.ended is None, "the call is not answered yet, or over")

    # -- the far end

    def ask_for_transfer(self, target: str, referred_by: str | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """The peer asks us to call somebody else."""
        self.sink(LegTransferRequested(target, referred_by, headers))

    def told(self, code: int, *, final: bool = True, refused: bool = False) -> None:
        """The peer reports the progress of a REFER."""
        self.sink(LegTransferProgress(code, "", final, refused))

    def put_on_hold(self, on_hold: bool, *, is_silent: bool = False) -> None:
        """The peer puts us on hold, or resumes."""
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
