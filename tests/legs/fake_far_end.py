"""The kit of `testing.fake_call.FakeLeg`: its far end is its own methods and fields."""

from __future__ import annotations

from far_end import Habits, Party, Seen

from active_call.legs.events import LegRinging
from active_call.testing.fake_call import FakeLeg, FakeStream

NEVER_S = 1e9


class FakeFarEnd:
    """See `far_end.FarEnd`."""

    def __init__(self, leg: FakeLeg) -> None:
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
            farewell=leg.hangup_headers,
            texts=[text for text in leg.messages if not text.startswith("INFO ")],
            digits="".join(text.removeprefix("INFO ") for text in leg.messages if text.startswith("INFO ")),
            held_as=leg.holds,
            referred_to=leg.referred_to,
            transfer_answers=leg.transfers_answered,
            transfer_told=leg.transfers_told,
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


class FakeStage:
    """See `far_end.Stage`."""

    def __init__(self) -> None:
        self._legs: list[FakeLeg] = []
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
        return self._party(FakeLeg(direction="inbound", **self._common(habits)))

    async def outgoing(self, habits: Habits) -> Party:
        leg = FakeLeg(
            direction="outbound",
            call_id="",
            offer="",
            answers=habits.refuses is None,
            answers_after_s=NEVER_S if habits.never_answers else habits.answers_after_s,
            refuses=habits.refuses or (0, ""),
            is_silent=habits.is_silent,
            has_early_media=habits.has_early_media,
            headers_of_answer={"X-Desk": "7"},
            **self._common(habits),
        )
        return self._party(leg)

    def _common(self, habits: Habits) -> dict[str, object]:
        return {
            "opens_after_s": self._opens_after_s,
            "contact": "sip:peer@192.0.2.9:5060",
            "confirms_after_s": 0.05 if habits.confirms else NEVER_S,
            "has_usable_sound": habits.has_usable_sound,
            "agrees_to_hold": habits.refuses_hold or 200,
            "refuses_requests": habits.refuses_requests,
            "refuses_transfer": habits.refuses_transfer,
            "allowed": frozenset(habits.methods or ()),
        }

    def _party(self, leg: FakeLeg) -> Party:
        self._legs.append(leg)
        return Party(leg, FakeFarEnd(leg))

    @property
    def streams(self) -> list[FakeStream]:
        return [stream for leg in self._legs for stream in leg.streams]

    def leftovers(self) -> list[str]:
        return []
