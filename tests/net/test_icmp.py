"""Datagrams that the network turns back: known by their branch, told once, and no hindrance to those that arrive. Linux only."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from active_call.net.icmp import IS_KNOWN, SentRequests, Undelivered
from active_call.net.sip_sockets import UdpSocket, bind_socket
from active_call.sip.events import Address

pytestmark = pytest.mark.skipif(not IS_KNOWN, reason="the kernel does not queue reports")

INVITE = b"INVITE sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKabcdef;rport\r\nFrom: x\r\n\r\n"
REMOTE = Address("192.0.2.1", 5060)


def on_both_loops(work: Callable[[], Any]) -> None:
    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(work())


def closed_port(host: str) -> Address:
    with bind_socket(socket.SOCK_DGRAM, host, 0) as sock:
        return Address(host, sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_to_a_closed_port_are_told_and_all_others_still_arrive(host: str) -> None:
    async def work() -> None:
        told: list[tuple[Address, Undelivered]] = []
        received: list[bytes] = []
        udp = UdpSocket(
            bind_socket(socket.SOCK_DGRAM, host, 0),
            lambda data, _: received.append(data),
            lambda remote, report: told.append((remote, report)),
            logging.getLogger("test"),
        )
        nobody = closed_port(host)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            peer.settimeout(2)
            there = Address(host, peer.getsockname()[1])
            for number in range(200):
                udp.send(INVITE, nobody)
                udp.send(b"to you %d" % number, there)
                peer.sendto(b"to us %d" % number, (host, udp.bound.port))
                if number % 3 == 0:
                    await asyncio.sleep(0)
            arrived = [peer.recv(100) for _ in range(200)]
            await asyncio.sleep(0.1)
            peer.sendto(b"after all", (host, udp.bound.port))
            await asyncio.sleep(0.1)
        udp.close()
        assert arrived == [b"to you %d" % number for number in range(200)]
        assert received == [*(b"to us %d" % number for number in range(200)), b"after all"]
        assert len(told) >= 3
        assert {remote for remote, _ in told} == {nobody}
        assert {report.reason for _, report in told} == {"Connection refused"}
        assert all(INVITE.startswith(report.quoted) and len(report.quoted) > 80 for _, report in told)

    on_both_loops(work)


def test_datagrams_arrive_after_an_error_that_was_met_while_reading_between_steps() -> None:
    async def work() -> None:
        told: list[Undelivered] = []
        received: list[bytes] = []
        udp = UdpSocket(
            bind_socket(socket.SOCK_DGRAM, "127.0.0.1", 0),
            lambda data, _: received.append(data),
            lambda _, report: told.append(report),
            logging.getLogger("test"),
        )
        nobody = closed_port("127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for number in range(20):
                udp.send(INVITE, nobody)  # the kernel has its ICMP error at once
                peer.sendto(b"first %d" % number, ("127.0.0.1", udp.bound.port))
                udp.read_arrived()
                await asyncio.sleep(0.01)
                peer.sendto(b"second %d" % number, ("127.0.0.1", udp.bound.port))
                await asyncio.sleep(0.01)
        udp.close()
        assert received == [text % number for number in range(20) for text in (b"first %d", b"second %d")]
        assert len(told) == 20

    on_both_loops(work)


def test_datagrams_arrive_after_an_error_beside_a_datagram_that_raises() -> None:
    async def work() -> None:
        received: list[bytes] = []

        def take(data: bytes, _: object) -> None:
            received.append(data)
            if data == b"bad":
                udp.send(INVITE, nobody)
                raise ValueError(data)

        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        udp = UdpSocket(bind_socket(socket.SOCK_DGRAM, "127.0.0.1", 0), take, lambda *_: None, logging.getLogger("test"))
        nobody = closed_port("127.0.0.1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            for data in (b"bad", b"good", b"bad", b"good"):
                peer.sendto(data, ("127.0.0.1", udp.bound.port))
                await asyncio.sleep(0.02)
        udp.close()
        assert received == [b"bad", b"good", b"bad", b"good"]

    on_both_loops(work)


def test_report_is_known_by_the_branch_that_it_quotes() -> None:
    sent = SentRequests()
    sent.note(1, REMOTE, INVITE)
    sent.note(2, REMOTE, INVITE.replace(b"abcdef", b"second"))
    sent.note(3, REMOTE, b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKresponse\r\n\r\n")
    assert sent.find(REMOTE, INVITE[:100]) == 1
    assert sent.find(REMOTE, INVITE) == 1
    assert sent.find(Address("192.0.2.1", 5061), INVITE) is None


@pytest.mark.parametrize(
    "quoted", [b"", INVITE[:8], INVITE[:70], INVITE.replace(b"abcdef", b"abcdee"), INVITE.replace(b"abcdef", b"abcde")]
)
def test_report_that_quotes_no_whole_branch_of_ours_is_not_believed(quoted: bytes) -> None:
    sent = SentRequests()
    sent.note(1, REMOTE, INVITE)
    assert sent.find(REMOTE, quoted) is None
