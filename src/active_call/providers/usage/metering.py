"""Where a use is told: the meter of whoever asks an engine now.

Engines are shared by calls, and each use belongs to the one that asked. So the meter travels with the context of the asking task, as the
spans of a trace do: a call sets it once for all of its tasks, an engine's wall takes it when a stream is opened and tells it what was used.
Without a meter nobody counts. Work that a task starts (the rendition of a sentence that others hear, too) counts for that task.
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
    """The meter of the task that runs now; where there is none, one that counts nothing."""
    return _METER.get() or _count_nothing


@contextmanager
def metered_by(meter: Meter) -> Iterator[None]:
    """Tell `meter` what is used within, and by the tasks that are started within."""
    token = _METER.set(meter)
    try:
        yield
    finally:
        _METER.reset(token)
