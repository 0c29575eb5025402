"""The far end of a leg in words that fit every kind of leg, and the stage where legs are made. Kits implement both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from active_call.legs.events import LegEnded, LegEvent, LegMedia
from active_call.legs.leg import Leg
from active_call.testing.fakes.stream import FakeStream

AGES_S = 120.0
"""Longer than every patience of a leg and of its far end."""


@dataclass
class Habits:
    """What the far end does when it is asked. Times are in seconds, codes are SIP's."""

    answers_after_s: float = 1.0
    refuses: tuple[int, str] | None = None
    """A call to it is refused, after it has rung."""
    is_silent: bool = False
    """It does not even say that it rings."""
    never_answers: bool = False
    """It rings, and that is all."""
    has_early_media: bool = False
    repeats_its_sound: bool = True
    """Its answer has the description that came with early media once more."""
    is_slow_to_withdraw: bool = False
    """It answers in the moment in which we withdraw the call."""
    confirms: bool = True
    """It acknowledges our answer."""
    has_usable_sound: bool = True
    keys_after_s: float | None = None
    """How long after the answer the keys of the media are known; None: with the answer."""
    leaves_the_offer_to_us: bool = False
    """It calls without a description of its sound, and gives that when it confirms."""
    forgets_to_answer: bool = False
    """Or does not give it then."""
    refuses_hold: int = 0
    refuses_requests: tuple[int, str] | None = None
    refuses_transfer: tuple[int, str] | None = None
    methods: tuple[str, ...] | None = ("INVITE", "ACK", "BYE", "CANCEL", "MESSAGE", "INFO", "REFER", "NOTIFY")
    """What it says that it takes; None: it says nothing."""


@dataclass
class Seen:
    """What has reached the far end."""

    rings: list[bool] = field(default_factory=list)
    """Each time that it was told of ringing; true with sound."""
    is_answered: bool = False
    """One of the two has answered, and the other one knows."""
    refused_with: int = 0
    is_over: bool = False
    bye_headers: dict[str, str] = field(default_factory=dict)
    """The headers of what ended the call, where we did."""
    texts: list[str] = field(default_factory=list)
    digits: str = ""
    held_as: list[str] = field(default_factory=list)
    """`sendonly`, `inactive`, `sendrecv`: each change that we asked for."""
    referred_to: list[str] = field(default_factory=list)
    transfer_answers: list[bool] = field(default_factory=list)
    transfer_told: list[tuple[int, bool]] = field(default_factory=list)
    """Codes and whether it was the last word, beyond the first `100`."""


class FarEnd(Protocol):
    """The peer. What its state forbids does nothing."""

    @property
    def seen(self) -> Seen: ...

    def rings_again(self) -> None: ...
    def hangs_up(self, q850: int | None = None) -> None: ...
    def cancels(self) -> None: ...
    def confirms(self) -> None: ...
    def holds(self, form: str = "sendonly") -> None: ...
    def unholds(self) -> None: ...
    def presses(self, digit: str) -> None: ...
    def writes(self, text: str) -> None: ...
    def asks_for_transfer(self, target: str) -> None: ...
    def tells_transfer(self, code: int, *, final: bool) -> None: ...


class Party:
    """A leg under test, its far end, and all that the leg has told."""

    def __init__(self, leg: Leg, far: FarEnd) -> None:
        self.leg = leg
        self.far = far
        self.told: list[LegEvent] = []
        leg.attach(self.told.append)

    @property
    def seen(self) -> Seen:
        return self.far.seen

    @property
    def events(self) -> list[LegEvent]:
        """Without what the media stream reports."""
        return [event for event in self.told if not isinstance(event, LegMedia)]

    @property
    def kinds(self) -> list[str]:
        return [type(event).__name__.removeprefix("Leg") for event in self.events]

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.told if isinstance(event, kind)]

    @property
    def end(self) -> LegEnded:
        ends = self.of(LegEnded)
        assert len(ends) == 1, self.told
        return ends[0]  # type: ignore[no-any-return]

    @property
    def is_over(self) -> bool:
        return bool(self.of(LegEnded))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let time pass until `condition` holds."""
        began = asyncio.get_running_loop().time()
        while not condition():
            waited_s = asyncio.get_running_loop().time() - began
            assert waited_s < AGES_S, self.told
            await asyncio.sleep(0.01 if waited_s < 2 else 0.5)

    async def until_told(self, kind: type[Any], n: int = 1) -> Any:
        """The `n`th event of that kind."""
        await self.until(lambda: len(self.of(kind)) >= n)
        return self.of(kind)[n - 1]

    def hang_up(self, **words: Any) -> None:
        """Ours, with words that can be told from all others."""
        said = {"by": "agent", "cause": "goodbye", "reason": "all is said", "headers": {}} | words
        self.leg.hang_up(**said)


class Stage(Protocol):
    """Where legs of one kind live. Made inside a virtual loop."""

    opens_after_s: float
    """How long a media stream takes to open, from now on."""

    async def incoming(self, habits: Habits) -> Party:
        """A call has come in; nothing was done with it yet."""
        ...

    async def outgoing(self, habits: Habits) -> Party:
        """A leg that is not dialled yet."""
        ...

    @property
    def streams(self) -> Sequence[FakeStream]:
        """All that were opened."""
        ...

    def leftovers(self) -> list[str]:
        """What is still kept of calls that are over."""
        ...
