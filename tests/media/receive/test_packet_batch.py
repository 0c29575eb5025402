"""Datagrams taken in together, on loopback: whatever comes, each leg has got what it would have got by itself."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from typing import Any

import pylibsrtp
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from loopback import wait_arrival

from active_call.codec.table import TELEPHONE_EVENT
from active_call.media.link.messages import ConfigureRtp, Link
from active_call.media.receive.columns import DATAGRAM_BYTES, ReceiveColumns
from active_call.media.receive.leg import Leg
from active_call.media.receive.packet_batch import PacketBatchReader
from active_call.media.receive.sockets import open_pair
from active_call.media.ring.opening import open_reader
from ports import rtp_of_servers
from searches import searching

N_LEGS = 5
SUITES = ("", "AES_CM_128_HMAC_SHA1_80", "AEAD_AES_256_GCM", "", "AES_CM_128_HMAC_SHA1_32")
"""Of each leg."""
PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": (30, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80),
    "AES_CM_128_HMAC_SHA1_32": (30, pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32),
    "AEAD_AES_256_GCM": (44, pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM),
}
"""Bytes of key and salt, and libsrtp's name."""
EVENT = 101


@cache
def ports() -> Iterator[int]:
    """Even ports of this process, one after another."""
    return cycle(range(*rtp_of_servers(), 2))


def raise_it(leg: Leg, error: Exception) -> None:
    """Nothing may go wrong in these tests."""
    raise error


@dataclass
class Side:
    """Five legs, taken in together or one by one."""

    intake: ReceiveColumns = field(default_factory=lambda: ReceiveColumns(N_LEGS + 1))
    legs: list[Leg] = field(default_factory=list)
    told: list[Link] = field(default_factory=list)
    control: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for index in range(N_LEGS):
            pairs = ((port, open_pair("127.0.0.1", port)) for port in ports())
            port, pair = next((port, pair) for port, pair in pairs if pair is not None)
            leg = Leg(index, port, pair, self.intake, N_LEGS - index, self.told.append)
            leg.on_control = lambda datagram, address, now, index=index: self.control.append((index, datagram))  # type: ignore[misc]
            self.legs.append(leg)

    def close(self) -> None:
        for leg in self.legs:
            leg.close()

    def state(self) -> list[Any]:
        """What can be seen of every leg."""
        seen: list[Any] = []
        for leg in self.legs:
            reception = leg.reception
            numbers = (reception.ssrc, reception.lost, reception.highest_sequence, reception.jitter_ms) if reception else None
            srtp = (leg.srtp_in.n_replayed, leg.srtp_in.n_unauthentic) if leg.srtp_in else None
            latch = (leg.latch.source is not None, leg.latch.candidate is not None, self.intake.heard_at.item(leg.slot))
            heard = (leg.n_received, leg.last_arrival, leg.refused, leg.losses, leg.sound.codec.name, leg.destination[1] > 0)
            heard += (self.intake.last_timestamp.item(leg.slot),)
            seen.append((numbers, srtp, latch, heard))
        return seen


