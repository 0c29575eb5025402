"""What does not work at the moment, by part: a full disk, a database that does not answer. `/health` shows it, the log tells both ends.

In: notes and all-clears from whoever tries. Out: the list of what is still wrong, since when, and why.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from active_call.base.world import Clock, SystemClock

log = logging.getLogger("active_call.health")


@dataclass(slots=True)
class Trouble:
    """One part's trouble. `n_times` counts how often it was met."""

    reason: str
    since: datetime
    until: float
    """Monotonic; after that it counts as over, unless it was met again."""
    n_times: int = 1


@dataclass(slots=True)
class Troubles:
    """See the module. Not for threads."""

    clock: Clock = field(default_factory=SystemClock)
    _by_part: dict[str, Trouble] = field(default_factory=dict)

    def note(self, part: str, reason: str, *, lasts_s: float = math.inf) -> None:
        """`part` does not work, because of `reason`; without further news it works again after `lasts_s`."""
        until = self.clock.now() + lasts_s
        known = self._by_part.get(part)
        if known is None:
            self._by_part[part] = Trouble(reason, self.clock.utc_now(), until)
            log.error("degraded", extra={"part": part, "reason": reason})
        else:
            known.reason, known.until = reason, until
            known.n_times += 1

    def clear(self, part: str) -> None:
        """`part` works."""
        known = self._by_part.pop(part, None)
        if known is not None:
            log.warning("works again", extra={"part": part, "since": known.since.isoformat(), "n_times": known.n_times})

    def current(self) -> list[dict[str, Any]]:
        """What is wrong now, as plain JSON values."""
        for part, trouble in list(self._by_part.items()):
            if self.clock.now() >= trouble.until:
                self.clear(part)
        return [
            {"part": part, "reason": trouble.reason, "since": trouble.since.isoformat(), "times": trouble.n_times}
            for part, trouble in self._by_part.items()
        ]
