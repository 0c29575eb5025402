"""What does not work at the moment, by part: a full disk, a database that does not answer. `/health` shows it, the log tells both ends.

In: notes and all-clears from whoever tries. Out: the list of what is still wrong, since when, and why. A part that nobody may try for a
while gives a probe with its note, and `watch` asks that.
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
    """One part's trouble. `n_times` counts how often it was met."""

    reason: str
    since: datetime
    until: float
    """Monotonic; after that it counts as over, unless it was met again."""
    n_times: int = 1
    probe: Callable[[], str] | None = None
    """Why it still does not work, empty when it does. May block."""


@dataclass(slots=True)
class Troubles:
    """See the module. Not for threads."""

    clock: Clock = field(default_factory=SystemClock)
    _by_part: dict[str, Trouble] = field(default_factory=dict)

    def note(self, part: str, reason: str, *, lasts_s: float = math.inf, probe: Callable[[], str] | None = None) -> None:
        """`part` does not work, because of `reason`; without further news it works again after `lasts_s`, or when `probe` says so."""
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
        """Ask the probes, without end."""
        while True:
            await asyncio.sleep(PROBE_EVERY_S)
            for part, trouble in list(self._by_part.items()):
                await self._probe(part, trouble)

    async def _probe(self, part: str, trouble: Trouble) -> None:
        probe, n_times = trouble.probe, trouble.n_times
        if probe is None:
            return
        why = await asyncio.to_thread(probe)
        is_news = self._by_part.get(part) is trouble and trouble.n_times == n_times  # nothing was met while the probe was under way
        if is_news and not why:
            self.clear(part)

    def current(self) -> list[dict[str, Any]]:
        """What is wrong now, as plain JSON values."""
        for part, trouble in list(self._by_part.items()):
            if self.clock.now() >= trouble.until:
                self.clear(part)
        return [
            {"part": part, "reason": trouble.reason, "since": trouble.since.isoformat(), "times": trouble.n_times}
            for part, trouble in self._by_part.items()
        ]
