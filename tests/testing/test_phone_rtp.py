"""What the phone makes of a stream: placement, figures, digits. Packets are handed in with made-up times; no clock runs."""

from __future__ import annotations

import itertools
import struct
import time
from collections.abc import Iterator

import numpy as np
import pytest

from active_call.testing.phone.receiver import AudioReceiver
from active_call.testing.phone.rtp import AudioSender, MediaPlan, bind_pair, srtp_session
from active_call.testing.sound import audio

TONE = (6000 * np.sin(2 * np.pi * 440 * np.arange(160) / 8000)).astype(np.int16)
KEY = bytes(range(30))


def packet(sequence: int, timestamp: int, payload: bytes | None = None, *, ssrc: int = 7, kind: int = 0, marker: bool = False) -> bytes:
    payload = audio.MULAW.encode(TONE) if payload is None else payload
    return struct.pack("!BBHII", 0x80, kind | (0x80 if marker else 0), sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


@pytest.fixture
def receiver() -> Iterator[AudioReceiver]:
    rtp, rtcp = bind_pair("127.0.0.1")
    with rtp, rtcp:
        yield AudioReceiver(rtp, rtcp, MediaPlan(("127.0.0.1", 9), 0, 101))


def test_pair_of_ports_is_even_and_odd() -> None:
    rtp, rtcp = bind_pair("127.0.0.1")
    with rtp, rtcp:
        assert rtp.getsockname()[1] % 2 == 0
        assert rtcp.getsockname()[1] == rtp.getsockname()[1] + 1


def test_timeline_is_placed_by_timestamp_from_the_earliest_arrival(receiver: AudioReceiver) -> None:
    receiver._take(packet(65535, 0xFFFFFFFF - 159), 10.030)  # 30 ms late against its successor, across both wraps
    receiver._take(packet(0, 0), 10.020)
    timeline = receiver.timeline(9.9)
    voiced = np.flatnonzero(np.abs(timeline) > 100)
    assert 800 <= voiced[0] <= 802  # 10.000 s
    assert receiver.figures().jitter_max_ms == pytest.approx(30, abs=0.1)


def test_figures_count_loss_repeats_gaps_and_sources(receiver: AudioReceiver) -> None:
    for sequence, timestamp, ssrc in [(1, 0, 7), (2, 160, 7), (2, 160, 7), (5, 640, 7), (6, 960, 7), (4, 480, 7), (9, 0, 8)]:
        receiver._take(packet(sequence, timestamp, ssrc=ssrc, marker=sequence == 1), sequence * 0.02)
    figures = receiver.figures()
    assert (figures.packets, figures.repeated_sequence, figures.ssrcs, figures.markers) == (7, 1, 2, 1)
    assert figures.lost == 2
    assert figures.out_of_order == 1
    assert figures.timestamp_gaps == 1
    assert figures.repeated_frames == 5


def test_digit_is_counted_once_by_its_timestamp(receiver: AudioReceiver) -> None:
    for number, timestamp in enumerate((800, 800, 800, 4000)):
        receiver._take(packet(number, timestamp, bytes([5, 0x8A, 0, 160]), kind=101), 0.02 * number)
    assert receiver.digits == ["5", "5"]


def test_unknown_payload_type_is_not_heard(receiver: AudioReceiver) -> None:
    receiver._take(packet(1, 0, kind=13), 0.0)
    assert len(receiver.timeline(0.0)) == 0
    assert receiver.figures().unknown_payload_types == 1


def test_packet_of_another_key_is_rejected() -> None:
    rtp, rtcp = bind_pair("127.0.0.1")
    with rtp, rtcp:
        receiver = AudioReceiver(rtp, rtcp, MediaPlan(("127.0.0.1", 9), 0, 101, KEY, KEY))
        receiver._take(srtp_session(bytes(30), outbound=True).protect(packet(1, 0)), 0.0)
        receiver._take(packet(2, 160), 0.0)
        receiver._take(srtp_session(KEY, outbound=True).protect(packet(3, 320)), 0.06)
    assert (receiver.figures().rejected, receiver.figures().packets) == (2, 1)


def frames_of(sender: AudioSender, count: int) -> list[bytes]:
    sent: list[bytes] = []
    sender._transmit = lambda _sock, octets, _remote: sent.append(octets)  # type: ignore[method-assign, assignment]
    for _ in range(count):
        sender._send_frame()
    return sent


def test_mouth_sends_a_digit_as_rfc_4733_section_2_5_1_wants_it() -> None:
    rtp, rtcp = bind_pair("127.0.0.1")
    with rtp, rtcp:
        sender = AudioSender(rtp, rtcp, MediaPlan(("127.0.0.1", 9), 0, 101))
        frames_of(sender, 2)
        sender.press("#")
        fields = [(*struct.unpack("!BBHII", one[:12]), one[12:]) for one in frames_of(sender, 13)]
    events = [one for one in fields if one[1] & 0x7F == 101]
    assert len({one[3] for one in events}) == 1  # the timestamp is that of the beginning
    assert [bool(one[1] & 0x80) for one in events] == [True] + [False] * 10
    assert [struct.unpack("!BBH", one[5]) for one in events] == [
        *((11, 10, 160 * number) for number in range(1, 9)), *[(11, 0x8A, 1280)] * 3
    ]  # fmt: skip
    sequences = [one[2] for one in fields]
    assert [(after - before) & 0xFFFF for before, after in itertools.pairwise(sequences)] == [1] * 12
    after = next(one for one in fields if one[1] & 0x7F == 0)
    assert (after[3] - events[0][3]) & 0xFFFFFFFF == 11 * 160


def test_mouth_never_falls_silent_and_marks_only_the_beginning() -> None:
    rtp, rtcp = bind_pair("127.0.0.1")
    with rtp, rtcp:
        sender = AudioSender(rtp, rtcp, MediaPlan(("127.0.0.1", 9), 8, -1))
        sender.say(np.full(200, 5000, dtype=np.int16))
        packets = frames_of(sender, 5)
        with pytest.raises(ValueError, match="telephone-event"):
            sender.press("1")
    assert [bool(one[1] & 0x80) for one in packets] == [True, False, False, False, False]
    levels = [audio.frame_levels(audio.ALAW.decode(one[12:]))[0] for one in packets]
    assert levels[0] > 4000
    assert all(5 < level < 40 for level in levels[2:])


def test_secured_sound_and_reports_that_come_at_once_are_all_opened() -> None:
    """Each thread of the receiver has a libsrtp session: pylibsrtp works in a buffer of the session, without the interpreter's lock."""
    n_packets, key = 4000, bytes(range(30))
    (ours, our_rtcp), (theirs, their_rtcp) = bind_pair("127.0.0.1"), bind_pair("127.0.0.1")
    receiver = AudioReceiver(ours, our_rtcp, MediaPlan(("127.0.0.1", 9), 0, -1, b"", key))
    sound = [struct.pack("!BBHII", 0x80, 0, n, n * 160, 7) + bytes([n % 251]) * 160 for n in range(n_packets)]
    report = struct.pack("!BBHI", 0x80, 201, 1, 7) + bytes(1000)
    sessions = srtp_session(key, outbound=True), srtp_session(key, outbound=True)
    sound = [sessions[0].protect(packet) for packet in sound]
    reports = [sessions[1].protect_rtcp(report) for _ in range(n_packets)]
    receiver.start()
    try:
        for n in range(n_packets):
            their_rtcp.sendto(reports[n], our_rtcp.getsockname())
            theirs.sendto(sound[n], ours.getsockname())
            if n % 50 == 49:  # no more than its buffers hold
                deadline = time.monotonic() + 20
                while len(receiver.packets) + receiver.counts.total() < 2 * (n + 1) and time.monotonic() < deadline:
                    time.sleep(0.0005)
        counts = dict(receiver.counts)
    finally:
        receiver.stop()
        for sock in (ours, our_rtcp, theirs, their_rtcp):
            sock.close()
    assert (len(receiver.packets), counts) == (n_packets, {"rtcp": n_packets})
