"""What all iterators of adapters share: how they are closed, and how an engine is warmed. No vendor is known here."""

from __future__ import annotations

from typing import Any


async def close_source(source: Any) -> None:
    """Abandon the rest of what an iterator gives, now and not when it happens to be collected."""
    aclose = getattr(source, "aclose", None)
    if aclose is not None:
        await aclose()


async def warm(engine: object) -> None:
    """Let `engine` load what it loads at first use, where it can be told to."""
    load = getattr(engine, "warm", None)
    if load is not None:
        await load()
