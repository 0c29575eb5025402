"""The steps (calls of functions) of the control process for a carrier's sound, fifty times a second and call. A count, not a time."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from tests.api.sockets.test_connection import Transport, served
from tests.api.sockets.test_connection import frame as client_frame

from active_call.api.carrier_streams.socket import CarrierSocket
from active_call.api.sockets.connection import Outgoing
from active_call.api.sockets.protocol import SocketProtocol
from active_call.base.bulk_input import BulkInput
from active_call.base.world import SystemClock
from active_call.legs.websocket.carriers.leg import CarrierStreamLeg
from active_call.legs.websocket.carriers.messages import Started
from active_call.legs.websocket.carriers.profile import StreamProfile, stream_profile
from active_call.media.link.framing import OrderReader, frame
from active_call.media.link.messages import FeedAudio, MessageSent
from active_call.media.pool.process import MediaProcess, WorkerOptions, _LinkProtocol
from active_call.media.pool.stream import MediaStream
from active_call.media.pool.supervision import SupervisedWorker

N = 50


def steps(work: Callable[[Any], object], items: Iterable[Any]) -> float:
    """The number of calls that `work` makes for one of `items`, without the first one."""
    first, *others = items
    counted = 0

    def count(called: FrameType, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    work(first)
    sys.setprofile(count)
    try:
        for item in others:
            work(item)
    finally:
        sys.setprofile(None)
    return counted / len(others)


class Scene:
    """A carrier's stream in a call, and its media process, of which only the link exists."""

    def __init__(self, protocol: SocketProtocol) -> None:
        nothing: Any = None
        self.link, bulk = Transport(), BulkInput(SystemClock())
        outgoing = Outgoing(protocol, 10)
        outgoing._is_sending = False
        profile = stream_profile("twilio")
        assert isinstance(profile, StreamProfile)
        started = Started("MZ1", "CA1", "", "", "pcmu", 8000, "audio/x-mulaw", {})
        self.leg = CarrierStreamLeg(
            nothing, profile, started, outgoing.put, outgoing.discard, outgoing.close, caller="", callee="", peer=""
        )
        self.worker = SupervisedWorker(WorkerOptions(0, 1, 2, 10), SystemClock(), logging.getLogger("test"), None, bulk)
        self.worker._callbacks[1] = self.leg._report
        self.reports = _LinkProtocol(self.worker._receive, bulk)
        process = MediaProcess(WithId(), self.link, self.reports)  # type: ignore[arg-type]
        self.leg.stream = MediaStream(1, 0, process, "", 0, self.worker)


class WithId:
    pid = 1


def media(number: int) -> bytes:
    payload = base64.b64encode(bytes([number]) * 160).decode()
    body = {"event": "media", "streamSid": "MZ1", "media": {"track": "inbound", "chunk": str(number), "payload": payload}}
    return client_frame(1, json.dumps(body).encode())


async def accepting(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


def test_carriers_message_reaches_the_media_process_in_few_steps() -> None:
    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        scene = Scene(protocol)
        CarrierSocket.pass_directly(protocol, scene.leg)
        assert steps(protocol.data_received, [media(number) for number in range(N)]) < 42
        await asyncio.sleep(0.02)
        orders = OrderReader().feed(bytes(scene.link.written))
        assert orders == [FeedAudio(1, bytes([number]) * 160) for number in range(N)]

    served(accepting, story)


def test_sound_for_a_carrier_leaves_in_few_steps() -> None:
    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        scene = Scene(protocol)
        transport.written.clear()
        assert steps(scene.reports.data_received, [frame(MessageSent(1, b"\1" * 160)) for _ in range(20)]) < 48
        assert transport.written.count(base64.b64encode(b"\1" * 160)) == 20

    served(accepting, story)
