"""Count the calls placed within the last hour, and their minutes, per trunk and in total.

The start, answer and end of outbound calls go in; sums come out, and an error if a limit is reached. A call counts when it is placed, its
minutes from the answer on. A transfer that the carrier makes for us (REFER) counts as a call without minutes, which are unknown. Time is
monotonic seconds from a clock.
"""

from __future__ import annotations

import contextlib
from collections import deque

from msgspec import Struct

from active_call.base.errors import QuotaReached
from active_call.base.world import Clock

HOUR_S = 3600.0


class HourlyLimits(Struct, frozen=True):
    """The limits per hour; None: unlimited."""

    calls: int | None = None
    minutes: float | None = None


NO_LIMITS = HourlyLimits()


class PlacedCall:
    """One counted outbound call. `answered` and `ended` may be called repeatedly; the first call counts."""

    __slots__ = ("_clock", "answered_at", "began_at", "ended_at", "trunk")

    def __init__(self, trunk: str, clock: Clock) -> None:
        self._clock = clock
        self.trunk = trunk
        self.began_at = clock.now()
        self.answered_at: float | None = None
        self.ended_at: float | None = None

    def answered(self) -> None:
        """The callee has answered."""
        if self.answered_at is None and self.ended_at is None:
            self.answered_at = self._clock.now()

    def ended(self) -> None:
        """The call is over."""
        if self.ended_at is None:
            self.ended_at = self._clock.now()

    def seconds_since(self, since: float, now: float) -> float:
        """The answered time after `since`."""
        if self.answered_at is None:
            return 0.0
        return max(0.0, (now if self.ended_at is None else self.ended_at) - max(self.answered_at, since))


class OutboundUsage:
    """See the module."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: deque[PlacedCall] = deque()

    def begin(self, trunk: str, of_all: HourlyLimits = NO_LIMITS, of_trunk: HourlyLimits = NO_LIMITS) -> PlacedCall:
        """Count a new call. Raises QuotaReached if it would exceed the total limits or those of the trunk."""
        self._forget_old()
        self._check(of_all, None, "in all")
        self._check(of_trunk, trunk, f"on trunk {trunk}")
        call = PlacedCall(trunk, self._clock)
        self._calls.append(call)
        return call

    def withdraw(self, call: PlacedCall) -> None:
        """Remove a call that was not placed after all."""
        with contextlib.suppress(ValueError):
            self._calls.remove(call)

    def why_over(self, trunk: str, of_all: HourlyLimits = NO_LIMITS, of_trunk: HourlyLimits = NO_LIMITS) -> str:
        """Why calls on `trunk` must end: the minutes per hour are used up, in total or on the trunk. Empty if they may continue."""
        return self._why_used_up(of_all, None, "in all") or self._why_used_up(of_trunk, trunk, f"on trunk {trunk}")

    def sums(self, trunk: str | None = None) -> tuple[int, float]:
        """Calls and minutes of the last hour, for one trunk or in total (None)."""
        now = self._clock.now()
        since = now - HOUR_S
        own = [call for call in self._calls if trunk is None or call.trunk == trunk]
        return sum(call.began_at > since for call in own), sum(call.seconds_since(since, now) for call in own) / 60

    def _check(self, limits: HourlyLimits, trunk: str | None, where: str) -> None:
        if limits == NO_LIMITS:
            return
        n_calls, _ = self.sums(trunk)
        if limits.calls is not None and n_calls >= limits.calls:
            raise QuotaReached(f"{n_calls} calls were placed {where} within an hour; the limit is {limits.calls}", rule="outbound_calls")
        reason = self._why_used_up(limits, trunk, where)
        if reason:
            raise QuotaReached(reason, rule="outbound_minutes")

    def _why_used_up(self, limits: HourlyLimits, trunk: str | None, where: str) -> str:
        """The reason if the minutes are used up; empty if not."""
        if limits.minutes is None:
            return ""
        _, minutes = self.sums(trunk)
        is_used_up = minutes >= limits.minutes
        return (
            f"calls that we placed {where} took {minutes:.0f} minutes within an hour; the limit is {limits.minutes:g}" if is_used_up else ""
        )

    def _forget_old(self) -> None:
        since = self._clock.now() - HOUR_S
        while self._calls and self._calls[0].ended_at is not None and self._calls[0].ended_at < since and self._calls[0].began_at < since:
            self._calls.popleft()
