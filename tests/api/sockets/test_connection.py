"""Messages that pass by without ASGI: in order with those that do not, and only as fast as the client reads."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from starlette.websockets import WebSocket
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState

from active_call.api.refusals import refuse_socket
from active_call.api.sockets.connection import EXTENSION, Outgoing
from active_call.api.sockets.protocol import MAX_FRAGMENTS, SocketProtocol
from active_call.base.bulk_input import BulkInput
from active_call.base.world import SystemClock

REQUEST = (
    b"GET /call HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
MASK = b"\1\2\3\4"


class Transport(asyncio.Transport):
    """What the protocol writes, and how often it stops reading."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.n_pauses = 0

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.n_pauses += 1

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...


def frame(opcode: int, body: bytes, *, fin: bool = True) -> bytes:
    size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + struct.pack("!H", len(body))
    masked = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(body))
    return bytes([(0x80 if fin else 0) | opcode]) + size + MASK + masked


App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def served(app: App, story: Callable[[SocketProtocol, Transport], Awaitable[None]], bulk: BulkInput | None = None) -> None:
    """Run `story` with a connection that `app` has accepted."""

    async def run() -> None:
        settings = uvicorn.Config(app, log_config=None, lifespan="off", ws_ping_interval=None, ws_per_message_deflate=False)  # type: ignore[arg-type]
        protocol, transport = SocketProtocol(settings, ServerState(), {}, bulk=bulk), Transport()
        protocol.connection_made(transport)
        protocol.data_received(REQUEST)
        async with asyncio.timeout(30):
            while not protocol.handshake_complete:
                await asyncio.sleep(0)
            await story(protocol, transport)

    asyncio.run(run())


def test_sound_goes_past_the_application_and_never_past_what_it_has_not_read() -> None:
    heard: list[bytes] = []
    read: list[Any] = []
    may_read = asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["extensions"][EXTENSION].take_bytes = lambda data: data != b"none" and (heard.append(data) or True)
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await may_read.wait()
            message = await receive()
            read.append(message.get("text") or message.get("bytes"))

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        assert b"permessage-deflate" not in transport.written
        protocol.data_received(frame(2, b"a" * 640) + frame(2, b"b")[:5])
        protocol.data_received(frame(2, b"b")[5:])
        assert (heard, transport.n_pauses) == ([b"a" * 640, b"b"], 0)
        protocol.data_received(frame(2, b"c", fin=False) + frame(0, b"d"))
        assert heard[2:] == [b"cd"]
        protocol.data_received(frame(2, b"none"))  # the application is to say what is wrong with it
        protocol.data_received(frame(1, b"text") + frame(2, b"later"))
        assert (heard[3:], transport.n_pauses) == ([], 1)
        may_read.set()
        while len(read) < 3:
            await asyncio.sleep(0)
        assert read == [b"none", "text", b"later"]
        protocol.data_received(frame(2, b"e"))
        assert heard[3:] == [b"e"]

    served(app, story)


@pytest.mark.parametrize(
    ("size", "header"),
    [(0, b"\x82\x00"), (125, b"\x82\x7d"), (126, b"\x82\x7e\x00\x7e"), (65_536, b"\x82\x7f" + b"\0" * 5 + b"\1\0\0")],
)
def test_message_that_leaves_at_once_is_one_whole_frame(size: int, header: bytes) -> None:
    async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        transport.written.clear()
        assert protocol.send_now(b"x" * size)
        assert bytes(transport.written) == header + b"x" * size
        transport.written.clear()
        assert protocol.send_now("é")
        assert bytes(transport.written) == b"\x81\x02\xc3\xa9"
        transport.written.clear()
        protocol.pause_writing()
        assert not protocol.send_now(b"x")  # the client does not keep up
        protocol.resume_writing()
        protocol.data_received(frame(8, struct.pack("!H", 1000)))
        transport.written.clear()
        assert not protocol.send_now(b"x") and not transport.written  # it has said goodbye

    served(app, story)


class Client:
    """Takes messages at once while `keeps_up`."""

    heard_at = 0.0
    take_bytes = take_text = None

    def __init__(self) -> None:
        self.keeps_up = True
        self.got: list[str | bytes] = []

    def send_now(self, message: str | bytes) -> bool:
        if self.keeps_up:
            self.got.append(message)
        return self.keeps_up

    def ping(self, payload: bytes) -> None: ...

    def abort(self) -> None: ...


def test_messages_stay_in_order_where_the_client_falls_behind_and_the_oldest_go() -> None:
    async def story() -> None:
        client = Client()
        outgoing = Outgoing(client, most=3)
        outgoing.put("0")  # its task has not begun
        taken = asyncio.create_task(outgoing.get())
        assert await taken == "0"
        outgoing.put("1")  # "0" is still being sent
        assert client.got == []
        assert await outgoing.get() == "1"
        waiting = asyncio.create_task(outgoing.get())
        await asyncio.sleep(0)
        outgoing.put("2")
        assert client.got == ["2"] and not waiting.done()
        client.keeps_up = False
        outgoing.put("3")
        client.keeps_up = True
        outgoing.put("4")  # not before "3"
        assert client.got == ["2"]
        for number in range(5, 8):
            outgoing.put(str(number))
        assert await waiting == "5"  # "3" and "4" are too old
        assert outgoing.n_dropped == 2
        assert [await outgoing.get() for _ in range(2)] == ["6", "7"]
        outgoing.put("8")
        outgoing.discard()
        outgoing.close()
        assert await outgoing.get() is None

    asyncio.run(story())


