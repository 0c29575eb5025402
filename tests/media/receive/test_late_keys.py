"""A stream that is configured before its SRTP keys are known (DTLS, RFC 5763): nothing is sent or accepted until they are there."""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgspec
import pytest
from engine_box import KEYS, SUITE, Box, FarEnd, box
from loopback import arrived, wait_arrival
from pylibsrtp import Policy, Session

from active_call.media.link import messages as link
from active_call.testing.fakes.net import Conditions


def call_without_keys(made: Box, *, secured: bool = True) -> tuple[FarEnd, link.ConfigureRtp]:
    """A call whose far end speaks with its key at once, and our side that waits for it. Returns also the order that brings the keys."""
    far_end = made.call(Conditions(), 1, secured=secured)
    port = far_end.rtp.getsockname()[1]
    order = link.ConfigureRtp(far_end.stream, "127.0.0.1", port, "pcmu", 0, 0, receive_formats=((0, "pcmu"),), rtp_timeout_s=0)
    waiting = msgspec.structs.replace(order, awaits_keys=True)
    made.engine.handle(waiting, made.clock.at)
    return far_end, msgspec.structs.replace(order, suite=SUITE, send_key=KEYS[0], receive_key=KEYS[1])


def told(far_end: FarEnd, kind: type) -> list[Any]:
    return [report for report in far_end.reports if isinstance(report, kind)]


def play(made: Box, far_end: FarEnd) -> None:
    made.engine.handle(link.QueueAudio(far_end.stream, "a", bytes(range(1, 201)) * 400, end=True), made.clock.at)


@pytest.mark.parametrize("secured", [True, False], ids=["packets with a key", "plain packets"])
def test_before_the_keys_nothing_is_accepted_and_nothing_leaves(secured: bool) -> None:
    with box() as made:
        far_end, _ = call_without_keys(made, secured=secured)
        play(made, far_end)
        made.run(400)  # long enough for RTCP, too
        assert arrived(far_end.rtp) == []
        assert told(far_end, link.MediaStarted) == []
        assert told(far_end, link.PlayStarted) == []
        closed = made.close(far_end)
        assert (closed.packets_sent, closed.packets_received) == (0, 0)
        assert closed.packets_dropped >= 390


def test_with_the_keys_sound_flows_both_ways_from_the_first_sample() -> None:
    with box() as made:
        far_end, keys = call_without_keys(made)
        play(made, far_end)
        made.run(50)
        made.engine.handle(keys, made.clock.at)
        made.run(100)
        policy = Policy(key=KEYS[0], ssrc_type=Policy.SSRC_ANY_INBOUND, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80)
        session = Session(policy)
        packets = [session.unprotect(packet) for packet in arrived(far_end.rtp)]
        assert len(packets) >= 99
        assert packets[0][1] & 0x80  # a talkspurt begins
        assert [struct.unpack("!H", packet[2:4])[0] for packet in packets[:2]] == [
            struct.unpack("!H", packets[0][2:4])[0] + n for n in (0, 1)
        ]
        assert len(told(far_end, link.MediaStarted)) == 1
        assert len(told(far_end, link.PlayStarted)) == 1
        assert made.heard(far_end).numbers


def test_keys_that_are_awaited_anew_close_the_stream_until_they_come() -> None:
    with box() as made:
        far_end, keys = call_without_keys(made)
        made.engine.handle(keys, made.clock.at)
        made.run(50)
        waiting = msgspec.structs.replace(keys, suite="", send_key=b"", receive_key=b"", awaits_keys=True)
        made.engine.handle(waiting, made.clock.at)
        arrived(far_end.rtp)
        made.run(50)
        assert arrived(far_end.rtp) == []
        made.engine.handle(keys, made.clock.at)
        made.run(50)
        assert len(arrived(far_end.rtp)) >= 49


def test_plain_rtcp_is_not_believed_before_the_keys_are_there() -> None:
    with box() as made:
        far_end, _ = call_without_keys(made)
        report = struct.pack("!BBHI", 0x80, 201, 1, far_end.ssrc)
        rtcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        rtcp.sendto(report, (far_end.target[0], far_end.target[1] + 1))
        for fd, on_readable in list(made._on_readable.items()):
            if fd != made._fds[far_end.stream]:
                wait_arrival(fd)
            on_readable(made.clock.at, 0.0)
        made.run(1)
        rtcp.close()
        assert made.close(far_end).packets_dropped >= 1


def test_suite_and_awaited_keys_together_are_refused() -> None:
    with box() as made:
        far_end, keys = call_without_keys(made)
        made.engine.handle(msgspec.structs.replace(keys, awaits_keys=True), made.clock.at)
        assert [report.order for report in told(far_end, link.OrderRefused)] == ["ConfigureRtp"]
