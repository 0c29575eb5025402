"""Reports usage to the meter of the task that uses an engine.

Calls share engines, and each use belongs to the call that asked. So the meter travels with the context of the task, like the spans of a
trace: a call sets it once for all of its tasks; an engine's wall reads it when a stream is opened and reports the usage to it.
Without a meter nothing is counted. Work that a task starts (the rendition of a sentence that other calls also hear) counts for that task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from active_call.providers.usage.units import Used

Meter = Callable[[Used], None]

_METER: Final[ContextVar[Meter | None]] = ContextVar("meter", default=None)


def _count_nothing(used: Used) -> None:
    del used


def current_meter() -> Meter:
    """The meter of the current task; without one, a meter that counts nothing."""
    return _METER.get() or _count_nothing


@contextmanager
def metered_by(meter: Meter) -> Iterator[None]:
    """Report usage to `meter` within this block, and in the tasks started within it."""
    token = _METER.set(meter)
    try:
        yield
    finally:
        _METER.reset(token)
