"""Streams that hear one another: the mixing of a tick alone, then real media processes with peers that are none of ours."""

from __future__ import annotations

import asyncio
import os
import signal
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.media.link.messages import PlayEnded, RecordingEnded
from active_call.media.pool.pool import StreamLost
from active_call.media.send.bridging import Bridges
from active_call.media.worker.slots import Stream

FRAME = 160
MULAW_SILENCE = b"\xff" * FRAME


def a_stream(number: int, rate_hz: int = 8000) -> Stream:
    return Stream(number, number, None, None, rate_hz)


class Heard:
    """What was heard of each stream in this tick."""

    def __init__(self, **levels: int) -> None:
        self.levels = {int(name[1:]): level for name, level in levels.items()}

    def heard(self, number: int, rate_hz: int) -> Any:
        assert rate_hz in (8000, 16_000)
        return np.full(rate_hz // 50, self.levels[number], np.int16) if number in self.levels else None


def mixed(bridges: Bridges, pcm: Any, rows: dict[int, int]) -> list[int]:
    bridges.mix({number: pcm[row] for number, row in rows.items()})
    assert all(len(set(row.tolist())) == 1 for row in pcm)
    return [int(row[0]) for row in pcm]


def frames(*levels: int) -> Any:
    return np.array([[level] * FRAME for level in levels], np.int16)


# -- the mixing of a tick ----------------------------------------------------------------------------------------------------------------


def test_bridge_mixes_what_was_heard_under_what_plays() -> None:
    bridges, one, two, other = Bridges(), a_stream(1), a_stream(2), a_stream(3)
    bridges.join(one, two)
    bridges.join(two, one)
    bridges.take(Heard(s1=100, s2=200, s3=300))
    assert mixed(bridges, frames(1000, 0, 7), {1: 0, 2: 1, 3: 2}) == [1200, 100, 7]
    assert (one.n_listeners, two.n_listeners, other.n_listeners) == (1, 1, 0)


def test_bridge_clips_and_never_wraps() -> None:
    bridges, one, two = Bridges(), a_stream(1), a_stream(2)
    bridges.join(one, two)
    bridges.take(Heard(s2=30_000))
    assert mixed(bridges, frames(30_000), {1: 0}) == [32_767]
    bridges.take(Heard(s2=-30_000))
    assert mixed(bridges, frames(-30_000), {1: 0}) == [-32_768]


def test_bridge_one_way_lets_only_one_hear() -> None:
    bridges, one, two = Bridges(), a_stream(1), a_stream(2)
    bridges.join(one, two)
    bridges.take(Heard(s1=100, s2=200))
    assert mixed(bridges, frames(0, 0), {1: 0, 2: 1}) == [200, 0]
    assert (one.n_listeners, two.n_listeners) == (0, 1)


def test_bridge_of_three_lets_each_hear_the_two_others() -> None:
    bridges, streams = Bridges(), [a_stream(n) for n in (1, 2, 3)]
    for listener in streams:
        for source in streams:
            if source is not listener:
                bridges.join(listener, source)
    bridges.take(Heard(s1=1, s2=10, s3=100))
    assert mixed(bridges, frames(0, 0, 0), {1: 0, 2: 1, 3: 2}) == [110, 101, 11]


def test_frame_of_the_tick_before_is_not_heard_twice() -> None:
    bridges, one, two = Bridges(), a_stream(1), a_stream(2)
    bridges.join(one, two)
    bridges.take(Heard(s2=200))
    bridges.take(Heard())  # on hold, or nothing is heard of it any more
    assert mixed(bridges, frames(5), {1: 0}) == [5]


def test_partner_that_is_parted_or_gone_is_heard_no_more() -> None:
    bridges, one, two, three = Bridges(), a_stream(1), a_stream(2), a_stream(3)
    for partner in (two, three):
        bridges.join(one, partner)
        bridges.join(partner, one)
    bridges.take(Heard(s1=1, s2=10, s3=100))
    bridges.part(2, 1)
    assert mixed(bridges, frames(0, 0, 0), {1: 0, 2: 1, 3: 2}) == [100, 0, 1]
    bridges.forget(3)
    assert mixed(bridges, frames(0, 0, 0), {1: 0, 2: 1, 3: 2}) == [0, 0, 0]
    assert (one.n_listeners, two.n_listeners, three.n_listeners) == (0, 0, 0)


def test_stream_that_is_sent_nothing_takes_nothing() -> None:
    bridges, one, two = Bridges(), a_stream(1), a_stream(2)
    bridges.join(one, two)
    bridges.take(Heard(s2=200))
    assert mixed(bridges, frames(5), {9: 0}) == [5]


def test_stream_is_not_joined_to_itself() -> None:
    one = a_stream(1)
    with pytest.raises(ValueError, match="itself"):
        Bridges().join(one, one)


@pytest.mark.parametrize(
    ("track", "expected"), [("plays", [200, 1000 + 100]), ("partner", [1000, 1000 + 100]), ("caller", [1000 + 200, 1000])]
)
def test_muted_track_alone_is_silent(track: str, expected: list[int]) -> None:
    bridges, one, two = Bridges(), a_stream(1), a_stream(2)
    bridges.join(one, two)
    bridges.join(two, one)
    bridges.take(Heard(s1=100, s2=200))
    bridges.mute(1, track, muted=True)
    assert mixed(bridges, frames(1000, 1000), {1: 0, 2: 1}) == expected
    bridges.mute(1, track, muted=False)
    assert mixed(bridges, frames(1000, 1000), {1: 0, 2: 1}) == [1200, 1100]


def test_unknown_track_is_refused() -> None:
    with pytest.raises(ValueError, match="drums"):
        Bridges().mute(1, "drums", muted=True)


def music_of(bridges: Bridges, n_frames: int) -> list[int]:
    pcm = np.zeros((1, FRAME * n_frames), np.int16)
    for n in range(n_frames):
        bridges.mix({1: pcm[0, n * FRAME : (n + 1) * FRAME]})
    return [int(sample) for sample in pcm[0]]


def test_music_begins_again_at_the_exact_sample() -> None:
    bridges = Bridges()
    sound = np.arange(1, 251, dtype="<i2")
    bridges.queue_music(1, sound[:100].tobytes(), end=False)
    bridges.queue_music(1, sound[100:].tobytes(), end=True)
    assert music_of(bridges, 5) == [n % 250 + 1 for n in range(800)]


def test_music_shorter_than_a_frame_fills_it() -> None:
    bridges = Bridges()
    bridges.queue_music(1, np.arange(1, 8, dtype="<i2").tobytes(), end=True)
    assert music_of(bridges, 2) == [n % 7 + 1 for n in range(320)]


def test_music_whose_end_is_not_known_waits_in_silence() -> None:
    bridges = Bridges()
    bridges.queue_music(1, np.full(200, 9, "<i2").tobytes(), end=False)
    assert music_of(bridges, 3) == [9] * 200 + [0] * 280
    bridges.queue_music(1, b"", end=True)
    assert music_of(bridges, 1) == [9] * 160


def test_music_fades_when_it_is_stopped_and_other_music_takes_its_place() -> None:
    bridges = Bridges()
    bridges.queue_music(1, np.full(500, 1000, "<i2").tobytes(), end=True)
    music_of(bridges, 1)
    bridges.stop_music(1, 240)
    tail = music_of(bridges, 3)
    assert tail[0] == 999
    assert tail[:240] == sorted(tail[:240], reverse=True)
    assert tail[240:] == [0] * 240
    bridges.stop_music(1, 240)  # there is none
    bridges.queue_music(1, np.full(500, 1000, "<i2").tobytes(), end=True)
    bridges.queue_music(1, np.full(500, 5, "<i2").tobytes(), end=True)
    assert music_of(bridges, 1) == [5] * 160
    bridges.stop_music(1, 0)
    assert music_of(bridges, 1) == [0] * 160


def test_empty_music_is_silence() -> None:
    bridges = Bridges()
    bridges.queue_music(1, b"", end=True)
    assert music_of(bridges, 1) == [0] * 160


def test_listener_hears_at_the_rate_of_its_own_plays() -> None:
    bridges, wide, narrow = Bridges(), a_stream(1, 16_000), a_stream(2)
    bridges.join(wide, narrow)
    bridges.join(narrow, wide)
    bridges.take(Heard(s1=100, s2=200))
    frames = {1: np.zeros(320, np.int16), 2: np.zeros(160, np.int16)}
    bridges.mix(frames)
    assert (set(frames[1].tolist()), set(frames[2].tolist())) == ({200}, {100})
    with pytest.raises(ValueError, match="48000"):
        bridges.join(a_stream(3, 48_000), narrow)


# -- real processes ----------------------------------------------------------------------------------------------------------------------


def run(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def a_law(code: int) -> int:
    """ITU-T G.711, the expander's formula."""
    code ^= 0x55
    segment, step = (code >> 4) & 7, code & 0x0F
    magnitude = (step << 4) + 8 if not segment else ((step << 4) + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


async def until_heard(call: Any, wanted: set[bytes], send: dict[Any, bytes], n_packets: int = 200) -> None:
    """Each of `send` goes on talking at the media process's pace, until `call`'s peer has got a payload that is one of `wanted`."""
    for _ in range(n_packets):
        packet = await call.peer.receive()
        for other, payload in send.items():
            other.peer.drain() if other is not call else None
            other.peer.send(payload, other.stream.port)
        if packet.payload in wanted:
            return
    raise AssertionError(f"not heard in {n_packets} packets")


async def heard_levels(call: Any, send: dict[Any, bytes], n_packets: int = 60) -> list[bytes]:
    payloads = []
    for _ in range(n_packets):
        payloads.append((await call.peer.receive()).payload)
        for other, payload in send.items():
            other.peer.drain() if other is not call else None
            other.peer.send(payload, other.stream.port)
    return payloads


@pytest.mark.parametrize("n_workers", [1, 2], ids=["one-process", "two-processes"])
def test_two_calls_hear_each_other_and_part_again(media: Any, n_workers: int) -> None:
    async def story() -> None:
        async with media.pool(n_workers=n_workers) as pool, media.call(pool=pool) as one, media.call(pool=pool) as two:
            assert (one.stream.pid == two.stream.pid) == (n_workers == 1)
            relay = await pool.join(one.stream, two.stream)
            assert relay.is_relayed == (n_workers == 2)
            assert sum(worker.n_streams for worker in pool.workers) == (2 if n_workers == 1 else 4)
            voices = {one: b"\x90" * FRAME, two: b"\xa5" * FRAME}
            await until_heard(one, {voices[two]}, voices)
            await until_heard(two, {voices[one]}, voices)
            relay.close()
            relay.close()
            for call in (one, two):
                assert (await heard_levels(call, voices))[-20:] == [MULAW_SILENCE] * 20
            await asyncio.sleep(0.1)
            assert sum(worker.n_streams for worker in pool.workers) == 2

    run(story())


@pytest.mark.parametrize("n_workers", [1, 2], ids=["one-process", "two-processes"])
def test_joint_that_is_one_way_is_opened_both_ways_later(media: Any, n_workers: int) -> None:
    async def story() -> None:
        async with media.pool(n_workers=n_workers) as pool, media.call(pool=pool) as caller, media.call(pool=pool) as far:
            relay = await pool.join(caller.stream, far.stream, one_way=True)
            voices = {caller: b"\x90" * FRAME, far: b"\xa5" * FRAME}
            await until_heard(caller, {voices[far]}, voices)
            assert set(await heard_levels(far, voices)) == {MULAW_SILENCE}
            relay.open_both_ways()
            await until_heard(far, {voices[caller]}, voices)
            await until_heard(caller, {voices[far]}, voices)
            relay.close()

    run(story())


def test_secured_mu_law_and_plain_a_law_hear_the_same_samples(media: Any, secured_peer: Any, decode: Any) -> None:
    async def story() -> None:
        async with (
            media.pool() as pool,
            media.call(secured_peer(), pool=pool) as one,
            media.call(pool=pool, codec="pcma", send_payload_type=8, receive_payload_type=8) as two,
        ):
            await pool.join(one.stream, two.stream)
            said = b"\x90" * FRAME
            (level,) = set(np.frombuffer(decode(said), "<i2").tolist())
            for _ in range(200):
                one.peer.drain()
                one.peer.send(said, one.stream.port)
                packet = await two.peer.receive()
                if packet.payload != b"\xd5" * FRAME:
                    break
            assert packet.payload_type == 8
            assert {abs(a_law(code) - level) <= abs(level) * 0.04 for code in packet.payload} == {True}

    run(story())


@pytest.mark.parametrize("n_workers", [1, 2], ids=["one-process", "two-processes"])
def test_wideband_calls_hear_each_other_unchanged(media: Any, n_workers: int) -> None:
    async def story() -> None:
        wide = {"codec": "l16_16000", "send_payload_type": 96, "receive_payload_type": 96}
        async with media.pool(n_workers=n_workers) as pool, media.call(pool=pool, **wide) as one, media.call(pool=pool, **wide) as two:
            relay = await pool.join(one.stream, two.stream)
            ramp = np.arange(-160, 160).astype(">i2").tobytes()  # as it stands on the wire (RFC 3551 section 4.5.11)
            seen = set()
            for _ in range(150):
                one.peer.drain()
                one.peer.send(ramp, one.stream.port, payload_type=96, hold_clock=True)
                one.peer.timestamp += 320
                seen.add((await two.peer.receive()).payload)
            assert ramp in seen
            relay.close()

    run(story())


def test_play_sounds_over_the_partner_and_the_recording_holds_both(media: Any, tmp_path: Path) -> None:
    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as one, media.call(pool=pool) as two:
            await pool.join(one.stream, two.stream)
            voices = {one: b"\x90" * FRAME, two: b"\xa5" * FRAME}
            await until_heard(one, {voices[two]}, voices)
            path = tmp_path / "both.wav"
            one.stream.start_recording(str(path), 8000)
            one.stream.queue_audio("p", np.full(1600, 4000, "<i2").tobytes(), end=True)
            await heard_levels(one, voices, 40)
            await one.wait_for(PlayEnded)
            one.stream.stop_recording()
            await one.wait_for(RecordingEnded)
            with wave.open(str(path)) as file:
                sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
            partner, caller = np.frombuffer(decode_level(0xA5), "<i2")[0], np.frombuffer(decode_level(0x90), "<i2")[0]
            # A packet of the peers that comes late on a busy machine is concealed: then some frames fade.
            assert np.isin(sound[:, 0], [0, caller]).mean() > 0.8
            assert (sound[:, 1] == 4000 + partner).sum() > 1600 * 0.5
            assert np.isin(sound[:, 1], [0, 4000, partner, 4000 + partner]).mean() > 0.8

    run(story())


def decode_level(code: int) -> bytes:
    flipped = ~code & 0xFF
    magnitude = ((((flipped & 0x0F) << 3) + 0x84) << ((flipped & 0x70) >> 4)) - 0x84
    return int(-magnitude if flipped & 0x80 else magnitude).to_bytes(2, "little", signed=True)


def test_music_sounds_while_what_plays_is_paused_at_its_sample(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            call.stream.queue_audio("p", np.full(4000, 4000, "<i2").tobytes(), end=True)
            await heard_levels(call, {}, 5)
            call.stream.pause(True)
            call.stream.queue_music(np.full(777, -4000, "<i2").tobytes(), end=True)
            quiet = (await heard_levels(call, {}, 30))[5:]
            assert len(set(quiet)) == 1
            assert np.frombuffer(decode_level(quiet[0][0]), "<i2")[0] < -3900
            call.stream.stop_music(20)
            call.stream.pause(False)
            ended = await call.wait_for(PlayEnded)
            assert (ended.completed, ended.heard_ms) == (True, 500.0)

    run(story())


def test_stream_is_opened_near_its_partner_as_long_as_there_is_room(media: Any) -> None:
    async def story() -> None:
        async with media.pool(n_workers=2, capacity=2) as pool:
            first = await pool.open_stream(lambda report: None)
            near = await pool.open_stream(lambda report: None, near=first)
            assert near.pid == first.pid
            elsewhere = await pool.open_stream(lambda report: None, near=first)
            assert elsewhere.pid != first.pid

    run(story())


def test_media_process_of_the_partner_dies_and_the_other_call_goes_on(media: Any) -> None:
    async def story() -> None:
        async with media.pool(n_workers=2) as pool, media.call(pool=pool) as one, media.call(pool=pool) as two:
            relay = await pool.join(one.stream, two.stream)
            os.kill(two.stream.pid, signal.SIGKILL)
            await two.wait_for(StreamLost)
            relay.close()
            one.peer.drain()
            assert (await heard_levels(one, {}, 20))[-1] == MULAW_SILENCE
            assert not one.told(StreamLost)

    run(story())


def test_bridge_with_a_stream_that_is_gone_is_refused_and_harms_nothing(media: Any) -> None:
    async def story() -> None:
        async with media.call() as call:
            gone = await call.pool.open_stream(lambda report: None)
            await gone.close()
            call.stream.bridge(gone)
            call.stream.unbridge(gone)
            assert {packet.payload for packet in await call.peer.collect(10)} == {MULAW_SILENCE}

    run(story())
