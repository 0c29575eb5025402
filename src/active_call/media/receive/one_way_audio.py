"""One-way audio noticed and named: what is wrong with a stream's sound, in which direction, and what the packets say about why.

Facts of one stream enter, some times a second; problems leave when they begin and when they are over. Pure; `now` is told.

| problem            | when                                                                                       |
|--------------------|--------------------------------------------------------------------------------------------|
| `nothing_received` | sound should come, and nothing that could be heard has come for NOTHING_S since it should  |
| `receiving_stopped`| it has come, and then nothing for STOPPED_S, and the peer is not silent by agreement       |
| `not_heard`        | the peer's own reports (RTCP) say, twice, that next to nothing of ours arrives             |

Hold ends all of them: a side that does not want to receive misses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

NOTHING_S: Final = 4.0
"""Ringing is over, and the first packets of every carrier come within a second; callers give up after some more."""
STOPPED_S: Final = 8.0
"""Senders with silence suppression pause for seconds, not for so many."""
LOST_FRACTION: Final = 230
"""Of 256, as in a report block: nine tenths."""
REPORTS: Final = 2
"""In a row: the first may speak of the time before the path was open."""


@dataclass(slots=True)
class Refused:
    """How many packets were dropped, and why."""

    unauthentic: int = 0
    """The SRTP key does not fit, or it is no SRTP."""
    unknown_type: int = 0
    """Of a payload type that was not agreed on."""
    wrong_source: int = 0
    """From another address than the one heard, or signalled."""
    malformed: int = 0
    unjudged: int = 0
    """The code failed on them: an error of ours."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.unauthentic + self.unknown_type + self.wrong_source + self.malformed + self.unjudged


@dataclass(frozen=True, slots=True)
class Problem:
    """`over`: it has ended. `detail` is for people."""

    name: str
    detail: str
    over: bool = False


class OneWayWatch:
    """The judgement on one stream."""

    __slots__ = ("_active", "_n_lossy", "_wanted_since")

    def __init__(self) -> None:
        self._active: set[str] = set()
        self._wanted_since = -1.0
        self._n_lossy = 0

    def look(
        self, now: float, *, wanted: bool, n_received: int, last_arrival: float, refused: Refused, is_silent: bool = False
    ) -> list[Problem]:
        """Judge what comes in. `wanted`: sound should come; `is_silent`: but for the time being, as agreed, it does not.

        Returns what has begun or ended.
        """
        if not wanted:
            self._wanted_since = -1.0
            return self._settle("nothing_received") + self._settle("receiving_stopped")
        if self._wanted_since < 0:
            self._wanted_since = now
        waited_s = now - max(self._wanted_since, last_arrival if n_received else self._wanted_since)
        if not n_received:
            return self._raise("nothing_received", _why_nothing(waited_s, refused)) if waited_s >= NOTHING_S else []
        if waited_s >= STOPPED_S and not is_silent:
            return self._raise("receiving_stopped", f"no packet for {waited_s:.0f} s; {_refusals(refused) or 'none was refused'}")
        return self._settle("nothing_received") + self._settle("receiving_stopped")

    def take_report(self, fraction_lost: int, n_sent: int) -> list[Problem]:
        """Take the fraction (of 256) of our packets that the peer reports as lost since its last report."""
        if fraction_lost < LOST_FRACTION or not n_sent:
            self._n_lossy = 0
            return self._settle("not_heard")
        self._n_lossy += 1
        if self._n_lossy < REPORTS:
            return []
        return self._raise("not_heard", f"the peer reports that {fraction_lost * 100 // 256} % of our packets do not arrive")

    def _raise(self, name: str, detail: str) -> list[Problem]:
        if name in self._active:
            return []
        self._active.add(name)
        return [Problem(name, detail)]

    def _settle(self, name: str) -> list[Problem]:
        if name not in self._active:
            return []
        self._active.discard(name)
        return [Problem(name, "", over=True)]


def _why_nothing(waited_s: float, refused: Refused) -> str:
    beginning = f"no sound from the peer for {waited_s:.0f} s"
    reasons = _refusals(refused)
    if reasons:
        return f"{beginning}; {reasons}"
    return f"{beginning}, and no packet at all: is the RTP port range open, and external_ip the address that the peer can reach?"


def _refusals(refused: Refused) -> str:
    parts = (
        (refused.unauthentic, "not authentic (another key, or no SRTP)"),
        (refused.unknown_type, "of a payload type that was not agreed on"),
        (refused.wrong_source, "from an unexpected address"),
        (refused.malformed, "malformed"),
        (refused.unjudged, "that we failed on, see the log"),
    )
    named = [f"{count} {text}" for count, text in parts if count]
    return "packets refused: " + ", ".join(named) if named else ""
