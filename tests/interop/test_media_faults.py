"""Media processes that are stopped or killed with 50 calls up, and a control process that is killed: what the far ends get of it.

The promises are those of docs/design/media.md, "When something goes wrong".
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from far_ends import EVENT_TYPE, FRAME_S, FarEnd, FarEnds, speech

from active_call.base.world import SystemClock
from active_call.media.link.messages import ConfigureRtp, RecordingEnded, SpeechStarted
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost
from ports import rtp_of_pools

pytestmark = pytest.mark.load

N_CALLS = 50
SUITE = "AES_CM_128_HMAC_SHA1_80"
SPEAKS_S = 10
BUSY_S = 0.1
"""What the tests allow a loaded machine: a far end's own loop, and ours, may be as late as this."""


class UpCall:
    """A stream and its far end; `reports` are the media process's."""

    def __init__(self, stream: MediaStream, far: FarEnd, reports: list[Any]) -> None:
        self.stream, self.far, self.reports = stream, far, reports

    def told(self, kind: type) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    def since(self, at: float) -> np.ndarray[Any, Any]:
        """Packets that came after `at`: columns arrival, sequence, timestamp."""
        log = np.array(self.far.received.log)
        return log[log[:, 0] >= at]


async def call_up(pool: MediaPool, far_ends: FarEnds, seed: int, *, secured: bool) -> UpCall:
    far = FarEnd(random.Random(seed), suite=SUITE if secured else "")
    reports: list[Any] = []
    stream = await pool.open_stream(reports.append)
    stream.configure(
        ConfigureRtp(
            stream=stream.stream,
            remote_ip="127.0.0.1",
            remote_port=far.port,
            codec="pcmu",
            send_payload_type=0,
            receive_payload_type=0,
            send_event_type=EVENT_TYPE,
            receive_event_type=EVENT_TYPE,
            suite=far.suite,
            send_key=far.receive_key if secured else b"",
            receive_key=far.send_key if secured else b"",
        )
    )
    stream.listen(detect=True, forward_audio=True)
    stream.queue_audio("news", speech().tobytes() * 4)
    far.point_at(stream.port)
    far_ends.alive.add(far)
    return UpCall(stream, far, reports)


@asynccontextmanager
async def calls_up(n_workers: int = 1, n_calls: int = N_CALLS) -> AsyncIterator[tuple[MediaPool, list[UpCall]]]:
    """A pool with calls that have been talking for a second."""
    pool = MediaPool(n_workers=n_workers, bind_ip="127.0.0.1", port_range=rtp_of_pools(), clock=SystemClock(), capacity=64)
    far_ends = FarEnds()
    await pool.start()
    try:
        async with far_ends.running():
            calls = [await call_up(pool, far_ends, seed, secured=seed % 2 == 0) for seed in range(n_calls)]
            await asyncio.sleep(1)
            yield pool, calls
    finally:
        await pool.close()


async def stop_for(pid: int, seconds: float) -> tuple[float, float]:
    """Stop a process and let it go on; from when to when."""
    os.kill(pid, signal.SIGSTOP)
    begun_at = time.monotonic()
    await asyncio.sleep(seconds)
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    ended_at = time.monotonic()
    os.kill(pid, signal.SIGCONT)
    return begun_at, ended_at


def assert_no_burst(call: UpCall, resumed_at: float, gap_s: float) -> None:
    """After a stall one packet comes at a time, on the old grid, and none is missing or repeated."""
    log = np.array(call.far.received.log)
    resumed = call.since(resumed_at)
    first = len(log) - len(resumed)
    assert len(resumed) > 50
    assert log[first, 0] - log[first - 1, 0] >= gap_s - BUSY_S  # it really stood still
    steps = np.diff(resumed[:, 0])
    in_40_ms = max(np.searchsorted(resumed[:, 0], resumed[:, 0] + 2 * FRAME_S) - np.arange(len(resumed)))
    assert in_40_ms <= 6, f"{in_40_ms} packets within 40 ms; steps {np.round(steps[:12] * 1000, 1)}"
    assert np.all(np.diff(log[:, 1]) == 1)
    # The clock has gone on: what is said after the stall lies where it belongs.
    phase_ms = np.median(resumed[20:, 0] * 1000 - resumed[20:, 2] / 8) - np.median(log[:first, 0] * 1000 - log[:first, 2] / 8)
    assert abs(phase_ms) < 5
    assert np.all(np.diff(log[:, 2]) % 160 == 0)


