"""One leg on loopback, without a process: which packets it lets in after the peer's key has changed."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import numpy as np
import pytest
from loopback import wait_arrival
from msgspec.structs import replace

from active_call.base.world import SystemRandomness
from active_call.codec.libopus import OpusError
from active_call.codec.table import OPUS
from active_call.media.link.messages import ConfigureRtp, DigitReceived
from active_call.media.receive import codec_input as incoming
from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.leg import Leg
from active_call.media.receive.packet_batch import PacketBatchReader
from active_call.media.receive.rtcp import RtcpSession, Sent
from active_call.media.receive.sockets import open_pair
from active_call.media.receive.srtp_keys import MAX_SOURCES, OLD_KEY_S
from active_call.rtp.srtp import SrtpSession
from active_call.rtp.srtp_suites import SUITES
from ports import rtp_of_servers

KEY_BYTES = {"AES_CM_128": 30, "AES_256_CM": 46, "AEAD_AES_128": 28, "AEAD_AES_256": 44}
"""RFC 3711, 6188, 7714: master key and salt."""


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


INTAKE = ReceiveColumns(1)


def raise_it(leg: Leg, error: Exception) -> None:
    """Nothing may go wrong in these tests."""
    raise error


ARRIVALS = PacketBatchReader(INTAKE, raise_it)


def take(leg: Leg, now: float) -> None:
    """The leg takes the datagram that it was sent."""
    wait_arrival(leg.fd)
    ARRIVALS.take([leg], now, time.time())


@pytest.fixture
def leg() -> Iterator[Leg]:
    pairs = ((port, open_pair("127.0.0.1", port)) for port in range(*rtp_of_servers(), 2))
    port, pair = next((port, pair) for port, pair in pairs if pair is not None)
    result = Leg(1, port, pair, INTAKE, 0, lambda report: None)
    yield result
    result.close()


def configured(peer: socket.socket, key: bytes, suite: str = SUITES[0], **more: object) -> ConfigureRtp:
    ip, port = peer.getsockname()
    types = {"send_payload_type": 0, "receive_payload_type": 0, "send_event_type": -1, "receive_event_type": -1}
    keys = {"suite": suite, "send_key": key_for(suite, 60) if suite else b"", "receive_key": key}
    return ConfigureRtp(1, remote_ip=ip, remote_port=port, codec="pcmu", **types, **keys, **more)  # type: ignore[arg-type]


def key_for(suite: str, first: int) -> bytes:
    size = next(size for name, size in KEY_BYTES.items() if suite.startswith(name))
    return bytes(range(first, first + size))


@pytest.mark.parametrize("suite", SUITES)
def test_packets_of_the_old_key_are_heard_for_two_seconds_after_a_new_one(leg: Leg, peer: socket.socket, suite: str) -> None:
    first, second = key_for(suite, 0), key_for(suite, 100)
    before, after = (SrtpSession(suite, key, key_for(suite, 60)) for key in (first, second))

    def receive(session: SrtpSession, sequence: int, now: float) -> int:
        """Send one packet; returns how many the leg has let in then."""
        packet = struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes([sequence]) * 160
        peer.sendto(session.protect(packet), ("127.0.0.1", leg.port))
        take(leg, now)
        return leg.n_received

    leg.configure(configured(peer, first, suite), 10.0)
    assert receive(before, 1, 10.0) == 1
    leg.configure(configured(peer, second, suite), 10.01)
    assert [receive(before, 2, 10.02), receive(after, 3, 10.04), receive(before, 4, 10.06)] == [2, 3, 4]
    frames = [frame for frame in (leg.sound.jitter.pop() for _ in range(7)) if frame is not None]
    assert frames == [bytes([sequence]) * 160 for sequence in (1, 2, 3, 4)]
    assert receive(before, 5, 10.02 + OLD_KEY_S) == 4
    assert receive(after, 6, 10.02 + OLD_KEY_S) == 5
    assert leg.refused.unauthentic == 1


def test_rtcp_on_the_rtp_port_goes_to_the_control_protocol_only_where_agreed(leg: Leg, peer: socket.socket) -> None:
    told: list[bytes] = []
    leg.on_control = lambda datagram, address, now: told.append(datagram)
    receiver_report = struct.pack("!BBHI", 0x80, 201, 1, 7)

    def receive() -> None:
        peer.sendto(receiver_report, ("127.0.0.1", leg.port))
        take(leg, 1.0)

    leg.configure(configured(peer, b"", "", rtcp_mux=True), 1.0)
    receive()
    assert told == [receiver_report]
    leg.configure(configured(peer, b"", "", rtcp_mux=False), 1.0)
    receive()
    assert told == [receiver_report]
    assert leg.refused.total == 1


def test_sound_changes_its_codec_with_the_payload_type_and_what_waits_is_played_first(leg: Leg, peer: socket.socket) -> None:
    leg.configure(configured(peer, b"", "", receive_formats=((0, "pcmu"), (8, "pcma"), (9, "g722"))), 1.0)

    def receive(payload_type: int, sequence: int, payload: bytes) -> None:
        peer.sendto(struct.pack("!BBHII", 0x80, payload_type, sequence, sequence * 160, 7) + payload, ("127.0.0.1", leg.port))
        take(leg, 1.0 + sequence * 0.02)

    loud_in_mu_law, loud_in_a_law = b"\x80" * 160, b"\xaa" * 160
    for sequence in range(3):
        receive(0, sequence, loud_in_mu_law)
    assert leg.is_g711_in
    receive(8, 3, loud_in_a_law)
    receive(8, 4, loud_in_a_law)
    assert leg.sound.codec.name == "pcma"
    assert not leg.is_g711_in
    heard = [leg.sound.pop() for _ in range(5)]
    assert [int(frame[0]) for frame in heard if frame is not None] == [32124] * 3 + [32256] * 2
    assert leg.is_g711_in
    receive(9, 5, bytes(160))
    assert leg.sound.codec.name == "g722"


def test_codec_that_cannot_be_had_changes_nothing(leg: Leg, peer: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(name: str) -> NoReturn:
        raise OpusError(name)

    leg.configure(configured(peer, b"", ""), 1.0)
    for sequence in range(4):
        peer.sendto(struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes(160), ("127.0.0.1", leg.port))
        take(leg, 1.0 + sequence * 0.02)
    monkeypatch.setattr(incoming, "new_decoder", unavailable)
    with pytest.raises(OpusError):
        leg.sound.use(OPUS)
    assert leg.sound.codec.name == "pcmu"
    assert leg.losses.received == 4
    heard = [INTAKE.jitter.pop(np.zeros(1, np.intp))[1][0] for _ in range(8)]
    assert sum(heard) == 4


def test_sound_that_comes_while_we_hold_the_call_is_not_lost(leg: Leg, peer: socket.socket) -> None:
    def receive(sequences: range) -> None:
        for sequence in sequences:
            peer.sendto(struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes(160), ("127.0.0.1", leg.port))
            ARRIVALS.take([leg], 1.0 + sequence * 0.02, time.time())

    leg.configure(configured(peer, b"", ""), 1.0)
    receive(range(10))
    leg.configure(configured(peer, b"", "", receive=False), 1.2)
    receive(range(10, 110))
    leg.configure(configured(peer, b"", ""), 3.2)
    receive(range(110, 120))
    assert (leg.losses.lost, leg.n_lost) == (0, 0)


def test_packets_that_come_twice_make_up_for_none_that_is_lost(leg: Leg, peer: socket.socket) -> None:
    leg.configure(configured(peer, b"", ""), 1.0)
    for sequence in [*range(0, 40, 2), *range(41, 60)]:
        packet = struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes(160)
        for _ in range(2):
            peer.sendto(packet, ("127.0.0.1", leg.port))
            ARRIVALS.take([leg], 1.0 + sequence * 0.02, time.time())
    assert leg.n_lost == 21
    assert leg.losses.duplicate == 39


def test_losses_before_the_sender_has_restarted_its_numbers_stay_counted_and_two_numberings_at_once_are_no_loss(
    leg: Leg, peer: socket.socket
) -> None:
    def receive(*sequences: int) -> None:
        for sequence in sequences:
            peer.sendto(struct.pack("!BBHII", 0x80, 0, sequence, sequence * 160, 7) + bytes(160), ("127.0.0.1", leg.port))
            ARRIVALS.take([leg], 1.0, time.time())

    leg.configure(configured(peer, b"", ""), 1.0)
    receive(*range(0, 100, 2))
    receive(*range(30_000, 30_050))
    assert leg.n_lost in (49, 50)
    for n in range(50, 150, 3):
        receive(30_000 + n, 30_001 + n, 30_002 + n, 32_900 + n)
    assert leg.n_lost < 160


class SteppedClock:
    """A monotonic clock, and a time of day that somebody sets."""

    def __init__(self) -> None:
        self.at, self.time_of_day = 100.0, datetime(2026, 11, 30, 12, 0, tzinfo=UTC)

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return self.time_of_day


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(days=400), timedelta(seconds=2)])
def test_round_trip_does_not_change_with_the_time_of_day(leg: Leg, peer: socket.socket, step: timedelta) -> None:
    clock = SteppedClock()
    leg.configure(configured(peer, b"", "", rtcp_mux=True), clock.at)
    control = RtcpSession(leg, 5, clock, SystemRandomness())
    control.send_report(Sent(5, 10, 1600, 1600), clock.at)
    middle_of_ntp = peer.recv(1500)[10:14]
    clock.time_of_day += step
    block = struct.pack("!III", 5, 0, 10) + bytes(4) + middle_of_ntp + (65_536 // 10).to_bytes(4, "big")
    control.take(struct.pack("!BBHI", 0x81, 201, 7, 7) + block, peer.getsockname(), clock.at + 0.15)
    assert control.round_trip_ms == pytest.approx(50, abs=1)


def test_codec_that_changes_with_every_packet_changes_seldom_and_sound_of_one_is_heard(leg: Leg, peer: socket.socket) -> None:
    changes: list[object] = []
    leg.emit = changes.append
    leg.configure(configured(peer, b"", "", receive_formats=((0, "pcmu"), (8, "pcma"))), 1.0)
    n_heard = 0
    for sequence in range(200):
        payload_type = 8 * (sequence & 1)
        packet = struct.pack("!BBHII", 0x80, payload_type, sequence, sequence * 160, 7) + bytes(160)
        peer.sendto(packet, ("127.0.0.1", leg.port))
        ARRIVALS.take([leg], 1.0 + sequence * 0.02, time.time())
        n_heard += INTAKE.jitter.pop(np.zeros(1, np.intp))[1].item() if leg.is_g711_in else leg.sound.pop() is not None
    assert len(changes) <= 1 + 3 * 4
    assert n_heard >= 70
    assert leg.n_lost >= 80


def test_digit_in_every_packet_is_reported_as_often_as_anybody_dials(leg: Leg, peer: socket.socket) -> None:
    reports: list[object] = []
    leg.emit = reports.append
    leg.configure(replace(configured(peer, b"", ""), receive_event_type=101, send_event_type=101), 1.0)
    for sequence in range(300):
        event = bytes((sequence % 10, 0x8A, 1, 0x40))
        peer.sendto(struct.pack("!BBHII", 0x80, 0x80 | 101, sequence, sequence * 800, 7) + event, ("127.0.0.1", leg.port))
        take(leg, 1.0 + sequence * 0.01)
    digits = [report for report in reports if isinstance(report, DigitReceived)]
    assert 60 <= len(digits) <= 25 * 3 + 25
    assert leg.refused.digits == leg.refused.total == 300 - len(digits)
    reports.clear()
    for n in range(12):  # a person, later
        event = bytes((n % 10, 0x8A, 1, 0x40))
        peer.sendto(struct.pack("!BBHII", 0x80, 0x80 | 101, 300 + n, 800 * (400 + n), 7) + event, ("127.0.0.1", leg.port))
        take(leg, 10.0 + n * 0.08)
    assert len(reports) == 12


@pytest.mark.parametrize("suite", [SUITES[0], "AEAD_AES_128_GCM"])
def test_peer_with_many_sources_is_heard_and_only_the_last_ones_are_remembered(leg: Leg, peer: socket.socket, suite: str) -> None:
    key = key_for(suite, 0)
    leg.configure(configured(peer, key, suite), 1.0)

    def receive(*packets: bytes) -> int:
        """How many of these the leg lets in."""
        before = leg.n_received
        for packet in packets:
            peer.sendto(packet, ("127.0.0.1", leg.port))
            ARRIVALS.take([leg], 1.0, time.time())
        return leg.n_received - before

    def packet(ssrc: int, sequence: int = 1, payload_type: int = 0) -> bytes:
        sender = SrtpSession(suite, key, key_for(suite, 60))
        return sender.protect(struct.pack("!BBHII", 0x80, payload_type, sequence, sequence * 160, ssrc) + bytes(160))

    first = packet(1000)
    assert receive(first, first, packet(1001), first) == 2  # the others are replays
    forgotten: list[int] = []
    forget, leg.keys.incoming = leg.keys.incoming, Forgetting(leg.keys.incoming, forgotten)  # type: ignore[assignment]
    assert forget is not None
    assert receive(*(packet(1002 + n) for n in range(60))) == 60
    receive(*(packet(3000 + n, payload_type=77) for n in range(60)))
    assert len(forgotten) == 122 - MAX_SOURCES
    assert set(forgotten) == {*range(1000, 1061), *range(3000, 3060 - MAX_SOURCES + 1)}
    assert 1061 not in forgotten, "the source that is heard is never forgotten"
    assert receive(packet(1061, 2)) == 1


class Forgetting:
    """A session that says what it forgets."""

    def __init__(self, session: SrtpSession | None, forgotten: list[int]) -> None:
        self._session, self._forgotten = session, forgotten

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def forget(self, ssrc: int) -> None:
        assert self._session is not None
        self._session.forget(ssrc)
        self._forgotten.append(ssrc)
