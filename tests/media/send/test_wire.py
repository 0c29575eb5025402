"""One stream on the wire: a real media process, a real socket, and a peer that is none of ours."""

from __future__ import annotations

import asyncio
import struct
import time
import wave
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.media.link.messages import (
    CallerAudio,
    DigitReceived,
    MediaStarted,
    PlayEnded,
    PlayStarted,
    PlayStarved,
    RecordingEnded,
    StreamDead,
)

SILENCE = b"\xff" * 160
Bytes = Callable[[int], bytes]
Decode = Callable[[bytes], bytes]


def assert_continuous(packets: list[Any]) -> None:
    for before, after in pairwise(packets):
        assert after.ssrc == before.ssrc
        assert after.sequence == (before.sequence + 1) & 0xFFFF
        assert (after.timestamp - before.timestamp) & 0xFFFFFFFF == 160


def run(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def test_stream_without_anything_to_say_sends_silence_and_one_marker(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            packets = await call.peer.collect(10)
            assert_continuous(packets)
            assert [packet.marker for packet in packets] == [True] + [False] * 9  # RFC 3551 section 4.1
            assert {packet.payload for packet in packets} == {SILENCE}
            assert {packet.payload_type for packet in packets} == {0}

    run(story())


def test_secured_stream_is_understood_both_ways_by_libsrtp(media: Any, secured_peer: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call(secured_peer()) as call:
            call.stream.listen(detect=False, forward_audio=True)
            call.stream.queue_audio("a", decode(saw(800)), end=True)
            await call.talk([saw(160)] * 20)
            started = await call.wait_for(MediaStarted)
            assert (started.from_ip, started.from_port) == ("127.0.0.1", call.peer.port)
            heard = await call.wait_for(CallerAudio, where=lambda audio: np.frombuffer(audio.pcm, np.int16).any())
            assert len(heard.pcm) % 640 == 0
            closed = await call.stream.close()
            assert closed.packets_received == 20
            assert (closed.packets_dropped, closed.packets_lost) == (0, 0)

    run(story())


def test_packets_under_a_wrong_key_change_nothing_and_are_counted(media: Any, secured_peer: Any, make_peer: Any, saw: Bytes) -> None:
    async def story() -> None:
        intruder = make_peer(bytes(30), bytes(30))
        async with media.call(secured_peer()) as call:
            for _ in range(10):
                intruder.send(saw(160), call.stream.port)
            packets = await call.peer.collect(10)
            assert_continuous(packets)
            intruder.rtp.close()
            intruder.rtcp.close()
            closed = await call.stream.close()
            assert closed.packets_dropped == 10
            assert closed.packets_received == 0
            assert not call.told(MediaStarted)

    run(story())


def test_play_arrives_byte_for_byte_and_is_told_with_its_times(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call() as call:
            await call.peer.receive()
            call.stream.queue_audio("a", decode(saw(1000)))
            call.stream.queue_audio("a", decode(saw(2000)[1000:]), end=True)
            packets = await call.peer.collect(18)
            assert_continuous(packets)
            sound = b"".join(packet.payload for packet in packets).strip(b"\xff")
            assert sound == saw(2000)
            first = next(packet for packet in packets if packet.payload != SILENCE)
            began = await call.wait_for(PlayStarted)
            assert began.at <= began.voiced_at <= first.at
            assert first.at - began.at < 0.5
            ended = await call.wait_for(PlayEnded)
            assert (ended.completed, ended.heard_ms, ended.queued_ms) == (True, 250.0, 250.0)
            assert ended.at - began.at == pytest.approx(0.24, abs=0.1)

    run(story())


def test_play_paused_and_stopped_is_cut_at_the_sample_that_is_told(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.queue_audio("a", decode(saw(80_000)))
            while (first := await call.peer.receive()).payload == SILENCE:
                pass
            packets = [first, *await call.peer.collect(4)]
            call.stream.pause(True)
            while (await call.peer.receive()).payload != SILENCE:
                pass
            call.stream.pause(False)
            resumed = await call.peer.collect(5)
            call.stream.stop("a", fade_ms=0)
            ended = await call.wait_for(PlayEnded)
            rest = await call.peer.collect(5)
            assert rest[-1].payload == SILENCE
            assert not ended.completed
            assert ended.queued_ms == 10_000.0
            heard = int(ended.heard_ms * 8)
            last = b"".join(packet.payload for packet in resumed + rest).strip(b"\xff")
            assert saw(heard).endswith(last)  # nothing is missing up to the sample that was told
            assert heard >= sum(packet.payload != SILENCE for packet in packets + resumed) * 160 > 0

    run(story())


def test_play_that_finishes_is_heard_to_the_next_boundary_and_what_comes_then_is_dropped(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call() as call:
            for _ in range(3):
                call.stream.queue_audio("a", decode(saw(4000)))
            packets = await call.peer.collect(10)
            call.stream.finish("a", (4000, 8000))
            ended = await call.wait_for(PlayEnded)
            call.stream.queue_audio("a", decode(saw(4000)), end=True)
            packets += await call.peer.collect(40)
            heard = b"".join(packet.payload for packet in packets).strip(b"\xff")
            assert heard == saw(4000)
            assert (ended.completed, ended.heard_ms, ended.queued_ms) == (False, 500.0, 1500.0)
            assert len(call.told(PlayEnded)) == 1

    run(story())


def test_play_that_runs_dry_is_told_once(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.queue_audio("a", decode(saw(400)))
            await call.peer.collect(12)
            starved = await call.wait_for(PlayStarved)
            assert starved.play == "a"
            assert len(call.told(PlayStarved)) == 1
            assert not call.told(PlayEnded)

    run(story())


def test_muted_stream_sends_silence_while_the_play_goes_on(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.mute(True)
            call.stream.queue_audio("a", decode(saw(1600)), end=True)
            packets = await call.peer.collect(14)
            assert {packet.payload for packet in packets} == {SILENCE}
            assert (await call.wait_for(PlayEnded)).completed

    run(story())


def test_digit_from_the_peer_is_told_once_with_its_length(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            await call.talk([SILENCE] * 3)
            for n in range(1, 6):  # RFC 4733 section 2.5.1: growing duration, frozen timestamp
                call.peer.send(struct.pack("!BBH", 7, 10, n * 160), call.stream.port, payload_type=101, marker=n == 1, hold_clock=True)
            for _ in range(3):
                call.peer.send(struct.pack("!BBH", 7, 0x80 | 10, 800), call.stream.port, payload_type=101, hold_clock=True)
            digit = await call.wait_for(DigitReceived)
            assert (digit.digit, digit.duration_ms) == ("7", 100)
            await call.talk([SILENCE] * 5)
            assert len(call.told(DigitReceived)) == 1

    run(story())


def test_digits_to_the_peer_follow_rfc_4733_and_the_sound_goes_on_behind_them(media: Any, saw: Bytes, decode: Decode) -> None:
    async def story() -> None:
        async with media.call(send_event_type=96) as call:
            call.stream.queue_audio("a", decode(saw(8000)), end=True)
            await call.peer.receive()
            call.stream.send_digits("5#", duration_ms=100)
            packets = await call.peer.collect(60)
            for before, after in pairwise(packets):
                assert after.sequence == (before.sequence + 1) & 0xFFFF
            events = [packet for packet in packets if packet.payload_type == 96]
            assert {packet.payload[0] for packet in events} == {5, 11}
            for code in (5, 11):
                digit = [packet for packet in events if packet.payload[0] == code]
                assert len({packet.timestamp for packet in digit}) == 1
                assert [packet.marker for packet in digit] == [True] + [False] * (len(digit) - 1)
                assert [bool(packet.payload[1] & 0x80) for packet in digit] == [False] * (len(digit) - 3) + [True] * 3
                assert struct.unpack("!H", digit[-1].payload[2:])[0] == 800
            sound = b"".join(packet.payload for packet in packets if packet.payload_type == 0)
            assert sound.replace(SILENCE, b"").strip(b"\xff") in saw(8000)

    run(story())


@pytest.mark.parametrize(("payload_type", "n_dropped"), [(13, 0), (18, 5), (97, 5)])
def test_comfort_noise_and_unknown_payload_types_are_never_heard(media: Any, saw: Bytes, payload_type: int, n_dropped: int) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.listen(detect=False, forward_audio=True)
            await call.talk([SILENCE] * 3)
            await call.talk([saw(160)] * 5, payload_type=payload_type)
            await call.talk([SILENCE] * 10)
            closed = await call.stream.close()
            assert closed.packets_dropped == n_dropped
            assert not any(np.frombuffer(audio.pcm, np.int16).any() for audio in call.told(CallerAudio))

    run(story())


def test_hold_and_resume_keep_ssrc_sequence_time_and_key_in_step(media: Any, secured_peer: Any) -> None:
    async def story() -> None:
        async with media.call(secured_peer()) as call:
            before = await call.peer.collect(5)
            call.configure(send=False)
            while (packet := await call.peer.receive_or_none(0.2)) is not None:
                before.append(packet)
            call.configure(send=True)
            after = await call.peer.collect(5)
            assert_continuous(before)
            assert_continuous(after)
            assert after[0].ssrc == before[-1].ssrc
            assert after[0].sequence == (before[-1].sequence + 1) & 0xFFFF
            gap_s = ((after[0].timestamp - before[-1].timestamp) & 0xFFFFFFFF) / 8000
            assert gap_s == pytest.approx(after[0].at - before[-1].at, abs=0.06)
            assert after[0].marker

    run(story())


def test_rtp_of_a_peer_that_falls_silent_is_told_dead_once(media: Any) -> None:
    async def story() -> None:
        async with media.call(rtp_timeout_s=0.6) as call:
            await call.talk([SILENCE] * 3)
            dead = await call.wait_for(StreamDead)
            assert 0.6 <= dead.silent_s < 1.5
            await call.peer.collect(60)
            assert len(call.told(StreamDead)) == 1

    run(story())


def test_peer_behind_a_nat_gets_our_packets_where_its_own_come_from(media: Any, make_peer: Any) -> None:
    async def story() -> None:
        async with media.call(remote_port=9) as call:
            for _ in range(5):
                call.peer.send(SILENCE, call.stream.port)
            assert_continuous(await call.peer.collect(5))

    run(story())


def test_caller_audio_counts_time_in_samples_through_gaps(media: Any, saw: Bytes) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.listen(detect=False, forward_audio=True)
            await call.talk([saw(160)] * 20)
            await call.peer.collect(10)
            await call.talk([saw(160)] * 5)
            pieces = call.told(CallerAudio)
            expected = 0
            for piece in pieces:
                assert piece.sample == expected
                expected += len(piece.pcm) // 2
            assert expected >= 16_000 * 0.5

    run(story())


def test_recording_holds_both_sides_sample_for_sample(media: Any, saw: Bytes, decode: Decode, tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "call.wav"
        async with media.call() as call:
            await call.talk([SILENCE] * 5)
            call.stream.start_recording(str(path), 8000)
            call.stream.queue_audio("a", decode(saw(1600)), end=True)
            sound = saw(1600)
            await call.talk([SILENCE] * 10 + [sound[n : n + 160] for n in range(0, 1600, 160)] + [SILENCE] * 20)
            call.stream.stop_recording()
            ended = await call.wait_for(RecordingEnded)
            assert ended.error == ""
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getframerate()) == (2, 8000)
            frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
        assert ended.duration_ms == len(frames) // 8
        expected = np.frombuffer(decode(sound), "<i2")
        for channel in (0, 1):
            begin = int(np.flatnonzero(frames[:, channel])[0])
            assert begin % 160 == 0
            assert np.array_equal(frames[begin : begin + 1600, channel], expected)
            assert not frames[begin + 1600 :, channel].any()
        played, spoken = (int(np.flatnonzero(frames[:, channel])[0]) for channel in (1, 0))
        assert 160 * 9 <= spoken - played <= 160 * 17  # it was said ten packets later, and lay in the jitter buffer a moment

    run(story())


def test_stream_closed_while_recording_is_told_after_its_file_is_complete(media: Any, tmp_path: Path) -> None:
    async def story() -> None:
        path = tmp_path / "call.wav"
        async with media.call() as call:
            call.stream.start_recording(str(path), 16_000)
            await call.talk([SILENCE] * 10)
            assert await call.stream.close() is not None
            (ended,) = call.told(RecordingEnded)
            assert (ended.path, ended.error) == (str(path), "")
            assert path.stat().st_size == 44 + ended.duration_ms * 64 > 10_000

    run(story())


def test_rtcp_reports_describe_both_directions_and_goodbye_comes_at_the_end(media: Any, secured_peer: Any) -> None:
    async def story() -> None:
        async with media.call(secured_peer()) as call:
            await call.talk([SILENCE] * 10)
            report = await call.peer.receive_rtcp()
            flags, kind, words, ssrc, ntp, _, n_packets, n_octets = struct.unpack("!BBHIQIII", report[:28])
            assert (kind, flags >> 6) == (200, 2)  # RFC 3550 section 6.4.1
            assert n_octets == n_packets * 160
            assert flags & 0x1F == 1
            assert struct.unpack("!I", report[28:32])[0] == call.peer.ssrc
            assert report[4 * (words + 1) + 1] == 202  # SDES follows
            assert abs((ntp >> 32) - 2_208_988_800 - time.time()) < 5
            await call.stream.close()
            goodbye = await call.peer.receive_rtcp()
            assert goodbye[-8:] == struct.pack("!BBHI", 0x81, 203, 1, ssrc)

    run(story())
