"""The driver over real loopback sockets, under asyncio and uvloop, around a core that only writes down what it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from active_call.base.errors import TransportError
from active_call.base.world import SystemClock
from active_call.net import sip_connections
from active_call.net.limits import ConnectionLimits
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import CertificateFiles, ListenSpec, SipDriver
from active_call.server.certificate import write_development_certificate
from active_call.sip.events import (
    Address,
    CallConfirmed,
    CallHandle,
    Flow,
    Listener,
    LookUp,
    SipEvent,
    Target,
    Transmit,
    TransportName,
)

DEADLINE_S = 10.0


class FakeCore:
    """Records inputs; `queue` makes it want to send; `timeout_at` is its next timeout."""

    def __init__(self) -> None:
        self.inputs: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self.listeners: tuple[Listener, ...] = ()
        self.timeout_at: float | None = None
        self.transmits: list[Transmit] = []
        self.closes: list[Flow] = []
        self.look_ups: list[LookUp] = []
        self.events: list[SipEvent] = []
        self.n_taken = 0
        self.half_read: dict[int, float] = {}
        self.echo = False
        self.n_sent = 0
        self.standings: dict[str, str] = {}
        self.heard_at: dict[int, float] = {}
        self.in_use: set[int] = set()

    def standing_of(self, host: str, now: float) -> str:
        return self.standings.get(host, "unknown")

    def idle_since(self, connection_id: int) -> float | None:
        return self.heard_at.get(connection_id)

    def connections_in_use(self) -> set[int]:
        return self.in_use

    def queue(self, data: bytes, destination: Flow | Target) -> int:
        self.n_sent += 1
        self.transmits.append(Transmit(self.n_sent, data, destination))
        return self.n_sent

    def receive_datagram(self, data: bytes, flow: Flow, now: float) -> None:
        self.inputs.put_nowait(("datagram", data, flow))
        if self.echo:
            self.queue(data, flow)

    def receive_stream(self, data: bytes, flow: Flow, now: float) -> None:
        self.inputs.put_nowait(("stream", data, flow))
        if self.echo:
            self.queue(data, flow)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        self.inputs.put_nowait(("lost", flow, reason))

    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None:
        self.inputs.put_nowait(("failed", transmit_id, reason))

    def handle_timeout(self, now: float) -> None:
        self.timeout_at = None
        self.inputs.put_nowait(("timeout", now))

    def next_timeout(self) -> float | None:
        return self.timeout_at

    @property
    def has_output(self) -> bool:
        return bool(self.transmits or self.events or self.closes or self.look_ups)

    def take_transmits(self) -> list[Transmit]:
        taken, self.transmits = self.transmits, []
        return taken

    def take_events(self) -> list[SipEvent]:
        self.n_taken += 1
        taken, self.events = self.events, []
        return taken

    def take_closes(self) -> list[Flow]:
        taken, self.closes = self.closes, []
        return taken

    def take_look_ups(self) -> list[LookUp]:
        taken, self.look_ups = self.look_ups, []
        return taken

    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None:
        self.inputs.put_nowait(("hops", look_up_id, hops, reason))

    def refresh_registrations(self, now: float) -> None:
        self.inputs.put_nowait(("refresh", now))

    def half_read_since(self, flow: Flow) -> float | None:
        return self.half_read.get(flow.connection_id or 0)

    def set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        self.listeners = listeners

    async def next_input(self, kind: str) -> tuple[Any, ...]:
        """The next thing it was told; it must be of this kind."""
        async with asyncio.timeout(DEADLINE_S):
            entry = await self.inputs.get()
        assert entry[0] == kind, entry
        return entry[1:]


@dataclass
class Driven:
    """A driver on loopback with its core."""

    core: FakeCore
    driver: SipDriver
    bound: dict[str, Address]
    events: list[SipEvent] = field(default_factory=list)

    def send(self, data: bytes, destination: Flow | Target) -> int:
        return self.driver.run(lambda now: self.core.queue(data, destination))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """For 127.0.0.1 and the names trunk.example.com and sip.example.com."""
    folder = tmp_path_factory.mktemp("tls")
    files = CertificateFiles(folder / "cert.pem", folder / "key.pem")
    write_development_certificate(files.certificate, files.key, ["trunk.example.com", "sip.example.com", "127.0.0.1"])
    return files


class NoDns:
    has_servers = False

    def known(self, name: str, kind: str) -> None:
        return None

    async def ask(self, name: str, kind: str) -> tuple[Any, ...]:
        raise AssertionError("there is nobody to ask")


class NoSystem:
    async def addresses(self, name: str) -> tuple[str, ...]:
        raise OSError("no such name")


class FakeHosts:
    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self._names = names

    def addresses(self, name: str) -> tuple[str, ...]:
        return self._names.get(name, ())


def named(transport: TransportName, name: str, address: Address) -> Target:
    """A place that was found for a name."""
    return Target(transport, address.host, address.port, name=name)


def client_context(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


Drive = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
def drive(certificate: CertificateFiles) -> Drive:
    """A driver with a UDP, a TCP and a TLS listener on free loopback ports."""

    @asynccontextmanager
    async def start(
        *,
        hosts: dict[str, tuple[str, ...]] | None = None,
        files: CertificateFiles = certificate,
        core: FakeCore | None = None,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> AsyncIterator[Driven]:
        core = core or FakeCore()
        events: list[SipEvent] = []
        options.setdefault("client_tls", lambda: client_context(certificate.certificate))
        options.setdefault("on_events", events.extend)
        driver = SipDriver(
            core,
            SystemClock(),
            Resolver(dns=NoDns(), hosts=FakeHosts(hosts or {}), system=NoSystem()),
            server_tls=server_context(files),
            certificate=files,
            logger=logging.getLogger("test.sip"),
            **options,
        )
        try:
            listeners = await driver.listen([ListenSpec(transport, host, 0) for transport in ("udp", "tcp", "tls")])
            yield Driven(core, driver, {entry.transport: entry.bound for entry in listeners}, events)
        finally:
            await driver.close()

    return start


LoopRunner = Callable[[Callable[[], Any]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> LoopRunner:
    """Runs an async test body to its end, under either loop."""

    def runner(body: Callable[[], Any]) -> None:
        factory = None
        if request.param == "uvloop":
            import uvloop

            factory = uvloop.new_event_loop
        with asyncio.Runner(loop_factory=factory) as loop_runner:
            loop_runner.run(asyncio.wait_for(body(), 30))

    return runner


class Peer:
    """A TCP or TLS server that writes down what comes, by connection."""

    def __init__(self) -> None:
        self.address = Address("", 0)
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.names: list[str | None] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while data := await reader.read(65536):
                self.received.put_nowait(data)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def get(self, n_bytes: int) -> bytes:
        data = b""
        async with asyncio.timeout(DEADLINE_S):
            while len(data) < n_bytes:
                data += await self.received.get()
        return data


@asynccontextmanager
async def peer(tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    far = Peer()
    if tls is not None:
        tls.sni_callback = lambda sock, name, context: far.names.append(name)
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0, ssl=tls)
    far.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield far
    finally:
        server.close()
        for writer in far.writers:
            with contextlib.suppress(AttributeError):  # Python before 3.11.5 cannot abort a TLS transport twice
                writer.transport.abort()
        await asyncio.sleep(0)


async def open_client(address: Address, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(address.host, address.port, ssl=tls, server_hostname="127.0.0.1" if tls else None)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


def test_listen_names_bound_and_public_addresses(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            assert [entry.transport for entry in driven.core.listeners] == ["udp", "tcp", "tls"]
            for entry in driven.core.listeners:
                assert entry.public == entry.bound
                assert entry.bound.port > 0
            udp = driven.bound["udp"]
            with pytest.raises(TransportError, match="in use"):
                await driven.driver.listen([ListenSpec("udp", udp.host, udp.port)])

    run(body)


def test_tls_listener_logs_the_line_that_the_guide_names(run: LoopRunner, drive: Drive, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        with caplog.at_level(logging.INFO):
            async with drive() as driven:
                (record,) = [entry for entry in caplog.records if entry.message == "TLS SIP transport started"]
                assert vars(record)["address"] == f"127.0.0.1:{driven.bound['tls'].port}"
                assert vars(record)["certificate"].endswith("cert.pem")

    run(body)


def test_datagrams_come_with_their_flow_and_go_back_on_it(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as near, drive() as far:
            far.core.echo = True
            big = b"x" * 60_000
            for data in (b"hello", big):
                near.send(data, Target("udp", "127.0.0.1", far.bound["udp"].port))
                received, flow = await far.core.next_input("datagram")
                assert received == data
                assert (flow.local, flow.remote) == (far.bound["udp"], near.bound["udp"])
                assert (await near.core.next_input("datagram"))[0] == data

    run(body)


def test_datagram_that_cannot_be_sent_is_reported(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            too_big = driven.send(b"x" * 65_535, Target("udp", "127.0.0.1", 9))
            assert (await driven.core.next_input("failed"))[0] == too_big
            no_family = driven.send(b"x", Target("udp", "::1", 9))
            transmit_id, reason = await driven.core.next_input("failed")
            assert transmit_id == no_family
            assert "no UDP socket" in reason
            unknown = driven.send(b"x", Target("udp", "nowhere.invalid", 9))
            assert (await driven.core.next_input("failed"))[0] == unknown

    run(body)


def test_names_are_looked_up_for_the_core_with_our_address_towards_each_place(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive(hosts={"trunk.example.com": ("::1", "127.0.0.1", "127.0.0.2")}) as driven:

            def ask(now: float) -> None:
                driven.core.look_ups.append(LookUp(1, "trunk.example.com", 5070, ("udp",)))
                driven.core.look_ups.append(LookUp(2, "nowhere.invalid", None, ("tls", "udp")))

            driven.driver.run(ask)
            # Known without a question, so answered at once; a family that no socket of ours has is left out.
            found = tuple(Target("udp", f"127.0.0.{n}", 5070, name="trunk.example.com", local="127.0.0.1") for n in (1, 2))
            assert await driven.core.next_input("hops") == (1, found, "")
            look_up_id, hops, reason = await driven.core.next_input("hops")
            assert (look_up_id, hops) == (2, ())
            assert "nowhere.invalid" in reason

    run(body)


def test_look_up_that_breaks_is_answered_all_the_same(run: LoopRunner, drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for the answer without a timer of its own."""

    async def body() -> None:
        async with drive() as driven:

            async def break_down(look_up: LookUp) -> tuple[Target, ...]:
                raise RuntimeError("a fault of ours")

            monkeypatch.setattr(driven.driver._resolver, "resolve", break_down)
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
            driven.driver.run(lambda now: driven.core.look_ups.append(LookUp(1, "trunk", None, ("udp",))))
            assert await driven.core.next_input("hops") == (1, (), "the look-up has failed")

    run(body)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_accepted_connection_carries_both_directions(run: LoopRunner, drive: Drive, certificate: CertificateFiles, transport: str) -> None:
    async def body() -> None:
        async with drive() as driven:
            driven.core.echo = True
            tls = client_context(certificate.certificate) if transport == "tls" else None
            reader, writer = await open_client(driven.bound[transport], tls)
            writer.write(b"OPTIONS")
            data, flow = await driven.core.next_input("stream")
            assert data == b"OPTIONS"
            assert (flow.transport, flow.local) == (transport, driven.bound[transport])
            assert (flow.remote.host, flow.remote.port) == writer.get_extra_info("sockname")[:2]
            assert await reader.readexactly(7) == b"OPTIONS"
            # RFC 5923: a request to the peer's very address and port uses the connection that stands.
            driven.send(b"REUSE", Target(transport, flow.remote.host, flow.remote.port))  # type: ignore[arg-type]
            assert await reader.readexactly(5) == b"REUSE"
            await closed(writer)
            assert (await driven.core.next_input("lost"))[0] == flow
            gone = driven.send(b"late", flow)
            assert (await driven.core.next_input("failed"))[0] == gone

    run(body)


