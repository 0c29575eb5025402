"""The kits of the legs that exist only in virtual time: their far end is their own methods and fields."""

from __future__ import annotations

from typing import Any

from far_end import Habits, Party, Seen

from active_call.legs.events import LegRinging
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.fakes.leg import BareFakeLeg
from active_call.testing.fakes.stream import FakeStream

NEVER_S = 1e9


class BareFarEnd:
    """See `far_end.FarEnd`. What the leg has no ability for does nothing."""

    def __init__(self, leg: BareFakeLeg) -> None:
        self._leg = leg

    @property
    def seen(self) -> Seen:
        leg = self._leg
        refusal = leg.ended.code if leg.ended is not None and leg.direction == "inbound" and not leg.answered else None
        return Seen(
            rings=leg.rings,
            is_answered=leg.answered,
            refused_with=refusal or 0,
            is_over=leg.ended is not None,
            bye_headers=leg.hangup_headers,
        )

    @property
    def _role(self) -> str:
        return "caller" if self._leg.direction == "inbound" else "callee"

    def rings_again(self) -> None:
        if self._leg.dialled is not None and not self._leg.is_silent:
            early = self._leg.has_early_media
            self._leg.sink(LegRinging(early_media=early, code=183 if early else 180))

    def hangs_up(self, q850: int | None = None) -> None:
        leg = self._leg
        if leg.answered:
            leg.end(self._role, "remote_bye", q850=q850)
        elif leg.direction == "inbound":
            self.cancels()
        elif leg.dialled is not None:
            leg.end("callee", "rejected", 603, "Decline")

    def cancels(self) -> None:
        if self._leg.direction == "inbound" and not self._leg.answered:
            self._leg.end("caller", "cancelled", 487, "Request Terminated")

    def confirms(self) -> None:
        self._leg.confirm()

    def holds(self, form: str = "sendonly") -> None: ...
    def unholds(self) -> None: ...
    def presses(self, digit: str) -> None: ...
    def writes(self, text: str) -> None: ...
    def asks_for_transfer(self, target: str) -> None: ...
    def tells_transfer(self, code: int, *, final: bool) -> None: ...


class FakeFarEnd(BareFarEnd):
    """With a far end for every ability."""

    def __init__(self, leg: FakeLeg) -> None:
        super().__init__(leg)
        self._leg: FakeLeg = leg

    @property
    def seen(self) -> Seen:
        leg, seen = self._leg, super().seen
        seen.texts = [text for text in leg.messages if not text.startswith("INFO ")]
        seen.digits = "".join(text.removeprefix("INFO ") for text in leg.messages if text.startswith("INFO "))
        seen.held_as = leg.holds
        seen.referred_to = leg.referred_to
        seen.transfer_answers = leg.transfers_answered
        seen.transfer_told = leg.transfers_told
        return seen

    def holds(self, form: str = "sendonly") -> None:
        self._leg.put_on_hold(True, is_silent=form == "inactive")

    def unholds(self) -> None:
        self._leg.put_on_hold(False)

    def presses(self, digit: str) -> None:
        self._leg.signal(digit)

    def writes(self, text: str) -> None:
        self._leg.write(text)

    def asks_for_transfer(self, target: str) -> None:
        self._leg.ask_for_transfer(target)

    def tells_transfer(self, code: int, *, final: bool) -> None:
        self._leg.told(code, final=final)


class BareStage:
    """See `far_end.Stage`: legs without optional abilities."""

    def __init__(self) -> None:
        self._legs: list[BareFakeLeg] = []
        self._opens_after_s = 0.0

    @property
    def opens_after_s(self) -> float:
        return self._opens_after_s

    @opens_after_s.setter
    def opens_after_s(self, seconds: float) -> None:
        self._opens_after_s = seconds
        for leg in self._legs:
            leg.opens_after_s = seconds

    async def incoming(self, habits: Habits) -> Party:
        return Party(*self.make_incoming(habits))

    async def outgoing(self, habits: Habits) -> Party:
        return Party(*self.make_outgoing(habits))

    def make_incoming(self, habits: Habits) -> tuple[BareFakeLeg, BareFarEnd]:
        """A leg that nobody listens to, and its far end."""
        return self._make(habits, direction="inbound")

    def make_outgoing(self, habits: Habits) -> tuple[BareFakeLeg, BareFarEnd]:
        """The same for a call of ours."""
        return self._make(habits, direction="outbound", call_id="", offer="")

    def _make(self, habits: Habits, **how: Any) -> tuple[BareFakeLeg, BareFarEnd]:
        leg = self._leg(
            habits,
            opens_after_s=self._opens_after_s,
            answers=habits.refuses is None,
            answers_after_s=NEVER_S if habits.never_answers else habits.answers_after_s,
            refuses=habits.refuses or (0, ""),
            is_silent=habits.is_silent,
            has_early_media=habits.has_early_media,
            headers_of_answer={"X-Desk": "7"},
            confirms_after_s=0.05 if habits.confirms else NEVER_S,
            has_usable_sound=habits.has_usable_sound,
            keys_after_s=habits.keys_after_s,
            **how,
        )
        self._legs.append(leg)
        return leg, FakeFarEnd(leg) if isinstance(leg, FakeLeg) else BareFarEnd(leg)

    def _leg(self, habits: Habits, **how: Any) -> BareFakeLeg:
        return BareFakeLeg(**how)

    @property
    def streams(self) -> list[FakeStream]:
        return [stream for leg in self._legs for stream in leg.streams]

    def leftovers(self) -> list[str]:
        return []


class FakeStage(BareStage):
    """Legs with all abilities."""

    def _leg(self, habits: Habits, **how: Any) -> FakeLeg:
        return FakeLeg(
            contact="sip:peer@192.0.2.9:5060",
            agrees_to_hold=habits.refuses_hold or 200,
            refuses_requests=habits.refuses_requests,
            refuses_transfer=habits.refuses_transfer,
            allowed=frozenset(habits.methods or ()),
            **how,
        )
