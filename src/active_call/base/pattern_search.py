"""Regular expressions of users over texts of strangers, with a limit on their cost.

A pattern and a text go in, a match or None comes out. Python's engine backtracks: `(\\d+)+@` over thirty digits takes hours, and meanwhile
nothing else runs in the process. The engine checks for signals, so a timer of CPU time can stop it. A search that was stopped counts as one
without a match; the pattern is logged, the text is not.

Signals reach the main thread only. In another thread, and on a system without these timers, the search has no limit.
"""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Callable
from functools import lru_cache
from types import FrameType
from typing import Final, TypeVar

LIMIT_S: Final = 0.05
"""CPU seconds for one search. A pattern without nested repetitions takes some microseconds for a SIP address."""
T = TypeVar("T")

log = logging.getLogger("active_call.patterns")


class _TooSlow(Exception):
    """Raised in the middle of a search."""


def search(pattern: str | re.Pattern[str], text: str) -> re.Match[str] | None:
    """`re.search` with a limit. Raises re.error for an invalid pattern."""
    compiled = re.compile(pattern)
    return _limited(compiled, lambda: compiled.search(text), None)


def fullmatch(pattern: str | re.Pattern[str], text: str) -> re.Match[str] | None:
    """`re.fullmatch` with a limit. Raises re.error for an invalid pattern."""
    compiled = re.compile(pattern)
    return _limited(compiled, lambda: compiled.fullmatch(text), None)


def substitute(pattern: re.Pattern[str], replacement: str, text: str) -> str:
    """`re.sub` with a limit; `text` itself if that takes too long."""
    return _limited(pattern, lambda: pattern.sub(replacement, text), text)


def _limited(pattern: re.Pattern[str], work: Callable[[], T], otherwise: T) -> T:
    if _is_cheap(pattern.pattern):
        return work()
    try:
        before = signal.signal(signal.SIGVTALRM, _stop)
    except (AttributeError, ValueError):  # no such signal on this system; another thread
        return work()
    try:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
            return work()
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _TooSlow:
        log.error("regular expression takes too long and counts as not matching", extra={"pattern": pattern.pattern})
        return otherwise
    finally:
        signal.signal(signal.SIGVTALRM, before if before is not None else signal.SIG_DFL)


@lru_cache(maxsize=256)
def _is_cheap(pattern: str) -> bool:
    """Whether there is no nested repetition and no repeated choice, so that the search needs no limit."""
    return "|" not in pattern and sum(pattern.count(mark) for mark in "*+{?") <= 1


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _TooSlow
