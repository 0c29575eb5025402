"""TLS towards a carrier, everything of ours real: connections that die inside a call, names, client certificates, old versions.

The carrier is a few lines of its own. It names its edge by address in Record-Route, as Twilio does, while its certificate holds a name.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from active_call.base.world import World
from active_call.net.certificates import CertificateFiles, client_context, server_context
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import (
    CallAnswered,
    CallEnded,
    CallHandle,
    EndpointConfig,
    OutboundInvite,
    RequestCompleted,
    SipEvent,
)

DEADLINE_S = 15.0
SDP = b"v=0\r\no=x 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
NAME = "edge.example.com"


def make_certificate(folder: Path, *, names: tuple[str, ...], common_name: str = "whoever") -> CertificateFiles:
    """Self-signed; `names` become DNS entries of the subjectAltName, those with a colon URIs; it is absent without any."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    if names:
        entries = [x509.UniformResourceIdentifier(name) if ":" in name else x509.DNSName(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(entries), critical=False)
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    files.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return files


def answer_to(request: str, code: int, *extra: str, body: bytes = b"") -> bytes:
    lines = [line for line in request.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
    lines = [f"{line};tag=far" if line.startswith("To:") and "tag=" not in line else line for line in lines]
    return "\r\n".join([f"SIP/2.0 {code} Whatever", *lines, *extra, f"Content-Length: {len(body)}", "", ""]).encode() + body


class Carrier:
    """Accepts TLS; answers INVITE and BYE; a method in `drops` ends the connection unanswered, once."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.names: list[str | None] = []
        self.requests: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.drops: set[str] = set()
        self.peer_certificates: list[object] = []
        self.port = 0
        tls.sni_callback = lambda sock, name, context: self.names.append(name)
        self.tls = tls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.peer_certificates.append(writer.get_extra_info("peercert"))
        with suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(re.search(r"Content-Length: (\d+)", head)[1])  # type: ignore[index]
                await reader.readexactly(length)
                method = head.split(" ")[0]
                self.requests.append(head)
                if method in self.drops:
                    self.drops.discard(method)
                    writer.transport.abort()
                    return
                if method == "INVITE":
                    route = f"Record-Route: <sip:127.0.0.1:{self.port};transport=tls;lr>"
                    contact, kind = "Contact: <sip:gw@172.25.0.9:5060>", "Content-Type: application/sdp"
                    writer.write(answer_to(head, 200, route, contact, kind, body=SDP))
                elif method != "ACK":
                    writer.write(answer_to(head, 200))

    def methods(self) -> list[str]:
        return [request.split(" ")[0] for request in self.requests]


@asynccontextmanager
async def serving(carrier: Carrier) -> AsyncIterator[Carrier]:
    server = await asyncio.start_server(carrier.serve, "127.0.0.1", 0, ssl=carrier.tls)
    carrier.port = server.sockets[0].getsockname()[1]
    try:
        yield carrier
    finally:
        server.close()
        for writer in carrier.writers:
            with suppress(AttributeError):
                writer.transport.abort()
        await asyncio.sleep(0)


class Ours:
    """Our side: core, driver, a hosts file with all names on loopback."""

    def __init__(self, tls: ssl.SSLContext, by_uri: ssl.SSLContext | None = None) -> None:
        world = World()
        self.endpoint = Endpoint(EndpointConfig((), "us"), world.randomness)
        self.events: asyncio.Queue[SipEvent] = asyncio.Queue()
        self.driver = SipDriver(
            self.endpoint,
            world.clock,
            Resolver(world, hosts=AllOnLoopback()),
            server_tls=None,
            client_tls=lambda: tls,
            client_tls_by_uri=None if by_uri is None else lambda: by_uri,
            on_events=self._take,
            logger=logging.getLogger("test.sip"),
        )

    def _take(self, events: list[SipEvent]) -> None:
        for event in events:
            self.events.put_nowait(event)

    async def wait_for(self, kind: type) -> SipEvent:
        async with asyncio.timeout(DEADLINE_S):
            while not isinstance(event := await self.events.get(), kind):
                pass
            return event

    async def call(self, port: int) -> CallHandle:
        spec = OutboundInvite(f"sip:+1@{NAME}:{port};transport=tls", "sip:us@us.example", SDP)
        handle = self.driver.run(lambda now: self.endpoint.invite(spec, now))
        await self.wait_for(CallAnswered)
        return handle

    async def options(self, host: str, port: int) -> RequestCompleted:
        self.driver.run(lambda now: self.endpoint.request_outside("OPTIONS", f"sip:{host}:{port};transport=tls", now))
        event = await self.wait_for(RequestCompleted)
        assert isinstance(event, RequestCompleted)
        return event


class AllOnLoopback:
    def addresses(self, name: str) -> tuple[str, ...]:
        return ("127.0.0.1",) if name.endswith(".example.com") else ()


@asynccontextmanager
async def ours(tls: ssl.SSLContext, by_uri: ssl.SSLContext | None = None) -> AsyncIterator[Ours]:
    side = Ours(tls, by_uri)
    await side.driver.listen([ListenSpec("udp", "127.0.0.1", 0), ListenSpec("tcp", "127.0.0.1", 0)])
    try:
        yield side
    finally:
        await side.driver.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _half_close(writer: asyncio.StreamWriter) -> None:
    """The far end stops sending and says nothing of it in TLS, as some carriers' load balancers do."""
    with socket.socket(fileno=socket.dup(writer.get_extra_info("socket").fileno())) as sock:
        sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("end", [_close, _reset, _half_close], ids=["close_notify", "reset", "half-closed"])
def test_dialog_whose_connection_ends_goes_on_over_one_that_is_verified_by_the_original_name(
    tmp_path: Path, end: Callable[[asyncio.StreamWriter], None]
) -> None:
    files = make_certificate(tmp_path, names=(NAME,))

    async def body() -> None:
        async with serving(Carrier(server_context(files))) as carrier, ours(client_context(ca_file=str(files.certificate))) as us:
            handle = await us.call(carrier.port)
            await until(lambda: carrier.methods() == ["INVITE", "ACK"])
            end(carrier.writers[0])
            await until(lambda: us.driver.n_connections == 0)
            us.driver.run(lambda now: us.endpoint.hang_up(handle, now))
            ended = await us.wait_for(CallEnded)
            assert isinstance(ended, CallEnded)
            assert ended.cause == "local_bye"
            await until(lambda: carrier.methods() == ["INVITE", "ACK", "BYE"])
            assert carrier.names == [NAME, NAME]
            assert carrier.requests[2].startswith("BYE sip:gw@172.25.0.9:5060 ")

    asyncio.run(body())


def test_request_that_finds_its_connection_dead_is_sent_once_more_over_a_new_one(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, names=(NAME,))

    async def body() -> None:
        async with serving(Carrier(server_context(files))) as carrier, ours(client_context(ca_file=str(files.certificate))) as us:
            handle = await us.call(carrier.port)
            carrier.drops.add("INFO")
            us.driver.run(lambda now: us.endpoint.request(handle, "INFO", now))
            completed = await us.wait_for(RequestCompleted)
            assert isinstance(completed, RequestCompleted)
            assert completed.code == 200
            infos = [request for request in carrier.requests if request.startswith("INFO")]
            assert len(infos) == 2
            assert infos[0] == infos[1]
            assert carrier.names == [NAME, NAME]

    asyncio.run(body())


def test_request_outside_a_dialog_over_a_kept_connection_that_has_died_is_sent_once_more_too(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, names=(NAME,))

    async def body() -> None:
        async with serving(Carrier(server_context(files))) as carrier, ours(client_context(ca_file=str(files.certificate))) as us:
            assert (await us.options(NAME, carrier.port)).code == 200
            carrier.drops.add("OPTIONS")
            assert (await us.options(NAME, carrier.port)).code == 200
            assert carrier.methods() == ["OPTIONS"] * 3
            assert len(carrier.writers) == 2

    asyncio.run(body())


WILDCARD = ("*.pstn.example.com",)


@pytest.mark.parametrize(
    ("names", "common_name", "host", "fits"),
    [
        ((NAME, "other.example.com"), "whoever", NAME, True),
        (("other.example.com",), NAME, NAME, False),
        ((), NAME, NAME, False),
        (WILDCARD, "whoever", "mine.pstn.example.com", True),
        (WILDCARD, "whoever", "mine.pstn.dublin.example.com", False),
        (WILDCARD, "whoever", "a.mine.pstn.example.com", False),
        (WILDCARD, "whoever", "pstn.example.com", False),
        (("m*.pstn.example.com",), "whoever", "mine.pstn.example.com", False),
        ((f"sip:{NAME}",), "whoever", NAME, True),
        (("other.example.com", f"sip:{NAME.upper()};transport=tls"), "whoever", NAME, True),
        ((f"sip:user@{NAME}",), "whoever", NAME, False),
        ((f"sips:{NAME}", f"https://{NAME}/", f"im:{NAME}"), "whoever", NAME, False),
        (("sip:*.pstn.example.com",), "whoever", "mine.pstn.example.com", False),
        (("sip:other.example.com", "sip::", "sip:"), "whoever", NAME, False),
    ],
)
def test_name_of_the_uri_must_stand_in_the_certificate_5922_7(
    tmp_path: Path, names: tuple[str, ...], common_name: str, host: str, fits: bool
) -> None:
    """A wildcard for one label is let through against §7.2: Twilio has no other certificate. The common name never counts."""
    files = make_certificate(tmp_path, names=names, common_name=common_name)
    contexts = [client_context(ca_file=str(files.certificate), checks_name=checks_name) for checks_name in (True, False)]

    async def body() -> None:
        async with serving(Carrier(server_context(files))) as carrier, ours(*contexts) as us:
            completed = await us.options(host, carrier.port)
            assert completed.code == (200 if fits else 503)
            assert fits or "the peer's certificate is not accepted" in completed.reason
            assert set(carrier.names) == {host}
            assert len(carrier.requests) == fits

    asyncio.run(body())


def asking_for_certificates(files: CertificateFiles, trusted: CertificateFiles) -> ssl.SSLContext:
    context = server_context(files)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(trusted.certificate)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate_is_shown_to_a_server_that_asks(tmp_path: Path, version: ssl.TLSVersion) -> None:
    files = make_certificate(tmp_path / "server", names=(NAME,))
    client = make_certificate(tmp_path / "client", names=("us.example.com",), common_name="us")

    async def body() -> None:
        far = asking_for_certificates(files, client)
        far.minimum_version = far.maximum_version = version
        shown = client_context(ca_file=str(files.certificate), certificate=str(client.certificate), key=str(client.key))
        async with serving(Carrier(far)) as carrier, ours(shown) as us:
            assert (await us.options(NAME, carrier.port)).code == 200
            (certificate,) = carrier.peer_certificates
            assert (("commonName", "us"),) in certificate["subject"]  # type: ignore[index]
        without = client_context(ca_file=str(files.certificate))
        async with serving(Carrier(asking_for_certificates(files, client))) as carrier, ours(without) as us:
            completed = await us.options(NAME, carrier.port)
            assert (completed.code, completed.response) == (503, None)
            assert carrier.requests == []

    asyncio.run(body())


def old_tls(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused_in_both_roles(tmp_path: Path) -> None:
    files = make_certificate(tmp_path, names=(NAME,))

    async def body() -> None:
        async with serving(Carrier(old_tls(server_context(files)))) as carrier, ours(client_context(ca_file=str(files.certificate))) as us:
            completed = await us.options(NAME, carrier.port)
            assert completed.code == 503
            assert re.search("TLS handshake failed|connection reset", completed.reason)
            assert carrier.requests == []
        # An old client can talk to an old server, so what refuses it below is ours.
        trusting = ssl.create_default_context(cafile=str(files.certificate))
        async with serving(Carrier(old_tls(server_context(files)))) as carrier:
            _, writer = await asyncio.open_connection("127.0.0.1", carrier.port, ssl=old_tls(trusting), server_hostname=NAME)
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"
            writer.transport.abort()
        async with serving(Carrier(server_context(files))) as carrier:
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                await asyncio.open_connection("127.0.0.1", carrier.port, ssl=old_tls(trusting), server_hostname=NAME)

    asyncio.run(body())