@pytest.mark.parametrize("seconds", [pytest.param(0.4, marks=pytest.mark.slow), 1.2])
def test_media_process_stopped_goes_on_without_a_burst_and_hears_in_time_again(seconds: float) -> None:
    """The longer stop is the harder one; the shorter is slow."""

    async def story() -> None:
        async with calls_up() as (pool, calls):
            worker = pool.workers[0]
            _, resumed_at = await stop_for(worker.pid, seconds)
            await asyncio.sleep(2)
            said_at = time.monotonic()
            for call in calls:
                call.far.say(1.0)
            await asyncio.sleep(2)
            for call in calls:
                assert_no_burst(call, resumed_at, seconds)
                heard = [report for report in call.told(SpeechStarted) if report.detected_at > said_at]
                assert heard, call.reports[-5:]
                assert heard[0].detected_at - said_at < 0.6 + BUSY_S  # no second of old sound stands before it
                assert not call.told(StreamLost)
            assert worker.restarts == 0
            for call in calls:
                closed = await call.stream.close()
                assert closed is not None
                # A second and a bit of packets finds room in a socket; what came later than that is gone, and is counted.
                assert closed.packets_dropped == 0
                assert closed.packets_received + closed.packets_lost <= call.far.n_sent
                assert closed.packets_received >= call.far.n_sent - max(seconds - 1.0, 0) * 50 - 5

    asyncio.run(story())


def test_media_process_killed_under_load_leaves_the_other_process_s_calls_alone() -> None:
    async def story() -> None:
        async with calls_up(n_workers=2) as (pool, calls):
            dead, alive = pool.workers
            assert dead.n_streams + alive.n_streams == N_CALLS
            assert min(dead.n_streams, alive.n_streams) > N_CALLS // 3
            killed_at, killed_pid = time.monotonic(), dead.pid
            os.kill(killed_pid, signal.SIGKILL)
            await asyncio.sleep(3)
            lost = [call for call in calls if call.stream.pid == killed_pid]
            going_on = [call for call in calls if call.stream.pid == alive.pid]
            assert all(len(call.told(StreamLost)) == 1 for call in lost)
            assert len(lost) + len(going_on) == N_CALLS
            for call in going_on:
                assert not call.told(StreamLost)
                since = call.since(killed_at)
                assert len(since) > 140
                assert np.diff(since[:, 0]).max() < FRAME_S + BUSY_S
                assert call.far.received.missing == call.far.received.wrong == 0
            assert dead.alive
            assert dead.pid != killed_pid
            assert dead.restarts == 1
            replaced = [await pool.open_stream(lambda report: None) for _ in range(10)]
            assert dead.pid in {stream.pid for stream in replaced}  # the less loaded one
            for call in going_on:
                closed = await call.stream.close()
                assert closed is not None
                assert closed.packets_lost == closed.packets_dropped == 0

    asyncio.run(story())


def recorder_of(pid: int) -> psutil.Process:
    (recorder,) = psutil.Process(pid).children()
    assert any("record.process" in part for part in recorder.cmdline())
    return recorder


def assert_undisturbed(calls: list[UpCall], since_at: float) -> None:
    for call in calls:
        since = call.since(since_at)
        assert np.diff(since[:, 0]).max() < FRAME_S + BUSY_S
        assert call.far.received.missing == call.far.received.wrong == 0