class Scene:
    """The same datagrams for both sides, from the same two sockets. `is_ring`: one side reads all its sockets in one system call."""

    def __init__(self, *, is_ring: bool) -> None:
        self.together, self.alone = Side(), Side()
        ring = open_reader(self.together.intake.memory.rows, DATAGRAM_BYTES) if is_ring else None
        if is_ring and ring is None:
            pytest.skip("no io_uring here")
        self.ring = ring
        self.arrivals = PacketBatchReader(self.together.intake, raise_it, ring)
        self.peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for peer in self.peers:
            peer.bind(("127.0.0.1", 0))
        self.senders: list[pylibsrtp.Session | None] = [None] * N_LEGS
        self.n_waiting = [0] * N_LEGS
        """Datagrams that each leg has been sent and has not taken."""
        self.now = 100.0
        self.next_sequence = 0

    def configure(self, index: int, *, key: int = 0, receive: bool = True, mux: bool = False) -> None:
        suite = SUITES[index]
        keys = {"suite": suite}
        if suite:
            size, profile = PROFILES[suite]
            ours, theirs = bytes(range(60, 60 + size)), bytes(range(key, key + size))
            keys |= {"send_key": ours, "receive_key": theirs}  # type: ignore[dict-item]
            policy = pylibsrtp.Policy(key=theirs, ssrc_type=pylibsrtp.Policy.SSRC_ANY_OUTBOUND, srtp_profile=profile)
            policy.allow_repeat_tx = True
            self.senders[index] = pylibsrtp.Session(policy)
        ip, port = self.peers[0].getsockname()
        formats = ((0, "pcmu"), (8, "pcma"), (9, "g722"), (EVENT, TELEPHONE_EVENT.name))
        types = {"send_payload_type": 0, "receive_payload_type": 0, "send_event_type": EVENT, "receive_event_type": EVENT}
        order = ConfigureRtp(index, ip, port, "pcmu", receive_formats=formats, receive=receive, rtcp_mux=mux, **types, **keys)  # type: ignore[arg-type]
        for side in (self.together, self.alone):
            side.legs[index].configure(order, self.now)

    def send(self, index: int, datagram: bytes, peer: int, *, sealed: bool) -> None:
        sender = self.senders[index]
        if sender is not None and sealed and len(datagram) >= 12:
            try:
                datagram = sender.protect(datagram)
            except pylibsrtp.Error:
                return  # it would not send this: too old
        for side in (self.together, self.alone):
            self.peers[peer].sendto(datagram, ("127.0.0.1", side.legs[index].port))
        self.n_waiting[index] += 1

    def wait_next(self, indices: list[int]) -> None:
        """Wait until the next datagram of each of these has come, where there is one."""
        for index in indices:
            if self.n_waiting[index]:
                self.n_waiting[index] -= 1
                for side in (self.together, self.alone):
                    wait_arrival(side.legs[index].fd)

    def take(self, indices: list[int]) -> None:
        """One datagram of each of these, if it has one; the kernel's time is not believed, so that both sides have the same."""
        self.now += 0.02
        self.wait_next(indices)
        self.arrivals.take([self.together.legs[index] for index in indices], self.now, 0.0)
        for index in indices:
            leg, intake = self.alone.legs[index], self.alone.intake
            try:
                size, _, _, address = leg.rtp_socket.recvmsg_into([intake.datagram(0)], 64)
            except OSError:
                continue
            leg.take_datagram(0, size, address, self.now)

    def agree(self) -> None:
        assert self.together.state() == self.alone.state()
        assert self.together.told == self.alone.told
        assert self.together.control == self.alone.control
        for one, other in zip(self.together.legs, self.alone.legs, strict=True):
            for _ in range(2):
                heard = [leg.sound.pop() for leg in (one, other)]
                assert [frame is None for frame in heard] == [heard[0] is None] * 2
                if heard[0] is not None and heard[1] is not None:
                    assert heard[0].tolist() == heard[1].tolist()

    def close(self) -> None:
        for side in (self.together, self.alone):
            side.close()
        for peer in self.peers:
            peer.close()
        if self.ring is not None:
            self.ring.close()


def packet(sequence: int, payload: bytes = b"\x55" * 160, kind: int = 0, ssrc: int = 7, flags: int = 0x80) -> bytes:
    return struct.pack("!BBHII", flags, kind, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc) + payload


PACKETS = st.builds(
    packet,
    st.one_of(st.integers(0, 12), st.integers(0, 0xFFFF)),
    st.one_of(st.just(b"\x55" * 160), st.just(b"\xff" * 160), st.binary(max_size=200), st.just(b"\x05\x8a\x03\x20")),
    st.sampled_from((0, 0, 0, 0x80, 8, 9, 13, EVENT, 99, 200, 201)),
    st.sampled_from((7, 7, 7, 8)),
    st.sampled_from((0x80, 0x80, 0x80, 0x90, 0xA0, 0x81, 0x40)),
)
SENDS = st.tuples(
    st.just("send"),
    st.integers(0, N_LEGS - 1),
    st.one_of(PACKETS, PACKETS, PACKETS, st.binary(max_size=40)),
    st.sampled_from((0, 0, 0, 0, 1)),
    st.sampled_from((True, True, True, True, False)),
)
ODDITIES: tuple[dict[str, Any], ...] = (
    {"ssrc": 8},
    {"payload": b"\x55" * 80},
    {"payload": b"\x55" * 240},
    {"kind": 8},
    {"kind": 9},
    {"kind": EVENT, "payload": b"\x05\x8a\x03\x20"},
    {"kind": 99},
    {"flags": 0x81},
    {"flags": 0x40},
    {"peer": 1},
)
"""In what a packet that goes on from the one before may still be another one."""
RUNS = st.tuples(
    st.just("run"),
    st.one_of(st.just(-1), st.integers(0, 0xFFFF)),
    st.integers(1, 8),
    st.one_of(st.just({}), st.just({}), st.sampled_from(ODDITIES)),
)
"""Every leg gets so many packets in a row, as in a call, going on from the last run or from another number."""
CONFIGURES = st.tuples(st.just("configure"), st.integers(0, N_LEGS - 1), st.sampled_from((0, 0, 100)), st.booleans(), st.booleans())
STEPS = st.one_of(SENDS, SENDS, RUNS, RUNS, st.tuples(st.just("take")), st.tuples(st.just("hear")), CONFIGURES)


def carry_out(scene: Scene, step: tuple[Any, ...]) -> None:
    everyone = list(range(N_LEGS))
    match step:
        case ("send", index, datagram, peer, sealed):
            scene.send(index, datagram, peer, sealed=sealed)
        case ("run", first, n_packets, facts):
            scene.next_sequence = scene.next_sequence if first < 0 else first
            facts = dict(facts)
            peer = facts.pop("peer", 0)
            for _ in range(n_packets):
                for index in everyone:
                    scene.send(index, packet(scene.next_sequence, **facts), peer, sealed=True)
                scene.take(everyone)
                scene.next_sequence += 1
        case ("take",):
            scene.take(everyone)
        case ("hear",):
            scene.agree()
        case ("configure", index, key, receive, mux):
            scene.configure(index, key=key, receive=receive, mux=mux)


