"""Detect one-way audio and its direction, with what the packets indicate about the cause.

Facts of one stream go in several times a second. A Problem comes out when one begins and when it ends. Pure; the caller passes `now`.

| problem            | condition                                                                                  |
|--------------------|--------------------------------------------------------------------------------------------|
| `nothing_received` | sound is expected, and no playable packet has arrived for NOTHING_S since then             |
| `receiving_stopped`| packets have arrived, then none for STOPPED_S, and no silence is negotiated                |
| `not_heard`        | two RTCP reports of the peer say that nearly none of our packets arrive                    |

Hold ends all of them: a side that does not want to receive misses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec import Struct

NOTHING_S: Final = 4.0
"""Ringing is over, and the first packets of every carrier arrive within a second. Callers hang up a few seconds later."""
STOPPED_S: Final = 8.0
"""Senders with silence suppression pause for seconds, but not that long."""
LOST_FRACTION: Final = 230
"""Of 256, as in a report block: nine tenths."""
REPORTS: Final = 2
"""Consecutive reports: the first may cover the time before the path was open."""


@dataclass(slots=True)
class Refused:
    """Number of dropped packets by reason."""

    unauthentic: int = 0
    """The SRTP key does not match, or the packet is not SRTP."""
    unknown_type: int = 0
    """The payload type was not negotiated."""
    wrong_source: int = 0
    """The source is neither the accepted nor the signalled address."""
    malformed: int = 0
    codec_changes: int = 0
    """The codec changes too often."""
    digits: int = 0
    """More digits than anybody dials."""
    unjudged: int = 0
    """Our code raised an error for them."""

    @property
    def total(self) -> int:
        """Sum of all reasons."""
        by_content = self.unknown_type + self.malformed + self.codec_changes + self.digits
        return self.unauthentic + self.wrong_source + by_content + self.unjudged


class Problem(Struct, frozen=True):
    """`over`: it has ended. `detail` is for people."""

    name: str
    detail: str
    over: bool = False


class OneWayWatch:
    """The state of one stream."""

    __slots__ = ("_active", "_n_lossy", "_wanted_since")

    def __init__(self) -> None:
        self._active: set[str] = set()
        self._wanted_since = -1.0
        self._n_lossy = 0

    def look(
        self, now: float, *, wanted: bool, n_received: int, last_arrival: float, refused: Refused, is_silent: bool = False
    ) -> list[Problem]:
        """Judge the received packets. `wanted`: sound is expected. `is_silent`: negotiated silence is in effect.

        Returns the problems that have begun or ended.
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
