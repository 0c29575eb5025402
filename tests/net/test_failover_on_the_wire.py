"""Name to answer, everything of ours real: DNS client, resolver, driver, core. The peers and the DNS server are a few lines of their own.

The core is told to wait for tenths of a second instead of 4 s; what is judged is the order of places, not time.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from dns_server import DnsServer, serving

from active_call.base.world import World
from active_call.net.dns_client import DnsClient
from active_call.net.hosts_file import HostsFile
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.server.certificate import write_development_certificate
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import EndpointConfig, RequestCompleted, SipEvent

NEXT_AFTER_S = 0.2


def answer_to(request: str, code: int) -> bytes:
    lines = [line for line in request.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
    return "\r\n".join([f"SIP/2.0 {code} Whatever", *lines, "Content-Length: 0", "", ""]).encode()


class Peer(asyncio.DatagramProtocol):
    """One address of the carrier: answers every request with `code`, or never. TCP and TLS go through `serve`."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.requests: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.requests.append(data.decode())
        if self.code is not None:
            self._transport.sendto(answer_to(data.decode(), self.code), addr)  # type: ignore[attr-defined]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(request)
                if self.code is not None:
                    writer.write(answer_to(request, self.code))
        writer.close()


@asynccontextmanager
async def edge(
    host: str, transport: str, code: int | None, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Peer, int]]:
    peer = Peer(code)
    if transport == "udp":
        wire, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: peer, local_addr=(host, port))
        try:
            yield peer, wire.get_extra_info("sockname")[1]
        finally:
            wire.close()
    else:
        server = await asyncio.start_server(peer.serve, host, port, ssl=tls)
        try:
            yield peer, server.sockets[0].getsockname()[1]
        finally:
            server.close()


@asynccontextmanager
async def user_agent(
    dns: DnsServer, client_tls: ssl.SSLContext | None = None, *, next_hop_after_s: float = NEXT_AFTER_S
) -> AsyncIterator[Callable[[str], asyncio.Future[RequestCompleted]]]:
    """Sends an OPTIONS to a URI; its outcome."""
    world = World()
    outcome: asyncio.Future[RequestCompleted] = asyncio.get_running_loop().create_future()

    def on_events(events: list[SipEvent]) -> None:
        for event in events:
            if isinstance(event, RequestCompleted):
                outcome.set_result(event)

    endpoint = Endpoint(EndpointConfig((), "us", next_hop_after_s=next_hop_after_s), world.randomness)
    resolver = Resolver(world, dns=DnsClient(world.clock, servers=[dns.address]), hosts=HostsFile(Path("/nonexistent")))
    driver = SipDriver(
        endpoint,
        world.clock,
        resolver,
        server_tls=None,
        client_tls=ssl.create_default_context if client_tls is None else lambda: client_tls,
        on_events=on_events,
        logger=logging.getLogger("test.sip"),
    )
    await driver.listen([ListenSpec("udp", "127.0.0.1", 0), ListenSpec("tcp", "127.0.0.1", 0)])

    def send(uri: str) -> asyncio.Future[RequestCompleted]:
        driver.run(lambda now: endpoint.request_outside("OPTIONS", uri, now))
        return outcome

    try:
        yield send
    finally:
        await driver.close()


def test_address_whose_port_is_closed_is_left_at_once_3261_18_4() -> None:
    async def body() -> None:
        async with edge("127.0.0.3", "udp", 200) as (two, port):
            zone = {
                ("_sip._udp.trunk.example", "SRV"): [f"10 1 {port} one.trunk.example.", f"20 1 {port} two.trunk.example."],
                ("one.trunk.example", "A"): ["127.0.0.2"],
                ("two.trunk.example", "A"): ["127.0.0.3"],
            }
            async with serving(DnsServer(zone)) as dns, user_agent(dns, next_hop_after_s=300) as options:
                completed = await asyncio.wait_for(options("sip:trunk.example"), 10)
            assert completed.code == 200
            assert len(two.requests) == 1

    asyncio.run(body())


def test_closed_port_without_another_place_is_told_with_its_reason_3261_18_4() -> None:
    async def body() -> None:
        async with edge("127.0.0.2", "udp", None) as (_, port):
            pass
        async with serving(DnsServer({})) as dns, user_agent(dns) as options:
            completed = await asyncio.wait_for(options(f"sip:127.0.0.2:{port}"), 2)
        assert (completed.code, completed.reason) == (503, f"udp 127.0.0.2:{port}: Connection refused")

    asyncio.run(body())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("first", [None, 503])
def test_second_address_of_a_service_answers_where_the_first_does_not_3263_4_3(transport: str, first: int | None) -> None:
    async def body() -> None:
        service = f"_sip._{transport}.trunk.example"
        async with edge("127.0.0.2", transport, first) as (one, port), edge("127.0.0.3", transport, 200) as (two, other_port):
            zone = {
                ("trunk.example", "NAPTR"): [f'1 1 "s" "SIP+D2{transport[0].upper()}" "" {service}.'],
                (service, "SRV"): [f"20 1 {other_port} two.trunk.example.", f"10 1 {port} one.trunk.example."],
                ("one.trunk.example", "A"): ["127.0.0.2"],
                ("two.trunk.example", "A"): ["127.0.0.3"],
            }
            async with serving(DnsServer(zone)) as dns, user_agent(dns) as options:
                completed = await asyncio.wait_for(options("sip:trunk.example"), 10)
            assert completed.code == 200
            assert one.requests and two.requests
            assert f"Via: SIP/2.0/{transport.upper()} 127.0.0.1:" in two.requests[0]
            branches = {re.search(r"branch=([^;\r]+)", text)[1] for text in (one.requests[0], two.requests[0])}  # type: ignore[index]
            assert len(branches) == 2
            call_ids = {re.search(r"Call-ID: (\S+)", text)[1] for text in (one.requests[0], two.requests[0])}  # type: ignore[index]
            assert len(call_ids) == 1

    asyncio.run(body())


def test_refused_connection_gives_way_to_the_next_address_and_tls_checks_the_name_of_the_uri_5922(tmp_path: Path) -> None:
    write_development_certificate(tmp_path / "c.pem", tmp_path / "k.pem", ["trunk.example"])
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    names: list[str | None] = []
    server_tls.sni_callback = lambda sock, name, context: names.append(name)

    async def body() -> None:
        async with edge("127.0.0.3", "tls", 200, tls=server_tls) as (two, port):
            zone = {
                ("_sips._tcp.trunk.example", "SRV"): [f"10 1 {port} a.farm.example.", f"20 1 {port} b.farm.example."],
                ("a.farm.example", "A"): ["127.0.0.2"],
                ("b.farm.example", "A"): ["127.0.0.3"],
            }
            trusting = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
            async with serving(DnsServer(zone)) as dns, user_agent(dns, trusting) as options:
                completed = await asyncio.wait_for(options("sip:trunk.example;transport=tls"), 10)
            assert completed.code == 200
            assert len(two.requests) == 1
            assert names == ["trunk.example"]

    asyncio.run(body())


def test_name_without_service_and_a_dead_dns_complete_with_503_and_a_reason() -> None:
    async def body() -> None:
        async with serving(DnsServer({("_sip._udp.trunk.example", "SRV"): ["0 0 0 ."]})) as dns, user_agent(dns) as options:
            completed = await asyncio.wait_for(options("sip:trunk.example"), 10)
            assert completed.code == 503
            assert "no SIP service" in completed.reason

    asyncio.run(body())