BOTH = pytest.mark.parametrize("is_ring", [False, True], ids=["one by one", "ring"])


@BOTH
@searching(30)
@example(  # a packet of the old source after a new offer/answer binds the stream to it again
    steps=[
        ("send", 0, packet(0), 0, True),
        ("send", 0, b"", 0, True),
        ("run", -1, 3, {}),
        ("configure", 0, 0, True, False),
        ("send", 0, packet(0, ssrc=8), 0, True),
    ]
)
@given(steps=st.lists(STEPS, max_size=25))
def test_datagrams_taken_together_do_what_each_would_alone(is_ring: bool, steps: list[tuple[Any, ...]]) -> None:
    scene = Scene(is_ring=is_ring)
    try:
        for index in range(N_LEGS - 1):  # the last one waits for its offer/answer
            scene.configure(index)
        for step in steps:
            carry_out(scene, step)
        for _ in range(10):
            scene.take(list(range(N_LEGS)))
        scene.agree()
    finally:
        scene.close()


@BOTH
@pytest.mark.parametrize("oddity", ODDITIES, ids=str)
def test_packet_that_goes_on_but_is_another_one_is_judged_as_alone(oddity: dict[str, Any], is_ring: bool) -> None:
    scene = Scene(is_ring=is_ring)
    try:
        for index in range(N_LEGS):
            scene.configure(index)
        for facts in ({}, oddity, {}, oddity, {}):
            carry_out(scene, ("run", -1, 3, facts))
            scene.agree()
    finally:
        scene.close()


@BOTH
def test_calls_under_way_are_taken_in_without_their_legs(monkeypatch: pytest.MonkeyPatch, is_ring: bool) -> None:
    scene = Scene(is_ring=is_ring)
    try:
        for index in range(N_LEGS):
            scene.configure(index)
        carry_out(scene, ("run", 0, 3, {}))
        asked: list[int] = []
        taken = Leg.take_packet
        monkeypatch.setattr(Leg, "take_packet", lambda leg, *facts: asked.append(leg.slot) or taken(leg, *facts))
        monkeypatch.setattr(Leg, "take_datagram", lambda leg, *facts: asked.append(leg.slot))
        for number in range(3, 9):
            for index in range(N_LEGS):
                scene.send(index, packet(number), 0, sealed=True)
            for leg in scene.together.legs:
                wait_arrival(leg.fd)
            scene.arrivals.take(scene.together.legs, scene.now, 0.0)
        assert asked == []
        assert [leg.n_received for leg in scene.together.legs] == [9] * N_LEGS
    finally:
        scene.close()


@BOTH
def test_legs_that_have_another_datagram_are_returned(is_ring: bool) -> None:
    scene = Scene(is_ring=is_ring)
    try:
        for index in range(N_LEGS):
            scene.configure(index)
        for index in (0, 2, 2, 3, 3, 3):
            scene.send(index, packet(1), 0, sealed=True)
        legs = scene.together.legs
        for index in (0, 2, 3):
            wait_arrival(legs[index].fd)
        assert scene.arrivals.take(legs, scene.now, 0.0) == [legs[2], legs[3]]
        assert scene.arrivals.silent_rows() == [index for index in range(N_LEGS) if index not in (0, 2, 3)]
        assert scene.arrivals.take([legs[2], legs[3]], scene.now, 0.0) == [legs[3]]
        assert scene.arrivals.take([legs[3]], scene.now, 0.0) == []
    finally:
        scene.close()


@BOTH
def test_error_of_one_socket_keeps_what_the_others_have_got(is_ring: bool) -> None:
    scene = Scene(is_ring=is_ring)
    try:
        for index in range(N_LEGS):
            scene.configure(index)
        for index in (0, 1, 4):  # the others have nothing, which is an error too
            scene.send(index, packet(1), 0, sealed=True)
        scene.take(list(range(N_LEGS)))
        assert [leg.n_received for leg in scene.together.legs] == [1, 1, 0, 0, 1]
        scene.agree()
    finally:
        scene.close()


@BOTH
def test_packets_of_other_codecs_are_counted_in_the_batch_too(is_ring: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(is_ring=is_ring)
    one_by_one: list[Leg] = []
    take_packet = Leg.take_packet

    def note(leg: Leg, *given: Any) -> None:
        one_by_one.append(leg)
        take_packet(leg, *given)

    monkeypatch.setattr(Leg, "take_packet", note)
    try:
        for index in range(N_LEGS):
            scene.configure(index)
        carry_out(scene, ("run", 0, 3, {"kind": 9}))  # the first packets bind the source and change the codec
        one_by_one.clear()
        carry_out(scene, ("run", -1, 6, {"kind": 9}))
        assert not [leg for leg in one_by_one if leg in scene.together.legs]
        scene.agree()
    finally:
        scene.close()
