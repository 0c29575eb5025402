"""Media processes that die, fill up, or are left alone; and a control process that stops: what is heard of it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from active_call.base.child_processes import Programs
from active_call.media.link.messages import PlayEnded
from active_call.media.pool.pool import MediaRefused, StreamLost
from active_call.media.pool.process import WorkerOptions, spawn
from ports import rtp_of_pools, rtp_of_servers

SILENCE = b"\xff" * 160


@pytest.fixture
def media(media: Any) -> Any:
    """Media processes that are programs, and children of this process."""
    media.children = Programs()
    return media


def run(story: Any) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


async def until(condition: Any, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def test_media_process_killed_costs_its_own_streams_and_is_replaced(media: Any) -> None:
    async def story() -> None:
        async with media.pool(n_workers=2) as pool, media.call(pool=pool) as first, media.call(pool=pool) as second:
            assert first.stream.worker != second.stream.worker  # the least loaded one
            worker = pool.workers[first.stream.worker]
            os.kill(first.stream.pid, signal.SIGKILL)
            lost = await first.wait_for(StreamLost)
            assert lost.stream == first.stream.stream
            assert "SIGKILL" in lost.reason
            assert await first.stream.close() is None
            first.stream.stop()  # an order to the dead is harmless
            await until(lambda: worker.alive)
            assert worker.restarts == 1
            assert worker.pid not in (0, first.stream.pid)
            async with media.call(pool=pool) as third:
                assert third.stream.pid == worker.pid
                await third.peer.collect(3)
            second.peer.drain()
            await second.peer.collect(10)
            assert not second.told(StreamLost)

    run(story())


def test_media_process_that_hangs_loses_its_streams_and_is_replaced(media: Any) -> None:
    async def story() -> None:
        async with media.pool(n_workers=2) as pool, media.call(pool=pool) as first, media.call(pool=pool) as second:
            assert first.stream.worker != second.stream.worker
            worker, hung = pool.workers[first.stream.worker], first.stream.pid
            os.kill(hung, signal.SIGSTOP)
            lost = await first.wait_for(StreamLost, 20)
            assert "does not answer" in lost.reason
            await until(lambda: worker.alive and worker.pid not in (0, hung), 20)
            assert not second.told(StreamLost)

    run(story())


@pytest.mark.load
def test_media_process_that_hangs_is_noticed_within_3_s_and_never_chosen(media: Any) -> None:
    async def story() -> None:
        async with media.pool(n_workers=2) as pool, media.call(pool=pool) as first, media.call(pool=pool) as second:
            assert first.stream.worker != second.stream.worker
            hung = first.stream.pid
            os.kill(hung, signal.SIGSTOP)
            began = time.monotonic()
            while not first.told(StreamLost):
                asked = time.monotonic()
                stream = await pool.open_stream(lambda _: None)
                assert stream.pid == second.stream.pid
                assert time.monotonic() - asked < 0.5
                await stream.close()
                await asyncio.sleep(0.1)
            assert time.monotonic() - began < 3.0
            await until(lambda: not psutil.pid_exists(hung))
            assert not second.told(StreamLost)
            await until(lambda: pool.workers[first.stream.worker].alive)

    run(story())


def test_short_stall_of_the_only_media_process_delays_a_stream_and_loses_none(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as call:
            os.kill(call.stream.pid, signal.SIGSTOP)
            opening = asyncio.ensure_future(pool.open_stream(lambda _: None))
            await asyncio.sleep(0.6)
            os.kill(call.stream.pid, signal.SIGCONT)
            stream = await opening
            assert not call.told(StreamLost)
            await stream.close()

    run(story())


def test_control_process_that_stands_still_blames_no_media_process(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as call:
            time.sleep(3)
            await asyncio.sleep(0.5)
            assert not call.told(StreamLost)
            assert pool.workers[0].restarts == 0

    run(story())


def test_start_of_a_media_process_does_not_pass_for_load(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool:
            await until(lambda: pool.workers[0].last_load is not None)
            assert pool.workers[0].last_load.tick_cpu_ms_mean < 5
            assert pool.has_room()

    run(story())


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("n_steps", [0, 1, 2, 4, 8, 16])
def test_start_that_is_cancelled_at_any_step_leaves_no_process(n_steps: int) -> None:
    async def story() -> None:
        before = children()
        options = WorkerOptions(0, 23_000, 23_009, 2)
        starting = asyncio.create_task(spawn(options, lambda _: None, logging.getLogger("test")))
        while n_steps and children() == before:
            await asyncio.sleep(0)
        for _ in range(n_steps):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert children() == before

    run(story())


def test_end_that_is_cancelled_leaves_no_process() -> None:
    async def story() -> None:
        before = children()
        process = await spawn(WorkerOptions(0, 23_000, 23_009, 2), lambda _: None, logging.getLogger("test"))
        os.kill(process.pid, signal.SIGSTOP)  # it will not leave by itself
        ending = asyncio.create_task(process.end(graceful=True))
        await asyncio.sleep(0.05)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert children() == before

    run(story())


def test_pool_that_is_full_refuses_and_takes_again_when_one_has_closed(media: Any) -> None:
    async def story() -> None:
        async with media.pool(capacity=2) as pool:
            streams = [await pool.open_stream(lambda report: None) for _ in range(2)]
            assert not pool.has_room()
            with pytest.raises(MediaRefused) as refused:
                await pool.open_stream(lambda report: None)
            assert refused.value.reason == "full"
            await streams[0].close()
            assert pool.has_room()
            assert (await pool.open_stream(lambda report: None)).port not in (0, streams[0].port)

    run(story())


def test_port_of_a_closed_stream_rests_so_that_the_next_one_is_refused(media: Any) -> None:
    async def story() -> None:
        first = rtp_of_servers()[0]
        async with media.pool(port_range=(first, first + 1)) as pool:
            short: list[str] = []
            pool.on_shortage = short.append
            stream = await pool.open_stream(lambda report: None)
            assert stream.port == first
            await stream.close()
            with pytest.raises(MediaRefused) as refused:
                await pool.open_stream(lambda report: None)
            assert refused.value.reason == "ports"
            assert short == ["ports"]

    run(story())


def test_stream_bound_to_an_address_that_is_not_ours_is_refused(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool:
            with pytest.raises(MediaRefused) as refused:
                await pool.open_stream(lambda report: None, bind_ip="192.0.2.1")
            assert refused.value.reason == "bind"

    run(story())


def test_stream_without_rtp_plays_on_the_clock(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool:
            reports: list[Any] = []
            stream = await pool.open_stream(reports.append, rtp=False)
            assert stream.port == 0
            stream.queue_audio("a", np.full(1600, 5000, "<i2").tobytes(), end=True)
            await until(lambda: any(isinstance(report, PlayEnded) for report in reports))
            (ended,) = [report for report in reports if isinstance(report, PlayEnded)]
            assert (ended.completed, ended.heard_ms) == (True, 200.0)
            await stream.close()

    run(story())


CONTROL = textwrap.dedent("""
    import asyncio, json, sys
    from active_call.base.world import SystemClock
    from active_call.media.link.messages import ConfigureRtp
    from active_call.media.pool.pool import MediaPool

    async def main():
        pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=(int(sys.argv[2]), int(sys.argv[3])), clock=SystemClock())
        await pool.start()
        stream = await pool.open_stream(lambda report: None)
        stream.configure(ConfigureRtp(stream.stream, "127.0.0.1", int(sys.argv[1]), "pcmu", 0, 0))
        stream.listen(detect=True, forward_audio=True)
        stream.queue_audio("a", bytes(160_000))
        if len(sys.argv) > 4:
            stream.start_recording(sys.argv[4], 8000)
        print(json.dumps([stream.pid, stream.port]), flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
""")


def start_control(remote_port: int, *recording: str) -> tuple[subprocess.Popen[str], int, int]:
    arguments = [str(remote_port), *map(str, rtp_of_pools()), *recording]
    control = subprocess.Popen([sys.executable, "-c", CONTROL, *arguments], stdout=subprocess.PIPE, text=True)
    assert control.stdout is not None
    pid, port = json.loads(control.stdout.readline())
    control.stdout.close()
    return control, pid, port


def has_ended(pid: int) -> bool:
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


@pytest.mark.load
def test_control_process_stopped_for_400_ms_is_not_heard(make_peer: Any) -> None:
    async def story() -> None:
        peer = make_peer()
        control, _, port = start_control(peer.port)
        try:
            packets = []
            for n in range(60):
                if n == 20:
                    control.send_signal(signal.SIGSTOP)
                    stopped_at = time.monotonic()
                packets.append(await peer.receive())
                peer.send(SILENCE, port)
                if n == 40:
                    assert time.monotonic() - stopped_at > 0.35
                    control.send_signal(signal.SIGCONT)
            sequences = [(packet.sequence - packets[0].sequence) & 0xFFFF for packet in packets]
            assert sequences == list(range(60))
            media_s = [((packet.timestamp - packets[0].timestamp) & 0xFFFFFFFF) / 8000 for packet in packets]
            late_s = [packet.at - packets[0].at - at for packet, at in zip(packets, media_s, strict=True)]
            assert max(late_s) - min(late_s) < 0.1  # the machine's own noise; the stop alone would be 0.4
        finally:
            control.kill()
            control.wait()
            peer.close()

    run(story())


def test_control_process_killed_ends_the_streams_the_recording_and_the_media_process(make_peer: Any, tmp_path: Path) -> None:
    async def story() -> None:
        peer = make_peer()
        path = tmp_path / "a.wav"
        control, pid, _ = start_control(peer.port, str(path))
        try:
            await peer.collect(20)
            control.kill()
            control.wait()
            goodbye = await peer.receive_rtcp()
            assert goodbye[-7] == 203
            await until(lambda: has_ended(pid))
            data = path.read_bytes()
            assert int.from_bytes(data[40:44], "little") == len(data) - 44 > 160 * 4 * 15
        finally:
            control.kill()
            control.wait()
            peer.close()

    run(story())


def test_media_process_with_a_call_sleeps_until_its_tick_unless_orders_come(media: Any) -> None:
    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as call:
            process = psutil.Process(call.stream.pid)
            before, begun_at = process.num_ctx_switches().voluntary, time.monotonic()
            await asyncio.sleep(1.0)
            n_ticks = (time.monotonic() - begun_at) / 0.020
            n_wakings = process.num_ctx_switches().voluntary - before  # the tick, the end of its rest, its few orders
            assert n_wakings < 4 * n_ticks, f"{n_wakings} in {n_ticks:.0f} ticks"
            asked_at = time.monotonic()
            stream = await pool.open_stream(lambda report: None)
            await stream.close()
            assert time.monotonic() - asked_at < 1.0  # orders are answered between ticks

    run(story())
