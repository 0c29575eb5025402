"""A leg over a carrier's stream is freed at once when its call has ended, without the garbage collector."""

from __future__ import annotations

import asyncio
from weakref import ref

import pytest

from active_call.legs.websocket.carriers.leg import CarrierStreamLeg
from active_call.legs.websocket.carriers.messages import Started, read_message
from active_call.legs.websocket.carriers.profile import stream_profile
from active_call.testing.media_streams import STREAMS

pytestmark = pytest.mark.usefixtures("without_collector")


@pytest.mark.parametrize("name", STREAMS)
def test_leg_that_has_ended_is_freed(name: str) -> None:
    async def run() -> None:
        profile, first = stream_profile(name), []  # type: ignore[var-annotated]
        assert profile is not None
        STREAMS[name](first.append, {}, buffer_s=0.0).begin()
        started = next(one for one in (read_message(profile, message) for message in first) if isinstance(one, Started))
        sent: list[str | bytes] = []
        leg = CarrierStreamLeg(None, profile, started, sent.append, sent.clear, sent.clear, caller="", callee="", peer="")  # type: ignore[arg-type]
        leg.leave("the stream has stopped")
        await leg.release()
        there = ref(leg)
        del leg
        assert there() is None

    asyncio.run(run())
