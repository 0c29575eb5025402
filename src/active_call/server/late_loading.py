"""What a start leaves out and a call may want at once, done a while after it, in a thread: the melody of a hold, a tenth of a second.

What takes longer and more memory (the HTTP application, FFmpeg, the DNS, Alembic) is loaded when it is first used, beside the calls.
"""

from __future__ import annotations

import asyncio
from typing import Final

from active_call.media.sounds.hold_melody import hold_melody

AFTER_S: Final = 10.0
"""A server that is started to take one call, as tests do, has ended before."""
RATES_HZ: Final = (8000, 16_000)
"""Of the streams on which the melody is played."""


async def load_the_rest() -> None:
    """Wait, then load."""
    await asyncio.sleep(AFTER_S)
    for rate_hz in RATES_HZ:
        await asyncio.to_thread(hold_melody, rate_hz)
