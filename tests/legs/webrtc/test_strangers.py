"""What strangers who know a candidate's port, and a hostile browser, can send to it. aioice and OpenSSL are the other side."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aioice
import pytest
from OpenSSL import SSL
from tests.legs.webrtc.test_paths import Stage, play, until

from active_call.legs.webrtc.description import MAX_CANDIDATES
from active_call.legs.webrtc.dtls import Dtls, own_certificate
from active_call.legs.webrtc.ice_connection import guard_mdns
from active_call.legs.webrtc.path import IcePath
from active_call.legs.webrtc.settings import IceSettings

DTLS_ALERT = bytes.fromhex("15fefd000000000000000000020228")
"""A fatal handshake_failure, not protected."""
FINGERPRINTS = (("sha-256", own_certificate().fingerprint),)


def port_of(path: IcePath) -> tuple[str, int]:
    """An address of the path, IPv4."""
    one = next(aioice.Candidate.from_sdp(text) for text in path.candidates if ":" not in text)
    return one.host, one.port


@contextmanager
def a_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        yield sender


def stun_request(attributes: bytes) -> bytes:
    return struct.pack("!HHI12s", 1, len(attributes), 0x2112A442, b"transactions") + attributes


MALFORMED = {
    "priority_of_three_bytes": stun_request(struct.pack("!HH", 0x24, 3) + b"abc\0"),
    "empty_fingerprint": stun_request(struct.pack("!HH", 0x8028, 0)),
    "tie_breaker_of_one_byte": stun_request(struct.pack("!HH", 0x8029, 1) + b"a\0\0\0"),
    "length_beyond_the_end": stun_request(struct.pack("!HH", 0x24, 0xFFF0)),
    "nothing": b"",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_stun_of_a_stranger_raises_nothing_into_the_loop(name: str) -> None:
    failures: list[Any] = []

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        path = IcePath(IceSettings())
        await path.gather()
        with a_socket() as stranger:
            for _ in range(3):
                stranger.sendto(MALFORMED[name], port_of(path))
                await asyncio.sleep(0.01)
        await path.close()

    asyncio.run(story())
    assert failures == []


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_stun_before_the_stun_server_answers_raises_nothing_into_the_loop(name: str) -> None:
    failures: list[Any] = []

    async def story(server: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        server.setblocking(False)
        path = IcePath(IceSettings(stun=("127.0.0.1", server.getsockname()[1])))
        gathering = asyncio.create_task(path.gather())
        _, ours = await asyncio.wait_for(loop.sock_recvfrom(server, 2048), 5)  # the request, which stays unanswered
        server.sendto(MALFORMED[name], ours)
        await asyncio.sleep(0.02)
        gathering.cancel()
        with suppress(asyncio.CancelledError):
            await gathering
        await path.close()

    with a_socket() as server:
        server.bind(("0.0.0.0", 0))  # aioice asks from the addresses of this machine
        asyncio.run(story(server))
    assert failures == []


class Mdns:
    """What aioice's mDNS socket does with a message."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.taken.append(data)
        if data == b"odd":
            raise ValueError("invalid length of packed IP address string")


def test_odd_mdns_message_raises_nothing_and_public_senders_are_not_heard() -> None:
    protocol: Any = Mdns()
    guard_mdns(protocol)
    guard_mdns(protocol)
    for data, address in (
        (b"odd", ("192.168.1.9", 5353)),
        (b"public", ("203.0.113.9", 5353)),
        (b"public", ("8.8.8.8", 5353)),
        (b"other port", ("192.168.1.9", 40000)),
        (b"good", ("10.0.0.7", 5353)),
        (b"good", ("169.254.3.4", 5353)),
    ):
        protocol.datagram_received(data, address)
    assert protocol.taken == [b"odd", b"good", b"good"]


