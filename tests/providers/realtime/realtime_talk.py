"""What the tests of realtime models share: a conversation with a simulated service, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from active_call.providers.realtime_model import RealtimeEvent, RealtimeSession, ReplyDone


def speech(rate_hz: int) -> bytes:
    """Half a second that the simulators take for speech."""
    return (np.sin(np.arange(rate_hz // 2) / 9) * 8_000).astype("<i2").tobytes()


class Talk:
    """One conversation, and what came."""

    def __init__(self, model: Any, server: Any, session: RealtimeSession) -> None:
        self.events: list[RealtimeEvent] = []
        self.server = server
        self.stream = model.open(session, self.events.append)
        self.rate_hz = model.capabilities.input_rate_hz

    def speak(self) -> None:
        """Half a second of speech, and half a second of silence."""
        for sound in (speech(self.rate_hz), bytes(self.rate_hz)):
            for start in range(0, len(sound), 960):
                self.stream.push_audio(sound[start : start + 960])

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait for it, ten seconds at most."""
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.005)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    async def replies(self, n: int) -> None:
        """Wait for the end of the n-th reply."""
        await self.until(lambda: len(self.of(ReplyDone)) >= n)
