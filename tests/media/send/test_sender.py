"""The packets of one tick leave on loopback: all of them, whatever happens to one."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import numpy as np
import pylibsrtp
import pytest
from loopback import arrived

from active_call.media.link.messages import ConfigureRtp
from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.leg import Leg
from active_call.media.receive.sockets import open_pair
from active_call.media.ring.opening import open_sender
from active_call.media.send.packet_batch import SendBatch
from active_call.media.send.sender import PacketSender
from ports import rtp_of_servers

KEY = bytes(range(30))
SUITES = ("", "AES_CM_128_HMAC_SHA1_80", "", "AES_CM_128_HMAC_SHA1_80")


class Scene:
    """Four legs, every other one secured, whose packets all go to one socket."""

    def __init__(self, *, is_ring: bool) -> None:
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.batch = SendBatch(4)
        self.ring = open_sender(self.batch.memory.rows) if is_ring else None
        self.departures = PacketSender(self.batch.memory, self.ring)
        ip, port = self.peer.getsockname()
        pairs = ((number, open_pair("127.0.0.1", number)) for number in range(*rtp_of_servers(), 2))
        intake, self.legs = ReceiveColumns(4), []
        for slot, suite in enumerate(SUITES):
            number, pair = next((number, pair) for number, pair in pairs if pair is not None)
            leg = Leg(slot, number, pair, intake, slot, lambda report: None)
            leg.configure(ConfigureRtp(slot, ip, port, "pcmu", 0, 0, -1, -1, suite=suite, send_key=KEY, receive_key=KEY), 1.0)
            self.batch.begin_stream(slot, ssrc=slot + 1, sequence=100, timestamp=0)
            self.legs.append(leg)
        self.departures.regroup(self.legs)

    def send(self, tick: int) -> list[tuple[int, int]]:
        """Send a tick; returns what has come, as (SSRC, sequence), opened by libsrtp where it is secured."""
        self.batch.build(np.arange(4), self.batch.rows(4), tick)
        self.departures.send()
        come: list[tuple[int, int]] = []
        for datagram in arrived(self.peer):
            ssrc = struct.unpack_from("!I", datagram, 8)[0]
            assert len(datagram) == (182 if SUITES[ssrc - 1] else 172)
            if SUITES[ssrc - 1]:
                policy = pylibsrtp.Policy(key=KEY, ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND)
                datagram = pylibsrtp.Session(policy).unprotect(datagram)
            come.append((ssrc, struct.unpack_from("!H", datagram, 2)[0]))
        return come


@pytest.fixture(params=[False, True], ids=["one by one", "ring"])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    scene = Scene(is_ring=request.param)
    if request.param and scene.ring is None:
        pytest.skip("no io_uring here")
    yield scene
    if scene.ring is not None:
        scene.ring.close()
    for leg in scene.legs:
        leg.close()
    scene.peer.close()


def test_packets_of_a_tick_leave_in_the_order_of_their_slots(scene: Scene) -> None:
    assert scene.send(1) == [(1, 100), (2, 100), (3, 100), (4, 100)]
    assert scene.send(2) == [(1, 101), (2, 101), (3, 101), (4, 101)]
    assert [leg.send_errors for leg in scene.legs] == [0, 0, 0, 0]


@pytest.mark.parametrize("broken", [(0,), (1,), (3,), (0, 1), (2, 3), (0, 1, 2, 3)])
def test_network_errors_of_some_are_counted_and_the_others_leave(scene: Scene, broken: tuple[int, ...]) -> None:
    for index in broken:
        scene.legs[index].destination = ("127.0.0.1", 0)  # EINVAL
    assert scene.send(1) == [(index + 1, 100) for index in range(4) if index not in broken]
    assert [leg.send_errors for leg in scene.legs] == [int(index in broken) for index in range(4)]


def test_packet_that_cannot_be_protected_is_never_sent(scene: Scene) -> None:
    scene.send(1)
    scene.batch.sequence[1] = 100  # used already: RFC 3711 section 3.3.1 forbids it
    assert scene.send(2) == [(1, 101), (3, 101), (4, 101)]
    assert [leg.send_errors for leg in scene.legs] == [0, 1, 0, 0]
    assert scene.send(3) == [(1, 102), (2, 101), (3, 102), (4, 102)]