def test_recorder_process_stopped_for_3_s_is_not_heard_and_its_files_are_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with calls_up() as (pool, calls):
            begun_at = time.monotonic()
            for index, call in enumerate(calls):
                call.stream.start_recording(str(tmp_path / f"{index}.wav"), 8000)
            await asyncio.sleep(1)
            recorder = recorder_of(pool.workers[0].pid)
            await stop_for(recorder.pid, 3.0)
            await asyncio.sleep(2)
            assert_undisturbed(calls, begun_at)
            length_s = time.monotonic() - begun_at
            assert None not in await asyncio.gather(*(call.stream.close() for call in calls))
            for index, call in enumerate(calls):
                (ended,) = call.told(RecordingEnded)
                assert ended.error == ""
                with wave.open(str(tmp_path / f"{index}.wav")) as file:
                    assert abs(file.getnframes() / 8000 - length_s) < 1.0
            assert recorder.is_running()

    asyncio.run(story())


def test_recorder_process_killed_costs_its_recordings_and_no_call_and_is_replaced(tmp_path: Path) -> None:
    async def story() -> None:
        async with calls_up() as (pool, calls):
            for index, call in enumerate(calls):
                call.stream.start_recording(str(tmp_path / f"{index}.wav"), 8000)
            await asyncio.sleep(2)
            killed_at = time.monotonic()
            recorder = recorder_of(pool.workers[0].pid)
            recorder.kill()
            await asyncio.sleep(1)
            for index, call in enumerate(calls):
                (ended,) = call.told(RecordingEnded)
                assert "recorder" in ended.error
                with wave.open(str(tmp_path / f"{index}.wav")) as file:
                    assert file.getnframes() > 8000  # playable as far as it was written
            calls[0].stream.start_recording(str(tmp_path / "again.wav"), 8000)
            await asyncio.sleep(1)
            assert recorder_of(pool.workers[0].pid).pid != recorder.pid
            assert await calls[0].stream.close() is not None
            assert [report.error for report in calls[0].told(RecordingEnded)][1:] == [""]
            await asyncio.sleep(0.5)
            assert_undisturbed(calls[1:], killed_at)
            assert pool.workers[0].restarts == 0

    asyncio.run(story())


def test_control_process_killed_ends_streams_with_goodbye_and_finishes_recordings(tmp_path: Path) -> None:
    async def story() -> None:
        far_ends = FarEnds()
        fars = [FarEnd(random.Random(seed)) for seed in range(N_CALLS)]
        control = await asyncio.create_subprocess_exec(
            *(sys.executable, str(Path(__file__).with_name("lone_control.py")), str(tmp_path), *map(str, rtp_of_pools())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert control.stdin is not None
        assert control.stdout is not None
        try:
            control.stdin.write(json.dumps([far.port for far in fars]).encode() + b"\n")
            told = json.loads(await asyncio.wait_for(control.stdout.readline(), 30))
            async with far_ends.running():
                for far, port in zip(fars, told["ports"], strict=True):
                    far.point_at(port)
                    far_ends.alive.add(far)
                await asyncio.sleep(2)
                assert all(far.received.packets > 50 for far in fars)
                control.kill()
                await control.wait()
                await asyncio.sleep(2)
                for far in fars:
                    far.read_rtcp()
                    assert far.received.goodbyes == 1
                assert not psutil.pid_exists(told["pid"]) or psutil.Process(told["pid"]).status() == psutil.STATUS_ZOMBIE
                for index in range(N_CALLS):
                    with wave.open(str(tmp_path / f"{index}.wav")) as file:
                        assert file.getnframes() / file.getframerate() > 1.5
                        assert (tmp_path / f"{index}.wav").stat().st_size == 44 + file.getnframes() * 4
        finally:
            if control.returncode is None:
                control.kill()

    asyncio.run(story())