def test_refused_handshake_is_not_logged_as_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await refuse_socket(WebSocket(scope, receive, send), 400, "ping: expected 0 to 3600 seconds")

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        assert transport.written.startswith(b"HTTP/1.1 400 ")
        assert transport.written.count(b"HTTP/1.1") == 1

    served(app, story)
    assert not caplog.records


def test_sound_beyond_the_time_of_a_pass_waits_and_the_socket_is_not_read() -> None:
    """Otherwise the backlog of all calls is handled in one pass, which leaves no time for anything else."""
    heard: list[bytes] = []

    class Clock(SystemClock):
        at = 1.0

        def now(self) -> float:
            return self.at

    clock = Clock()

    def take(message: bytes) -> bool:
        heard.append(message)
        clock.at += 1 / 64
        return True

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope["extensions"][EXTENSION].take_bytes = take
        await receive()
        await send({"type": "websocket.accept"})
        await receive()

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        sent = [bytes([index]) * 4000 for index in range(20)]
        await asyncio.sleep(0)
        protocol.data_received(b"".join(frame(2, message) for message in sent[:10]))
        n_first = len(heard)
        assert n_first <= 4
        protocol.data_received(b"".join(frame(2, message) for message in sent[10:]))
        assert (len(heard), transport.n_pauses) == (n_first, 1)
        n_passes = 0
        while len(heard) < 20:
            await asyncio.sleep(0)
            n_passes += 1
        assert n_passes >= 4
        assert heard == sent

    served(app, story, BulkInput(clock, cpu_s=clock.now))


def test_sound_after_our_close_is_discarded_without_the_library() -> None:
    async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        while not protocol.close_sent:
            await asyncio.sleep(0)
        parsed = []
        protocol.handle_bytes = parsed.append  # type: ignore[method-assign]
        protocol.data_received(frame(2, b"sound") * 50)
        assert parsed == []
        protocol.data_received(frame(8, struct.pack("!H", 1000)))
        assert protocol.close_timer is None  # the client's answer is still seen

    served(app, story)


def _accepting(log: list[Any]) -> App:
    async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            log.append(message)
        log.append(message)

    return app


@pytest.mark.parametrize("pieces", [[b"\xff\xfe"], [b"\xf0\x9f", b"abc"]])
def test_text_that_is_not_utf_8_closes_the_connection_without_a_fault_in_the_log(
    pieces: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    got: list[Any] = []

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        for index, piece in enumerate(pieces):
            protocol.data_received(frame(0 if index else 1, piece, fin=index == len(pieces) - 1))
        while not got:
            await asyncio.sleep(0)
        assert transport.written.endswith(struct.pack("!BBH", 0x88, 11, 1007) + b"not UTF-8")

    served(_accepting(got), story)
    assert got[0]["code"] == 1007
    assert not caplog.records


def test_message_of_endless_empty_frames_is_refused() -> None:
    got: list[Any] = []

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        protocol.data_received(frame(1, b"", fin=False))
        for _ in range(20):
            protocol.data_received(frame(0, b"", fin=False) * 1000)
            await asyncio.sleep(0)
        assert len(protocol.frames) <= MAX_FRAGMENTS
        while not got:
            await asyncio.sleep(0)
        assert struct.pack("!H", 1009) in transport.written

    served(_accepting(got), story)
    assert got[0]["code"] == 1009


def test_message_that_waited_for_a_slow_client_until_the_close_is_not_reported_as_a_fault() -> None:
    raised: list[BaseException] = []

    async def app(_: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        closing = asyncio.create_task(send({"type": "websocket.close", "code": 1000}))
        sound = asyncio.create_task(send({"type": "websocket.send", "bytes": b"sound"}))
        raised.extend(one for one in await asyncio.gather(closing, sound, return_exceptions=True) if one)

    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        protocol.pause_writing()
        for _ in range(5):
            await asyncio.sleep(0)
        protocol.resume_writing()
        while not protocol.close_sent or not raised:
            await asyncio.sleep(0)

    served(app, story)
    assert [type(one) for one in raised] == [ClientDisconnected]


def test_client_that_reads_nothing_is_dropped_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def story(protocol: SocketProtocol, transport: Transport) -> None:
        aborted: list[bool] = []
        protocol.abort = lambda: aborted.append(True)  # type: ignore[method-assign]
        protocol.pause_writing()
        assert protocol._unread is not None
        protocol._unread._run()  # type: ignore[attr-defined]
        assert aborted == [True]
        protocol.resume_writing()

    served(_accepting([]), story)
    record = caplog.records[0]
    assert record.message == "socket dropped: its client reads nothing" and vars(record)["path"] == "/call"