def test_message_in_pieces_arrives_whole_and_large_answers_too(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            reader, writer = await open_client(driven.bound["tcp"])
            received = b""
            for byte in (b"INV", b"I", b"TE\r\n"):
                writer.write(byte)
                await writer.drain()
                data, flow = await driven.core.next_input("stream")
                received += data
            assert received == b"INVITE\r\n"
            # More than the socket takes at once: the rest is written as the peer reads.
            large = bytes(range(256)) * 12_000
            driven.send(large, flow)
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.readexactly(len(large)) == large
            await closed(writer)

    run(body)


def test_peer_that_does_not_read_is_cut_off(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            _, writer = await open_client(driven.bound["tcp"])
            writer.write(b"x")
            _, flow = await driven.core.next_input("stream")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            driven.driver.run(lambda now: [driven.core.queue(b"y" * 1_000_000, flow) for _ in range(40)])
            kinds = []
            async with asyncio.timeout(DEADLINE_S):
                while "lost" not in kinds:
                    entry = await driven.core.inputs.get()
                    kinds.append(entry[0])
            assert "failed" in kinds
            assert "does not read" in entry[2]
            writer.transport.abort()

    run(body)


def test_connection_is_opened_once_and_reused_for_its_name_and_its_address(
    run: LoopRunner, drive: Drive, certificate: CertificateFiles
) -> None:
    async def body() -> None:
        async with peer(server_context(certificate)) as far, drive() as driven:
            # All three are asked for before the first handshake is over.
            for data in (b"one", b"two"):
                driven.send(data, named("tls", "trunk.example.com", far.address))
            assert await far.get(6) == b"onetwo"
            driven.send(b"six", named("tls", "Trunk.Example.com", far.address))
            driven.send(b"ten", Target("tls", "127.0.0.1", far.address.port))
            assert await far.get(6) == b"sixten"
            assert len(far.writers) == 1
            assert far.names == ["trunk.example.com"]
            far.writers[0].write(b"pong")
            data, flow = await driven.core.next_input("stream")
            assert (data, flow.remote, flow.transport) == (b"pong", far.address, "tls")

    run(body)


def test_tls_to_another_name_on_the_same_address_is_verified_anew_rfc5922(
    run: LoopRunner, drive: Drive, certificate: CertificateFiles
) -> None:
    async def body() -> None:
        async with peer(server_context(certificate)) as far, drive() as driven:
            driven.send(b"one", named("tls", "trunk.example.com", far.address))
            assert await far.get(3) == b"one"
            refused = driven.send(b"two", named("tls", "evil.example.com", far.address))
            transmit_id, reason = await driven.core.next_input("failed")
            assert transmit_id == refused
            assert "certificate is not accepted" in reason
            assert far.received.empty()

    run(body)


def test_lost_tls_connection_is_dialled_again_by_its_name(run: LoopRunner, drive: Drive, tmp_path: Any) -> None:
    async def body() -> None:
        files = CertificateFiles(tmp_path / "c.pem", tmp_path / "k.pem")
        write_development_certificate(files.certificate, files.key, ["edge.example.com"])
        async with peer(server_context(files)) as far, drive(client_tls=lambda: client_context(files.certificate)) as driven:
            by_address = Target("tls", "127.0.0.1", far.address.port)
            refused = driven.send(b"never", by_address)
            assert (await driven.core.next_input("failed"))[0] == refused
            driven.send(b"INVITE", named("tls", "edge.example.com", far.address))
            assert await far.get(6) == b"INVITE"
            far.writers[-1].transport.abort()
            assert (await driven.core.next_input("lost"))[0].remote == far.address
            driven.send(b"BYE", by_address)
            assert await far.get(3) == b"BYE"
            assert far.names[-2:] == ["edge.example.com", "edge.example.com"]

    run(body)


@pytest.mark.parametrize(("listens_on", "comes_from"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1")])
def test_connection_comes_from_the_address_that_we_listen_on(run: LoopRunner, drive: Drive, listens_on: str, comes_from: str) -> None:
    """A PBX that knows us by our address sees the same one over UDP, TCP and TLS."""

    async def body() -> None:
        async with peer() as far, drive(host=listens_on) as driven:
            driven.send(b"one", Target("tcp", far.address.host, far.address.port))
            assert await far.get(3) == b"one"
            assert far.writers[0].get_extra_info("peername")[0] == comes_from

    run(body)


def test_client_context_is_made_by_the_first_tls_connection(run: LoopRunner, drive: Drive, certificate: CertificateFiles) -> None:
    made: list[str] = []

    def make() -> ssl.SSLContext:
        made.append(threading.current_thread().name)
        return client_context(certificate.certificate)

    async def body() -> None:
        async with peer() as plain, peer(server_context(certificate)) as secure, drive(client_tls=make) as driven:
            driven.send(b"one", Target("tcp", "127.0.0.1", plain.address.port))
            assert await plain.get(3) == b"one"
            assert made == []
            driven.send(b"two", named("tls", "trunk.example.com", secure.address))
            assert await secure.get(3) == b"two"
            assert len(made) == 1 and made[0] != threading.main_thread().name  # loading authorities must not stop the loop

    run(body)


def test_unverified_tls_is_possible_when_asked_for(run: LoopRunner, drive: Drive, certificate: CertificateFiles) -> None:
    async def body() -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with peer(server_context(certificate)) as far, drive(client_tls=lambda: context) as driven:
            driven.send(b"one", named("tls", "evil.example.com", far.address))
            assert await far.get(3) == b"one"

    run(body)


def test_refused_connection_is_reported_for_all_that_waited(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with peer() as gone:
            dead = gone.address
        async with drive() as driven:
            failed = {driven.send(data, named("tcp", "trunk.example.com", dead)) for data in (b"a", b"b")}
            first, reason = await driven.core.next_input("failed")
            second, _ = await driven.core.next_input("failed")
            assert {first, second} == failed
            assert "refused" in reason

    run(body)


def test_peer_that_closes_is_reported_and_next_send_opens_anew(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with peer() as far, drive() as driven:
            target = Target("tcp", far.address.host, far.address.port)
            driven.send(b"one", target)
            assert await far.get(3) == b"one"
            far.writers[0].close()
            flow, reason = await driven.core.next_input("lost")
            assert flow.remote == far.address
            assert "closed by the peer" in reason
            driven.send(b"two", target)
            assert await far.get(3) == b"two"

    run(body)


def test_core_may_close_a_connection_after_its_last_words(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            reader, writer = await open_client(driven.bound["tcp"])
            writer.write(b"junk")
            _, flow = await driven.core.next_input("stream")

            def refuse(now: float) -> None:
                driven.core.queue(b"400", flow)
                driven.core.closes.append(flow)

            driven.driver.run(refuse)
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b"400"
            await closed(writer)

    run(body)


def test_connections_beyond_the_limit_are_dropped_and_the_others_live(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive(limits=ConnectionLimits(total=2)) as driven:
            kept = [await open_client(driven.bound["tcp"]) for _ in range(2)]
            for _, writer in kept:
                writer.write(b"hi")
                await driven.core.next_input("stream")
            reader, dropped = await open_client(driven.bound["tcp"])
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            assert driven.driver.n_connections == 2
            kept[0][1].write(b"still here")
            assert (await driven.core.next_input("stream"))[0] == b"still here"
            for writer in (*(entry[1] for entry in kept), dropped):
                await closed(writer)

    run(body)


def test_half_open_tls_handshakes_count_as_connections(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive(limits=ConnectionLimits(total=1)) as driven:
            _, silent = await open_client(driven.bound["tls"])
            reader, second = await open_client(driven.bound["tls"])
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            for writer in (silent, second):
                await closed(writer)

    run(body)


def test_silent_accepted_connection_is_closed_and_our_own_is_pinged(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with peer() as far, drive() as driven:
            silent_reader, silent = await open_client(driven.bound["tcp"])
            _, spoken = await open_client(driven.bound["tcp"])
            spoken.write(b"hi")
            await driven.core.next_input("stream")
            driven.send(b"one", Target("tcp", far.address.host, far.address.port))
            assert await far.get(3) == b"one"
            connections = driven.driver._connections
            later = SystemClock().now() + sip_connections.KEEPALIVE_S
            connections.handle_timeout(later - 5.0, driven.core.half_read_since)
            assert driven.driver.n_connections == 3
            connections.handle_timeout(later, driven.core.half_read_since)
            assert await far.get(4) == b"\r\n\r\n"
            async with asyncio.timeout(DEADLINE_S):
                assert await silent_reader.read() == b""
            flow, reason = await driven.core.next_input("lost")
            assert flow.remote.port == silent.get_extra_info("sockname")[1]
            assert "never sent" in reason
            for writer in (silent, spoken):
                await closed(writer)

    run(body)


def test_accept_error_pauses_the_listener_and_does_not_end_it(run: LoopRunner, drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_call.net.sip_sockets.ACCEPT_PAUSE_S", 0.01)

    async def body() -> None:
        async with drive() as driven:
            listener = driven.driver._sockets._streams[0]
            real, n_errors = listener._sock, 3

            class OutOfFiles:
                def accept(self) -> Any:
                    nonlocal n_errors
                    n_errors -= 1
                    if n_errors >= 0:
                        raise OSError(24, "Too many open files")
                    return real.accept()

                def __getattr__(self, name: str) -> Any:
                    return getattr(real, name)

            listener._sock = OutOfFiles()  # type: ignore[assignment]
            _, writer = await open_client(driven.bound["tcp"])
            writer.write(b"hi")
            assert (await driven.core.next_input("stream"))[0] == b"hi"
            assert n_errors < 0
            await closed(writer)

    run(body)


def test_certificate_is_reloaded_when_it_changes(run: LoopRunner, drive: Drive, tmp_path: Any) -> None:
    async def body() -> None:
        files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
        write_development_certificate(files.certificate, files.key, ["127.0.0.1"])
        old = client_context(files.certificate)
        async with drive(files=files) as driven:
            _, first = await open_client(driven.bound["tls"], old)
            assert not driven.driver.reload_certificate()
            renewed = tmp_path / "renewed"
            write_development_certificate(renewed / "cert.pem", renewed / "key.pem", ["127.0.0.1"])
            (renewed / "cert.pem").replace(files.certificate)
            # Half of the pair: the server keeps what it has.
            assert not driven.driver.reload_certificate()
            _, second = await open_client(driven.bound["tls"], old)
            (renewed / "key.pem").replace(files.key)
            assert driven.driver.reload_certificate()
            with pytest.raises(ssl.SSLCertVerificationError):
                await open_client(driven.bound["tls"], old)
            _, third = await open_client(driven.bound["tls"], client_context(files.certificate))
            first.write(b"still open")
            assert (await driven.core.next_input("stream"))[0] == b"still open"
            for writer in (first, second, third):
                await closed(writer)

    run(body)


def test_timer_fires_once_for_the_cores_timeout(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            clock = SystemClock()
            due = clock.now() + 0.02

            def set_timeout(now: float) -> None:
                driven.core.timeout_at = due

            driven.driver.run(set_timeout)
            timer = driven.driver._timer
            driven.driver.run(lambda now: None)
            assert driven.driver._timer is timer
            (fired_at,) = await driven.core.next_input("timeout")
            assert fired_at >= due - 0.002
            assert driven.driver._timer is None

    run(body)


def test_handler_of_events_may_run_operations(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        seen: list[int] = []

        def on_events(events: list[Any]) -> None:
            for event in events:
                depth = int(event.call)
                seen.append(depth)
                if depth < 3:
                    driven.driver.run(lambda now, depth=depth: driven.core.events.append(CallConfirmed(CallHandle(str(depth + 1)), None)))
                    # The inner call leaves the draining to the outer one.
                    assert len(seen) == depth + 1

        async with drive(on_events=on_events) as driven:
            driven.driver.run(lambda now: driven.core.events.append(CallConfirmed(CallHandle("0"), None)))
            assert seen == [0, 1, 2, 3]

    run(body)


def test_close_sends_last_words_and_silences_the_core(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with peer() as far:
            async with drive() as driven:
                driven.send(b"one", Target("tcp", far.address.host, far.address.port))
                assert await far.get(3) == b"one"
                driven.send(b"BYE", Target("tcp", far.address.host, far.address.port))
            assert await far.get(3) == b"BYE"
            assert driven.core.inputs.empty()

    run(body)


class FaultyCore(FakeCore):
    """A core with an error of ours in what it does with one word."""

    def receive_stream(self, data: bytes, flow: Flow, now: float) -> None:
        super().receive_stream(data, flow, now)
        if data == b"fault":
            raise RuntimeError("a fault of ours")


def test_error_in_one_input_event_or_transmit_leaves_the_connection_and_the_rest_alone(run: LoopRunner, drive: Drive) -> None:
    heard: list[Any] = []

    def on_events(events: list[Any]) -> None:
        for event in events:
            heard.append(event)
            if event == "fault":
                raise RuntimeError("a fault of ours")

    async def body() -> None:
        core = FaultyCore()
        async with drive(core=core, on_events=on_events) as driven:
            reader, writer = await open_client(driven.bound["tcp"])
            writer.write(b"fault")
            _, flow = await core.next_input("stream")

            def act(now: float) -> None:
                core.events += ["one", "fault", "two"]  # type: ignore[list-item]
                core.queue(b"lost", Target("bogus", "127.0.0.1"))  # type: ignore[arg-type]
                core.queue(b"answer", flow)

            driven.driver.run(act)
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.readexactly(6) == b"answer"
            assert heard == ["one", "fault", "two"]
            assert (await core.next_input("failed")) == (1, "an error of ours")
            writer.write(b"still here")
            assert (await core.next_input("stream"))[0] == b"still here"
            await closed(writer)

    run(body)


def udp_peer() -> socket.socket:
    """A blocking socket on loopback."""
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    peer.settimeout(DEADLINE_S)
    return peer


def test_datagrams_are_handled_at_once_when_asked_for_between_two_steps_of_the_loop(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            peer = udp_peer()
            driven.core.echo = True
            for number in range(3):
                peer.sendto(b"INVITE %d" % number, ("127.0.0.1", driven.bound["udp"].port))
            driven.driver.read_datagrams()  # the loop has had no chance to read
            assert [driven.core.inputs.get_nowait()[1] for _ in range(3)] == [b"INVITE 0", b"INVITE 1", b"INVITE 2"]
            assert [peer.recv(100) for _ in range(3)] == [b"INVITE 0", b"INVITE 1", b"INVITE 2"]
            peer.close()

    run(body)


def test_datagrams_are_not_read_inside_an_operation(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive(on_events=lambda _: driven.driver.read_datagrams()) as driven:
            peer = udp_peer()
            peer.sendto(b"late", ("127.0.0.1", driven.bound["udp"].port))
            driven.core.events.append(CallConfirmed(CallHandle("1"), None))
            driven.driver.run(lambda _: None)
            assert driven.core.inputs.empty()
            assert (await driven.core.next_input("datagram"))[0] == b"late"
            peer.close()

    run(body)


def test_core_without_output_is_not_drained(run: LoopRunner, drive: Drive) -> None:
    async def body() -> None:
        async with drive() as driven:
            driven.core.n_taken = 0
            driven.driver.run(lambda now: None)
            assert driven.core.n_taken == 0
            driven.send(b"one", Target("udp", "127.0.0.1", driven.bound["udp"].port))
            assert driven.core.n_taken == 1

    run(body)