def test_mdns_socket_is_guarded_before_a_name_is_looked_up() -> None:
    failures: list[Any] = []
    a_record_of_three_bytes = bytes.fromhex("0000840000000001000000000161056c6f63616c000001800100000078000301020300")[:-1]

    async def story() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        path = IcePath(IceSettings())
        await path.gather()
        await path.add_candidate("1 1 udp 1 a.local 4000 typ host")
        await asyncio.sleep(0.05)
        with a_socket() as stranger:
            for data in (a_record_of_three_bytes, b"x", b"", b"\0" * 40):
                stranger.sendto(data, ("127.0.0.1", aioice.mdns.MDNS_PORT))
                await asyncio.sleep(0.01)
        assert "datagram_received" in vars(await aioice.ice.get_or_create_mdns_protocol(path._ice))
        await path.close()

    asyncio.run(story())
    assert failures == []


def test_datagrams_of_strangers_before_the_connection_are_not_stored() -> None:
    async def story() -> None:
        path = IcePath(IceSettings())
        await path.gather()
        with a_socket() as stranger:
            for first in (b"\x80", b"\x16", b"\x01", b"\x40"):
                for _ in range(20):
                    stranger.sendto(first * 1200, port_of(path))
                await asyncio.sleep(0.02)
        assert path._ice._queue.qsize() == 0
        await path.close()

    asyncio.run(story())


def test_forged_alert_of_a_stranger_does_not_end_the_handshake() -> None:
    async def story(stage: Stage) -> None:
        loop = asyncio.get_running_loop()
        stage.relay = await stage.transport.open_relay()
        stage.socket, _ = await loop.create_datagram_endpoint(lambda: stage.media, local_addr=("127.0.0.1", 0))
        stage.transport.set_media_port(stage.socket.get_extra_info("sockname")[1])
        path = await stage.transport.gather()
        offer = await stage.page.offer()
        with a_socket() as stranger:

            async def forge() -> None:
                while True:
                    stranger.sendto(DTLS_ALERT, port_of(path))
                    await asyncio.sleep(0.001)

            forging = asyncio.create_task(forge())
            await stage.transport.begin(offer)
            await stage.page.take(path)
            await until(lambda: bool(stage.keys or stage.lost))
            forging.cancel()
        assert stage.lost == []
        await stage.sound_goes_both_ways()

    play(story)


def test_media_of_a_stranger_is_not_passed_on() -> None:
    async def story(stage: Stage) -> None:
        await stage.connect()
        await stage.sound_goes_both_ways()
        with a_socket() as stranger:
            for _ in range(20):
                stranger.sendto(b"\x80forged", port_of(stage.transport.newest))
        await stage.sound_goes_both_ways()
        assert b"\x80forged" not in stage.media.heard

    play(story)


