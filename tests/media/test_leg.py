"""One leg on loopback, without a process: which packets it lets in after the peer's key has changed."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from active_call.media.leg import OLD_KEY_S, Intake, Leg
from active_call.media.link import ConfigureRtp
from active_call.media.udp import open_pair
from active_call.rtp.srtp import SUITES, SrtpSession

FIRST_KEY, SECOND_KEY, OUR_KEY = bytes(range(30)), bytes(range(30, 60)), bytes(range(60, 90))


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def leg() -> Iterator[Leg]:
    pairs = ((port, open_pair("127.0.0.1", port)) for port in range(29_000, 29_200, 2))
    port, pair = next((port, pair) for port, pair in pairs if pair is not None)
    result = Leg(1, port, pair, Intake(), lambda report: None)
    yield result
    result.close()


def configured(peer: socket.socket, key: bytes) -> ConfigureRtp:
    ip, port = peer.getsockname()
    types = {"send_payload_type": 0, "receive_payload_type": 0, "send_event_type": -1, "receive_event_type": -1}
    keys = {"suite": SUITES[0], "send_key": OUR_KEY, "receive_key": key}
    return ConfigureRtp(1, remote_ip=ip, remote_port=port, codec="pcmu", **types, **keys)


def test_packets_of_the_old_key_are_heard_for_two_seconds_after_a_new_one(leg: Leg, peer: socket.socket) -> None:
    before, after = (SrtpSession(SUITES[0], key, OUR_KEY) for key in (FIRST_KEY, SECOND_KEY))

    def receive(session: SrtpSession, sequence: int, now: float) -> int:
        """Send one packet; returns how many the leg has let in then."""
        packet = struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes([sequence]) * 160
        peer.sendto(session.protect(packet), ("127.0.0.1", leg.port))
        leg.receive_rtp(now, time.time())
        return leg.n_received

    leg.configure(configured(peer, FIRST_KEY), 10.0)
    assert receive(before, 1, 10.0) == 1
    leg.configure(configured(peer, SECOND_KEY), 10.01)
    assert [receive(before, 2, 10.02), receive(after, 3, 10.04), receive(before, 4, 10.06)] == [2, 3, 4]
    frames = [frame for frame in (leg.sound.jitter.pop() for _ in range(7)) if frame is not None]
    assert frames == [bytes([sequence]) * 160 for sequence in (1, 2, 3, 4)]
    assert receive(before, 5, 10.02 + OLD_KEY_S) == 4
    assert receive(after, 6, 10.02 + OLD_KEY_S) == 5
    assert leg.refused.unauthentic == 1
