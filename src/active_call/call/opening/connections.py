"""Opens connections to a call's engines while its phone rings, so that DNS, TCP and TLS are done before the first request.

The engines enter; the work ends with the answer. Vendors and our own pools close idle connections, so a call that rings for some seconds
gets new ones. A connection that fails is reported by the first request, not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from active_call.providers.sources import connect_ahead

AGAIN_S: Final = 6.0
"""Less than half of the time for which our pools and vendors keep an idle connection (15 s)."""
MOST_S: Final = 180.0
"""No phone rings longer (RFC 3261, timer C)."""


async def keep_connected(engines: Sequence[object | None], is_ringing: Callable[[], bool]) -> None:
    """Keep connections open until the call is answered or has ended."""
    able = able_to_connect(*engines)
    for _ in range(round(MOST_S / AGAIN_S)):
        if not able or not is_ringing():
            return
        await asyncio.gather(*(connect_ahead(engine) for engine in able), return_exceptions=True)
        await asyncio.sleep(AGAIN_S)


def able_to_connect(*engines: object | None) -> list[object]:
    """The engines that can connect in advance."""
    return [engine for engine in engines if hasattr(engine, "connect_ahead")]