def check_of(path: IcePath, *, has_priority: bool = True) -> bytes:
    """An authentic request of the browser with the ufrag `theirs`."""
    request = aioice.stun.Message(aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{path.ufrag}:theirs"
    if has_priority:
        request.attributes["PRIORITY"] = 1
    request.add_message_integrity(path.password.encode())
    return bytes(request)


def connecting(story: Callable[[IcePath], Any]) -> None:
    """Run `story` while a path waits for candidates of a browser."""

    async def run() -> None:
        path = IcePath(IceSettings())
        await path.gather()
        path._ice.remote_username, path._ice.remote_password = "theirs", "0123456789012345678901"
        connection = asyncio.create_task(path.connect())
        await asyncio.sleep(0.05)
        await story(path)
        assert not connection.done()
        await path.close()
        with suppress(ConnectionError):
            await connection

    asyncio.run(run())


def test_browser_with_a_thousand_source_ports_is_one_with_few_candidates() -> None:
    async def story(path: IcePath) -> None:
        for _ in range(4 * MAX_CANDIDATES):
            with a_socket() as browser:
                browser.sendto(check_of(path), port_of(path))
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        assert MAX_CANDIDATES < len(path._ice.remote_candidates) <= 2 * MAX_CANDIDATES
        assert len(path._ice._proved) <= 2 * MAX_CANDIDATES

    connecting(story)


def test_check_without_a_priority_is_ignored_before_and_after_the_connection_begins() -> None:
    async def story(path: IcePath) -> None:
        with a_socket() as browser:
            browser.sendto(check_of(path, has_priority=False), port_of(path))
            await asyncio.sleep(0.05)
        assert path._ice.remote_candidates == []

    connecting(story)

    async def early() -> None:
        path = IcePath(IceSettings())
        await path.gather()
        with a_socket() as browser:
            browser.sendto(check_of(path, has_priority=False), port_of(path))
            await asyncio.sleep(0.05)
        assert not path._ice._early_checks
        await path.close()

    asyncio.run(early())


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("1 1 udp 1 224.0.0.251 5353 typ host", ""),
        ("1 1 udp 1 255.255.255.255 9 typ host", ""),
        ("1 1 udp 1 0.0.0.0 9 typ host", ""),
        ("1 1 udp 1 ff02::1 9 typ host", ""),
        ("1 1 udp 1 169.254.169.254 80 typ host", "203.0.113.7"),
        ("1 1 udp 1 127.0.0.1 161 typ host", "203.0.113.7"),
        ("1 1 udp 1 ::ffff:127.0.0.1 161 typ host", "203.0.113.7"),
        ("1 1 udp 1 192.0.2.9 0 typ host", ""),
        ("1 1 udp 1 192.0.2.9 70000 typ host", ""),
        ("1 2 udp 1 192.0.2.9 9 typ host", ""),
    ],
)
def test_candidate_to_which_nothing_may_be_sent_is_left_out(text: str, peer: str) -> None:
    async def story() -> None:
        path = IcePath(IceSettings(), peer)
        await path.gather()
        await path.add_candidate(text)
        assert path._ice.remote_candidates == []
        await path.add_candidate("1 1 udp 1 192.0.2.9 9 typ host")
        await path.add_candidate("1 1 udp 1 10.1.2.3 9 typ host")
        assert len(path._ice.remote_candidates) == 2
        await path.close()

    asyncio.run(story())


class Association:
    """Ours as the client, and a hostile server with an OpenSSL of its own; `to_server` and `to_client` wait for `pass_on`."""

    def __init__(self) -> None:
        self.to_server: list[bytes] = []
        self.ours = Dtls(is_client=True, fingerprints=FINGERPRINTS, send=self.to_server.append)
        context = SSL.Context(SSL.DTLS_METHOD)
        context.use_certificate(own_certificate().certificate)
        context.use_privatekey(own_certificate().key)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80")
        self.server = SSL.Connection(context, None)
        self.server.set_accept_state()
        self.ours.begin()
        for _ in range(10):
            self.shake_hands()
            if flight := self.pending():
                self.ours.receive(flight)
        assert self.ours.keys is not None

    def shake_hands(self) -> None:
        while self.to_server:
            self.server.bio_write(self.to_server.pop(0))
            with suppress(SSL.WantReadError):
                self.server.do_handshake()

    def pending(self) -> bytes:
        with suppress(SSL.WantReadError):
            return self.server.bio_read(65_536)
        return b""


def test_all_records_of_a_datagram_are_read() -> None:
    both = Association()
    for _ in range(20):
        for _ in range(20):
            both.server.send(b"x")
        both.ours.receive(both.pending())
    with pytest.raises(SSL.WantReadError):
        both.ours._connection.recv(100)


def test_no_second_handshake_at_the_request_of_the_browser() -> None:
    both = Association()
    both.server.renegotiate()
    with suppress(SSL.WantReadError):
        both.server.do_handshake()
    both.ours.receive(both.pending())
    sent = both.to_server
    assert not any(datagram[0] == 22 for datagram in sent), "no handshake record"
