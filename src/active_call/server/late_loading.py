"""What a start leaves out, done a while after it, in a thread: whoever needs it earlier waits for it once, and nobody does later.

The HTTP application (a third of a second) and the melody of a hold (a tenth). A server that is started to take one call, as tests do, has
ended before. What few servers need at all (FFmpeg, the DNS, Alembic) is loaded when it is first used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from active_call.media.sounds.hold_melody import hold_melody

AFTER_S: Final = 10.0
RATES_HZ: Final = (8000, 16_000)
"""Of the streams on which the melody is played."""


async def load_the_rest(make_app: Callable[[], Awaitable[object]]) -> None:
    """Wait, then load: first what HTTP needs, by `make_app`."""
    await asyncio.sleep(AFTER_S)
    await make_app()
    for rate_hz in RATES_HZ:
        await asyncio.to_thread(hold_melody, rate_hz)
