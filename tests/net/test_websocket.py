"""SIP over WebSocket (RFC 7118): the `websockets` client and server speak hand-written SIP to our driver and core."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from active_call.base.world import World
from active_call.net import sip_connections
from active_call.net.limits import ConnectionLimits
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import CertificateFiles, ListenSpec, SipDriver
from active_call.net.web_pages import may_open
from active_call.server.certificate import write_development_certificate
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import (
    CallConfirmed,
    CallEnded,
    EndpointConfig,
    IncomingCall,
    Listener,
    MessageDropped,
    RequestCompleted,
    SipEvent,
)

DEADLINE_S = 10.0
SDP = b"v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
CONTACT = "<sip:bob@df7jal23ls0d.invalid;transport=ws>"


class Server:
    """Our side: a core behind a driver on loopback, and what it has told."""

    def __init__(self, certificate: CertificateFiles | None) -> None:
        limits = ConnectionLimits(web_hosts=("phone.example",))
        self.world = World()
        self.endpoint = Endpoint(EndpointConfig((), "us"), self.world.randomness)
        self.events: asyncio.Queue[SipEvent] = asyncio.Queue()
        tls = None
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate.certificate, certificate.key)
        self.driver = SipDriver(
            self.endpoint,
            self.world.clock,
            Resolver(self.world),
            server_tls=tls,
            client_tls=ssl.create_default_context,
            on_events=lambda events: [self.events.put_nowait(event) for event in events] and None,
            limits=limits,
            logger=logging.getLogger("test.sip"),
        )
        self.listeners: dict[str, Listener] = {}

    def url(self, transport: str) -> str:
        return f"{transport}://127.0.0.1:{self.listeners[transport].bound.port}/"

    async def next(self, kind: type) -> SipEvent:
        async with asyncio.timeout(DEADLINE_S):
            event = await self.events.get()
        assert isinstance(event, kind), event
        return event


@asynccontextmanager
async def serving(certificate: CertificateFiles | None = None) -> AsyncIterator[Server]:
    server = Server(certificate)
    transports = ("udp", "ws", "wss") if certificate is not None else ("udp", "ws")
    for entry in await server.driver.listen([ListenSpec(transport, "127.0.0.1", 0) for transport in transports]):  # type: ignore[arg-type]
        server.listeners[entry.transport] = entry
    try:
        yield server
    finally:
        await server.driver.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    folder = tmp_path_factory.mktemp("tls")
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    write_development_certificate(files.certificate, files.key, ["127.0.0.1"])
    return files


def request(method: str, uri: str = "sip:us@127.0.0.1", cseq: int = 1, to_tag: str = "", body: bytes = b"", transport: str = "WS") -> bytes:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{transport} df7jal23ls0d.invalid;branch=z9hG4bK{method}{cseq};rport",
        "Max-Forwards: 70",
        "From: <sip:bob@example.com>;tag=bob1",
        f"To: <sip:us@example.com>{f';tag={to_tag}' if to_tag else ''}",
        "Call-ID: ws-call-1",
        f"CSeq: {cseq} {method}",
        f"Contact: {CONTACT}",
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def header(message: str, name: str) -> str:
    match = re.search(rf"^{name}: (.*)\r$", message, re.MULTILINE)
    assert match is not None, message
    return match[1]


async def read(client: ClientConnection | ServerConnection) -> str:
    message = await asyncio.wait_for(client.recv(), DEADLINE_S)
    return message if isinstance(message, str) else message.decode()


def no_half_messages(flow: object) -> None:
    return None


def run(body: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(body(), 30))  # type: ignore[arg-type]


def tls_for(transport: str, certificate: CertificateFiles) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=str(certificate.certificate)) if transport == "wss" else None


@pytest.mark.parametrize("transport", ["ws", "wss"])
@pytest.mark.parametrize("who", ["the browser", "we"])
def test_whole_call_and_requests_of_ours_go_down_the_browsers_flow_7118_8(transport: str, who: str, certificate: CertificateFiles) -> None:
    async def body() -> None:
        async with (
            serving(certificate) as server,
            connect(server.url(transport), subprotocols=["sip"], ssl=tls_for(transport, certificate)) as client,  # type: ignore[list-item]
        ):
            assert client.subprotocol == "sip"
            name = transport.upper()
            await client.send(request("INVITE", body=SDP, transport=name).decode())
            assert (await read(client)).startswith("SIP/2.0 100 ")
            call = (await server.next(IncomingCall)).call  # type: ignore[union-attr]
            server.driver.run(lambda now: server.endpoint.answer(call, SDP, now))
            ok = await read(client)
            assert ok.startswith("SIP/2.0 200 ")
            assert header(ok, "Via").startswith(f"SIP/2.0/{name} df7jal23ls0d.invalid;branch=z9hG4bKINVITE1;rport=")
            assert ";received=127.0.0.1" in header(ok, "Via")
            port = server.listeners[transport].bound.port
            assert header(ok, "Contact") == f"<sip:us@127.0.0.1:{port};transport=ws>"
            tag = header(ok, "To").partition(";tag=")[2]
            await client.send(request("ACK", to_tag=tag))
            await server.next(CallConfirmed)
            if who == "the browser":
                await client.send(request("BYE", cseq=2, to_tag=tag))
                assert (await read(client)).startswith("SIP/2.0 200 ")
            else:
                server.driver.run(lambda now: server.endpoint.hang_up(call, now))
                bye = await read(client)
                assert bye.startswith("BYE sip:bob@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n")
                assert header(bye, "Via").startswith(f"SIP/2.0/{name} 127.0.0.1:{port};")
                copied = "".join(f"{key}: {header(bye, key)}\r\n" for key in ("Via", "From", "To", "Call-ID", "CSeq"))
                await client.send(f"SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")
            ended = await server.next(CallEnded)
            assert isinstance(ended, CallEnded)
            assert ended.cause == ("remote_bye" if who == "the browser" else "local_bye")

    run(body)


@pytest.mark.parametrize("subprotocols", [None, ["chat"]])
def test_subprotocol_sip_is_required_7118_5_1(subprotocols: list[str] | None) -> None:
    async def body() -> None:
        async with serving() as server:
            with pytest.raises(websockets.InvalidStatus) as refusal:
                async with connect(server.url("ws"), subprotocols=subprotocols):  # type: ignore[arg-type]
                    pass
            assert refusal.value.response.status_code == 400
            assert server.events.empty()

    run(body)


def test_plain_http_and_nonsense_are_closed_without_reaching_the_core() -> None:
    async def body() -> None:
        async with serving() as server:
            for sent, begins in ((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 "), (b"OPTIONS sip:a@b SIP/2.0\r\n\r\n", b"")):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners["ws"].bound.port)
                writer.write(sent)
                assert (await asyncio.wait_for(reader.read(), DEADLINE_S)).startswith(begins)
                writer.close()
            assert server.events.empty()

    run(body)


def test_one_message_a_frame_whether_text_binary_or_in_fragments_7118_5_2() -> None:
    async def body() -> None:
        async with serving() as server, connect(server.url("ws"), subprotocols=["sip"]) as client:  # type: ignore[list-item]
            text = request("OPTIONS")
            await client.send(text.decode())
            await client.send(request("OPTIONS", cseq=2))
            await client.send([request("OPTIONS", cseq=3)[:40].decode(), request("OPTIONS", cseq=3)[40:].decode()])
            found = [header(await read(client), "CSeq") for _ in range(3)]
            assert found == ["1 OPTIONS", "2 OPTIONS", "3 OPTIONS"]
            # Two in one frame are none: a Content-Length that leaves bytes over ends the message there (RFC 3261 §18.3).
            await client.send(request("OPTIONS", cseq=4) + request("OPTIONS", cseq=5))
            assert header(await read(client), "CSeq") == "4 OPTIONS"
            await client.send(b"\r\n\r\n")
            assert await read(client) == "\r\n"

    run(body)


def test_message_over_the_limit_closes_the_connection_with_1009() -> None:
    async def body() -> None:
        async with serving() as server, connect(server.url("ws"), subprotocols=["sip"], max_size=None) as client:  # type: ignore[list-item]
            await client.send(request("OPTIONS") + b"x" * 70_000)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await read(client)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    run(body)


def test_call_whose_browser_is_gone_ends_and_nobody_is_dialled() -> None:
    async def body() -> None:
        async with serving() as server:
            async with connect(server.url("ws"), subprotocols=["sip"]) as client:  # type: ignore[list-item]
                await client.send(request("INVITE", body=SDP))
                call = (await server.next(IncomingCall)).call  # type: ignore[union-attr]
                server.driver.run(lambda now: server.endpoint.answer(call, SDP, now))
                for _ in range(2):
                    ok = await read(client)
                await client.send(request("ACK", to_tag=header(ok, "To").partition(";tag=")[2]))
                await server.next(CallConfirmed)
            while server.driver.n_connections:
                await asyncio.sleep(0.01)
            server.driver.run(lambda now: server.endpoint.hang_up(call, now))
            ended = await server.next(CallEnded)
            assert isinstance(ended, CallEnded)
            assert server.driver.n_connections == 0

    run(body)


def test_connection_is_pinged_and_closed_properly_at_the_end() -> None:
    async def body() -> None:
        async with serving() as server, connect(server.url("ws"), subprotocols=["sip"]) as client:  # type: ignore[list-item]
            await client.send(request("OPTIONS"))
            await read(client)
            ponged = asyncio.Event()
            receive = client.protocol.recv_frame

            def watch(frame: object) -> None:
                if "PING" in str(frame):
                    ponged.set()
                receive(frame)  # type: ignore[arg-type]

            client.protocol.recv_frame = watch  # type: ignore[method-assign, assignment]
            server.driver._connections.handle_timeout(server.world.clock.now() + sip_connections.KEEPALIVE_S + 1, no_half_messages)
            await asyncio.wait_for(ponged.wait(), DEADLINE_S)
            await server.driver.close()
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await read(client)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001

    run(body)


def test_handshake_that_is_never_made_is_a_silent_connection() -> None:
    async def body() -> None:
        async with serving() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listeners["ws"].bound.port)
            while server.driver.n_connections == 0 or not server.driver._connections._by_id:
                await asyncio.sleep(0.01)
            server.driver._connections.handle_timeout(server.world.clock.now() + sip_connections.SILENT_CONNECTION_S, no_half_messages)
            assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
            writer.close()

    run(body)


def test_uri_that_says_ws_is_dialled_as_a_client() -> None:
    received: list[str] = []

    async def far_end(connection: ServerConnection) -> None:
        async for message in connection:
            text = message if isinstance(message, str) else message.decode()
            received.append(text)
            copied = "".join(f"{key}: {header(text, key)}\r\n" for key in ("Via", "From", "To", "Call-ID", "CSeq"))
            await connection.send(f"SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")

    async def body() -> None:
        async with serving() as server, serve(far_end, "127.0.0.1", 0, subprotocols=["sip"]) as far:  # type: ignore[list-item]
            port = far.sockets[0].getsockname()[1]
            server.driver.run(lambda now: server.endpoint.request_outside("OPTIONS", f"sip:127.0.0.1:{port};transport=ws", now))
            completed = await server.next(RequestCompleted)
            assert isinstance(completed, RequestCompleted)
            assert completed.code == 200
            assert header(received[0], "Via").startswith("SIP/2.0/WS 127.0.0.1:")

    run(body)


def test_far_end_that_does_not_speak_sip_is_a_transport_error() -> None:
    async def far_end(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def body() -> None:
        async with serving() as server, serve(far_end, "127.0.0.1", 0, subprotocols=["chat"]) as far:  # type: ignore[list-item]
            port = far.sockets[0].getsockname()[1]
            server.driver.run(lambda now: server.endpoint.request_outside("OPTIONS", f"sip:127.0.0.1:{port};transport=ws", now))
            completed = await server.next(RequestCompleted)
            assert isinstance(completed, RequestCompleted)
            assert (completed.code, completed.response) == (503, None)
            assert "WebSocket" in completed.reason

    run(body)


def test_garbage_in_a_frame_is_dropped_and_the_connection_lives(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving() as server, connect(server.url("ws"), subprotocols=["sip"]) as client:  # type: ignore[list-item]
            await client.send(b"\xff\xfe nonsense")
            dropped = await server.next(MessageDropped)
            assert isinstance(dropped, MessageDropped)
            assert dropped.why == "parse_error"
            await client.send(request("OPTIONS"))
            assert (await read(client)).startswith("SIP/2.0 200 ")

    run(body)


async def status_of(url: str, origin: str | None) -> int:
    """What a page of `origin` gets: 101, or the status of the refusal."""
    try:
        async with connect(url, subprotocols=["sip"], origin=origin):  # type: ignore[list-item, arg-type]
            return 101
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 101),
        ("http://127.0.0.1:3000", 101),
        ("https://phone.example", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://127.0.0.1@evil.example", 403),
        ("file://", 403),
    ],
)
def test_page_of_another_site_opens_no_connection(origin: str | None, status: int) -> None:
    async def body() -> None:
        async with serving() as server:
            assert await status_of(server.url("ws"), origin) == status
            assert server.driver.refusals["foreign_page"] == (status == 403)
            async with connect(server.url("ws"), subprotocols=["sip"]) as client:  # type: ignore[list-item]
                await client.send(request("OPTIONS"))
                assert (await read(client)).startswith("SIP/2.0 200")

    run(body)


@pytest.mark.parametrize(
    ("origin", "host", "listed", "is_secure", "is_allowed"),
    [
        ("https://phone.example", "sip.example", (), True, False),
        ("https://phone.example", "sip.example", ("phone.example",), True, True),
        ("https://a.b.example:8443", "sip.example:5063", ("*.B.example",), True, True),
        ("https://b.example", "sip.example", ("*.b.example",), True, False),
        ("https://xb.example", "sip.example", ("*.b.example",), True, False),
        ("https://sip.example", "SIP.example.:8089", (), True, True),
        ("http://sip.example", "sip.example:8088", (), False, False),
        ("http://sip.example", "sip.example:8088", ("sip.example",), False, True),
        ("http://10.0.0.5", "10.0.0.5:8088", (), False, True),
        ("http://[fd00::5]:3000", "[fd00::5]:8088", (), False, True),
        ("http://localhost:3000", "localhost:8088", (), False, True),
        ("http://localhost:3000", "127.0.0.1:8088", (), False, False),
        ("", "", (), True, False),
        ("null", "null", ("null",), True, False),
    ],
)
def test_page_may_open_a_connection_to_its_own_host_or_if_it_is_listed(
    origin: str, host: str, listed: tuple[str, ...], is_secure: bool, is_allowed: bool
) -> None:
    assert may_open(origin, host, listed, is_secure=is_secure) is is_allowed
