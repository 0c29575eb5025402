"""Current faults by part: a full disk, a database that does not answer. `/health` shows them; the log reports begin and end.

Notes and all-clears enter from the code that meets a fault; the list of current faults leaves, with start and reason. A part that may not
be used for a while gives a probe with its note, which `watch` calls.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from active_call.base.world import Clock, SystemClock

log = logging.getLogger("active_call.health")

PROBE_EVERY_S: Final = 5.0


@dataclass(slots=True)
class Trouble:
    """A fault of one part. `n_times` counts how often it occurred."""

    reason: str
    since: datetime
    until: float
    """Monotonic; after this time it counts as over, unless it occurred again."""
    n_times: int = 1
    probe: Callable[[], str] | None = None
    """Returns why it still fails, empty if it works. May block."""


@dataclass(slots=True)
class Troubles:
    """See the module. Not thread-safe."""

    clock: Clock = field(default_factory=SystemClock)
    _by_part: dict[str, Trouble] = field(default_factory=dict)

    def note(self, part: str, reason: str, *, lasts_s: float = math.inf, probe: Callable[[], str] | None = None) -> None:
        """`part` fails because of `reason`. Without further notes it counts as working after `lasts_s`, or when `probe` says so."""
        until = self.clock.now() + lasts_s
        known = self._by_part.get(part)
        if known is None:
            self._by_part[part] = Trouble(reason, self.clock.utc_now(), until, probe=probe)
            log.error("degraded", extra={"part": part, "reason": reason})
        else:
            known.reason, known.until, known.probe = reason, until, probe
            known.n_times += 1

    def clear(self, part: str) -> None:
        """`part` works."""
        known = self._by_part.pop(part, None)
        if known is not None:
            log.warning("works again", extra={"part": part, "since": known.since.isoformat(), "n_times": known.n_times})

    async def watch(self) -> None:
        """Call the probes until cancelled."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            for part, trouble in list(self._by_part.items()):
                await self._probe(part, trouble)

    async def _probe(self, part: str, trouble: Trouble) -> None:
        probe, n_times = trouble.probe, trouble.n_times
        if probe is None:
            return
        why = await asyncio.to_thread(probe)
        is_news = self._by_part.get(part) is trouble and trouble.n_times == n_times  # no new fault while the probe ran
        if is_news and not why:
            self.clear(part)

    def current(self) -> list[dict[str, Any]]:
        """The current faults, as plain JSON values."""
        for part, trouble in list(self._by_part.items()):
            if self.clock.now() >= trouble.until:
                self.clear(part)
        return [
            {"part": part, "reason": trouble.reason, "since": trouble.since.isoformat(), "times": trouble.n_times}
            for part, trouble in self._by_part.items()
        ]
