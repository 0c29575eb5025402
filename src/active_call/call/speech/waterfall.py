"""Splits a turn's latency at its marks: the cause of each wait from the caller's last voiced packet to our first.

Marks and spans of work enter, in seconds of one clock; consecutive waits leave, each with its cause. The time in which the recogniser works
counts as its own. Other time before the end of the turn counts as waiting for that end. After it the time belongs to the service that
works (the model, the synthesiser, a web server); the rest is the server's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from active_call.contract.events import TurnWait

Span = tuple[float | None, float | None]


class Work(Struct, frozen=True):
    """Who worked when. A span without both ends is ignored."""

    turn_ended_at: float | None
    recogniser: Span
    model: Span
    synthesiser: Span
    web: Sequence[Span]


def waits_between(start: float, end: float, work: Work) -> list[TurnWait]:
    """The waits from `start` to `end`, in order, in ms from `start`; neighbours have different owners."""
    spans = [work.recogniser, work.model, work.synthesiser, *work.web]
    cuts = sorted({start, end, *(at for at in (work.turn_ended_at, *(at for span in spans for at in span)) if at and start < at < end)})
    waits: list[tuple[str, float, float]] = []
    for begin, stop in pairwise(cuts):
        owner = _owner((begin + stop) / 2, work)
        if waits and waits[-1][0] == owner:
            waits[-1] = (owner, waits[-1][1], stop)
        else:
            waits.append((owner, begin, stop))
    return [TurnWait(owner=owner, start=_ms(begin - start), duration=_ms(stop - begin)) for owner, begin, stop in waits]


def _owner(at: float, work: Work) -> str:
    if _covers(work.recogniser, at):
        return "recogniser"
    if work.turn_ended_at is not None and at < work.turn_ended_at:
        return "turn"
    if _covers(work.model, at):
        return "model"
    if _covers(work.synthesiser, at):
        return "synthesiser"
    return "web" if any(_covers(span, at) for span in work.web) else "server"


def _covers(span: Span, at: float) -> bool:
    begin, end = span
    return begin is not None and end is not None and begin <= at < end


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
