"""STUN against the vectors of RFC 5769; how the public address is asked for, over a driver's own socket and without one."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ParseError
from active_call.base.world import SystemClock, SystemRandomness
from active_call.net import public_address
from active_call.net.dns_client import DnsClient
from active_call.net.hosts_file import HostsFile
from active_call.net.public_address import PublicAddress
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.net.stun import build_binding_request, is_stun, parse_binding_response
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig, OutboundInvite

ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
SOFTWARE = "8022000b7465737420766563746f7220"
IPV4_RESPONSE = bytes.fromhex(
    f"0101003c2112a442{ID.hex()}{SOFTWARE}002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
IPV6_RESPONSE = bytes.fromhex(
    f"010100482112a442{ID.hex()}{SOFTWARE}002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)


def test_sample_ipv4_response_5769_2_2() -> None:
    assert parse_binding_response(IPV4_RESPONSE, ID) == Address("192.0.2.1", 32853)


def test_sample_ipv6_response_5769_2_3() -> None:
    assert parse_binding_response(IPV6_RESPONSE, ID) == Address("2001:db8:1234:5678:11:2233:4455:6677", 32853)


def test_plain_mapped_address_of_old_servers_is_read_5389_12_2() -> None:
    data = struct.pack("!HHI12s", 0x0101, 12, 0x2112A442, ID) + bytes.fromhex("000100080001") + struct.pack("!H4B", 5060, 203, 0, 113, 7)
    assert parse_binding_response(data, ID) == Address("203.0.113.7", 5060)


def test_request_is_a_header_and_nothing_else_5389_6() -> None:
    request = build_binding_request(ID)
    assert request == struct.pack("!HHI12s", 0x0001, 0, 0x2112A442, ID)
    assert is_stun(request)


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"INVITE sip:a@b SIP/2.0\r\n", b"\x00" * 20, b"\x80" + IPV4_RESPONSE[1:]])
def test_sip_and_keepalives_are_not_stun(data: bytes) -> None:
    assert not is_stun(data)


@pytest.mark.parametrize(
    "data",
    [
        IPV4_RESPONSE[:19],
        IPV4_RESPONSE[:-1],
        IPV4_RESPONSE + b"\0",
        bytes.fromhex("0111") + IPV4_RESPONSE[2:],
        build_binding_request(ID),
        struct.pack("!HHI12s", 0x0101, 0, 0x2112A442, ID),
        struct.pack("!HHI12s", 0x0101, 8, 0x2112A442, ID) + bytes.fromhex("0020000400030000"),
        struct.pack("!HHI12s", 0x0101, 4, 0x2112A442, ID) + bytes.fromhex("00200008"),
    ],
)
def test_what_is_no_answer_to_our_request_raises(data: bytes) -> None:
    with pytest.raises(ParseError):
        parse_binding_response(data, ID)
    with pytest.raises(ParseError):
        parse_binding_response(IPV4_RESPONSE, ID[:-1] + b"x")


@given(st.binary(max_size=80), st.integers(0, len(IPV6_RESPONSE)))
def test_parser_raises_parse_error_or_returns(noise: bytes, cut: int) -> None:
    for data in (noise, IPV6_RESPONSE[:cut] + noise, IPV6_RESPONSE[: cut // 2] + noise + IPV6_RESPONSE[cut:]):
        try:
            found = parse_binding_response(data, ID)
        except ParseError:
            continue
        assert found.port <= 65535


class Wire:
    """A socket without a network: what is sent to an address is answered as `servers` says, one answer after the other."""

    def __init__(self, servers: dict[str, list[Address | None]]) -> None:
        self.servers = servers
        self.sent: list[Address] = []
        self.receive: Callable[[bytes], None] = lambda data: None

    def set_stun_receiver(self, receive: Callable[[bytes], None]) -> None:
        self.receive = receive

    def send_stun(self, data: bytes, server: Address) -> None:
        self.sent.append(server)
        answers = self.servers[server.host]
        seen = answers.pop(0) if len(answers) > 1 else answers[0]
        if seen is not None:
            self.receive(answer_to(data, seen))


def answer_to(request: bytes, seen: Address) -> bytes:
    """By hand: XOR-MAPPED-ADDRESS for an IPv4 address."""
    port = seen.port ^ 0x2112
    raw = bytes(a ^ b for a, b in zip(socket.inet_aton(seen.host), bytes.fromhex("2112a442"), strict=True))
    return bytes.fromhex("0101000c") + request[4:20] + bytes.fromhex("002000080001") + port.to_bytes(2) + raw


def resolver_without_dns() -> Resolver:
    class NoSystem:
        async def addresses(self, name: str) -> tuple[str, ...]:
            raise OSError("no such name")

    return Resolver(dns=DnsClient(SystemClock(), servers=[]), hosts=HostsFile(Path("/nonexistent")), system=NoSystem())


def asking(wire: Wire, servers: Sequence[str], learnt: list[Address], monkeypatch: pytest.MonkeyPatch) -> PublicAddress:
    monkeypatch.setattr(public_address, "REPEAT_S", (0.0, 0.01, 0.02))
    return PublicAddress(wire, resolver_without_dns(), SystemRandomness(), servers, learnt.append, deadline_s=0.05)


SEEN = Address("203.0.113.7", 40000)


def test_first_server_that_answers_counts_and_changes_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        learnt: list[Address] = []
        moved = Address("203.0.113.8", 40000)
        wire = Wire({"192.0.2.1": [None], "192.0.2.2": [None, SEEN, SEEN, moved]})
        public = asking(wire, ["192.0.2.1:19302", "192.0.2.2"], learnt, monkeypatch)
        assert [await public.learn() for _ in range(3)] == [SEEN, SEEN, moved]
        assert learnt == [SEEN, moved]
        assert set(wire.sent) == {Address("192.0.2.1", 19302), Address("192.0.2.2", 3478)}

    asyncio.run(body())


def test_silence_is_said_once_and_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        learnt: list[Address] = []
        wire = Wire({"192.0.2.1": [None]})
        public = asking(wire, ["192.0.2.1", "nowhere.invalid"], learnt, monkeypatch)
        assert await public.learn() is None
        assert await public.learn() is None
        assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
            "no STUN server answers; peers are told this machine's own address until one does"
        ]
        wire.servers["192.0.2.1"] = [SEEN]
        assert await public.learn() == SEEN
        assert learnt == [SEEN]
        wire.receive(answer_to(build_binding_request(ID), SEEN))  # to a request that nobody has made

    asyncio.run(body())


@asynccontextmanager
async def stun_server(seen: Address):  # type: ignore[no-untyped-def]
    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.askers: list[tuple[str, int]] = []

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.askers.append(addr)
            self.transport.sendto(answer_to(data, seen), addr)  # type: ignore[attr-defined]

    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


def test_binding_is_asked_through_the_sip_socket_and_the_core_hears_of_it() -> None:
    async def body() -> None:
        endpoint = Endpoint(EndpointConfig((), "us"), SystemRandomness())
        resolver = Resolver()
        driver = SipDriver(
            endpoint,
            SystemClock(),
            resolver,
            server_tls=None,
            client_tls=ssl.create_default_context,
            on_events=lambda events: None,
            logger=logging.getLogger("test.sip"),
        )
        udp, tcp = await driver.listen([ListenSpec("udp", "127.0.0.1", 0), ListenSpec("tcp", "127.0.0.1", 0)])
        try:
            async with stun_server(SEEN) as (server, port):
                public = PublicAddress(driver, resolver, SystemRandomness(), [f"127.0.0.1:{port}"], driver.set_learnt_address)
                assert await public.learn() == SEEN
                assert server.askers == [("127.0.0.1", udp.bound.port)]
            assert [entry.learnt for entry in driver.listeners] == [SEEN, Address(SEEN.host, tcp.bound.port)]
            for uri, contact in (
                ("sip:a@198.51.100.9", f"<sip:b@{SEEN.host}:{SEEN.port}>"),
                ("sip:a@198.51.100.9;transport=tcp", f"<sip:b@{SEEN.host}:{tcp.bound.port};transport=tcp>"),
                ("sip:a@127.0.0.1", f"<sip:b@127.0.0.1:{udp.bound.port}>"),
            ):
                endpoint.invite(OutboundInvite(uri, "sip:b@us.example", b""), 0.0)
                (transmit,) = endpoint.take_transmits()
                assert f"Contact: {contact}\r\n".encode() in transmit.data
            assert endpoint.address_seen_by("198.51.100.9") == SEEN.host
            assert endpoint.address_seen_by("127.0.0.1") is None
        finally:
            await driver.close()

    asyncio.run(body())
