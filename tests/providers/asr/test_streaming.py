"""The shared base of streaming recognisers: what is written to the vendor, in which order, and when."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "conformance"))

from callers import services, silence

from active_call.contract.options import AsrOption
from active_call.providers.asr.vendors.streaming import StreamingRecognition
from active_call.providers.asr.vendors.wire import Address, Last, Message, Setup
from active_call.testing.vendors.wire.server import Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket

PACKET = silence(0.1)


class Vendor(VendorServer):
    """Keeps the messages that it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str | bytes] = []

    def check_handshake(self, request: Request) -> None:
        """Every one is accepted."""

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        await socket.send_json({"type": "ready"})
        while True:
            self.read.append(await socket.receive())


class Recognition(StreamingRecognition):
    provider = "acme"
    waits_for_ready = True

    async def address(self) -> Address:
        return Address(self._url)

    def opening(self) -> Sequence[Message]:
        return ("opening",)

    def keepalive(self) -> Message | None:
        return "alive"

    def handle(self, message: Mapping[str, Any]) -> None:
        self.note_ready()


class Impatient(Recognition):
    keepalive_s = 0.1


class Mute(Impatient):
    n_asked = 0

    def keepalive(self) -> Message | None:
        self.n_asked += 1
        return None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def run(kind: type[StreamingRecognition], story: Callable[[Any, Vendor], Any]) -> None:
    async def main() -> None:
        async with Vendor() as vendor, services() as given:
            stream = kind(given, Setup(AsrOption(), vendor.ws_url), lambda _: None, None)
            await story(stream, vendor)
            await stream.close()

    asyncio.run(main())


def test_messages_keep_their_order_whether_they_wait_or_are_written_at_once() -> None:
    async def story(stream: Recognition, vendor: Vendor) -> None:
        stream.send("early")
        await until(lambda: "early" in vendor.read)
        stream.push_audio(PACKET, 0)  # at once
        stream.send(Last("last"), "late")  # "late" waits until the vendor is ready again
        stream.push_audio(PACKET, 1600)
        stream.send_now("urgent")
        await until(lambda: "urgent" in vendor.read)
        stream.note_ready()
        await until(lambda: len(vendor.read) == 7)
        assert vendor.read == ["opening", "early", PACKET, "urgent", "last", "late", PACKET]

    run(Recognition, story)


def test_sound_is_written_within_the_call_once_the_vendor_is_ready() -> None:
    """No task of its own is woken for each packet."""

    async def story(stream: Recognition, vendor: Vendor) -> None:
        stream.send("early")
        await until(lambda: "early" in vendor.read)
        for index in range(3):
            stream.push_audio(PACKET, 1600 * index)
            assert not stream._outgoing
        await until(lambda: len(vendor.read) == 5)

    run(Recognition, story)


def test_keep_alive_is_sent_while_nothing_else_is() -> None:
    async def story(stream: Impatient, vendor: Vendor) -> None:
        await until(lambda: vendor.read.count("alive") >= 2)
        loop = asyncio.get_running_loop()
        began, before = loop.time(), vendor.read.count("alive")
        for index in range(30):
            stream.push_audio(PACKET, 1600 * index)
            await asyncio.sleep(0.01)
        sent = vendor.read.count("alive") - before
        assert sent <= (loop.time() - began) / 0.1, "sound counts, too"
        await until(lambda: vendor.read[-1] == "alive")
        assert stream._sent_at > began

    run(Impatient, story)


def test_vendor_without_a_keep_alive_message_is_asked_no_more_often() -> None:
    async def story(stream: Mute, vendor: Vendor) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await until(lambda: stream.n_asked >= 3)
        assert stream.n_asked <= 1 + (loop.time() - began) / 0.1

    run(Mute, story)


@pytest.mark.parametrize("kind", [Recognition, Impatient])
def test_stream_that_is_closed_writes_nothing_more(kind: type[StreamingRecognition]) -> None:
    async def story(stream: Any, vendor: Vendor) -> None:
        stream.send("early")
        await until(lambda: "early" in vendor.read)
        await stream.close()
        stream.push_audio(PACKET, 0)
        stream.send("late")
        await asyncio.sleep(0.05)
        assert PACKET not in vendor.read and "late" not in vendor.read

    run(kind, story)
