"""A media process whose calls come and go for 20 minutes: nothing in it grows, and no call loses a packet, a digit or a recording.

`SOAK_MINUTES` in the environment makes it shorter or longer; memory is judged from the second quarter on.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import wave
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from far_ends import DIGITS, EVENT_TYPE, PROFILES, FarEnd, FarEnds, speech
from growth import Growth

from active_call.base.world import SystemClock
from active_call.media.link.messages import ConfigureRtp, DigitReceived, PlayEnded, RecordingEnded, SpeechStarted, StreamClosed
from active_call.media.pool.pool import MediaPool, MediaStream
from ports import rtp_of_servers

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
N_CALLS = 100
CAPACITY = 128
"""600 pairs: a call takes one, and it rests for 30 s after; a leak of one in fifty would use them up."""
SAMPLE_S = 5.0
APPLIED_S = 0.2
"""An order is applied within a tick or two."""
MAX_RISE_MB = 3.0

SPEECH_SAMPLES = 16_000


class Life:
    """One call from open to close, with what must be true of it at the end."""

    def __init__(self, number: int, pool: MediaPool, far_ends: FarEnds, folder: Path, tally: Counter[str]) -> None:
        self._chance = random.Random(number)
        self._pool, self._far_ends, self._folder, self._tally = pool, far_ends, folder, tally
        self._number = number
        self._reports: list[Any] = []
        self._pressed = self._sent_digits = ""
        self._recordings: list[Path] = []
        self._n_plays = 0
        suite = self._chance.choice(["", *PROFILES])
        self._far = FarEnd(self._chance, payload_type=self._chance.choice([0, 8]), suite=suite)
        self._stream: MediaStream

    async def live(self) -> None:
        chance, far = self._chance, self._far
        self._stream = await self._pool.open_stream(self._reports.append)
        self._configure()
        self._stream.listen(detect=chance.random() < 0.8, forward_audio=chance.random() < 0.8)
        await asyncio.sleep(APPLIED_S)
        far.point_at(self._stream.port)
        self._far_ends.alive.add(far)
        actions = [self._talk, self._talk, self._press, self._record, self._hold, self._barge_in]
        if far.suite:
            actions.append(self._change_keys)
        for _ in range(chance.randint(2, 5)):
            action = chance.choice(actions)
            self._tally[action.__name__.strip("_")] += 1
            await action()
        await self._close()

    def _configure(self, *, send: bool = True) -> None:
        far = self._far
        self._stream.configure(
            ConfigureRtp(
                stream=self._stream.stream,
                remote_ip="127.0.0.1",
                remote_port=far.port,
                codec="pcma" if far.payload_type else "pcmu",
                send_payload_type=far.payload_type,
                receive_payload_type=far.payload_type,
                send_event_type=EVENT_TYPE,
                receive_event_type=EVENT_TYPE,
                suite=far.suite,
                send_key=far.receive_key if far.suite else b"",
                receive_key=far.send_key if far.suite else b"",
                send=send,
            )
        )

    def _queue(self) -> str:
        self._n_plays += 1
        self._stream.queue_audio(f"play-{self._n_plays}", speech()[:SPEECH_SAMPLES].tobytes(), end=True)
        return f"play-{self._n_plays}"

    async def _talk(self) -> None:
        self._far.say(self._chance.uniform(0.5, 2))
        self._queue()
        await asyncio.sleep(self._chance.uniform(2.2, 3.5))

    async def _press(self) -> None:
        """Digits in both directions at once."""
        ours, theirs = self._chance.choices(DIGITS, k=3), self._chance.choice(DIGITS)
        self._far.press(theirs)
        self._stream.send_digits("".join(ours), 100)
        self._pressed += theirs
        self._sent_digits += "".join(ours)
        await asyncio.sleep(1.5)

    async def _record(self) -> None:
        path = self._folder / f"{self._number}-{len(self._recordings)}.wav"
        self._recordings.append(path)
        self._stream.start_recording(str(path), self._chance.choice([8000, 16000]))
        await self._talk()
        if self._chance.random() < 0.5:
            self._stream.stop_recording()
            await asyncio.sleep(APPLIED_S)

    async def _hold(self) -> None:
        self._configure(send=False)
        await asyncio.sleep(self._chance.uniform(0.5, 1.5))
        self._configure()
        await asyncio.sleep(APPLIED_S)

    async def _barge_in(self) -> None:
        """A play is paused, goes on, and is stopped in its middle."""
        self._queue()
        self._far.say(0.6)
        await asyncio.sleep(0.4)
        self._stream.pause(True)
        await asyncio.sleep(0.2)
        self._stream.pause(False)
        await asyncio.sleep(0.3)
        self._stream.stop()
        await asyncio.sleep(APPLIED_S)

    async def _change_keys(self) -> None:
        """A re-INVITE with new keys for both directions; the far end goes over to its own when the other side has it."""
        far, old = self._far, self._far.send_key
        far.change_receive_key()
        far.send_key = self._chance.randbytes(30)
        assert far.send_key != old
        self._configure()
        await asyncio.sleep(APPLIED_S)
        far.change_send_key(far.send_key)
        await asyncio.sleep(0.5)

    async def _close(self) -> None:
        far = self._far
        self._far_ends.alive.discard(far)  # it sends no more
        await asyncio.sleep(APPLIED_S)
        closed = await self._stream.close()
        await asyncio.sleep(0.05)
        far.read()
        assert closed is not None, "StreamClosed did not come"
        self._check(closed)
        far.close()

    def _check(self, closed: StreamClosed) -> None:
        far, got = self._far, self._far.received
        where = f"call {self._number} ({far.suite or 'plain'}): {closed} {got.packets} of ours, {far.n_sent} of theirs"
        assert (closed.packets_received, closed.packets_lost, closed.packets_dropped) == (far.n_sent, 0, 0), where
        assert (got.packets, got.missing, got.repeated, got.wrong) == (closed.packets_sent, 0, 0, 0), where
        assert "".join(report.digit for report in self._reports if isinstance(report, DigitReceived)) == self._pressed, where
        assert "".join(got.digits) == self._sent_digits, where
        ends = [report.play for report in self._reports if isinstance(report, PlayEnded)]
        assert sorted(ends) == sorted(f"play-{n + 1}" for n in range(self._n_plays)), where
        ended = [report for report in self._reports if isinstance(report, RecordingEnded)]
        assert [(report.path, report.error) for report in ended] == [(str(path), "") for path in self._recordings], where
        for report in ended:
            with wave.open(report.path) as file:
                assert abs(file.getnframes() / file.getframerate() * 1000 - report.duration_ms) < 25
            Path(report.path).unlink()
        self._tally["speech"] += sum(isinstance(report, SpeechStarted) for report in self._reports)
        self._tally["packets"] += far.n_sent + got.packets
        self._tally["calls"] += 1


async def churn(pool: MediaPool, folder: Path, tally: Counter[str]) -> None:
    """Keep `N_CALLS` calls up for `MINUTES`."""
    far_ends = FarEnds()
    numbers = iter(range(10_000_000))
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + MINUTES * 60

    async def line(index: int) -> None:
        await asyncio.sleep(index * 0.05)
        while loop.time() < ends_at:
            await Life(next(numbers), pool, far_ends, folder, tally).live()

    async with far_ends.running(), asyncio.TaskGroup() as lines:
        for index in range(N_CALLS):
            lines.create_task(line(index))


async def fill(pool: MediaPool, folder: Path) -> None:
    """Every slot can be had at once, so none is lost; and a recording, so that the process that writes is there."""
    streams = [await pool.open_stream(lambda report: None) for _ in range(CAPACITY)]
    streams[0].start_recording(str(folder / "first.wav"), 8000)
    for stream in streams:
        assert await stream.close() is not None
    (folder / "first.wav").unlink()


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a soak has counted. Descriptors of the media process: before it, and after it."""

    tally: dict[str, int]
    media: dict[str, Any]
    recorder: dict[str, Any]
    descriptors: tuple[int, int]


