"""Closes the parts of a call that is over, each within its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from active_call.call.log import CallLog

RELEASE_DEADLINE_S = 3.0

Parts = tuple[tuple[str, Callable[[], Awaitable[object]]], ...]
"""Names, and what closes them."""


async def close_each(parts: Parts, log: CallLog) -> None:
    """Close one after the other; an error in one part, or one that takes too long, does not keep the others from closing."""
    for name, close in parts:
        try:
            async with asyncio.timeout(RELEASE_DEADLINE_S):
                await close()
        except TimeoutError:
            log.warning("call parts were slow to close", extra={"part": name})
        except Exception:  # a wall: one part
            log.exception("part of a call could not be closed", extra={"part": name})
