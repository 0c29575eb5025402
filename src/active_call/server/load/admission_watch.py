"""Keeps the admission decision up to date: beats with the loop, measures the cores, informs the SIP endpoint.

While the server accepts no calls the endpoint itself refuses them, and OPTIONS, with 503 and Retry-After, which is cheap. The retry time
depends on the reason: a wave of calls is short, a full server stays full longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from active_call.server.load.core_admission import BEAT_S, IDLE_BEAT_S, MAX_BEHIND_S, MIN_CALLS, CoreAdmission, CoreSample, NewCallPace

LOOK_EVERY_S: Final = 0.25
REST_S: Final = 1.0
"""The interval of beats without calls; the first call ends it."""
RETRY_SOON_S: Final = 1
RETRY_FULL_S: Final = 5
RETRY_DRAINING_S: Final = 30
log = logging.getLogger("active_call.server")

_Taken = TypeVar("_Taken")
"""The leg of a new call."""


class Input(Protocol):
    """The sound that enters; see `base.bulk_input`."""

    @property
    def behind_s(self) -> float: ...


class NoInput:
    """Nothing enters."""

    behind_s: float = 0.0


class Calls(Protocol):
    """The live calls."""

    is_draining: bool
    n_calls_total: int

    @property
    def n_calls(self) -> int: ...

    @property
    def n_beginning(self) -> int: ...

    @property
    def takes_invites(self) -> bool: ...


@dataclass(slots=True)
class CallLoad:
    """The admission decision of this server, asked before each new call."""

    input: Input = field(default_factory=NoInput)
    cores: CoreAdmission = field(default_factory=CoreAdmission)
    pace: NewCallPace = field(default_factory=NewCallPace)
    is_full: bool = False
    """The cores had no room at the last measurement."""
    is_strained: bool = False
    """Optional work is switched off since the last measurement."""

    def has_room(self, calls: Calls) -> bool:
        """Whether cores and rate allow one more call."""
        return self._fits(calls.n_calls) and self._keeps_pace(calls)

    def _fits(self, n_calls: int) -> bool:
        """Whether the cores have room for one more call, and the loop keeps up with the sound of `n_calls`."""
        return self.cores.has_room(n_calls) and (n_calls < MIN_CALLS or self.input.behind_s < MAX_BEHIND_S)

    def _keeps_pace(self, calls: Calls) -> bool:
        return self.pace.may_begin(calls.n_calls, calls.n_calls_total, calls.n_beginning)

    def retry_after_s(self, calls: Calls) -> int:
        """When a refused caller may retry."""
        if calls.is_draining:
            return RETRY_DRAINING_S
        is_only_pace = self._fits(calls.n_calls) and not self._keeps_pace(calls)
        return RETRY_SOON_S if is_only_pace else RETRY_FULL_S

    def describe(self) -> dict[str, object]:
        """For `/health`: the share of the available cores that our processes use, and the consequences."""
        return {**self._percents(), "full": self.is_full, "strained": self.is_strained}

    def _percents(self) -> dict[str, int]:
        return {"core_percent": round(self.cores.share * 100), "control_percent": round(self.cores.control_share * 100)}

    def beat(self, late_s: float, elapsed_s: float, calls: Calls) -> None:
        """The loop reached a beat; see `NewCallPace.beat`."""
        per_s, max_waiting = self.cores.new_calls_per_s(calls.n_calls), self.cores.max_waiting(calls.n_calls)
        self.pace.beat(late_s, calls.n_calls_total, per_s=per_s, elapsed_s=elapsed_s, max_waiting=max_waiting)

    def look(self, sample: CoreSample | None, n_calls: int, n_begun: int = 0) -> None:
        """Add a measurement of the cores, and log changes of the decision."""
        if sample is None:
            return
        self.cores.take(sample, n_calls, n_begun)
        self.is_strained = self.cores.is_strained(n_calls)
        was_full, self.is_full = self.is_full, not self._fits(n_calls)
        if self.is_full is not was_full:
            fields = {"calls": n_calls, **self._percents(), "behind_ms": round(self.input.behind_s * 1000)}
            if self.is_full:
                log.warning("the cores are full, no more calls are taken", extra=fields)
            else:
                log.info("the cores take calls again", extra=fields)


class AdmissionWatch(Struct, frozen=True):
    """Runs beside the calls. `read` measures the cores, `tell(is_accepting, retry_after_s)` sets the endpoint, `flush` writes refusals."""

    load: CallLoad
    calls: Calls
    read: Callable[[], CoreSample | None]
    tell: Callable[[bool, int], None]
    flush: Callable[[], None]
    begun: asyncio.Event = msgspec.field(default_factory=asyncio.Event)
    """A call has come."""

    def refresh(self) -> None:
        """Send the current decision to the endpoint."""
        self.tell(self.calls.takes_invites, self.load.retry_after_s(self.calls))

    def judging(self, take: Callable[[_Taken], object]) -> Callable[[_Taken], None]:
        """`take` a new call, then decide about the next one: a whole wave may come within one pass of the loop."""

        def taking(taken: _Taken) -> None:
            take(taken)
            self.begun.set()
            self.refresh()

        return taking

    async def run(self) -> None:
        """Run until cancelled."""
        loop = asyncio.get_running_loop()
        looked_at = beaten_at = 0.0
        while True:
            if not self.calls.n_calls:
                await self._rest()
            due = loop.time() + (BEAT_S if self.calls.n_calls >= MIN_CALLS else IDLE_BEAT_S if self.calls.n_calls else 0.0)
            await asyncio.sleep(due - loop.time())
            now = loop.time()
            self.load.beat(now - due, now - beaten_at, self.calls)
            beaten_at = now
            if now - looked_at >= LOOK_EVERY_S:
                looked_at = now
                if self.calls.n_calls or self.load.is_full or self.load.is_strained:  # an idle server does not read /proc
                    self.load.look(self.read(), self.calls.n_calls, self.calls.n_calls_total)
                else:
                    self.load.cores.forget()
                self.flush()
            self.refresh()

    async def _rest(self) -> None:
        self.begun.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                await self.begun.wait()