async def soak(folder: Path) -> Soaked:
    pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=rtp_of_servers(), clock=SystemClock(), capacity=CAPACITY)
    await pool.start()
    try:
        status = pool.workers[0]
        await fill(pool, folder)  # now every slot's memory has been touched
        process = psutil.Process(status.pid)
        (recorder,) = process.children()
        idle = process.num_fds()
        growths = [Growth(status.pid), Growth(recorder.pid)]
        sampling = [asyncio.create_task(growth.keep_sampling(SAMPLE_S)) for growth in growths]
        tally: Counter[str] = Counter()
        try:
            await churn(pool, folder, tally)
        finally:
            for task in sampling:
                task.cancel()
        await fill(pool, folder)
        assert status.restarts == 0
        assert status.n_streams == 0
        media, written = (growth.fitted(MINUTES * 15) for growth in growths)
        return Soaked(dict(tally), media, written, (idle, process.num_fds()))
    finally:
        await pool.close()


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 300)
def test_media_process_with_100_calls_coming_and_going_does_not_grow(tmp_path: Path) -> None:
    soaked = asyncio.run(soak(tmp_path))
    print(json.dumps(asdict(soaked)))
    assert soaked.tally["calls"] > N_CALLS * MINUTES
    assert soaked.tally["speech"] > soaked.tally["calls"] / 2
    assert soaked.descriptors[0] == soaked.descriptors[1]
    for process in (soaked.media, soaked.recorder):
        assert process["rise_mb"] < MAX_RISE_MB, process
    assert list(tmp_path.iterdir()) == []
